//! The sending half of a link: which messages of the outbox go next, and what their verdicts mean. Pure.
//!
//! The shell asks [`LinkSender::scan`] where to read the outbox, shows what it found to [`LinkSender::pick`], sends what
//! was picked, feeds verdicts to [`LinkSender::on_verdicts`], and commits the settlements that come out.

use amesh_proto::wire::{LaterReason, Verdict};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// How much may be on its way unanswered, and how long a held lane waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    pub(crate) hold_first: Duration,
    pub(crate) hold_longest: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            count: 256,
            bytes: 4 << 20,
            hold_first: Duration::from_secs(1),
            hold_longest: Duration::from_secs(30),
        }
    }
}

/// Read the outbox from the entry after `after` on, at most `limit` entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) after: u64,
    pub(crate) limit: usize,
    /// How often the outbox had been said to grow when this was asked.
    news: u64,
    at: Duration,
}

/// One entry of the outbox, as far as this machine needs to know it. `L` names a lane.
#[derive(Debug, Clone)]
pub(crate) struct Offer<L> {
    pub(crate) seq: u64,
    pub(crate) lane: L,
    pub(crate) size: usize,
    /// It must not go now: it is too old by a clock that may yet be set back, or for an agent that left that node.
    pub(crate) kept_back: bool,
}

/// The end of one message's way over this link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    Delivered,
    Refused { code: String },
}

/// The state of one connection's sending half.
#[derive(Debug)]
pub(crate) struct LinkSender<L> {
    window: Window,
    in_flight: BTreeMap<u64, Flight<L>>,
    bytes: usize,
    /// Answered, but their settlement is not durable yet, so that the outbox still shows them.
    settling: BTreeMap<u64, L>,
    held: HashMap<L, Hold>,
    kept_back: Option<KeptBack>,
    /// Everything up to here was looked at.
    cursor: u64,
    /// While the outbox is read again for held lanes' first entries only: where to go on after that.
    resume_at: Option<u64>,
    /// The outbox had nothing after `cursor`.
    exhausted: bool,
    /// The next entry does not fit the window before a verdict comes.
    stalled: bool,
    news: u64,
}

#[derive(Debug)]
struct Flight<L> {
    lane: L,
    size: usize,
}

/// Mail that was passed over. Most of it goes from the outbox by another hand; what is found there again was kept back for
/// a moment only.
#[derive(Debug)]
struct KeptBack {
    lowest: u64,
    look_again: Duration,
}

/// A lane that the receiver would not take from.
#[derive(Debug)]
struct Hold {
    /// The least entry that was put off or passed over.
    lowest: u64,
    attempts: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of the lane goes before this time.
    Waiting { until: Duration },
    /// The lane's first entry goes next, alone.
    Due,
    /// That entry is on its way.
    Probing { seq: u64 },
}

