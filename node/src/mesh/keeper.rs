//! What keeps one member linked: when it is dialled, when an open link is doubted and raced by a fresh one, which links
//! are turned away. A state machine without clock, I/O or randomness; times are monotonic. Driven by `peer`, and by the
//! simulation.

use super::boots::{Boots, Judgement};
use super::pace::Pulse;
use crate::message::retry::{self, Backoff, Kind};
use amesh_proto::node_id::NodeId;
use std::time::Duration;

/// See the module. One for each member.
#[derive(Debug)]
pub(crate) struct Keeper {
    linked: bool,
    /// The open link may be dead: dial all the same.
    doubted: bool,
    /// The open link goes through another member: a direct one is looked for all the time.
    relayed: bool,
    pulse: Pulse,
    backoff: Backoff,
    dialed_at: Duration,
    /// Not dialled before this time, whatever the signs: the peer said that it does not want this node.
    not_before: Duration,
    boots: Boots,
}

/// Why the peer may be reachable again (DESIGN §1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Something was heard of it.
    Life,
    /// This machine's own links or addresses changed: whatever is open may be dead.
    Interfaces,
}

impl Keeper {
    /// Of `peer`, as the keeper of `me`.
    pub(crate) fn new(me: &NodeId, peer: &NodeId, now: Duration) -> Self {
        let mut backoff = Backoff::new(Kind::Peer, PACE);
        if !picks_link(me, peer) {
            // Both ends notice each other at the same moment; the lower id dials first.
            backoff.failed(now, 1.0);
        }
        Self {
            linked: false,
            doubted: false,
            relayed: false,
            pulse: Pulse::new(now),
            backoff,
            dialed_at: Duration::ZERO,
            not_before: Duration::ZERO,
            boots: Boots::default(),
        }
    }

    /// How long until the next attempt, if one is wanted at all; `under_way` others have not ended yet.
    pub(crate) fn next_dial(&self, now: Duration, mail_waits: bool, under_way: usize) -> Option<Duration> {
        let good = self.linked && !self.doubted;
        if (good && !self.relayed) || under_way >= ATTEMPTS {
            return None;
        }
        // Over a relayed link mail does not wait: there is no hurry.
        let due = self.backoff.next_at(mail_waits && !good).max(self.not_before);
        // An attempt under way retransmits by itself for a while.
        let overlap = if under_way == 0 { Duration::ZERO } else { self.dialed_at + OVERLAP };
        Some(due.max(overlap).saturating_sub(now))
    }

    /// An attempt begins. `jitter` in 0..1.
    pub(crate) fn dialing(&mut self, now: Duration, jitter: f64) {
        // Counted as failed until it succeeds, so that the next one is timed from here and not from this one's end.
        self.backoff.failed(now, jitter);
        self.dialed_at = now;
    }

    /// The peer does not want this node, or another machine with its key.
    pub(crate) fn unwanted(&mut self, now: Duration) {
        self.not_before = now + UNWANTED;
    }

    /// A link came about; `boot` is the start number that the peer told. The newest is used, unless it is a twin's.
    pub(crate) fn linked(&mut self, boot: u64, now: Duration) -> Judgement {
        let judgement = self.boots.judge(boot, now);
        if judgement == Judgement::Fine {
            self.backoff.succeeded();
            self.linked = true;
            self.doubted = false;
            self.relayed = false;
            self.pulse = Pulse::new(now);
        }
        judgement
    }

    /// The link in use goes through another member. Called after [`Self::linked`].
    pub(crate) fn is_relayed(&mut self) {
        self.relayed = true;
    }

    /// Whether a relayed link would be an improvement. Where it would not be, whoever picks turns it away.
    pub(crate) fn takes_relayed(&self) -> bool {
        !self.linked || self.doubted || self.relayed
    }

    /// Whether only a direct link would be an improvement.
    pub(crate) fn wants_direct_only(&self) -> bool {
        self.linked && self.relayed && !self.doubted
    }

    /// The link in use is over. `jitter` in 0..1.
    pub(crate) fn lost(&mut self, now: Duration, jitter: f64) {
        (self.linked, self.doubted, self.relayed) = (false, false, false);
        self.backoff.failed(now, jitter);
    }

    /// The link in use was closed because nothing was to be said. Whoever has something dials at once.
    pub(crate) fn rested(&mut self) {
        (self.linked, self.doubted, self.relayed) = (false, false, false);
        self.backoff.succeeded();
    }

    /// The path may be back.
    pub(crate) fn sign(&mut self, sign: Sign, now: Duration) {
        self.backoff.sign_of_life();
        let patience = if sign == Sign::Interfaces { Duration::ZERO } else { SILENCE };
        self.doubted |= self.linked && self.pulse.silent_for(now) > patience;
    }

    /// To be called every [`BEAT`] while linked: `packets` have come over the link so far, and the peer owes verdicts or
    /// not. Says whether something has come since the last call.
    pub(crate) fn beat(&mut self, now: Duration, packets: u64, owed: bool) -> bool {
        self.pulse.observe(now, packets, owed);
        if self.pulse.is_doubtful(now) && !self.doubted {
            self.doubted = true;
            self.backoff.succeeded();
        }
        let heard = self.pulse.silent_for(now) == Duration::ZERO;
        if heard {
            self.doubted = false;
        }
        heard
    }

