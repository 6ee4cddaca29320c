//! The two machines by themselves, step by step.

use super::send::Window;
use super::*;
use amesh_proto::wire::mail::LaneStamp;
use amesh_proto::wire::{LaterReason, Verdict};
use proptest::prelude::*;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const LATER: Verdict = Verdict::Later(LaterReason::MailboxFull);

/// An outbox and the sender that empties it.
struct Desk {
    sender: LinkSender<char>,
    outbox: Vec<Offer<char>>,
    last_seq: u64,
    now: Duration,
}

impl Desk {
    /// One message per letter, in the lane of that name.
    fn with(lanes: &str) -> Self {
        let window = Window { count: 4, bytes: 1000, ..Window::default() };
        let mut desk =
            Self { sender: LinkSender::new(window), outbox: Vec::new(), last_seq: 0, now: Duration::ZERO };
        desk.post(lanes);
        desk
    }

    fn post(&mut self, lanes: &str) {
        for lane in lanes.chars() {
            self.last_seq += 1;
            self.outbox.push(Offer { seq: self.last_seq, lane, size: 10, kept_back: false });
        }
        self.sender.more();
    }

    fn read(&self, scan: Scan) -> (Vec<Offer<char>>, bool) {
        let found: Vec<_> =
            self.outbox.iter().filter(|offer| offer.seq > scan.after).take(scan.limit).cloned().collect();
        let complete = found.len() < scan.limit;
        (found, complete)
    }

    /// What goes out now.
    fn send(&mut self) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(scan) = self.sender.scan(self.now) {
            let (found, complete) = self.read(scan);
            sent.extend(self.sender.pick(scan, &found, complete));
        }
        sent
    }

    /// A verdict came; what it settles is durable at once.
    fn judged(&mut self, seq: u64, verdict: Verdict) {
        for (seq, _) in self.sender.on_verdicts(vec![(seq, verdict)], self.now) {
            self.outbox.retain(|offer| offer.seq != seq);
            self.sender.settled([seq]);
        }
    }
}

#[test]
fn no_more_is_on_its_way_than_the_window_holds() {
    let mut desk = Desk::with("abcdef");
    assert_eq!(desk.send(), [1, 2, 3, 4]);
    desk.judged(2, Verdict::Committed);
    assert_eq!(desk.send(), [5]);
    desk.outbox.iter_mut().for_each(|offer| offer.size = 5_000);
    for seq in [1, 3, 4, 5] {
        desk.judged(seq, Verdict::Committed);
    }
    assert_eq!(desk.send(), [6], "one goes alone, however large");
}

#[test]
fn bytes_count_too_and_a_full_window_is_not_asked_about_again() {
    let mut desk = Desk::with("abc");
    desk.outbox.iter_mut().for_each(|offer| offer.size = 600);
    assert_eq!(desk.send(), [1]);
    assert_eq!(desk.sender.scan(desk.now), None);
    desk.judged(1, Verdict::Committed);
    assert_eq!(desk.send(), [2]);
}

#[test]
fn a_lane_that_is_put_off_holds_nobody_else() {
    let mut desk = Desk::with("aabb");
    assert_eq!(desk.send(), [1, 2, 3, 4]);
    desk.judged(1, LATER);
    desk.judged(2, Verdict::Later(LaterReason::LaneHeld));
    desk.judged(3, Verdict::Committed);
    desk.judged(4, Verdict::Committed);
    desk.post("ab");
    assert_eq!(desk.send(), [6], "only lane b");
}

#[test]
fn a_held_lane_is_tried_with_its_first_message_alone_and_then_flows_in_order() {
    let mut desk = Desk::with("aaa");
    desk.send();
    for seq in 1..=3 {
        desk.judged(seq, LATER);
    }
    assert_eq!(desk.send(), [0; 0]);
    desk.now = desk.sender.next_wake().unwrap();
    assert_eq!(desk.send(), [1]);
    assert_eq!(desk.send(), [0; 0]);
    desk.judged(1, Verdict::Committed);
    assert_eq!(desk.send(), [2, 3]);
}

