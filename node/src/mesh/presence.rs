//! Who of other hosts' agents is connected there: asked over an open link when somebody wants to know, and believed for
//! some seconds. Without a link, or without an answer, nothing is known and nobody is said to be online. Asked by the
//! doors through [`Mesh::online`]; sent and answered by `session`.

use super::Mesh;
use super::shared::Shared;
use crate::agents::directory::Resolution;
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::{Presence, PresenceAsk};
use futures_util::future::join_all;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PresenceTable {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u32,
    /// By number. One whose asker has gone is cleared away with the next.
    questions: BTreeMap<u32, Question>,
    /// What was said, and until when that is believed, monotonic.
    heard: HashMap<(NodeId, Address), (bool, Duration)>,
}

#[derive(Debug)]
struct Question {
    to: NodeId,
    agents: Vec<Address>,
    sent: bool,
    answered: oneshot::Sender<()>,
}

impl PresenceTable {
    /// A question to `node`, unless too many are open.
    fn ask(&self, to: NodeId, agents: Vec<Address>) -> Option<oneshot::Receiver<()>> {
        let mut inner = self.lock();
        inner.questions.retain(|_, question| !question.answered.is_closed());
        let open = inner.questions.values().filter(|question| question.to == to).count();
        if open >= OPEN_EACH || inner.questions.len() >= OPEN {
            return None;
        }
        let (answered, answer) = oneshot::channel();
        inner.last = inner.last.wrapping_add(1);
        let number = inner.last;
        inner.questions.insert(number, Question { to, agents, sent: false, answered });
        Some(answer)
    }

    /// What is to be sent to `node`.
    pub(crate) fn to_send(&self, node: &NodeId) -> Vec<PresenceAsk> {
        let mut inner = self.lock();
        let unsent =
            inner.questions.iter_mut().filter(|(_, question)| question.to == *node && !question.sent);
        unsent
            .map(|(number, question)| {
                question.sent = true;
                let agents = question.agents.iter().map(Address::to_string).collect();
                PresenceAsk { number: *number, agents }
            })
            .collect()
    }

    /// An answer of `node`; what nobody asked it is passed over.
    pub(crate) fn answered(&self, node: &NodeId, answer: &Presence, now: Duration) {
        let mut inner = self.lock();
        if inner.questions.get(&answer.number).is_none_or(|question| question.to != *node) {
            return;
        }
        let Some(question) = inner.questions.remove(&answer.number) else { return };
        for (agent, online) in question.agents.into_iter().zip(&answer.online) {
            inner.hear(*node, agent, *online, now);
        }
        // Whoever asked may have gone.
        let _asker = question.answered.send(());
    }

    fn believed(&self, node: NodeId, agent: &Address, now: Duration) -> Option<bool> {
        let inner = self.lock();
        let (online, until) = inner.heard.get(&(node, agent.clone()))?;
        (now < *until).then_some(*online)
    }