    /// Whether a link that nobody wants, and over which nothing has gone since `active_at`, may be closed.
    pub(crate) fn may_rest(&self, now: Duration, active_at: Duration, patience: Duration) -> bool {
        self.linked && now.saturating_sub(active_at) >= patience
    }

    /// Whether the open link may be dead.
    pub(crate) fn doubts(&self) -> bool {
        self.doubted
    }
}

/// Whether `me` says which of several links between the two nodes is used, by speaking first on it: the lower id does.
pub(crate) fn picks_link(me: &NodeId, peer: &NodeId) -> bool {
    me < peer
}

/// While mail waits for a peer on the LAN, a dial every second or two: a cable that comes back without any sign is
/// found well within the 15 s of DESIGN §1.7.
const PACE: retry::Config =
    retry::Config { first_ms: 250, idle_cap_s: 300, waiting_cap_s: 2, provider_cap_s: 3600 };
/// Attempts under way at a time; each one retransmits by itself.
const ATTEMPTS: usize = 3;
/// What an attempt gets before the next one begins beside it.
const OVERLAP: Duration = Duration::from_millis(700);
/// How often the open link is looked at.
pub(crate) const BEAT: Duration = Duration::from_millis(250);
/// Longer than the pause between two keep-alive packets.
const SILENCE: Duration = Duration::from_secs(5);
/// After a refusal.
const UNWANTED: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn keeper(me: u8, peer: u8) -> Keeper {
        Keeper::new(&NodeId::from_bytes([me; 32]), &NodeId::from_bytes([peer; 32]), S)
    }

    #[test]
    fn the_lower_id_dials_at_once_and_the_higher_one_a_moment_later() {
        assert_eq!(keeper(1, 2).next_dial(S, false, 0), Some(Duration::ZERO));
        assert!(keeper(2, 1).next_dial(S, false, 0) > Some(Duration::from_millis(100)));
    }

    #[test]
    fn nobody_is_dialled_while_the_link_is_good() {
        let mut keeper = keeper(1, 2);
        keeper.dialing(S, 0.5);
        assert_eq!(keeper.linked(7, S), Judgement::Fine);
        assert_eq!(keeper.next_dial(S * 2, true, 0), None);
        keeper.lost(S * 2, 0.5);
        assert!(keeper.next_dial(S * 2, true, 0).is_some());
    }

    #[test]
    fn a_link_that_owes_an_answer_and_is_silent_is_raced_until_something_comes() {
        let mut keeper = keeper(1, 2);
        keeper.linked(7, S);
        keeper.beat(S, 1, true);
        keeper.beat(S * 2, 1, true);
        assert!(keeper.doubts());
        assert_eq!(keeper.next_dial(S * 2, true, 0), Some(Duration::ZERO));
        assert!(keeper.beat(S * 3, 2, true));
        assert_eq!(keeper.next_dial(S * 3, true, 0), None);
    }

    #[test]
    fn changed_interfaces_cast_doubt_on_every_link_and_life_on_silent_ones_only() {
        let mut keeper = keeper(1, 2);
        keeper.linked(7, S);
        keeper.sign(Sign::Life, S * 2);
        assert!(!keeper.doubts());
        keeper.sign(Sign::Interfaces, S * 2);
        assert!(keeper.doubts());
    }

    #[test]
    fn after_a_refusal_no_sign_brings_a_dial_forward() {
        let mut keeper = keeper(1, 2);
        keeper.dialing(S, 0.5);
        keeper.unwanted(S);
        keeper.sign(Sign::Life, S * 2);
        assert_eq!(keeper.next_dial(S * 2, true, 0), Some(S * 14));
    }

    #[test]
    fn beside_a_relayed_link_a_direct_one_is_tried_less_and_less_often_until_it_comes() {
        let mut keeper = keeper(1, 2);
        assert!(keeper.takes_relayed() && !keeper.wants_direct_only());
        keeper.linked(7, S);
        assert!(!keeper.takes_relayed());
        keeper.linked(7, S);
        keeper.is_relayed();
        assert!(keeper.wants_direct_only());
        assert_eq!(keeper.next_dial(S, true, 0), Some(Duration::ZERO));
        for _ in 0..20 {
            keeper.dialing(S, 0.5);
        }
        assert!(keeper.next_dial(S, true, 0) > Some(S * 60), "mail goes over the relayed link");
        keeper.sign(Sign::Life, S);
        assert!(keeper.next_dial(S, false, 0) < Some(S));
        keeper.linked(7, S);
        assert_eq!(keeper.next_dial(S, true, 0), None);
    }

    #[test]
    fn a_link_rests_once_nothing_has_gone_over_it_for_long_enough() {
        let mut keeper = keeper(1, 2);
        assert!(!keeper.may_rest(S * 60, S, S), "there is none");
        keeper.linked(7, S);
        assert!(!keeper.may_rest(S * 10, S * 5, S * 6));
        assert!(keeper.may_rest(S * 11, S * 5, S * 6));
        keeper.rested();
        assert_eq!(keeper.next_dial(S * 11, true, 0), Some(Duration::ZERO), "mail does not wait");
    }

    #[test]
    fn attempts_under_way_are_few_and_spaced() {
        let mut keeper = keeper(1, 2);
        keeper.dialing(S, 0.0);
        let next = keeper.next_dial(S, true, 1).unwrap();
        assert!(next >= Duration::from_millis(700));
        assert_eq!(keeper.next_dial(S, true, 3), None);
    }
}
