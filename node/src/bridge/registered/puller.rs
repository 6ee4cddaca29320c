//! Fetches for one registration (AMP 09 §Polling; EXT-1, EXT-4): asks what waits, judges it, puts it into the mailbox here, and
//! only then acknowledges it there. A crash in between brings the same message again, which the hallway knows by its id.
//! One task a registration, which holds the provider's WebSocket, too.

use super::client::{AskError, Page};
use super::judge::{Judged, NotTaken};
use super::{Served, Shared, judge, socket};
use crate::agents::Agent;
use crate::message::retry::{Backoff, Kind};
use crate::message::{Incoming, Notice, Refusal};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// Why a turn ended early; what waits there goes on waiting.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Provider(#[from] AskError),
    #[error("its mail is not taken at the moment: {0}")]
    Here(Refusal),
    #[error("its mail is not taken at the moment: {0}")]
    Store(#[from] amesh_store::StoreError),
}

/// Serves a registration until it is removed or the node stops.
pub(super) async fn serve(shared: Arc<Shared>, served: Arc<Served>) {
    let gone = served.gone.clone();
    let both = async {
        tokio::select! {
            () = run(&shared, &served) => {}
            () = socket::hold(&shared, &served) => {}
        }
    };
    gone.run_until_cancelled(both).await;
}

async fn run(shared: &Shared, served: &Served) {
    let mut waking = shared.waking.clone();
    let mut backoff = Backoff::new(Kind::Provider, shared.hallway.config().retry);
    let kept = &served.kept;
    loop {
        let Some(agent) = shared.agent(kept.agent) else {
            // It was deregistered, or has moved: nobody is left to whom the key belongs.
            if let Err(error) = shared.remove(kept.agent, &kept.provider).await {
                tracing::warn!(%error, address = %kept.address, "a registration whose agent is gone is still kept");
            }
            return;
        };
        let pause = match turn(shared, served, &agent).await {
            Ok(more) => {
                backoff.succeeded();
                served.state().answered(shared.clock.now());
                let rest = Duration::from_secs(shared.config.poll_s.max(1));
                match (more, served.state().has_socket) {
                    (true, _) => Duration::ZERO,
                    (false, true) => rest.max(BESIDE_A_SOCKET),
                    (false, false) => rest,
                }
            }
            Err(trouble) => {
                let now = shared.clock.monotonic();
                backoff.failed(now, rand::random());
                let reason = trouble.to_string();
                tracing::info!(provider = %kept.provider, agent = %agent.address, reason, "nothing is fetched");
                served.state().reason = Some(reason);
                backoff.next_at(true).saturating_sub(now)
            }
        };
        if !pause.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = served.told.notified() => {}
                // After a sleep the way is tried anew (EXT-4, DESIGN §1.7).
                _ = waking.next() => backoff.sign_of_life(),
            }
        }
    }
}

/// Takes over one page; says whether to ask for more at once. A provider that goes on offering what it was told to forget is
/// asked no sooner than one where nothing waits.
async fn turn(shared: &Shared, served: &Served, agent: &Arc<Agent>) -> Result<bool, Trouble> {
    let Ok(_place) = shared.asking.acquire().await else { return Ok(false) };
    let Page { messages, from_inbox } = shared.client.pending(&served.kept).await?;
    let mut some_new = false;
    for entry in &messages {
        some_new |= take_over(shared, served, agent, entry, from_inbox).await?;
    }
    Ok(some_new)
}

/// Whether it was new.
async fn take_over(
    shared: &Shared,
    served: &Served,
    agent: &Arc<Agent>,
    entry: &RawValue,
    from_inbox: bool,
) -> Result<bool, Trouble> {
    let kept = &served.kept;
    let Some(entry) = judge::Entry::read(entry) else {
        tracing::warn!(provider = %kept.provider, agent = %agent.address, "it offers something that is no message");
        return Ok(false);
    };
    if served.state().refused.contains(&entry.id) {
        shared.client.acknowledge(kept, &entry.id, from_inbox).await?;
        return Ok(false);
    }
    let taken = match judge::judge(shared, kept, agent, &entry).await? {
        Ok(judged) => hand_in(shared, judged).await?,
        Err(why) => Err(why),
    };
    let is_new = !matches!(taken, Ok(true));
    match taken {
        Ok(_) => {
            tracing::info!(target: AUDIT, event = "registration.fetched", provider = %kept.provider, id = entry.id,
                from = entry.from, to = %agent.address);
        }
        Err(why) => {
            tracing::warn!(target: AUDIT, event = "registration.refused", provider = %kept.provider, id = entry.id,
                from = entry.from, to = %agent.address, %why);
            let notice = Notice::NotTakenOver {
                provider: kept.provider.to_string(),
                id: entry.id.clone(),
                from: entry.from.clone(),
                why: why.to_string(),
            };
            shared.hallway.notify(agent, &notice).await?;
            let mut state = served.state();
            if state.refused.len() >= REFUSED {
                state.refused.clear();
            }
            state.refused.insert(entry.id.clone());
        }
    }
    shared.client.acknowledge(kept, &entry.id, from_inbox).await?;
    Ok(is_new)
}

/// The hallway's verdict, where it is one for good; of what is on disk, whether it was before. The sender's key is remembered once it has verified a message on disk.
async fn hand_in(shared: &Shared, judged: Judged) -> Result<Result<bool, NotTaken>, Trouble> {
    let Judged { pulled, first } = judged;
    let committed = async {
        let prepared = shared.hallway.judge(Incoming::FromRegistration(Box::new(pulled))).await?;
        let is_signed = prepared.is_signed();
        Ok::<_, Refusal>((shared.hallway.commit(prepared).await?, is_signed))
    };
    match committed.await {
        Ok((written, is_signed)) => {
            if let Some(sender) = first.filter(|_| is_signed) {
                judge::remember(shared, sender).await?;
            }
            let is_repeat = written.repeat;
            shared.hallway.answer(written).await;
            Ok(Ok(is_repeat))
        }
        Err(refusal) if refusal.is_passing() => Err(Trouble::Here(refusal)),
        Err(refusal) => Ok(Err(NotTaken(refusal.to_string()))),
    }
}

/// How often a provider is asked at least whose WebSocket says when there is mail.
const BESIDE_A_SOCKET: Duration = Duration::from_secs(300);
/// What crossed the border, for the owner.
const AUDIT: &str = "amesh::bridge::audit";
/// Ids of what was refused that are remembered, so that its agent is told once.
const REFUSED: usize = 1_024;
