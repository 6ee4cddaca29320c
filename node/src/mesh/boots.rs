//! Two machines with one node key, as a third sees them: a state machine without clock or I/O. A node that restarts
//! never comes back with the number it drew at an earlier start; when an earlier number does return, both machines
//! are alive (DESIGN §3). Driven by `keeper`.

use std::time::Duration;

/// The start numbers under which one peer appeared lately.
#[derive(Debug, Default)]
pub(crate) struct Boots {
    /// Latest last: the number, and when it was last seen.
    seen: Vec<(u64, Duration)>,
}

/// What a start number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The same machine, or the machine restarted.
    Fine,
    /// Another machine than the one that is linked, with the same key.
    Twin,
}

impl Boots {
    /// A link with this start number has proven the peer's key at `now`.
    pub(crate) fn judge(&mut self, boot: u64, now: Duration) -> Judgement {
        self.seen.retain(|(_, at)| now.saturating_sub(*at) < MEMORY);
        match self.seen.iter().position(|(known, _)| *known == boot) {
            Some(at) if at + 1 < self.seen.len() => Judgement::Twin,
            Some(at) => {
                self.seen[at].1 = now;
                Judgement::Fine
            }
            None => {
                if self.seen.len() >= LIMIT {
                    self.seen.remove(0);
                }
                self.seen.push((boot, now));
                Judgement::Fine
            }
        }
    }
}

/// How long an old machine's return is recognised.
const MEMORY: Duration = Duration::from_secs(10 * 60);
const LIMIT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_node_that_restarts_or_reconnects_is_no_twin() {
        let mut boots = Boots::default();
        for (second, boot) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)] {
            assert_eq!(boots.judge(boot, at(second)), Judgement::Fine);
        }
    }

    #[test]
    fn an_earlier_start_that_returns_is_a_second_machine() {
        let mut boots = Boots::default();
        boots.judge(1, at(0));
        boots.judge(2, at(1));
        assert_eq!(boots.judge(1, at(2)), Judgement::Twin);
        assert_eq!(boots.judge(2, at(3)), Judgement::Fine, "the one that is linked stays");
        assert_eq!(boots.judge(1, at(60)), Judgement::Twin, "and the other stays out");
    }

    #[test]
    fn the_second_machine_gets_in_once_the_first_has_been_gone_for_long() {
        let mut boots = Boots::default();
        boots.judge(1, at(0));
        boots.judge(2, at(1));
        assert_eq!(boots.judge(1, at(700)), Judgement::Fine);
    }
}