impl<L: Clone + Eq + Hash> LinkSender<L> {
    /// For a fresh connection: everything that the outbox holds is sent again.
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            in_flight: BTreeMap::new(),
            bytes: 0,
            settling: BTreeMap::new(),
            held: HashMap::new(),
            kept_back: None,
            cursor: 0,
            resume_at: None,
            exhausted: false,
            stalled: false,
            news: 0,
        }
    }

    /// The outbox has grown.
    pub(crate) fn more(&mut self) {
        self.exhausted = false;
        self.news += 1;
    }

    /// What was kept back may go now.
    pub(crate) fn again(&mut self) {
        if let Some(kept_back) = &mut self.kept_back {
            kept_back.look_again = Duration::ZERO;
        }
    }

    /// Where to read next; `None` while there is nothing to do or no room. To be asked again after every other call.
    pub(crate) fn scan(&mut self, now: Duration) -> Option<Scan> {
        self.release_due(now);
        let room = self.window.count.saturating_sub(self.in_flight.len());
        let idle = room == 0 || self.stalled || self.exhausted;
        (!idle).then(|| Scan {
            after: self.cursor,
            limit: room.clamp(SCAN_LEAST, SCAN_MOST),
            news: self.news,
            at: now,
        })
    }

    /// Chooses among what `scan` found: what to send, in this order. `complete`: the outbox had nothing after these.
    pub(crate) fn pick(&mut self, scan: Scan, offers: &[Offer<L>], complete: bool) -> Vec<u64> {
        let mut picked = Vec::new();
        if self.cursor != scan.after {
            // A verdict that came during the read sent the cursor elsewhere.
            return picked;
        }
        for offer in offers {
            if offer.seq <= self.cursor {
                continue;
            }
            let known = self.in_flight.contains_key(&offer.seq) || self.settling.contains_key(&offer.seq);
            if !known && self.lane_is_open(offer) {
                if offer.kept_back {
                    self.pass_over(offer.seq, scan.at);
                } else if self.is_full_for(offer.size) {
                    self.stalled = true;
                    return picked;
                } else {
                    self.launch(offer);
                    picked.push(offer.seq);
                }
            }
            self.cursor = self.cursor.max(offer.seq);
        }
        if complete {
            // Lanes whose turn came and that have nothing left need no holding.
            self.held.retain(|_, hold| hold.phase != Phase::Due);
            self.resume_at = None;
            self.exhausted = scan.news == self.news;
        }
        picked
    }

    /// Takes verdicts in; what comes out is to be committed and then told to [`Self::settled`].
    pub(crate) fn on_verdicts(
        &mut self,
        verdicts: Vec<(u64, Verdict)>,
        now: Duration,
    ) -> Vec<(u64, Settled)> {
        let mut settled = Vec::new();
        for (seq, verdict) in verdicts {
            // A verdict on what was never sent means nothing.
            let Some(flight) = self.in_flight.remove(&seq) else { continue };
            self.bytes -= flight.size;
            self.stalled = false;
            let end = match verdict {
                Verdict::Committed | Verdict::Duplicate => Settled::Delivered,
                Verdict::Refused(code) => Settled::Refused { code },
                Verdict::Later(reason) => {
                    self.hold(flight.lane, seq, reason, now);
                    continue;
                }
            };
            settled.push((seq, end));
            self.open_after_probe(&flight.lane, seq);
            self.settling.insert(seq, flight.lane);
        }
        settled
    }

    /// The settlements of these are durable: the outbox shows them no more.
    pub(crate) fn settled(&mut self, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            self.settling.remove(&seq);
        }
    }

    /// When [`Self::scan`] should be asked again, though nothing happened.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let waiting = self.held.iter().filter_map(|(lane, hold)| match hold.phase {
            Phase::Waiting { until } if !self.is_settling(lane) => Some(until),
            _ => None,
        });
        waiting.chain(self.kept_back.as_ref().map(|kept_back| kept_back.look_again)).min()
    }

    /// Whether a verdict on this message is awaited.
    pub(crate) fn awaits(&self, seq: u64) -> bool {
        self.in_flight.contains_key(&seq)
    }

    /// How many messages await their verdict.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether this entry may go as far as its lane is concerned; remembers it if not.
    fn lane_is_open(&mut self, offer: &Offer<L>) -> bool {
        let Some(hold) = self.held.get_mut(&offer.lane) else { return true };
        if hold.phase == Phase::Due {
            return true;
        }
        hold.lowest = hold.lowest.min(offer.seq);
        false
    }

    fn pass_over(&mut self, seq: u64, now: Duration) {
        let look_again = now.saturating_add(self.window.hold_longest);
        let kept_back = self.kept_back.get_or_insert(KeptBack { lowest: seq, look_again });
        kept_back.lowest = kept_back.lowest.min(seq);
    }

    /// One message may always go, however large, or it would never go.
    fn is_full_for(&self, size: usize) -> bool {
        !self.in_flight.is_empty()
            && (self.in_flight.len() >= self.window.count || self.bytes + size > self.window.bytes)
    }

    fn launch(&mut self, offer: &Offer<L>) {
        if let Some(hold) = self.held.get_mut(&offer.lane) {
            hold.phase = Phase::Probing { seq: offer.seq };
            self.resume();
        }
        self.bytes += offer.size;
        self.in_flight.insert(offer.seq, Flight { lane: offer.lane.clone(), size: offer.size });
    }

    fn hold(&mut self, lane: L, seq: u64, reason: LaterReason, now: Duration) {
        let Window { hold_first, hold_longest, .. } = self.window;
        let hold =
            self.held.entry(lane).or_insert(Hold { lowest: seq, attempts: 0, phase: Phase::Probing { seq } });
        hold.lowest = hold.lowest.min(seq);
        if hold.phase != (Phase::Probing { seq }) {
            return;
        }
        // What is missing lies before this entry, wherever that is; the first time it is sought without delay.
        let gap = reason == LaterReason::LaneGap;
        if gap {
            hold.lowest = 0;
        }
        let wait = match hold.attempts {
            0 if gap => Duration::ZERO,
            attempts => {
                let doubled = attempts.min(if gap { GAP_DOUBLED } else { 16 });
                hold_first.saturating_mul(1 << doubled).min(hold_longest)
            }
        };
        hold.attempts = hold.attempts.saturating_add(1);
        hold.phase = Phase::Waiting { until: now.saturating_add(wait) };
    }

    /// The probe got through or was refused for good: the lane flows again.
    fn open_after_probe(&mut self, lane: &L, seq: u64) {
        let Some(hold) = self.held.get(lane) else { return };
        if hold.phase == (Phase::Probing { seq }) {
            let lowest = hold.lowest;
            self.rescan_from(lowest);
            self.resume_at = None;
            self.held.remove(lane);
        }
    }

    fn is_settling(&self, lane: &L) -> bool {
        self.settling.values().any(|settling| settling == lane)
    }

    fn release_due(&mut self, now: Duration) {
        let due = |kept_back: &mut KeptBack| kept_back.look_again <= now;
        if let Some(KeptBack { lowest, .. }) = self.kept_back.take_if(due) {
            self.rescan_from(lowest);
            self.resume_at = None;
        }
        let mut lowest = None;
        let Self { held, settling, .. } = self;
        for (lane, hold) in held {
            // A lane's floor is right only once what was settled in it is durable.
            let due = matches!(hold.phase, Phase::Waiting { until } if until <= now);
            if due && !settling.values().any(|settling| settling == lane) {
                hold.phase = Phase::Due;
                lowest = Some(lowest.unwrap_or(u64::MAX).min(hold.lowest));
            }
        }
        if let Some(lowest) = lowest {
            self.resume_at.get_or_insert(self.cursor);
            self.rescan_from(lowest);
        }
    }

    /// Once every due lane has sent its first entry, there is nothing more to find where the outbox was read before.
    fn resume(&mut self) {
        if self.held.values().all(|hold| hold.phase != Phase::Due) {
            self.cursor = self.resume_at.take().unwrap_or(self.cursor).max(self.cursor);
        }
    }

    fn rescan_from(&mut self, lowest: u64) {
        self.cursor = self.cursor.min(lowest.saturating_sub(1));
        self.exhausted = false;
    }
}

/// How often the pause doubles for a lane whose missing mail is on its way by another link: that takes seconds.
const GAP_DOUBLED: u32 = 2;
/// Few enough that their bodies fit in memory, enough that passing over held lanes is not slow.
const SCAN_MOST: usize = 64;
const SCAN_LEAST: usize = 16;
