//! `amesh init`, `identity` and `register`: who the agent is, and where it is known (CLI-1, CLI-6, CLI-7).

use super::args::{InitArgs, RegisterArgs};
use super::context::Context;
use super::output::Trouble;
use super::session::{self, Application, Session};
use crate::client::find::NodeFile;
use crate::client::home::AgentHome;
use crate::client::identity::{Identity, NewIdentity};
use crate::client::identity_md;
use crate::client::registration::Registration;
use amesh_proto::address::{validate_agent_name, validate_label};
use rand::TryRngCore as _;
use serde::Serialize;
use std::io::IsTerminal as _;
use std::path::PathBuf;

/// What `init`, `identity` and `register` print.
#[derive(Debug, Serialize)]
pub(super) struct Card {
    initialized: bool,
    name: String,
    tenant: String,
    fingerprint: String,
    primary_address: String,
    addresses: Vec<OneAddress>,
    address_count: usize,
    registered: bool,
    paths: Paths,
}

#[derive(Debug, Serialize)]
struct OneAddress {
    provider: String,
    address: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Debug, Serialize)]
struct Paths {
    home: PathBuf,
    config: PathBuf,
    identity: PathBuf,
    keys: PathBuf,
}

#[derive(Serialize)]
struct Nobody {
    initialized: bool,
    message: String,
}

pub(super) async fn init(ctx: &Context, args: &InitArgs) -> anyhow::Result<()> {
    let around = ctx.surroundings().await;
    let asked = args.name.as_deref().or_else(|| around.name());
    let found = match asked {
        Some(name) => AgentHome::for_new(&around, name),
        None => AgentHome::find(&around),
    };
    let existing = found.as_ref().ok().filter(|home| home.is_initialized());
    if let (Some(home), false) = (existing, args.force) {
        ctx.migrate(home)?;
        let identity = Identity::load(home).map_err(Trouble::from)?;
        ctx.out.note("there is an identity already; --force makes new keys");
        return show(ctx, &identity);
    }
    let name = match asked {
        Some(name) => name.to_lowercase(),
        None => ask_for_name(ctx, args.auto)?,
    };
    validate_agent_name(&name)
        .map_err(|error| Trouble::usage(format!("{name:?} cannot be a name")).because(error))?;
    let home = AgentHome::for_new(&around, &name).map_err(|error| ctx.home_trouble(error, &around))?;
    let node = ctx.node();
    let new = new_identity(args.tenant.as_deref(), name, node.as_ref().ok())?;
    make(ctx, &home, new, node.ok().as_ref()).await
}

/// Makes the identity and registers it. A name that is taken leaves nothing behind.
async fn make(
    ctx: &Context,
    home: &AgentHome,
    new: NewIdentity,
    node: Option<&NodeFile>,
) -> anyhow::Result<()> {
    let is_new = !home.dir().exists();
    put_old_keys_aside(ctx, home)?;
    let mut seed = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed)?;
    let identity = Identity::create(home, new, seed, ctx.now()).map_err(Trouble::from)?;
    let Some(node) = node else {
        identity_md::write(&identity, &Registration::all(home).map_err(Trouble::from)?, ctx.now())?;
        ctx.out.note("no node is running; the agent registers by itself when one does (amesh up --detach)");
        return show(ctx, &identity);
    };
    match session::register_here(ctx, &identity, node, None).await {
        Ok(_) => show(ctx, &Identity::load(home).map_err(Trouble::from)?),
        Err(trouble) if trouble.code == "name_taken" && is_new => {
            std::fs::remove_dir_all(home.dir())?;
            let other = trouble.mend.as_deref().map(|mend| mend.replace("register", "init"));
            Err(trouble.mend(other.unwrap_or_else(|| ctx.command("init --name OTHER-NAME"))).into())
        }
        Err(trouble) => {
            identity_md::write(&identity, &Registration::all(home).map_err(Trouble::from)?, ctx.now())?;
            Err(trouble.into())
        }
    }
}

/// New keys never destroy old ones.
pub(super) fn put_old_keys_aside(ctx: &Context, home: &AgentHome) -> anyhow::Result<()> {
    if home.is_initialized() {
        let old = home.dir().join(format!("keys.{}", ctx.now().as_secs()));
        std::fs::rename(home.keys(), &old)?;
        ctx.out.note(&format!("the old keys are now in {}", old.display()));
    }
    Ok(())
}

