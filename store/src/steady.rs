//! Whether the wall clock can be believed: after a jump of over an hour nothing expires until it has been steady for an
//! hour (DESIGN §5, Clocks). Asked by `Store::expire`.

use amesh_proto::time::UnixMillis;
use std::time::Duration;

/// Compares the wall clock with one that nobody sets.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    last: Option<(UnixMillis, Duration)>,
    /// On the clock that nobody sets.
    unsteady_until: Option<Duration>,
}

impl ClockWatch {
    /// Whether nothing was observed yet in this life of the node.
    pub(crate) fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// Looks at both clocks. `remembered` is the wall clock of an earlier life. Gives how long to wait yet.
    pub(crate) fn observe(
        &mut self,
        now: UnixMillis,
        boot: Duration,
        remembered: Option<UnixMillis>,
    ) -> Option<Duration> {
        let jumped = match self.last {
            Some((wall, before)) => {
                let expected = wall.plus(boot.saturating_sub(before));
                differ(now, expected)
            }
            // Time that passed while the node was off looks like a jump: then an hour's patience costs nothing.
            None => remembered.is_some_and(|last| differ(now, last)),
        };
        self.last = Some((now, boot));
        if jumped {
            self.unsteady_until = Some(boot + STEADY);
        }
        self.unsteady_until = self.unsteady_until.filter(|until| *until > boot);
        self.unsteady_until.map(|until| until - boot)
    }
}

fn differ(a: UnixMillis, b: UnixMillis) -> bool {
    a.0.abs_diff(b.0) > JUMP.as_millis() as u64
}

const JUMP: Duration = Duration::from_secs(3600);
const STEADY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::ClockWatch;
    use amesh_proto::time::UnixMillis;
    use std::time::Duration;

    const MINUTE: u64 = 60;

    fn at(watch: &mut ClockWatch, wall: u64, boot: u64) -> Option<u64> {
        let wait = watch.observe(UnixMillis::from_secs(wall), Duration::from_secs(boot), None);
        wait.map(|wait| wait.as_secs() / MINUTE)
    }

    #[test]
    fn a_jump_in_either_direction_asks_for_an_hour_of_steadiness() {
        for jump in [-10_000_000i64, 10_000_000] {
            let mut watch = ClockWatch::default();
            let start = 1_000_000_000u64;
            assert_eq!(at(&mut watch, start, 0), None);
            assert_eq!(at(&mut watch, start + 7200, 7200), None, "time passes at the same pace");
            let jumped = start.saturating_add_signed(jump);
            assert_eq!(at(&mut watch, jumped, 7260), Some(60));
            assert_eq!(at(&mut watch, jumped + 30 * MINUTE, 7260 + 30 * MINUTE), Some(30));
            assert_eq!(at(&mut watch, jumped + 60 * MINUTE, 7260 + 60 * MINUTE), None);
        }
    }

    #[test]
    fn another_time_than_an_earlier_life_left_asks_for_it_too() {
        let earlier = Some(UnixMillis::from_secs(1_000_000_000));
        let mut watch = ClockWatch::default();
        let wait = watch.observe(UnixMillis::from_secs(1_400_000_000), Duration::ZERO, earlier);
        assert_eq!(wait, Some(Duration::from_secs(3600)));
        let mut watch = ClockWatch::default();
        assert_eq!(watch.observe(UnixMillis::from_secs(1_000_000_900), Duration::ZERO, earlier), None);
    }
}
