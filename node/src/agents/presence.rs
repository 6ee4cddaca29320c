//! Who is connected, and who was last seen when (WS-13, API-7). The WebSocket door holds a [`Guard`] per socket.

use amesh_proto::time::UnixMillis;
use amesh_store::AgentNo;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The sockets of every agent, counted.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    agents: Arc<RwLock<HashMap<AgentNo, Seen>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    sockets: u32,
    last: Option<UnixMillis>,
}

/// One open socket of an agent; dropping it closes the count.
#[derive(Debug)]
pub struct Guard {
    presence: Presence,
    agent: AgentNo,
}

impl Presence {
    /// Counts one more open socket of `agent`.
    #[must_use]
    pub fn connect(&self, agent: AgentNo) -> Guard {
        self.change(agent, |seen| seen.sockets = seen.sockets.saturating_add(1));
        Guard { presence: self.clone(), agent }
    }

    /// Whether `agent` has an open socket.
    #[must_use]
    pub fn online(&self, agent: AgentNo) -> bool {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        agents.get(&agent).is_some_and(|seen| seen.sockets > 0)
    }

    /// How many agents have an open socket.
    #[must_use]
    pub fn online_count(&self) -> usize {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        agents.values().filter(|seen| seen.sockets > 0).count()
    }

    /// `agent` did something at `now`.
    pub fn saw(&self, agent: AgentNo, now: UnixMillis) {
        // The second in which an agent was last seen is enough: a busy agent must not take the write lock per call.
        if self.last_seen(agent).is_none_or(|last| now.as_secs() != last.as_secs()) {
            self.change(agent, |seen| seen.last = Some(now));
        }
    }

    /// When `agent` last did something since this node started.
    #[must_use]
    pub fn last_seen(&self, agent: AgentNo) -> Option<UnixMillis> {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        agents.get(&agent).and_then(|seen| seen.last)
    }

    /// Forgets an agent that is gone; sockets still open are closed by their own door.
    pub(super) fn forget(&self, agent: AgentNo) {
        self.agents.write().unwrap_or_else(PoisonError::into_inner).remove(&agent);
    }

    fn change(&self, agent: AgentNo, change: impl FnOnce(&mut Seen)) {
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        change(agents.entry(agent).or_default());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut agents = self.presence.agents.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = agents.get_mut(&self.agent) {
            seen.sockets = seen.sockets.saturating_sub(1);
        }
    }
}