#[test]
fn a_held_lane_is_tried_less_and_less_often_up_to_thirty_seconds() {
    let mut desk = Desk::with("a");
    let mut waits = Vec::new();
    for _ in 0..7 {
        assert_eq!(desk.send(), [1]);
        desk.judged(1, LATER);
        let wake = desk.sender.next_wake().unwrap();
        waits.push((wake - desk.now).as_secs());
        desk.now = wake;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
}

#[test]
fn one_due_lane_among_many_is_found_without_forgetting_the_rest() {
    let mut desk = Desk::with("abab");
    desk.send();
    for seq in 1..=4 {
        desk.judged(seq, LATER);
        desk.now += MS * 10;
    }
    desk.post("cc");
    assert_eq!(desk.send(), [5, 6]);
    desk.now = Duration::from_millis(1_005);
    assert_eq!(desk.send(), [1], "lane a is due, b is not yet");
    desk.now = Duration::from_millis(1_050);
    assert_eq!(desk.send(), [2]);
    desk.judged(5, Verdict::Committed);
    desk.judged(6, Verdict::Committed);
    desk.judged(2, Verdict::Committed);
    assert_eq!(desk.send(), [4]);
    desk.judged(1, Verdict::Refused("x".into()));
    assert_eq!(desk.send(), [3], "a refusal opens the lane as well");
}

#[test]
fn a_gap_is_looked_for_at_once_from_the_beginning_and_then_with_patience() {
    let mut desk = Desk::with("aa");
    desk.outbox[0].lane = 'b';
    assert_eq!(desk.send(), [1, 2]);
    // What is missing turns out to be the first, which this sender had put down to another lane.
    desk.outbox[0].lane = 'a';
    desk.judged(1, Verdict::Later(LaterReason::Limit));
    desk.judged(2, Verdict::Later(LaterReason::LaneGap));
    assert_eq!(desk.send(), [1]);
    desk.judged(1, Verdict::Later(LaterReason::LaneGap));
    assert_eq!(desk.sender.next_wake(), Some(Duration::from_secs(1)));
}

#[test]
fn a_lane_waits_for_its_own_settlements_before_it_is_tried_again() {
    let mut desk = Desk::with("aa");
    desk.send();
    let settled = desk.sender.on_verdicts(vec![(1, Verdict::Refused("x".into()))], desk.now);
    assert_eq!(settled, [(1, Settled::Refused { code: "x".into() })]);
    desk.judged(2, Verdict::Later(LaterReason::LaneGap));
    assert_eq!((desk.send(), desk.sender.next_wake()), (Vec::new(), None), "its floor is not durable yet");
    desk.outbox.remove(0);
    desk.sender.settled([1]);
    assert_eq!(desk.send(), [2]);
}

#[test]
fn what_is_settling_is_not_sent_again_when_the_outbox_is_read_anew() {
    let mut desk = Desk::with("aab");
    desk.send();
    desk.sender.on_verdicts(vec![(3, Verdict::Committed)], desk.now);
    desk.judged(1, LATER);
    desk.judged(2, LATER);
    desk.now = desk.sender.next_wake().unwrap();
    assert_eq!(desk.send(), [1]);
    desk.judged(1, Verdict::Committed);
    assert_eq!(desk.send(), [2]);
}

#[test]
fn mail_that_arrives_while_the_outbox_is_read_is_not_overlooked() {
    let mut desk = Desk::with("a");
    let scan = desk.sender.scan(desk.now).unwrap();
    let (found, complete) = desk.read(scan);
    desk.post("b");
    assert_eq!(desk.sender.pick(scan, &found, complete), [1]);
    assert_eq!(desk.send(), [2]);
}

#[test]
fn a_verdict_that_comes_while_the_outbox_is_read_makes_the_reading_void() {
    let mut desk = Desk::with("aab");
    desk.send();
    desk.judged(1, LATER);
    desk.judged(2, LATER);
    desk.now = desk.sender.next_wake().unwrap();
    assert_eq!(desk.send(), [1]);
    desk.post("c");
    let scan = desk.sender.scan(desk.now).unwrap();
    let (found, complete) = desk.read(scan);
    desk.judged(1, Verdict::Committed);
    assert_eq!(desk.sender.pick(scan, &found, complete), [0; 0]);
    assert_eq!(desk.send(), [2, 4]);
}

#[test]
fn what_is_too_old_is_passed_over_and_sent_if_a_clock_that_was_set_back_makes_it_young_again() {
    let mut desk = Desk::with("aab");
    desk.outbox[0].kept_back = true;
    desk.outbox[2].kept_back = true;
    assert_eq!(desk.send(), [2]);
    desk.judged(2, Verdict::Committed);
    desk.outbox[0].kept_back = false;
    let look_again = desk.sender.next_wake().unwrap();
    desk.now = look_again - MS;
    assert_eq!(desk.send(), [0; 0]);
    desk.now = look_again;
    assert_eq!(desk.send(), [1]);
    assert!(desk.sender.next_wake().unwrap() > look_again, "the other one is still there");
    desk.outbox.retain(|offer| !offer.kept_back);
    desk.now = look_again * 2;
    assert_eq!((desk.send(), desk.sender.next_wake()), (Vec::new(), None));
}

#[test]
fn old_mail_is_looked_for_again_though_a_lane_is_probed_at_that_moment() {
    let mut desk = Desk::with("ab");
    desk.outbox[0].kept_back = true;
    assert_eq!(desk.send(), [2]);
    desk.now = desk.sender.next_wake().unwrap() - MS;
    desk.judged(2, LATER);
    desk.outbox[0].kept_back = false;
    desk.now += Window::default().hold_first;
    let mut sent = desk.send();
    sent.sort_unstable();
    assert_eq!(sent, [1, 2]);
}

#[test]
fn verdicts_on_what_was_never_sent_mean_nothing() {
    let mut desk = Desk::with("a");
    assert_eq!(desk.sender.on_verdicts(vec![(1, Verdict::Committed), (9, LATER)], desk.now), []);
    assert_eq!(desk.send(), [1]);
    desk.judged(1, Verdict::Committed);
    desk.judged(1, Verdict::Committed);
    assert_eq!((desk.send(), desk.sender.in_flight()), (vec![], 0));
}

fn mail(seq: u64, lane: char, number: u64, roster_version: u64) -> Arrival<char, ()> {
    let stamp = LaneStamp { generation: 1, number, floor: 1 };
    Arrival { seq, lane, stamp, roster_version, size: 10, mail: () }
}

fn judged(actions: Vec<ReceiveAction<char, ()>>) -> Vec<u64> {
    actions
        .into_iter()
        .map(|action| match action {
            ReceiveAction::Judge(arrival) => arrival.seq,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn put_off(seq: u64, reason: LaterReason) -> Vec<ReceiveAction<char, ()>> {
    vec![ReceiveAction::Answer(seq, Verdict::Later(reason))]
}

#[test]
fn after_later_the_lane_waits_for_that_message_and_others_pass() {
    let (mut receiver, now) = (LinkReceiver::new(0), MS);
    assert_eq!(judged(receiver.on_mail(mail(1, 'a', 1, 0), now)), [1]);
    let verdict = receiver.on_outcome(1, Outcome::Later(LaterReason::MailboxFull));
    assert_eq!(verdict, Some((1, LATER)));
    assert_eq!(receiver.on_mail(mail(2, 'a', 2, 0), now), put_off(2, LaterReason::LaneHeld));
    assert_eq!(judged(receiver.on_mail(mail(3, 'b', 1, 0), now)), [3]);
    assert_eq!(judged(receiver.on_mail(mail(1, 'a', 1, 0), now)), [1]);
    assert_eq!(judged(receiver.on_mail(mail(2, 'a', 2, 0), now)), [2], "the store sees to it from here");
}

#[test]
fn a_held_lane_opens_when_the_sender_gave_the_held_message_up() {
    let (mut receiver, now) = (LinkReceiver::new(0), MS);
    receiver.on_mail(mail(1, 'a', 1, 0), now);
    receiver.on_outcome(1, Outcome::Later(LaterReason::DiskFull));
    let mut next = mail(2, 'a', 2, 0);
    next.stamp.floor = 2;
    assert_eq!(judged(receiver.on_mail(next, now)), [2]);
}

#[test]
fn mail_sent_under_a_newer_roster_waits_for_it_and_keeps_everyones_order() {
    let (mut receiver, now) = (LinkReceiver::new(3), MS);
    assert_eq!(judged(receiver.on_mail(mail(1, 'a', 1, 3), now)), [1]);
    assert_eq!(receiver.on_mail(mail(2, 'a', 2, 5), now), [ReceiveAction::PullRoster { version: 5 }]);
    assert_eq!(receiver.on_mail(mail(3, 'b', 1, 3), now), [], "behind the one that waits");
    assert_eq!(receiver.on_mail(mail(4, 'a', 3, 6), now), []);
    let mut actions = receiver.on_roster(5, now);
    assert_eq!(actions.pop(), Some(ReceiveAction::PullRoster { version: 6 }));
    assert_eq!(judged(actions), [2, 3]);
    assert_eq!(judged(receiver.on_roster(6, now)), [4]);
    assert_eq!(receiver.next_wake(), None);
}

#[test]
fn mail_whose_roster_never_comes_is_put_off_with_its_lanes() {
    let mut receiver = LinkReceiver::new(0);
    receiver.on_mail(mail(1, 'a', 1, 9), MS);
    assert_eq!(receiver.on_tick(MS * 100), []);
    let wake = receiver.next_wake().unwrap();
    assert_eq!(receiver.on_tick(wake), put_off(1, LaterReason::RosterBehind));
    assert_eq!(receiver.on_mail(mail(2, 'a', 2, 0), wake), put_off(2, LaterReason::LaneHeld));
}

#[test]
fn a_peer_that_ignores_the_window_is_told_later() {
    let (mut receiver, now) = (LinkReceiver::new(0), MS);
    for seq in 1..=512 {
        assert_eq!(judged(receiver.on_mail(mail(seq, 'a', seq, 0), now)), [seq]);
    }
    assert_eq!(receiver.on_mail(mail(513, 'b', 1, 0), now), put_off(513, LaterReason::Limit));
    let large = Arrival { size: 9 << 20, ..mail(1, 'c', 1, 0) };
    assert_eq!(LinkReceiver::new(0).on_mail(large, now), put_off(1, LaterReason::Limit));
}

#[test]
fn an_outcome_nobody_waits_for_and_an_overlong_code_do_no_harm() {
    let mut receiver = LinkReceiver::new(0);
    assert_eq!(receiver.on_outcome(7, Outcome::Committed), None);
    receiver.on_mail(mail(1, 'a', 1, 0), MS);
    let verdict = receiver.on_outcome(1, Outcome::Refused { code: "é".repeat(100) });
    assert!(matches!(verdict, Some((1, Verdict::Refused(code))) if code.len() <= Verdict::CODE_LIMIT));
}

proptest! {
    /// Whatever the verdicts, each message is on its way at most once at a time and ends at most once.
    #[test]
    fn no_message_is_in_flight_twice_or_settled_twice(
        lanes in "[a-c]{1,30}",
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, 0u64..2_000), 0..200),
    ) {
        let mut desk = Desk::with(&lanes);
        let (mut flying, mut ended) = (Vec::new(), Vec::new());
        for (which, verdict, pause) in steps {
            for seq in desk.send() {
                prop_assert!(!flying.contains(&seq) && !ended.contains(&seq));
                flying.push(seq);
            }
            prop_assert!(flying.len() <= 4);
            desk.now += Duration::from_millis(pause);
            if flying.is_empty() {
                continue;
            }
            let seq = flying.remove(which.index(flying.len()));
            let verdict = match verdict {
                0 => LATER,
                1 => Verdict::Later(LaterReason::LaneGap),
                2 => Verdict::Refused("x".into()),
                _ => Verdict::Committed,
            };
            if !matches!(verdict, Verdict::Later(_)) {
                ended.push(seq);
            }
            desk.judged(seq, verdict);
        }
        // In the end everything goes.
        for _ in 0..10_000 {
            flying.extend(desk.send());
            let Some(seq) = flying.pop() else {
                let Some(wake) = desk.sender.next_wake() else { break };
                desk.now = desk.now.max(wake);
                continue;
            };
            desk.judged(seq, Verdict::Committed);
        }
        prop_assert!(desk.outbox.is_empty() && desk.sender.in_flight() == 0);
    }
}
