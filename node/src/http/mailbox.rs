//! A mailbox as its owner sees it. Called by `pending` and by the WebSocket; the hallway does the work.

use crate::agents::Agent;
use crate::http::error::Problem;
use crate::http::page::{Query, bad_cursor, cursor};
use crate::http::state::State;
use crate::message::Method;
use amesh_proto::api::error::code;
use amesh_proto::api::pending::Delivery;
use amesh_proto::id::MessageId;
use amesh_store::{MailboxEntry, Seq};
use std::sync::Arc;
use std::time::Duration;

/// A piece of a mailbox.
#[derive(Debug)]
pub(crate) struct Page {
    /// The messages, oldest first.
    pub(crate) mail: Vec<Delivery>,
    /// The place of the last entry looked at; where the next page begins.
    pub(crate) last: Option<Seq>,
    /// Whether there is a next page.
    pub(crate) has_more: bool,
}

/// At most `limit` messages after `after`, oldest first whatever their class (RLY-4), and fewer when they are large. What
/// is shown counts as handed out from now on, and stays.
pub(crate) fn fetch(
    state: &State,
    agent: &Arc<Agent>,
    after: Option<Seq>,
    limit: usize,
) -> Result<Page, Problem> {
    let hallway = &state.parts.hallway;
    let (mut entries, mut bytes, mut last, mut has_more) = (Vec::new(), 0, after, true);
    while has_more && entries.len() < limit && bytes < PAGE_BYTES {
        let wanted = (limit - entries.len()).min(AT_ONCE);
        let mut some = hallway.pending(agent, last, wanted + 1)?;
        has_more = some.len() > wanted;
        some.truncate(wanted);
        bytes += some.iter().map(|entry| entry.mail.envelope.len() + entry.mail.payload.len()).sum::<usize>();
        last = some.last().map_or(last, |entry| Some(entry.seq));
        entries.append(&mut some);
    }
    handed_out(state, agent, &entries, Method::Relay);
    let mail = entries.iter().filter_map(|entry| hallway.render(entry, Method::Relay)).collect();
    Ok(Page { mail, last: entries.last().map(|entry| entry.seq), has_more })
}

/// Messages were given to their recipient: they do not count against the mailbox's limit any more, and word goes to the
/// senders who asked for it (RCP-1).
pub(crate) fn handed_out<'a>(
    state: &State,
    agent: &Arc<Agent>,
    entries: impl IntoIterator<Item = &'a MailboxEntry>,
    method: Method,
) {
    let (mut fresh, mut awaited) = (Vec::new(), Vec::new());
    for entry in entries {
        fresh.extend((!entry.handed_out).then_some(entry.seq));
        awaited.extend(entry.mail.receipt.then(|| entry.shown_id.clone()));
    }
    if !fresh.is_empty() {
        let (hallway, agent) = (state.parts.hallway.clone(), agent.clone());
        // Bookkeeping for the mailbox's limit: nobody waits for it.
        state.parts.tasks.spawn(async move {
            if let Err(error) = hallway.handed_out(&agent, fresh).await {
                tracing::warn!(%error, "messages were handed out, but that could not be noted");
            }
        });
    }
    delivered(state, agent, awaited, method);
}

fn delivered(state: &State, agent: &Arc<Agent>, ids: Vec<MessageId>, method: Method) {
    if ids.is_empty() {
        return;
    }
    let first = state.parts.hallway.delivered(agent, ids.clone(), method);
    let (hallway, agent, tasks) = (state.parts.hallway.clone(), agent.clone(), state.parts.tasks.clone());
    state.parts.tasks.spawn(async move {
        let mut outcome = first.await;
        for _ in 0..TRIES {
            let Err(error) = outcome else { return };
            tracing::warn!(%error, "a receipt could not be written down yet");
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = tasks.stopping().cancelled_owned() => return,
            }
            outcome = hallway.delivered(&agent, ids.clone(), method).await;
        }
    });
}

/// The place that a page's or a count's cursor names; `name` is the parameter that holds it. A cursor means something
/// only to the store that gave it: after a restore its numbers could hide mail.
pub(crate) fn position(state: &State, query: &Query<'_>, name: &'static str) -> Result<Option<Seq>, Problem> {
    let Some(text) = query.position(name)? else { return Ok(None) };
    let parts =
        text.split_once('.').and_then(|(born, seq)| Some((born.parse::<u64>().ok()?, seq.parse().ok()?)));
    let (generation, seq) = parts.ok_or_else(|| bad_cursor().field(name))?;
    let store = &state.parts.store;
    if generation != store.generation() || Seq(seq) > store.position() {
        let why = "this cursor is of an earlier state of the mailbox; begin again without one";
        return Err(Problem::new(code::CURSOR_EXPIRED, why).field(name));
    }
    Ok(Some(Seq(seq)))
}

/// The cursor that names a place.
pub(crate) fn cursor_at(state: &State, seq: Seq) -> String {
    cursor(&format_args!("{}.{}", state.parts.store.generation(), seq.0))
}

/// Removes messages; says how many there were. On disk when this returns.
pub(crate) async fn acknowledge(state: &State, agent: &Agent, ids: Vec<MessageId>) -> Result<usize, Problem> {
    Ok(state.parts.hallway.acknowledge(agent, ids).await?.len())
}

/// An id as a client wrote it. What could be one but is not is unknown; what could not be one is refused.
pub(crate) fn id_of(text: &str) -> Result<MessageId, Problem> {
    MessageId::parse(text).map_err(|error| {
        let harmless = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if harmless && text.len() <= 128 { unknown() } else { Problem::invalid("id", error.to_string()) }
    })
}

/// 404 of RLY-9: the same for ids that never were, are gone, or are another agent's.
pub(crate) fn unknown() -> Problem {
    Problem::not_found("no message with this id waits for you").field("id")
}

/// A page ends after so many bytes, whatever its limit: a hundred messages of 512 KB are not put into one answer.
const PAGE_BYTES: usize = 4 << 20;
const AT_ONCE: usize = 16;
/// A store that is busy or being opened again takes receipts a little later.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);