    /// Nothing came in time: it is not asked again at once.
    fn unanswered(&self, node: NodeId, agents: &[Address], now: Duration) {
        let mut inner = self.lock();
        for agent in agents {
            inner.hear(node, agent.clone(), false, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hear(&mut self, node: NodeId, agent: Address, online: bool, now: Duration) {
        if self.heard.len() >= HEARD {
            self.heard.retain(|_, (_, until)| now < *until);
            if self.heard.len() >= HEARD {
                self.heard.clear();
            }
        }
        self.heard.insert((node, agent), (online, now + BELIEVED));
    }
}

impl Mesh {
    /// Which of these agents of other members are connected where they live, as those members said just now.
    pub async fn online(&self, agents: &[(NodeId, Address)]) -> HashSet<Address> {
        let shared = &self.shared;
        let now = shared.clock.monotonic();
        let mut unknown: BTreeMap<NodeId, Vec<Address>> = BTreeMap::new();
        for (node, agent) in agents {
            if shared.is_linked(node) && shared.presence.believed(*node, agent, now).is_none() {
                unknown.entry(*node).or_default().push(agent.clone());
            }
        }
        join_all(unknown.into_iter().map(|(node, agents)| shared.ask_for(node, agents))).await;
        let now = shared.clock.monotonic();
        let online = |(node, agent): &&(NodeId, Address)| {
            shared.is_linked(node) && shared.presence.believed(*node, agent, now) == Some(true)
        };
        agents.iter().filter(online).map(|(_, agent)| agent.clone()).collect()
    }
}

impl Shared {
    async fn ask_for(&self, node: NodeId, mut agents: Vec<Address>) {
        agents.truncate(PresenceAsk::LIMIT);
        let Some(handle) = self.peers.handle(&node) else { return };
        let Some(answer) = self.presence.ask(node, agents.clone()) else { return };
        handle.tell(|news| news.asked = true);
        if !matches!(tokio::time::timeout(PATIENCE, answer).await, Ok(Ok(()))) {
            self.presence.unanswered(node, &agents, self.clock.monotonic());
        }
    }

    /// What this node says of its own agents.
    pub(crate) fn say_who_is_online(&self, ask: &PresenceAsk) -> Presence {
        let (directory, presence) = (self.directory(), self.hallway.agents().presence());
        let online = |agent: &String| {
            let address = directory.expand(agent, None).ok();
            address.is_some_and(|address| match directory.resolve(&address) {
                Resolution::Local(agent) => presence.online(agent.no),
                _ => false,
            })
        };
        let online = ask.agents.iter().take(PresenceAsk::LIMIT).map(online).collect();
        Presence { number: ask.number, online }
    }
}

/// How long an answer is believed: as long as people take to look twice.
const BELIEVED: Duration = Duration::from_secs(5);
/// How long one is waited for; on a LAN it takes some milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// Answers kept; a full table forgets.
const HEARD: usize = 16 << 10;
/// Questions open at once, and to one node; more are not asked.
const OPEN: usize = 256;
const OPEN_EACH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str) -> Address {
        Address::parse(&format!("{name}@default.aimaestro.local"), &["aimaestro.local"]).unwrap()
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn only_the_node_that_was_asked_is_believed_and_only_for_some_seconds() {
        let (table, [asked, other]) = (PresenceTable::default(), [1, 2].map(|n| NodeId::from_bytes([n; 32])));
        let mut answer = table.ask(asked, vec![agent("ann"), agent("bob")]).unwrap();
        let sent = table.to_send(&asked).remove(0);
        assert!(table.to_send(&asked).is_empty(), "sent once");
        let said = Presence { number: sent.number, online: vec![true, false] };
        table.answered(&other, &said, NOW);
        assert!(answer.try_recv().is_err());
        table.answered(&asked, &said, NOW);
        assert!(answer.try_recv().is_ok());
        let believed = |name, now| table.believed(asked, &agent(name), now);
        assert_eq!((believed("ann", NOW), believed("bob", NOW)), (Some(true), Some(false)));
        assert_eq!((believed("ann", NOW + BELIEVED), believed("eve", NOW)), (None, None));
        assert_eq!(table.believed(other, &agent("ann"), NOW), None);
    }

    #[test]
    fn questions_and_answers_are_bounded_and_those_nobody_waits_for_are_cleared_away() {
        let (table, node) = (PresenceTable::default(), NodeId::from_bytes([1; 32]));
        let open: Vec<_> = (0..OPEN_EACH).map(|_| table.ask(node, vec![agent("ann")]).unwrap()).collect();
        assert!(table.ask(node, vec![agent("ann")]).is_none(), "one node cannot be asked more at once");
        drop(open);
        assert!(table.ask(node, vec![agent("ann")]).is_some());
        for number in 0..HEARD + 10 {
            table.unanswered(node, &[agent(&format!("a{number}"))], NOW);
        }
        assert!(table.lock().heard.len() <= HEARD);
    }
}
