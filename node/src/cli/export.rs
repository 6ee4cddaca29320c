//! `amesh identity export` and `import`: an identity on its way to another machine or from another client.

use super::context::Context;
use super::init;
use super::output::Trouble;
use crate::client::bundle::{Bundle, BundleError};
use crate::client::disk::{self, PRIVATE};
use crate::client::home::AgentHome;
use crate::client::identity::{Identity, NewIdentity};
use crate::client::identity_md;
use crate::client::registration::Registration;
use amesh_proto::address::validate_agent_name;
use amesh_proto::key::AgentKey;
use anyhow::Context as _;
use serde::Serialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Exported {
    address: String,
    fingerprint: String,
    file: PathBuf,
}

/// No identity is longer.
const LONGEST: u64 = 4 << 20;

pub(super) async fn export(ctx: &Context, file: &Path, force: bool) -> anyhow::Result<()> {
    let identity = ctx.identity().await?;
    let bundle = Bundle::of(&identity, ctx.now()).map_err(Trouble::from)?;
    let text = serde_json::to_string_pretty(&bundle)? + "\n";
    if file == Path::new("-") {
        return ctx.out.line(&text);
    }
    if file.exists() && !force {
        return Err(Trouble::new("in_the_way", format!("{} is there already", file.display()))
            .mend(ctx.command(&format!("identity export {} --force", file.display())))
            .into());
    }
    disk::write_whole(file, text.as_bytes(), PRIVATE).map_err(Trouble::from)?;
    ctx.out.note("the file holds the private key: whoever has it can write in this agent's name");
    let exported = Exported {
        address: identity.address,
        fingerprint: identity.fingerprint,
        file: std::path::absolute(file)?,
    };
    ctx.out.show(&exported, || format!("{} is in {}", exported.address, exported.file.display()))
}

/// What the command line says about the identity that comes in.
pub(super) struct Given<'a> {
    pub name: Option<&'a str>,
    pub tenant: Option<&'a str>,
    pub force: bool,
}

/// Everything is checked before anything is written.
pub(super) async fn import(ctx: &Context, file: &Path, given: &Given<'_>) -> anyhow::Result<()> {
    let text = read(file)?;
    let bare_key = text.trim_start().starts_with("-----BEGIN");
    let bundle = if bare_key { None } else { Some(Bundle::parse(&text).map_err(Trouble::from)?) };
    let name = match (given.name, &bundle) {
        (Some(name), _) => name.to_lowercase(),
        (None, Some(bundle)) => bundle.name().to_owned(),
        (None, None) => {
            return Err(Trouble::usage("a bare key says nobody's name").mend("--name NAME").into());
        }
    };
    if let Some(bundle) = bundle.as_ref().filter(|bundle| bundle.name() != name) {
        return Err(Trouble::usage(format!("this is the identity of {}", bundle.name()))
            .because("an exported identity keeps its name, by which others know its key")
            .into());
    }
    validate_agent_name(&name)
        .map_err(|error| Trouble::usage(format!("{name:?} cannot be a name")).because(error))?;
    let around = ctx.surroundings().await;
    let home = AgentHome::for_new(&around, &name).map_err(|error| ctx.home_trouble(error, &around))?;
    if home.is_initialized() && !given.force {
        return Err(Trouble::new("in_the_way", format!("there is an identity in {}", home.dir().display()))
            .because("its keys would be put aside")
            .mend(ctx.command(&format!("identity import {} --force", file.display())))
            .into());
    }
    let key = bare_key.then(|| AgentKey::from_pkcs8_pem(&text).map_err(BundleError::from)).transpose();
    let key = key.map_err(Trouble::from)?;
    init::put_old_keys_aside(ctx, &home)?;
    let identity = match (bundle, key) {
        (Some(bundle), _) => bundle.install(&home).map_err(Trouble::from)?,
        (None, Some(key)) => from_key(ctx, &home, name, given, &key)?,
        (None, None) => anyhow::bail!("neither a key nor an exported identity"),
    };
    identity_md::write(&identity, &Registration::all(&home).map_err(Trouble::from)?, ctx.now())
        .map_err(Trouble::from)?;
    init::show(ctx, &identity)
}

fn from_key(
    ctx: &Context,
    home: &AgentHome,
    name: String,
    given: &Given<'_>,
    key: &AgentKey,
) -> anyhow::Result<Identity> {
    let NewIdentity { name, tenant, provider, maestro_url } =
        init::new_identity(given.tenant, name, ctx.node().ok().as_ref())?;
    let identity = Identity {
        home: home.clone(),
        address: format!("{name}@{tenant}.{provider}"),
        name,
        tenant,
        fingerprint: key.public().fingerprint(),
        provider,
        maestro_url,
        created_at: ctx.now().to_rfc3339(),
    };
    identity.save_with(key).map_err(Trouble::from)?;
    Ok(identity)
}

/// A file of this kind, or standard input for `-`.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text)?;
    } else {
        let open = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        open.take(LONGEST)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(text)
}
