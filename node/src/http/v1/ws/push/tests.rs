//! The order in which a socket writes, page by page, over a real mailbox.

use super::Progress;
use crate::message::tests::house::{House, signed_by_class};
use amesh_proto::message::Priority::{self, High, Low, Normal, Urgent};
use proptest::prelude::*;
use std::sync::Arc;

/// An agent's mailbox and the socket that empties it.
struct Desk {
    house: House,
    alice: Arc<crate::agents::Agent>,
    bob: Arc<crate::agents::Agent>,
    progress: Progress,
    sent: usize,
}

impl Desk {
    /// A socket that opened when these were there.
    async fn with(before: &[Priority]) -> Self {
        let house = House::new();
        let (alice, bob) = (house.agent("alice").await, house.agent("bob").await);
        let progress = Progress::since(house.store.position());
        let mut desk = Self { house, alice, bob, progress, sent: 0 };
        desk.receive(before).await;
        desk.progress = Progress::since(desk.house.store.position());
        desk
    }

    async fn receive(&mut self, classes: &[Priority]) {
        for class in classes {
            let request = signed_by_class("alice", "bob", *class, &self.sent.to_string());
            self.house.send(&self.alice, request).await.unwrap();
            self.sent += 1;
        }
    }

    /// The next page: what the messages' numbers and classes are.
    fn page(&mut self) -> Vec<(usize, Priority)> {
        let page = self.progress.next_page(&self.house.hallway, &self.bob).unwrap();
        let number = |payload: &[u8]| {
            let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
            payload["message"].as_str().unwrap().parse().unwrap()
        };
        page.iter().map(|entry| (number(&entry.mail.payload), entry.mail.priority)).collect()
    }

    fn rest(&mut self) -> Vec<(usize, Priority)> {
        let mut all = Vec::new();
        loop {
            match self.page() {
                page if page.is_empty() => return all,
                page => all.extend(page),
            }
        }
    }
}

#[tokio::test]
async fn urgent_mail_passes_a_backlog_of_many_pages_and_low_mail_goes_last() {
    let mut desk = Desk::with(&[]).await;
    desk.receive(&[Low; 3]).await;
    desk.receive(&[Normal; 60]).await;
    assert_eq!(desk.page(), (3..19).map(|n| (n, Normal)).collect::<Vec<_>>());
    desk.receive(&[Urgent, High, Urgent]).await;
    assert_eq!(desk.page(), [(63, Urgent), (65, Urgent)]);
    assert_eq!(desk.page(), [(64, High)]);
    let rest = desk.rest();
    assert_eq!(rest, (19..63).map(|n| (n, Normal)).chain((0..3).map(|n| (n, Low))).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_waited_is_replayed_in_its_order_whatever_its_class() {
    let mut desk = Desk::with(&[Low, Urgent, Normal, High, Urgent]).await;
    let order: Vec<usize> = desk.rest().into_iter().map(|(n, _)| n).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn live_urgent_mail_passes_a_replay_unless_urgent_mail_is_still_to_be_replayed() {
    let mut replayed = vec![Normal; 20];
    replayed.insert(18, Urgent);
    let mut desk = Desk::with(&replayed).await;
    desk.receive(&[Urgent, High, Normal, Low]).await;
    assert_eq!(desk.page(), [(22, High)], "no high mail is to be replayed");
    assert_eq!(desk.page().len(), 16);
    assert_eq!(desk.page().first(), Some(&(16, Normal)), "an urgent one is still to come");
    assert_eq!(desk.rest(), [(21, Urgent), (23, Normal), (24, Low)]);
}

#[tokio::test]
async fn a_flood_of_urgent_mail_does_not_starve_the_rest() {
    let mut desk = Desk::with(&[]).await;
    desk.receive(&[Low, Normal]).await;
    let (mut seen, mut pages) = (Vec::new(), 0);
    while seen.len() < 2 {
        desk.receive(&[Urgent]).await;
        seen.extend(desk.page().into_iter().filter(|(_, class)| *class != Urgent));
        pages += 1;
        assert!(pages <= 24, "only {seen:?} after {pages} pages");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn all_mail_is_written_once_and_every_class_in_its_order(
        before in proptest::collection::vec(0usize..4, 0..40),
        rounds in proptest::collection::vec((proptest::collection::vec(0usize..4, 0..12), 0usize..3), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let classes = |numbers: &[usize]| numbers.iter().map(|n| Priority::ALL[*n]).collect::<Vec<_>>();
            let mut desk = Desk::with(&classes(&before)).await;
            let mut written = Vec::new();
            for (arriving, pages) in rounds {
                desk.receive(&classes(&arriving)).await;
                (0..pages).for_each(|_| written.extend(desk.page()));
            }
            written.extend(desk.rest());
            for class in Priority::ALL {
                let of_class: Vec<usize> = written.iter().filter(|(_, its)| *its == class).map(|(n, _)| *n).collect();
                assert!(of_class.is_sorted(), "{class:?}: {of_class:?}");
            }
            let mut all: Vec<usize> = written.into_iter().map(|(n, _)| n).collect();
            all.sort_unstable();
            assert_eq!(all, (0..desk.sent).collect::<Vec<_>>());
        });
    }
}
