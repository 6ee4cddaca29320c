//! trust (being written).

use crate::address::Address;
use serde::{Deserialize, Serialize};

/// How far a message is to be trusted (TRU-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Signed, of the recipient's own tenant.
    Verified,
    /// Signed, of another tenant or provider.
    External,
    /// Not signed.
    Untrusted,
}

/// The label of a message from `from` to `to` whose signature was verified, or that had none.
#[must_use]
pub fn label(from: &Address, to: &Address, signed: bool) -> Trust {
    match signed {
        false => Trust::Untrusted,
        true if to.same_tenant(from) => Trust::Verified,
        true => Trust::External,
    }
}
