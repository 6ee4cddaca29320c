//! The acting agent together with its registration and the API it talks to. Registers by itself where a node runs
//! and knows the agent not yet, as the reference client does. Called by the commands that send and receive.

use super::context::Context;
use super::output::Trouble;
use crate::client::find::NodeFile;
use crate::client::http::{Api, ApiError};
use crate::client::identity::Identity;
use crate::client::identity_md;
use crate::client::registration::Registration;
use amesh_proto::address::Address;
use amesh_proto::api::register::{HomeProof, RegisterRequest, RegisterResponse};
use amesh_proto::member::MeshId;
use amesh_proto::node_id::NodeId;
use amesh_proto::roster::HomeStatement;
use amesh_proto::time::UnixMillis;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Somebody who can send and receive.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) identity: Identity,
    pub(super) registration: Registration,
    pub(super) api: Api,
}

/// Where and as whom to register.
#[derive(Debug, Default)]
pub(super) struct Application<'a> {
    /// The API.
    pub(super) url: String,
    /// The provider's domain, where it is known before it answers. Without it there is no proof: it would be good at
    /// any provider.
    pub(super) provider: Option<&'a str>,
    /// The node's id, where it is the running node.
    pub(super) node_id: &'a str,
    /// Another name than the identity's.
    pub(super) name: Option<&'a str>,
    /// The organization; none where a user key says it (ICL-6).
    pub(super) tenant: Option<&'a str>,
    /// A user key, or the API key of an earlier registration.
    pub(super) bearer: Option<&'a str>,
    /// An invitation.
    pub(super) token: Option<&'a str>,
    /// The agent may move here from another host. Only where that was asked for: one that moved away must not return
    /// because a program on its old machine still fetches.
    pub(super) moves: bool,
}

impl Session {
    /// The acting agent at its own node.
    pub(super) async fn open(ctx: &Context) -> Result<Self, Trouble> {
        let identity = ctx.identity().await?;
        let node = ctx.node();
        let provider = node.as_ref().map_or(&identity.provider, |node| &node.provider).clone();
        let registration = Registration::with(&identity.home, &provider)?;
        let (registration, node) = match (registration, node) {
            (Some(mut registration), node) => {
                if let Ok(node) = &node
                    && moved(&mut registration, node)
                {
                    registration.save(&identity.home)?;
                }
                (registration, node.ok())
            }
            (None, Ok(node)) => (register_here(ctx, &identity, &node, None).await?, Some(node)),
            (None, Err(no_node)) => return Err(no_node),
        };
        Self::with(identity, registration, node.as_ref())
    }

    /// The acting agent with one of its registrations.
    pub(super) fn with(
        identity: Identity,
        registration: Registration,
        node: Option<&NodeFile>,
    ) -> Result<Self, Trouble> {
        let url = url_of(&registration, node);
        let api = Api::new(&url, Some(&registration.api_key))?;
        Ok(Self { identity, registration, api })
    }

    /// Registers again where the node no longer knows the key, as after `amesh db reset`. True if that helped.
    pub(super) async fn renew(&mut self, ctx: &Context, error: &ApiError) -> Result<bool, Trouble> {
        let Some((401, _)) = error.refusal() else { return Ok(false) };
        let Ok(node) = ctx.node() else { return Ok(false) };
        if node.provider != self.registration.provider {
            return Ok(false);
        }
        let old_key = self.registration.api_key.clone();
        self.registration = register_here(ctx, &self.identity, &node, Some(&old_key)).await?;
        self.api = Api::new(&url_of(&self.registration, Some(&node)), Some(&self.registration.api_key))?;
        Ok(true)
    }

    /// The URL to send to; empty for the API's own.
    pub(super) fn route_url(&self) -> &str {
        // A node's address may have changed since; other providers may route elsewhere (ICL-15).
        if self.registration.node_id.is_empty() { &self.registration.route_url } else { "" }
    }
}

/// Registers the agent with the running node.
pub(super) async fn register_here(
    ctx: &Context,
    identity: &Identity,
    node: &NodeFile,
    old_key: Option<&str>,
) -> Result<Registration, Trouble> {
    let url = node.api_url().ok_or_else(|| {
        Trouble::new("no_api", "the node listens to no agents on loopback")
            .mend(ctx.command("down && amesh up --api 127.0.0.1:23000"))
    })?;
    let application = Application {
        url,
        provider: Some(&node.provider),
        node_id: &node.node_id,
        tenant: Some(&identity.tenant),
        bearer: old_key,
        ..Application::default()
    };
    register(ctx, identity, &application).await
}

