//! When a link must be doubted: a state machine without clock or I/O. A link over which mail is on its way and from
//! which nothing has come for a while is raced by a fresh connection, since QUIC's own probes grow rarer the longer
//! a cable is out (DESIGN §1.7). Driven by `keeper`.

use std::time::Duration;

/// What is known of one link's liveness. Times are monotonic.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    heard_at: Duration,
    packets: u64,
    /// Since when we have been owed an answer.
    owed_since: Option<Duration>,
}

impl Pulse {
    /// A link that has just come up.
    pub(crate) fn new(now: Duration) -> Self {
        Self { heard_at: now, packets: 0, owed_since: None }
    }

    /// `packets` is how many have come over the link so far; `owed` whether sent mail still lacks its verdict.
    pub(crate) fn observe(&mut self, now: Duration, packets: u64, owed: bool) {
        if packets != self.packets {
            self.packets = packets;
            self.heard_at = now;
        }
        match (owed, self.owed_since) {
            (true, None) => self.owed_since = Some(now),
            (false, Some(_)) => self.owed_since = None,
            _ => {}
        }
    }

    /// Whether the link owes an answer and has been silent for too long.
    pub(crate) fn is_doubtful(&self, now: Duration) -> bool {
        self.owed_since.is_some_and(|since| now.saturating_sub(since.max(self.heard_at)) >= PATIENCE)
    }

    /// How long nothing has come.
    pub(crate) fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard_at)
    }
}

/// Many round trips on a LAN, and well under the 2 s within which mail must flow again.
const PATIENCE: Duration = Duration::from_millis(1000);

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_link_that_owes_nothing_is_not_doubted() {
        let mut pulse = Pulse::new(S);
        pulse.observe(S, 10, false);
        assert!(!pulse.is_doubtful(S * 20));
    }

    #[test]
    fn a_link_that_owes_an_answer_is_doubted_once_it_is_silent() {
        let mut pulse = Pulse::new(S);
        pulse.observe(S * 10, 10, true);
        assert!(!pulse.is_doubtful(S * 10 + S / 2));
        pulse.observe(S * 11, 10, true);
        assert!(pulse.is_doubtful(S * 11));
    }

    #[test]
    fn a_slow_but_living_link_is_not_doubted() {
        let mut pulse = Pulse::new(S);
        for step in 0..40_u32 {
            let now = S + S / 2 * step;
            pulse.observe(now, u64::from(step), true);
            assert!(!pulse.is_doubtful(now));
        }
    }

    #[test]
    fn silence_before_the_mail_was_sent_does_not_count() {
        let mut pulse = Pulse::new(S);
        pulse.observe(S * 100, 0, true);
        assert!(!pulse.is_doubtful(S * 100));
        assert_eq!(pulse.silent_for(S * 100), S * 99);
    }
}
