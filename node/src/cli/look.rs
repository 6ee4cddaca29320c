//! `amesh agents` and `amesh queue list`: what the node knows, as tables.

use super::args::{AgentsArgs, QueueAction, QueueArgs};
use super::context::Context;
use super::output::Trouble;
use super::table::{shown, table};

pub(super) async fn agents(ctx: &Context, args: &AgentsArgs) -> anyhow::Result<()> {
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
