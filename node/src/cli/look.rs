//! `amesh agents` and `amesh queue list`: what the node knows, as tables; and `amesh agents trust`.

use super::args::{AgentsAction, AgentsArgs, QueueAction, QueueArgs};
use super::context::Context;
use super::output::Trouble;
use super::owners;
use super::rename;
use super::session::Session;
use super::table::{shown, table};
use crate::client::known_keys::KnownKeys;
use amesh_proto::key::PublicKey;
use serde::Serialize;

#[derive(Serialize)]
struct Trusted {
    address: String,
    fingerprint: String,
    was: Option<String>,
}

pub(super) async fn agents(ctx: &Context, args: &AgentsArgs) -> anyhow::Result<()> {
    match &args.action {
        Some(AgentsAction::Trust { address, force }) => return trust(ctx, address, *force).await,
        Some(AgentsAction::Rename { address, name }) => return rename::rename(ctx, address, name).await,
        Some(AgentsAction::Forget { address, force }) => return rename::forget(ctx, address, *force).await,
        Some(AgentsAction::Code { tenant, uses, ttl }) => {
            return owners::code(ctx, tenant.as_deref(), *uses, *ttl).await;
        }
        Some(AgentsAction::List) | None => {}
    }
    let mut known = ctx.control()?.agents().await.map_err(Trouble::from)?;
    if let Some(search) = args.search.as_deref().map(str::to_lowercase) {
        known.agents.retain(|agent| {
            let alias = agent.alias.as_deref().unwrap_or_default().to_lowercase();
            agent.address.contains(&search) || alias.contains(&search)
        });
    }
    ctx.out.show(&known, || {
        if known.agents.is_empty() {
            return format!("no agents; try: {}", ctx.command("init --name NAME"));
        }
        let rows: Vec<_> = known
            .agents
            .iter()
            .map(|agent| {
                let online = if agent.online { "online" } else { "-" };
                let pending = if agent.local { agent.pending.to_string() } else { "-".to_owned() };
                [
                    agent.address.clone(),
                    agent.host.clone(),
                    online.to_owned(),
                    pending,
                    agent.alias.as_deref().map_or_else(|| "-".to_owned(), shown),
                ]
            })
            .collect();
        table(["ADDRESS", "HOST", "ONLINE", "WAITING", "ALIAS"], &rows)
    })
}

pub(super) async fn queue(ctx: &Context, args: &QueueArgs) -> anyhow::Result<()> {
    let QueueAction::List = args.action;
    let page = ctx.control()?.queue().await.map_err(Trouble::from)?;
    ctx.out.show(&page, || {
        if page.messages.is_empty() {
            return "nothing waits to leave this node".to_owned();
        }
        let rows: Vec<_> = page
            .messages
            .iter()
            .map(|waiting| {
                let place = if waiting.host.is_empty() { &waiting.destination } else { &waiting.host };
                [
                    place.clone(),
                    waiting.id.clone(),
                    waiting.from.clone(),
                    waiting.to.clone(),
                    waiting.queued_at.clone(),
                    waiting.next_attempt.clone().unwrap_or_else(|| "-".to_owned()),
                ]
            })
            .collect();
        let left = usize::try_from(page.total).unwrap_or(usize::MAX).saturating_sub(rows.len());
        let more = if left > 0 { format!("\n… and {left} more") } else { String::new() };
        table(["FOR", "ID", "FROM", "TO", "SINCE", "NEXT TRY"], &rows) + &more
    })
}

/// Takes the key that the node knows for an agent now: the way on after its key has changed.
async fn trust(ctx: &Context, typed: &str, force: bool) -> anyhow::Result<()> {
    let session = Session::open(ctx).await?;
    let address = super::send::recipient(&session, typed)?;
    let resolved = session.api.resolve(address.as_str()).await.map_err(Trouble::from)?;
    let key = PublicKey::parse_any(&resolved.public_key).map_err(|error| {
        Trouble::new("bad_key", format!("the key of {address} cannot be used")).because(error)
    })?;
    let mut known = KnownKeys::load(&session.identity.home).map_err(Trouble::from)?;
    let was = known.of(address.as_str()).map(|key| key.fingerprint());
    let trusted = Trusted { address: address.to_string(), fingerprint: key.fingerprint(), was };
    if let Some(was) = trusted.was.as_ref().filter(|was| **was != trusted.fingerprint) {
        ctx.out.note(&format!("{address} was known by {was}; now it has {}", trusted.fingerprint));
        if !force && !super::ask::agreed(ctx, "Believe the new key?")? {
            return Err(Trouble::usage("nothing was changed")
                .because(
                    "compare the fingerprint with the agent's owner first: amesh identity shows it there",
                )
                .mend(ctx.command(&format!("agents trust {address} --force")))
                .into());
        }
    }
    known.replace(address.as_str(), &key, ctx.now());
    known.save().map_err(Trouble::from)?;
    ctx.out.show(&trusted, || format!("{} is known by {}", trusted.address, trusted.fingerprint))
}
