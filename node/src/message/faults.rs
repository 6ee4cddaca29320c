//! Bad signatures, charged to whoever brought them (DESIGN §6, RAT-8): verification is the dearest thing a stranger
//! can make this node do, so a source that keeps failing is refused before it.

use super::error::Refusal;
use super::incoming::Incoming;
use amesh_proto::node_id::NodeId;
use amesh_store::AgentNo;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Whom a failure is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Agent(AgentNo),
    Peer(NodeId),
}

/// Failures of the current minute, by source.
#[derive(Debug)]
pub(super) struct Faults {
    per_minute: u32,
    minute: Mutex<Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    began: Duration,
    failures: HashMap<Source, u32>,
}

pub(super) fn source_of(incoming: &Incoming) -> Source {
    match incoming {
        Incoming::FromAgent { agent, .. } => Source::Agent(agent.no),
        Incoming::FromPeer { peer, .. } => Source::Peer(*peer),
    }
}

impl Faults {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, minute: Mutex::default() }
    }

    /// Refuses a source that has failed too often in this minute.
    pub(super) fn admit(&self, incoming: &Incoming, now: Duration) -> Result<(), Refusal> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        minute.turn(now);
        let failures = minute.failures.get(&source_of(incoming)).copied().unwrap_or(0);
        if failures < self.per_minute {
            return Ok(());
        }
        Err(Refusal::Limited { retry_after: (minute.began + MINUTE).saturating_sub(now).as_secs().max(1) })
    }

    /// Charges `refusal`, if it came of a bad signature, to `source`.
    pub(super) fn count(&self, source: Source, refusal: &Refusal, now: Duration) {
        if !matches!(refusal, Refusal::Signature(_)) {
            return;
        }
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        minute.turn(now);
        // Sources are agents and members, whose number is bounded; should that fail, the first ones are charged.
        if minute.failures.len() < SOURCES || minute.failures.contains_key(&source) {
            *minute.failures.entry(source).or_default() += 1;
        }
        drop(minute);
        tracing::debug!(?source, %refusal, "a signature was refused");
    }
}

impl Minute {
    fn turn(&mut self, now: Duration) {
        if now.saturating_sub(self.began) >= MINUTE {
            self.began = now;
            self.failures.clear();
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SOURCES: usize = 20_000;
