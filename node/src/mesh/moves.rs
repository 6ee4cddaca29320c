//! Mail that follows agents which moved (DESIGN §3, Moving): what waits in a mailbox here is handed on to the agent's new
//! host, what is queued for its last host turns to the new one, and an agent that has just come here has its earlier mail
//! before newer mail. Run by `mod` as one task; poked whenever a roster or a link changes.

use super::shared::Shared;
use crate::agents::directory::{Leaving, Resolution};
use crate::message::Carrier as _;
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use amesh_proto::trust::Trust;
use amesh_store::{Destination, MailboxEntry, OutboxEntry, StoreError, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Wakes the task.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    poked: Notify,
}

impl Moves {
    /// Somebody may have moved, or may be reachable again.
    pub(crate) fn poke(&self) {
        self.poked.notify_one();
    }
}

/// What earlier rounds saw.
#[derive(Default)]
struct Seen {
    /// Who had left each host when the queue to it was last read, and when that was. Queues are long.
    left: BTreeMap<NodeId, (Vec<Address>, Duration)>,
    came: BTreeMap<Address, Came>,
    /// When each host was last linked: one whose link is just being made anew is still there.
    linked: BTreeMap<NodeId, Duration>,
    /// Since when agents here that write to each agent that leaves are kept waiting, or were last.
    held_up: BTreeMap<Address, Duration>,
}

/// How the mail of an arrival comes in.
struct Came {
    begun: Duration,
    /// How much there is, and when that last changed.
    waiting: u32,
    changed: Duration,
}

