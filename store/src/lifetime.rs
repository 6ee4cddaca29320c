//! How long a message may live, and how long it is remembered. Called by `accept` and `notice`.

use amesh_proto::time::UnixMillis;
use std::time::Duration;

/// max(24 h, TTL) + 24 h from now (DESIGN §5, Clocks).
pub(crate) fn forget_at(expires_at: UnixMillis, now: UnixMillis) -> UnixMillis {
    now.plus(expires_at.saturating_since(now).max(DAY) + DAY)
}

/// `expires_at`, but no later than 30 days from now (DESIGN §5, Clocks).
pub(crate) fn clamped(expires_at: UnixMillis, now: UnixMillis) -> UnixMillis {
    expires_at.min(now.plus(LONGEST_LIFE))
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// No message lives longer.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
