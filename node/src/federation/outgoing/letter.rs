//! One message as it leaves for another provider: the body, written once, and the signature, made for every attempt (FED-7,
//! FED-8, A-27, A-28). Called by `worker`; posted by `client`.

use amesh_proto::delivery::{self, Beside, CLOCK_DIFFERENCE_S};
use amesh_proto::key::PublicKey;
use amesh_proto::time::UnixMillis;
use amesh_store::OutboxEntry;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) body: Vec<u8>,
    /// It has waited longer than others let an envelope stay fresh.
    pub(super) is_old: bool,
}

impl Letter {
    /// Nothing for a message whose stored text is damaged. `hex` writes the key as the reference provider does.
    pub(super) fn of(
        entry: &OutboxEntry,
        key: Option<&PublicKey>,
        hex: bool,
        now: UnixMillis,
    ) -> Option<Self> {
        let mail = &entry.mail;
        let key = key.map(|key| match key.raw_ed25519() {
            Some(_) if hex => key.sender_key_text(),
            _ => key.to_pem(),
        });
        let queued_at = entry.queued_at.to_rfc3339();
        let beside = Beside { sender_key: key.as_deref(), queued_at: Some(&queued_at) };
        let body = delivery::body(&mail.envelope, &mail.payload, beside).ok()?;
        let stamped = mail.envelope().ok()?.timestamp;
        let stamped = UnixMillis::parse_rfc3339(&stamped).unwrap_or(entry.queued_at);
        let is_old = now.saturating_since(stamped) > Duration::from_secs(CLOCK_DIFFERENCE_S);
        Some(Self { body, is_old })
    }
}
