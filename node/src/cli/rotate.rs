//! `amesh identity rotate` and `amesh identity api-key`: the agent replaces its key pair, or the API key of a
//! registration (KEY-3…5), at its providers and in the files that it shares with other clients.

use super::args::ApiKeyAction;
use super::context::Context;
use super::output::Trouble;
use super::session::Session;
use crate::client::disk::{self, PRIVATE};
use crate::client::http::Api;
use crate::client::identity::Identity;
use crate::client::identity_md;
use crate::client::registration::Registration;
use amesh_proto::key::AgentKey;
use rand::TryRngCore as _;
use serde::Serialize;
use std::path::PathBuf;

/// What `rotate` did.
#[derive(Serialize)]
struct Rotated {
    rotated: bool,
    address: String,
    fingerprint: String,
    previous_fingerprint: String,
    providers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    old_key: PathBuf,
}

/// A provider that is to know the new key.
struct Place {
    registration: Registration,
    api: Api,
    /// An earlier run was interrupted after this one.
    has_it: bool,
}

/// Replaces the key pair everywhere. The new private key is on disk before anybody is told of it, and every provider is
/// asked before the first is changed; interrupted, the same command goes on where it was.
pub(super) async fn rotate(ctx: &Context, compromised: bool, force: bool) -> anyhow::Result<()> {
    let identity = ctx.identity().await?;
    let old = identity.key().map_err(Trouble::from)?;
    let next = next_key(&identity)?;
    let (mut places, left_out) = reachable(ctx, &identity, &next, force).await?;
    for place in places.iter().filter(|place| !place.has_it) {
        place.api.rotate_keys(&old, &next, compromised).await.map_err(|error| {
            let provider = &place.registration.provider;
            Trouble::from(error)
                .because(format!("{provider} kept the old key; what was done before it is noted"))
                .mend(ctx.command("identity rotate"))
        })?;
    }
    let old_key = take_up(ctx, &identity, &old, &next)?;
    for place in &mut places {
        place.registration.fingerprint = next.public().fingerprint();
        place.registration.save(&identity.home).map_err(Trouble::from)?;
    }
    let identity = Identity { fingerprint: next.public().fingerprint(), ..identity };
    identity.save_with(&next).map_err(Trouble::from)?;
    let all = Registration::all(&identity.home).map_err(Trouble::from)?;
    identity_md::write(&identity, &all, ctx.now()).map_err(Trouble::from)?;
    disk::remove(&next_path(&identity)).map_err(Trouble::from)?;
    let rotated = Rotated {
        rotated: true,
        address: identity.address.clone(),
        fingerprint: identity.fingerprint.clone(),
        previous_fingerprint: old.public().fingerprint(),
        providers: places.into_iter().map(|place| place.registration.provider).collect(),
        left_out,
        old_key,
    };
    ctx.out.show(&rotated, || rotated.text())
}

impl Rotated {
    fn text(&self) -> String {
        let mut lines = vec![
            format!("{} signs with another key now: {}", self.address, self.fingerprint),
            format!("known to {}", self.providers.join(", ")),
        ];
        lines.extend(
            self.left_out
                .iter()
                .map(|one| format!("{one} still has the old key and will refuse the new one")),
        );
        lines.push(format!("the old private key is in {}", self.old_key.display()));
        lines.join("\n")
    }
}

/// The key to come: the one that an interrupted run left, or a new one.
fn next_key(identity: &Identity) -> anyhow::Result<AgentKey> {
    let path = next_path(identity);
    if let Some(pem) = disk::read_text(&path).map_err(Trouble::from)? {
        return AgentKey::from_pkcs8_pem(&pem).map_err(|error| {
            Trouble::new("bad_key", format!("{} holds no key", path.display())).because(error).into()
        });
    }
    let mut seed = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed)?;
    let key = AgentKey::from_seed(&seed);
    disk::write_whole(&path, key.to_pkcs8_pem().as_bytes(), PRIVATE).map_err(Trouble::from)?;
    Ok(key)
}

fn next_path(identity: &Identity) -> PathBuf {
    identity.home.keys().join("next.pem")
}

