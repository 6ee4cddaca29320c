//! Notices that time passed without this process: the machine slept, or the process stood still. Timers stand still with a
//! machine that sleeps and would only go on waiting afterwards; whoever rests by one listens here, too (DESIGN §1.7 counts
//! resume among the signs). Started by `node`; heard by the mesh, the bridge, the hallway and housekeeping.

use crate::clock::SharedClock;
use crate::tasks::Tasks;
use std::time::Duration;
use tokio::sync::watch;

/// Hears of every waking from its making on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waking(watch::Receiver<()>);

impl Waking {
    /// Watches `clock`, which goes on in sleep, as a task of `tasks`.
    #[must_use]
    pub fn notice(clock: SharedClock, tasks: &Tasks) -> Self {
        let (tell, told) = watch::channel(());
        tasks.spawn_until_stopped(async move {
            let (mut gaps, mut turns) = (Gaps::default(), tokio::time::interval(LOOK));
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                if let Some(missed) = gaps.look(clock.monotonic()) {
                    tracing::info!(?missed, "awake again: this machine slept, or this process stood still");
                    tell.send_replace(());
                }
            }
        });
        Self(told)
    }

    /// Waits for the next waking.
    pub async fn next(&mut self) {
        // Whoever told is gone: the node is stopping.
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Rests for `pause`, or until the next waking.
    pub async fn rest(&mut self, pause: Duration) {
        drop(tokio::time::timeout(pause, self.next()).await);
    }
}

#[cfg(test)]
impl Waking {
    /// Told by the test.
    pub(crate) fn by_hand() -> (watch::Sender<()>, Self) {
        let (tell, told) = watch::channel(());
        (tell, Self(told))
    }
}

/// What passed between two looks at the clock.
#[derive(Debug, Default)]
struct Gaps {
    seen: Option<Duration>,
}

impl Gaps {
    /// To be called every [`LOOK`]: what passed unseen, if that is more than a busy machine explains.
    fn look(&mut self, now: Duration) -> Option<Duration> {
        let missed = now.saturating_sub(self.seen.replace(now)?);
        (missed > UNSEEN).then_some(missed)
    }
}

/// Mail is to flow within 2 s of waking up.
const LOOK: Duration = Duration::from_millis(500);
/// A link outlives as much without being asked.
const UNSEEN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use amesh_proto::time::UnixMillis;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_hour_of_sleep_is_noticed_once_and_slow_turns_are_not() {
        let mut gaps = Gaps::default();
        let mut now = HOUR * 24;
        assert_eq!(gaps.look(now), None, "there is nothing yet to compare with");
        for seconds in [1, 3, 5] {
            now += Duration::from_secs(seconds);
            assert_eq!(gaps.look(now), None);
        }
        now += HOUR;
        assert_eq!(gaps.look(now), Some(HOUR));
        assert_eq!(gaps.look(now + LOOK), None);
    }

    #[tokio::test]
    async fn everybody_who_listens_hears_of_it() {
        let (clock, tasks) = (ManualClock::at(UnixMillis(0)), Tasks::new("waking"));
        let mut waking = Waking::notice(clock.clone(), &tasks);
        let mut other = waking.clone();
        // The first look has nothing to compare with: sleep until it is behind us.
        while tokio::time::timeout(LOOK * 2, waking.next()).await.is_err() {
            clock.advance(HOUR);
        }
        other.next().await;
    }

    #[tokio::test]
    async fn a_rest_ends_when_the_machine_wakes_up() {
        let (tell, mut waking) = Waking::by_hand();
        waking.rest(Duration::from_millis(1)).await;
        tell.send_replace(());
        waking.rest(HOUR * 1000).await;
    }
}
