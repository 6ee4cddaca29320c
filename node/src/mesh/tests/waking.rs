//! A machine that slept: its links may be dead, though nothing says so, and timers know nothing of the hour that passed.

use super::cable::{cabled, join_by_cable};
use super::village::*;
use crate::clock::{Clock, SystemClock};
use crate::tasks::Tasks;
use crate::waking::Waking;
use amesh_proto::time::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn who_wakes_up_asks_around_and_dials_everybody_anew() {
    let (a, b, cable) = cabled().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    b.knows("alice").await;
    // The open link is good: that there is a better address now is no reason to dial.
    let direct = a.mesh.listen_addr();
    b.hears_of(&a).await;
    until("the address", || b.mesh.shared.addresses_of(&a.mesh.node_id()).contains(&direct)).await;
    // Whichever address answers first is taken, on a busy machine perhaps the cable's: there a new dial would not show.
    cable.let_no_new_link_through();
    let asked = b.finder.asked().refreshes;
    b.wakes.send_replace(());
    until("a link by the first address of all", || {
        b.mesh.peers()[1].address.as_deref() == Some(direct.to_string().as_str())
    })
    .await;
    assert!(b.finder.asked().refreshes > asked);
    for (from, sender, to, recipient) in [(&a, &alice, &b, &bob), (&b, &bob, &a, &alice)] {
        for text in numbered(5) {
            from.send(sender, recipient.address.name(), &text).await.unwrap();
        }
        to.receives(recipient, &numbered(5)).await;
    }
    drop(cable);
}

/// The machine's clocks, and what the test lets pass at once: by `CLOCK_BOOTTIME` and the wall, while timers stand still.
#[derive(Debug, Default)]
struct SleepersClock {
    slept_ms: AtomicU64,
}

impl SleepersClock {
    fn sleep(&self, length: Duration) {
        self.slept_ms.fetch_add(u64::try_from(length.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn slept(&self) -> Duration {
        Duration::from_millis(self.slept_ms.load(Ordering::SeqCst))
    }
}

impl Clock for SleepersClock {
    fn now(&self) -> UnixMillis {
        SystemClock.now().plus(self.slept())
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() + self.slept()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_hour_of_sleep_nothing_is_lost_doubled_or_out_of_order() {
    let clock = Arc::new(SleepersClock::default());
    let (desk, laptop) =
        (Node::with_clock("desk", clock.clone()).await, Node::with_clock("laptop", clock.clone()).await);
    let (desk, laptop, cable) = join_by_cable(desk, laptop).await;
    let (alice, bob) = (desk.agent("alice").await, laptop.agent("bob").await);
    desk.knows("bob").await;
    laptop.knows("alice").await;
    // As in a whole node: whoever looks at the clock tells the mesh that the machine woke up.
    let (tasks, wakes) = (Tasks::new("sleeper"), laptop.wakes.clone());
    let mut waking = Waking::notice(clock.clone(), &tasks);
    tasks.spawn(async move {
        waking.next().await;
        wakes.send_replace(());
    });
    let texts = numbered(40);
    for text in &texts[..10] {
        desk.send(&alice, "bob", text).await.unwrap();
        laptop.send(&bob, "alice", text).await.unwrap();
    }
    laptop.receives(&bob, &texts[..10]).await;

    // The lid closes with mail on its way; the desk goes on writing until it has given the link up, and after that.
    cable.pull();
    for text in &texts[10..20] {
        desk.send(&alice, "bob", text).await.unwrap();
        laptop.send(&bob, "alice", text).await.unwrap();
    }
    desk.parted_from(&laptop).await;
    for text in &texts[20..30] {
        desk.send(&alice, "bob", text).await.unwrap();
    }
    assert_eq!(laptop.texts(&bob), texts[..10], "nothing came while it slept");
    let asked = laptop.finder.asked().refreshes;
    clock.sleep(HOUR);
    cable.put_back();
    until("the waking", || laptop.finder.asked().refreshes > asked).await;

    for text in &texts[30..] {
        desk.send(&alice, "bob", text).await.unwrap();
    }
    for text in &texts[20..] {
        laptop.send(&bob, "alice", text).await.unwrap();
    }
    laptop.receives(&bob, &texts).await;
    desk.receives(&alice, &texts).await;
    until("verdicts", || {
        desk.store.outbox_destinations().is_empty() && laptop.store.outbox_destinations().is_empty()
    })
    .await;
    assert_eq!((laptop.texts(&bob), desk.texts(&alice)), (texts.clone(), texts));
}

const HOUR: Duration = Duration::from_secs(3600);