/// An identity by that name, where nothing else is said at the node that runs.
pub(super) fn new_identity(
    tenant: Option<&str>,
    name: String,
    node: Option<&NodeFile>,
) -> Result<NewIdentity, Trouble> {
    let from_env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let tenant = tenant.map(str::to_owned).or_else(|| node.map(|node| node.org.clone()));
    let tenant = tenant.unwrap_or_else(|| "default".to_owned()).to_lowercase();
    validate_label(&tenant)
        .map_err(|error| Trouble::usage(format!("{tenant:?} cannot be an organization")).because(error))?;
    Ok(NewIdentity {
        name,
        tenant,
        provider: node
            .map(|node| node.provider.clone())
            .or_else(|| from_env("AMP_PROVIDER_DOMAIN"))
            .unwrap_or_else(|| "aimaestro.local".to_owned()),
        maestro_url: node
            .and_then(NodeFile::api_url)
            .or_else(|| from_env("AMP_MAESTRO_URL"))
            .unwrap_or_else(|| "http://localhost:23000".to_owned()),
    })
}

fn ask_for_name(ctx: &Context, auto: bool) -> Result<String, Trouble> {
    let nameless = || {
        Trouble::usage("the agent has no name")
            .because("neither CLAUDE_AGENT_NAME nor a tmux session says who this is")
            .mend(ctx.command("init --name NAME"))
    };
    if auto || ctx.out.is_json() || !std::io::stdin().is_terminal() {
        return Err(nameless());
    }
    eprint!("The agent's name: ");
    let mut name = String::new();
    std::io::stdin().read_line(&mut name).map_err(|error| nameless().because(error))?;
    match name.trim() {
        "" => Err(nameless()),
        name => Ok(name.to_lowercase()),
    }
}

/// `amesh identity` without more words; `brief` is one line.
pub(super) async fn identity(ctx: &Context, brief: bool) -> anyhow::Result<()> {
    let identity = match ctx.identity().await {
        Ok(identity) => identity,
        Err(trouble) if ctx.out.is_json() && trouble.code == "not_initialized" => {
            ctx.out.show(&Nobody { initialized: false, message: trouble.what.clone() }, String::new)?;
            return Err(trouble.into());
        }
        Err(trouble) => return Err(trouble.into()),
    };
    if !brief {
        return show(ctx, &identity);
    }
    let card = Card::of(&identity)?;
    ctx.out.show(&card, || format!("{} ({})", card.primary_address, card.fingerprint))
}

pub(super) async fn register(ctx: &Context, args: &RegisterArgs) -> anyhow::Result<()> {
    let identity = ctx.identity().await?;
    let node = ctx.node();
    let place = match &args.provider {
        Some(place) => place.to_lowercase(),
        None => node.as_ref().map(|node| node.provider.clone()).map_err(Clone::clone)?,
    };
    let here = node.ok().filter(|node| {
        place == node.provider || node.api_url().as_deref() == Some(place.trim_end_matches('/'))
    });
    let provider = here.as_ref().map_or(place.as_str(), |node| node.provider.as_str());
    let known = Registration::all(&identity.home).map_err(Trouble::from)?;
    // An identity that was brought here brings its registration with the machine that it comes from.
    let elsewhere = |one: &Registration| {
        here.as_ref().is_some_and(|node| !one.node_id.is_empty() && one.node_id != node.node_id)
    };
    let known = known
        .into_iter()
        .find(|one| one.provider == provider || one.api_url.starts_with(&place))
        .filter(|one| !elsewhere(one));
    if args.fetch && here.is_some() {
        return Err(Trouble::usage("--fetch is for other providers; this node has its agents' mail").into());
    }
    if let (Some(known), false) = (&known, args.force) {
        ctx.out.note(&format!("registered already as {}; --force registers again", known.address));
        return finish(ctx, &identity, known, args.fetch).await;
    }
    // The reference client calls a user key a token, too.
    let (user_keys, tokens): (Vec<&str>, Vec<&str>) =
        args.token.as_deref().into_iter().partition(|token| token.starts_with("uk_"));
    let user_key = args.user_key.as_deref().or_else(|| user_keys.first().copied());
    if user_key.is_some_and(|key| !key.starts_with("uk_")) {
        return Err(Trouble::usage("this is no user key").because("user keys begin with uk_").into());
    }
    let tenant = args.tenant.as_deref().unwrap_or(&identity.tenant);
    let old_key = known.as_ref().map(|known| known.api_key.as_str());
    let application = Application {
        url: api_url(&place, args.api_url.as_deref(), here.as_ref())?,
        provider: Some(provider).filter(|domain| !domain.contains("://")),
        node_id: here.as_ref().map_or("", |node| &node.node_id),
        name: args.name.as_deref(),
        tenant: if user_key.is_some() { None } else { Some(tenant) },
        bearer: user_key.or(old_key),
        token: tokens.first().copied(),
        moves: here.is_some(),
    };
    let registration = session::register(ctx, &identity, &application).await?;
    ctx.out.note(&format!("registered with {} as {}", registration.provider, registration.address));
    finish(ctx, &identity, &registration, args.fetch).await
}