/// Every registration whose provider answers; with `force` the others are left out, without it they are an error.
async fn reachable(
    ctx: &Context,
    identity: &Identity,
    next: &AgentKey,
    force: bool,
) -> Result<(Vec<Place>, Vec<String>), Trouble> {
    let node = ctx.node().ok();
    let (mut places, mut left_out) = (Vec::new(), Vec::new());
    for registration in Registration::all(&identity.home)? {
        let session = Session::with(identity.clone(), registration, node.as_ref())?;
        let Session { registration, api, .. } = session;
        match api.me().await {
            Ok(me) => {
                let has_it = me.fingerprint == next.public().fingerprint();
                places.push(Place { registration, api, has_it });
            }
            // A provider without this endpoint says more when it is asked to rotate.
            Err(error) if error.refusal().is_some_and(|(status, _)| status == 404) => {
                places.push(Place { registration, api, has_it: false });
            }
            Err(_) if force => left_out.push(registration.provider),
            Err(error) => {
                let provider = &registration.provider;
                let mend = match error.refusal() {
                    Some((401, _)) => ctx.command(&format!("register --provider {provider} --force")),
                    _ => format!("{} (leaves it out)", ctx.command("identity rotate --force")),
                };
                return Err(Trouble::from(error)
                    .because(format!("{provider} cannot be told; nothing was changed"))
                    .mend(mend));
            }
        }
    }
    if places.is_empty() {
        return Err(Trouble::new("not_registered", "no provider knows this agent's key")
            .mend(ctx.command("init --force (makes new keys)")));
    }
    Ok((places, left_out))
}

/// Puts the old private key aside: what it signed can be looked into, and nothing is ever lost by a rotation.
fn take_up(ctx: &Context, identity: &Identity, old: &AgentKey, next: &AgentKey) -> Result<PathBuf, Trouble> {
    let aside = identity.home.dir().join(format!("keys.{}", ctx.now().as_secs()));
    let path = aside.join("private.pem");
    // Interrupted just before the end: what is in place is the new one already.
    if old.public() != next.public() {
        disk::make_dir(&aside)?;
        disk::write_whole(&path, old.to_pkcs8_pem().as_bytes(), PRIVATE)?;
    }
    Ok(path)
}

#[derive(Serialize)]
struct NewApiKey {
    provider: String,
    address: String,
    previous_key_valid_until: String,
}

#[derive(Serialize)]
struct Revoked {
    provider: String,
    address: String,
    revoked_at: String,
}

/// `amesh identity api-key`.
pub(super) async fn api_key(ctx: &Context, action: &ApiKeyAction) -> anyhow::Result<()> {
    match action {
        ApiKeyAction::Rotate { provider } => {
            let mut session = session(ctx, provider.as_deref()).await?;
            let new = session.api.rotate_api_key().await.map_err(Trouble::from)?;
            session.registration.api_key = new.api_key;
            session.registration.save(&session.identity.home).map_err(|error| {
                Trouble::from(error)
                    .because("the new key could not be written; the old one works for 24 hours more")
                    .mend(ctx.command("register --force"))
            })?;
            let Registration { provider, address, .. } = session.registration;
            let previous_key_valid_until = new.previous_key_valid_until;
            let shown = NewApiKey { provider, address, previous_key_valid_until };
            ctx.out.show(&shown, || {
                format!(
                    "{} has a new API key at {}; the old one works until {}",
                    shown.address, shown.provider, shown.previous_key_valid_until
                )
            })
        }
        ApiKeyAction::Revoke { provider, force } => {
            let session = session(ctx, provider.as_deref()).await?;
            let Registration { provider, address, .. } = session.registration;
            let question = format!("End every API key of {address} at {provider}?");
            if !force && !super::ask::agreed(ctx, &question)? {
                return Err(Trouble::usage("nothing was revoked")
                    .mend(ctx.command("identity api-key revoke --force"))
                    .into());
            }
            let revoked_at = session.api.revoke_api_keys().await.map_err(Trouble::from)?.revoked_at;
            let shown = Revoked { provider, address, revoked_at };
            ctx.out.show(&shown, || {
                let again = ctx.command(&format!("register --provider {} --force", shown.provider));
                format!(
                    "{} has no API key at {} any more; for a new one: {again}",
                    shown.address, shown.provider
                )
            })
        }
    }
}

/// The acting agent at `provider`, or at its own node.
async fn session(ctx: &Context, provider: Option<&str>) -> Result<Session, Trouble> {
    let Some(provider) = provider else { return Session::open(ctx).await };
    let identity = ctx.identity().await?;
    let registration = Registration::with(&identity.home, provider)?.ok_or_else(|| {
        Trouble::new("not_registered", format!("{} is not registered with {provider}", identity.address))
            .mend(ctx.command(&format!("register --provider {provider}")))
    })?;
    Session::with(identity, registration, ctx.node().ok().as_ref())
}