/// Registers the agent, stores the registration and brings the identity up to date (CLI-7, IDN-7).
pub(super) async fn register(
    ctx: &Context,
    identity: &Identity,
    application: &Application<'_>,
) -> Result<Registration, Trouble> {
    let key = identity.key()?;
    let name = application.name.unwrap_or(&identity.name);
    let at = ctx.now().to_rfc3339();
    let proof = application.provider.map(|provider| {
        let said = RegisterRequest::proof_text(name, application.tenant.unwrap_or_default(), provider, &at);
        STANDARD.encode(key.sign(said.as_bytes()))
    });
    let request = RegisterRequest {
        name: name.to_owned(),
        tenant: application.tenant.map(str::to_owned),
        public_key: key.public().to_pem(),
        key_algorithm: key.public().algorithm().as_str().to_owned(),
        invite_code: application.token.map(str::to_owned),
        proof_at: proof.is_some().then_some(at),
        proof,
        ..RegisterRequest::default()
    };
    let mut answer = Api::new(&application.url, application.bearer)?.register(&request).await;
    match &answer {
        // An old key that the node has forgotten is no reason not to be registered.
        Err(ApiError::Refused { status: 401, .. })
            if application.bearer.is_some_and(|key| !key.starts_with("uk_")) =>
        {
            answer = Api::new(&application.url, None)?.register(&request).await;
        }
        _ => {}
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => move_here(ctx, identity, (application, request), error).await?,
    };
    let registration = Registration::from_response(answer, name, application.node_id);
    registration.save(&identity.home)?;
    let mut identity = identity.clone();
    if registration.provider == identity.provider || !application.node_id.is_empty() {
        identity.provider.clone_from(&registration.provider);
        identity.address.clone_from(&registration.address);
        identity.maestro_url = application.url.clone();
        identity.save()?;
    }
    identity_md::write(&identity, &Registration::all(&identity.home)?, ctx.now())?;
    Ok(registration)
}

/// The agent lives on another host of the mesh: it says itself that it moves, where it was asked to (DESIGN §3, Moving).
async fn move_here(
    ctx: &Context,
    identity: &Identity,
    (application, request): (&Application<'_>, RegisterRequest),
    error: ApiError,
) -> Result<RegisterResponse, Trouble> {
    let ApiError::Refused { status: 409, body } = &error else { return Err(error.into()) };
    let Some(wanted) = body.details.get("home").and_then(Wanted::read) else { return Err(error.into()) };
    let host = body.details.get("held_by").and_then(Value::as_str).unwrap_or("another machine").to_owned();
    if !application.moves {
        return Err(Trouble::new("lives_elsewhere", format!("this agent lives on host {host}"))
            .because("an agent lives on one machine at a time")
            .mend(ctx.command("register")));
    }
    let Wanted { address, node, mesh, at } = wanted;
    let signature = identity.key()?.sign(HomeStatement::text(&address, &node, &mesh, at).as_bytes());
    let home = Some(HomeProof { at: at.0, signature: STANDARD.encode(signature) });
    let answer = Api::new(&application.url, None)?.register(&RegisterRequest { home, ..request }).await?;
    ctx.out.note(&format!("moved here from host {host}; mail that waits there follows"));
    Ok(answer)
}

/// What a node says must be signed.
struct Wanted {
    address: Address,
    node: NodeId,
    mesh: MeshId,
    at: UnixMillis,
}

impl Wanted {
    fn read(home: &Value) -> Option<Self> {
        Some(Self {
            address: Address::parse(home["address"].as_str()?, &[]).ok()?,
            node: home["node_id"].as_str()?.parse().ok()?,
            mesh: home["mesh_id"].as_str()?.parse().ok()?,
            at: UnixMillis(home["at"].as_u64()?),
        })
    }
}

/// Notes that the agent's node has another address than when the agent registered. Other clients that share the files
/// know nothing of `node.json`, and would go on asking at the old one.
fn moved(registration: &mut Registration, node: &NodeFile) -> bool {
    let Some(now) = node.api_url().filter(|_| registration.node_id == node.node_id) else { return false };
    let follow = |url: &str| {
        let path = url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
        format!("{now}{path}")
    };
    let (api, route) = (follow(&registration.api_url), follow(&registration.route_url));
    if registration.api_url == api {
        return false;
    }
    registration.api_url = api;
    registration.route_url = if registration.route_url.is_empty() { String::new() } else { route };
    true
}

/// The API's URL: the running node's own if that is where the agent is registered, else as registered.
fn url_of(registration: &Registration, node: Option<&NodeFile>) -> String {
    let here = node.filter(|node| {
        let by_id = registration.node_id == node.node_id;
        // The reference client notes no node; its registrations are with the machine's own.
        let by_name = registration.node_id.is_empty() && registration.provider == node.provider;
        by_id || by_name
    });
    here.and_then(NodeFile::api_url).unwrap_or_else(|| registration.api_url.clone())
}

#[cfg(test)]
mod tests;
