//! The one thing the hallway knows of whatever moves mail to another place (STYLE §2.5).
//!
//! A carrier reads the outbox itself, in order, and reports with `Hallway::settle`. Implemented by `mesh`, later by
//! federation; called by `deliver`.

use amesh_store::Destination;

/// Moves mail from the outbox to one kind of destination.
pub trait Carrier: Send + Sync + std::fmt::Debug {
    /// Whether this carrier is the one for `destination`.
    fn serves(&self, destination: &Destination) -> bool;

    /// New mail, or a receipt, for `destination` is on disk. Must not block, and may be called thousands of times a second.
    fn wake(&self, destination: &Destination);

    /// Whether a verdict on new mail can be expected within milliseconds: connected, and no backlog before it.
    /// It only decides whether `/route` waits for the verdict, at most 250 ms.
    fn answers_soon(&self, destination: &Destination) -> bool;
}
