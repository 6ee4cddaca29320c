//! Mail over one link as two state machines without I/O or clock: what to send when ([`send`]), and what to judge when
//! ([`receive`]). Driven by the peer's task; times are monotonic.
//!
//! Order holds per lane (DESIGN §1.7). The store at the receiving end checks lane numbers durably; these machines see
//! to it that one lane's trouble holds up no other, and that nothing is sent twice while its fate is open.

pub(crate) mod receive;
pub(crate) mod send;
#[cfg(test)]
mod tests;

pub(crate) use receive::{Arrival, LinkReceiver, Outcome, ReceiveAction};
pub(crate) use send::{LinkSender, Offer, Scan, Settled, Window};