/// With `fetch`, the agent's own node is told of the registration.
async fn finish(
    ctx: &Context,
    identity: &Identity,
    registration: &Registration,
    fetch: bool,
) -> anyhow::Result<()> {
    if fetch {
        let home = Session::open(ctx).await?;
        home.api.hand_over(registration).await.map_err(Trouble::from)?;
        ctx.out.note(&format!("the node fetches the mail of {}", registration.address));
    }
    show(ctx, &Identity::load(&identity.home).map_err(Trouble::from)?)
}

/// Where to register. An API key travels in the clear over plain HTTP, so that is for this machine alone.
fn api_url(place: &str, asked: Option<&str>, here: Option<&NodeFile>) -> Result<String, Trouble> {
    if let Some(url) = here.and_then(NodeFile::api_url) {
        return Ok(url);
    }
    let url = match asked {
        Some(url) => url.to_owned(),
        None if place.contains("://") => place.to_owned(),
        None => format!("https://api.{place}"),
    };
    let host = url.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or_default());
    let is_near = |host: &str| {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(host, |(name, _)| name);
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        name == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    };
    match host {
        Some(host) if !is_near(host) => Err(Trouble::usage("plain HTTP is for this machine alone")
            .because(format!("the API key that {host} issues could be read on the way"))
            .mend(format!("amesh register --provider https://{host}"))),
        None if !url.starts_with("https://") => Err(Trouble::usage(format!("{url} is no address of an API"))),
        _ => Ok(url),
    }
}

pub(super) fn show(ctx: &Context, identity: &Identity) -> anyhow::Result<()> {
    let card = Card::of(identity)?;
    ctx.out.show(&card, || card.text())
}

impl Card {
    fn of(identity: &Identity) -> Result<Self, Trouble> {
        let registrations = Registration::all(&identity.home)?;
        let registered = registrations.iter().any(|one| one.provider == identity.provider);
        let primary =
            OneAddress { provider: "local".to_owned(), address: identity.address.clone(), kind: "primary" };
        let external = registrations.into_iter().filter(|one| one.provider != identity.provider);
        let external =
            external.map(|one| OneAddress { provider: one.provider, address: one.address, kind: "external" });
        let addresses: Vec<_> = std::iter::once(primary).chain(external).collect();
        let home = &identity.home;
        Ok(Self {
            initialized: true,
            name: identity.name.clone(),
            tenant: identity.tenant.clone(),
            fingerprint: identity.fingerprint.clone(),
            primary_address: identity.address.clone(),
            address_count: addresses.len(),
            addresses,
            registered,
            paths: Paths {
                home: home.dir().to_owned(),
                config: home.config(),
                identity: home.identity_md(),
                keys: home.keys(),
            },
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![
            format!("name         {}", self.name),
            format!("tenant       {}", self.tenant),
            format!("fingerprint  {}", self.fingerprint),
        ];
        for one in &self.addresses {
            lines.push(format!("address      {} ({})", one.address, one.kind));
        }
        lines.push(format!("registered   {}", if self.registered { "yes" } else { "not yet" }));
        lines.push(format!("files        {}", self.paths.home.display()));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_over_https_and_this_machine_over_http() {
        assert_eq!(api_url("crabmail.ai", None, None).unwrap(), "https://api.crabmail.ai");
        assert_eq!(api_url("http://localhost:23000", None, None).unwrap(), "http://localhost:23000");
        assert_eq!(api_url("http://127.0.0.1:1/api/v1", None, None).unwrap(), "http://127.0.0.1:1/api/v1");
        assert_eq!(api_url("x.y", Some("https://h/v1"), None).unwrap(), "https://h/v1");
        for bad in ["http://example.com", "http://127.0.0.1.example.com@evil", "ftp://x"] {
            let refused = api_url(bad, None, None);
            assert!(refused.is_err_and(|trouble| trouble.usage), "{bad}");
        }
    }
}