/// Looks until cancelled.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut own = shared.store.watch_own_roster();
    let mut seen = Seen::default();
    loop {
        let pause = match look(&shared, &mut seen).await {
            Ok(true) => SOON,
            Ok(false) => LATER,
            Err(error) => {
                tracing::error!(%error, "mail of an agent that moved cannot be moved now");
                LATER
            }
        };
        tokio::select! {
            () = shared.moves.poked.notified() => {}
            () = shared.directory().arrivals().begun() => {}
            changed = own.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One round. Says whether more is to be done soon.
async fn look(shared: &Arc<Shared>, seen: &mut Seen) -> Result<bool, StoreError> {
    let now = shared.clock.monotonic();
    let linked = shared.rosters.nodes().into_iter().filter(|node| shared.is_linked(node));
    seen.linked.extend(linked.map(|node| (node, now)));
    seen.linked.retain(|_, last| now.saturating_sub(*last) < RECENT);
    let arrivals = shared.directory().arrivals();
    let under_way = arrivals.all();
    seen.came.retain(|address, _| under_way.iter().any(|(arrival, _)| arrival == address));
    let (awaited, complete): (Vec<_>, Vec<_>) =
        under_way.into_iter().partition(|(address, _)| is_awaited(shared, address, seen, now));
    if !complete.is_empty() {
        // What was sent before these moves were known is on disk after this.
        let nothing = Target::Outbox { destination: Destination::Node(shared.identity.node_id()) };
        shared.store.redirect(shared.identity.node_id(), &[], nothing, shared.clock.now()).await?;
    }
    for (address, _) in complete.iter().filter(|(_, begun)| begun.again()) {
        bring_back(shared, address).await?;
    }
    let addresses: BTreeSet<Address> = complete.iter().map(|(address, _)| address.clone()).collect();
    redirect_all(shared, &addresses, seen).await?;
    complete.iter().for_each(|(address, begun)| arrivals.end(address, *begun));
    if !complete.is_empty() {
        shared.peers.tell_all(|news| news.kept = true);
    }
    let mut more = !awaited.is_empty();
    let all_leaving = shared.directory().all_leaving();
    seen.held_up.retain(|address, _| {
        let leaves = all_leaving.iter().any(|leaving| leaving.agent.address == *address);
        if !leaves {
            arrivals.departs(address, false);
        }
        leaves
    });
    for leaving in all_leaving {
        if !arrivals.holds(&leaving.agent.address) {
            let departs = may_hold_up(shared, &leaving, seen, now);
            arrivals.departs(&leaving.agent.address, departs);
            more |= hand_on(shared, &leaving).await?;
        }
    }
    Ok(more)
}

/// An agent that came here left again, for where it was before, while mail was queued for it there that is younger than what
/// has followed it here: that must go behind.
async fn bring_back(shared: &Arc<Shared>, address: &Address) -> Result<(), StoreError> {
    let Some(leaving) = shared.directory().leaving(address).filter(|leaving| !leaving.departed) else {
        return Ok(());
    };
    let mut after = None;
    loop {
        let page = shared.store.outbox(&Destination::Node(leaving.home), after, PAGE)?;
        let Some(last) = page.last().map(|entry| entry.seq) else { return Ok(()) };
        after = Some(last);
        let mail: Vec<OutboxEntry> = page.into_iter().filter(|entry| entry.mail.to == *address).collect();
        if !mail.is_empty() {
            let target = Target::Mailbox { agent: leaving.agent.no, trust: Trust::Verified };
            shared.store.redirect(leaving.home, &mail, target, shared.clock.now()).await?;
        }
    }
}

/// Whether those who write here to an agent that leaves wait, so that what they write comes to an end and the agent departs: for
/// the last of its mail only, and never for long.
fn may_hold_up(shared: &Shared, leaving: &Leaving, seen: &mut Seen, now: Duration) -> bool {
    let left = shared.store.pending_count(leaving.agent.no) as usize
        + shared.store.outbox_len(&Destination::Node(leaving.home)) as usize;
    if leaving.departed || left > PAGE || !shared.is_linked(&leaving.home) {
        return false;
    }
    let since = seen.held_up.entry(leaving.agent.address.clone()).or_insert(now);
    if now.saturating_sub(*since) > REREAD {
        *since = now;
    }
    now.saturating_sub(*since) < RECENT
}

/// Hands on what waits here for an agent that moved. When all of it is there, this node's roster says that it left.
async fn hand_on(shared: &Arc<Shared>, leaving: &Leaving) -> Result<bool, StoreError> {
    let (agent, destination) = (&leaving.agent, Destination::Node(leaving.home));
    let seen = shared.store.position();
    let mut after = None;
    loop {
        let page = shared.store.pending(agent.no, after, PAGE)?;
        let Some(last) = page.last().map(|entry| entry.seq) else { break };
        after = Some(last);
        let mail: Vec<MailboxEntry> = page.into_iter().filter(|entry| may_follow(shared, entry)).collect();
        let gone = match mail.is_empty() {
            true => 0,
            false => shared.store.hand_on(agent.no, &mail, leaving.home, shared.clock.now()).await?,
        };
        if gone > 0 {
            tracing::info!(agent = %agent.address, gone, to = %leaving.home, "mail follows the agent");
            super::carrier::MeshCarrier::of(shared).wake(&destination);
        }
        if (gone as usize) < mail.len() {
            // Acknowledged meanwhile, or the queue is full: seen in the next round.
            return Ok(true);
        }
    }
    if leaving.departed {
        if shared.store.outbox_len(&destination) > 0 {
            // What came here while the agent departed went on by itself.
            super::carrier::MeshCarrier::of(shared).wake(&destination);
        }
        return Ok(false);
    }
    if first_for(shared, leaving.home, &agent.address)? {
        // Until it has arrived; a host that is off is waited for by the link's own signs.
        return Ok(shared.is_linked(&leaving.home));
    }
    if !shared.hallway.agents().depart(agent, leaving.home, seen).await? {
        return Ok(true);
    }
    shared.directory().arrivals().departs(&agent.address, false);
    tracing::info!(agent = %agent.address, to = %leaving.home, "the agent has moved");
    Ok(false)
}

/// What its recipient's new host can verify by itself. The rest waits here, as it does on this machine alone: mail of
/// this machine's agents without a signature, and notices of this node.
fn may_follow(shared: &Shared, entry: &MailboxEntry) -> bool {
    let mail = &entry.mail;
    mail.form.is_some() && shared.directory().key_at(&mail.from, mail.accepted_at).is_some()
}

/// Whether mail for `address` waits in the queue to `node`.
fn first_for(shared: &Shared, node: NodeId, address: &Address) -> Result<bool, StoreError> {
    let mut after = None;
    loop {
        let page = shared.store.outbox(&Destination::Node(node), after, PAGE)?;
        if page.iter().any(|entry| entry.mail.to == *address) {
            return Ok(true);
        }
        let Some(last) = page.last() else { return Ok(false) };
        after = Some(last.seq);
    }
}

/// Whether a host where the agent of `address` lived is there, and has not yet handed on all that waited.
fn is_awaited(shared: &Shared, address: &Address, seen: &mut Seen, now: Duration) -> bool {
    let directory = shared.directory();
    let Resolution::Local(agent) = directory.resolve(address) else { return false };
    let waiting = shared.store.pending_count(agent.no);
    let came = seen.came.entry(address.clone()).or_insert(Came { begun: now, waiting, changed: now });
    if waiting != came.waiting {
        (came.waiting, came.changed) = (waiting, now);
    }
    let patient = now.saturating_sub(came.changed) < PATIENCE;
    let just_begun = now.saturating_sub(came.begun) < RECENT;
    if !patient {
        return false;
    }
    let nodes = shared.rosters.nodes();
    let last_hosts = nodes.iter().filter(|node| directory.still_lists(**node, address));
    // Each is asked for: one that is no neighbour is linked for this.
    let there = |node: &&NodeId| just_begun || seen.linked.contains_key(*node) || shared.may_come(node);
    last_hosts.filter(there).count() > 0
}

/// Turns what is queued for agents that moved to where they are.
async fn redirect_all(
    shared: &Arc<Shared>,
    complete: &BTreeSet<Address>,
    seen: &mut Seen,
) -> Result<(), StoreError> {
    let now = shared.clock.monotonic();
    for queue in shared.store.outbox_destinations() {
        let Destination::Node(node) = queue.destination else { continue };
        let left = shared.directory().all_that_left(node);
        let before = seen.left.insert(node, (left.clone(), now));
        let again =
            before.as_ref().is_none_or(|(before, at)| *before != left || now.saturating_sub(*at) >= REREAD);
        if left.is_empty() || !(again || left.iter().any(|address| complete.contains(address))) {
            seen.left.extend(before.map(|before| (node, before)));
            continue;
        }
        let mut after = None;
        loop {
            let page = shared.store.outbox(&Destination::Node(node), after, PAGE)?;
            let Some(last) = page.last().map(|entry| entry.seq) else { break };
            after = Some(last);
            redirect(shared, node, page, complete).await?;
        }
    }
    Ok(())
}

async fn redirect(
    shared: &Arc<Shared>,
    node: NodeId,
    page: Vec<OutboxEntry>,
    complete: &BTreeSet<Address>,
) -> Result<(), StoreError> {
    // In the order of the queue: each agent's mail goes to one place.
    let mut moving: BTreeMap<Address, Vec<OutboxEntry>> = BTreeMap::new();
    for entry in page {
        if shared.directory().has_left(node, &entry.mail.to) {
            moving.entry(entry.mail.to.clone()).or_default().push(entry);
        }
    }
    let now = shared.clock.now();
    for (address, mail) in moving {
        match shared.directory().resolve(&address) {
            Resolution::Remote { node: home, .. } => {
                let destination = Destination::Node(home);
                let target = Target::Outbox { destination: destination.clone() };
                shared.store.redirect(node, &mail, target, now).await?;
                super::carrier::MeshCarrier::of(shared).wake(&destination);
            }
            Resolution::Local(agent)
                if complete.contains(&address) || !shared.hallway.agents().arrivals().holds(&address) =>
            {
                let target = Target::Mailbox { agent: agent.no, trust: Trust::Verified };
                shared.store.redirect(node, &mail, target, now).await?;
                shared.hallway.arrived(agent.no);
            }
            Resolution::Local(_) | Resolution::Unknown => continue,
        }
        tracing::info!(%address, from = %node, count = mail.len(), "queued mail follows the agent");
    }
    Ok(())
}

const PAGE: usize = 64;
/// While something is on its way.
const SOON: Duration = Duration::from_millis(20);
/// Everything that matters pokes; this is for what a full queue put off.
const LATER: Duration = Duration::from_secs(5);
/// How long newer mail waits for a host that is there and hands nothing on: one of an earlier version never will.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long ago a host may have been linked that counts as there.
const RECENT: Duration = Duration::from_secs(2);
/// For what a full queue put off.
const REREAD: Duration = Duration::from_secs(60);
