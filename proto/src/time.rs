//! Wall-clock instants as the protocol writes them. Called by everything that stamps or judges a time.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct UnixMillis(pub u64);

/// The last instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
const LAST_WRITABLE: u64 = 253_402_300_799_999;

impl UnixMillis {
    /// The instant `secs` whole seconds after the epoch.
    #[must_use]
    pub fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This instant `step` later; stops at the largest representable one.
    #[must_use]
    pub fn plus(self, step: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(step.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This instant `step` earlier; stops at the epoch.
    #[must_use]
    pub fn minus(self, step: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(step.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` until this instant; zero when `earlier` is in fact later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `2026-11-22T11:00:00Z`. Whole seconds, because shell clients parse nothing finer (`jq fromdate`).
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let secs = i64::try_from(self.0.min(LAST_WRITABLE) / 1000).unwrap_or_default();
        OffsetDateTime::from_unix_timestamp(secs)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
    }

    /// Reads an RFC 3339 instant with any offset and fraction. `None` for anything else, and before 1970.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::UnixMillis;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn offsets_and_fractions_are_understood() {
        let want = Some(UnixMillis(1_764_000_000_250));
        assert_eq!(UnixMillis::parse_rfc3339("2025-11-24T16:00:00.25Z"), want);
        assert_eq!(UnixMillis::parse_rfc3339("2025-11-24T18:00:00.250+02:00"), want);
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in ["", "now", "2025-11-24", "2025-02-30T00:00:00Z", "1969-12-31T23:59:58Z"] {
            assert_eq!(UnixMillis::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixMillis(u64::MAX).plus(Duration::MAX), UnixMillis(u64::MAX));
        assert_eq!(UnixMillis(5).minus(Duration::from_secs(1)), UnixMillis(0));
        assert_eq!(UnixMillis(5).saturating_since(UnixMillis(9)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn whole_seconds_survive_print_and_parse(secs in 0..253_402_300_800u64) {
            let at = UnixMillis::from_secs(secs);
            prop_assert_eq!(UnixMillis::parse_rfc3339(&at.to_rfc3339()), Some(at));
        }

        #[test]
        fn printing_never_panics(ms in any::<u64>()) {
            prop_assert!(UnixMillis(ms).to_rfc3339().ends_with('Z'));
        }
    }
}
