//! Why a delivery is not taken (FED-13, FED-15, IPR-17). Codes for machines, words for people; `http` gives the status.

use crate::federation::{ResolveError, Untrusted};
use crate::message::Refusal;
use amesh_proto::api::fields::BadBody;
use amesh_proto::delivery::DeliveryFault;
use amesh_store::StoreError;
use serde_json::{Map, Value, json};

/// See the module. Nothing of the delivery is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It says that it comes from this very provider.
    #[error("this provider delivers nothing to itself")]
    Oneself,
    /// Its provider is not one to take mail from now.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Its time or its signature is not good.
    #[error(transparent)]
    Delivery(#[from] DeliveryFault),
    /// Too many of something; seconds to wait.
    #[error("too many {what}; try again in {retry_after} s")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// In seconds.
        retry_after: u64,
    },
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] BadBody),
    /// A member is missing.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A member holds what is not allowed.
    #[error("the field `{field}` is not valid: {why}")]
    Invalid {
        /// The member.
        field: &'static str,
        /// For people.
        why: String,
    },
    /// The sender is not of the provider that brings it (FED-10).
    #[error("{sender} is not an agent of {provider}; a provider brings only its own")]
    ForeignSender {
        /// The sender.
        sender: String,
        /// Who brings it.
        provider: String,
    },
    /// There is no such agent in this domain; nothing is relayed.
    #[error("there is no agent {0} here")]
    NoRecipient(String),
    /// No key is known for the sender, and none is given.
    #[error("no key is known for the sender, and `sender_public_key` gives none")]
    KeyUnknown,
    /// The key is in other hands, as far as the owner knows.
    #[error("the sender's key was revoked here as compromised")]
    KeyRevoked,
    /// The sender had another key before (IPR-29).
    #[error(
        "{address} had another key before; if that is right, the owner of this node runs: amesh federation forget {address}"
    )]
    KeyConflict {
        /// The sender.
        address: String,
        /// Of the key that is known.
        known: String,
        /// Of the key that came.
        presented: String,
    },
    /// No more senders are remembered.
    #[error("this node remembers no more senders of this provider")]
    Full,
    /// The message itself was refused.
    #[error(transparent)]
    Message(#[from] Refusal),
    /// The node is going down.
    #[error("this node is stopping")]
    Stopping,
}

impl From<StoreError> for NotTaken {
    fn from(error: StoreError) -> Self {
        Self::Message(Refusal::Store(error.to_string()))
    }
}

impl NotTaken {
    /// The machine-readable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Oneself | Self::ForeignSender { .. } => "forbidden",
            Self::Untrusted(untrusted) => match untrusted {
                Untrusted::NotLookedUp(ResolveError::TooOften { .. }) => "rate_limited",
                Untrusted::NotTrusted(_) | Untrusted::NotLookedUp(_) | Untrusted::Unusable { .. } => {
                    "provider_not_trusted"
                }
                Untrusted::Silent(_) => "unavailable",
                Untrusted::OtherKey(_) => "key_conflict",
            },
            Self::Delivery(fault) => fault.code(),
            Self::TooMany { .. } => "rate_limited",
            Self::Body(bad) => bad.code(),
            Self::Missing(_) => "missing_field",
            Self::Invalid { .. } => "invalid_field",
            Self::NoRecipient(_) | Self::Message(Refusal::NoRecipient(_)) => "recipient_not_found",
            Self::KeyUnknown => "key_not_found",
            Self::KeyRevoked => "key_revoked",
            Self::KeyConflict { .. } => "key_conflict",
            Self::Full => "queue_full",
            Self::Message(refusal) => refusal.code(),
            Self::Stopping => "unavailable",
        }
    }

    /// The member or header at fault.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Oneself | Self::Untrusted(_) => Some("X-AMP-Provider"),
            Self::Delivery(DeliveryFault::Signature) => Some("X-AMP-Signature"),
            Self::Delivery(_) => Some("X-AMP-Timestamp"),
            Self::Body(bad) => bad.field(),
            Self::Missing(field) | Self::Invalid { field, .. } => Some(field),
            Self::ForeignSender { .. } => Some("from"),
            Self::NoRecipient(_) => Some("to"),
            Self::KeyUnknown | Self::KeyRevoked | Self::KeyConflict { .. } => Some("sender_public_key"),
            Self::Message(refusal) => refusal.field(),
            Self::TooMany { .. } | Self::Full | Self::Stopping => None,
        }
    }

    /// More for machines, by code.
    #[must_use]
    pub fn details(&self) -> Map<String, Value> {
        let details = match self {
            Self::KeyConflict { address, known, presented } => {
                json!({"address": address, "knownFingerprint": known, "presentedFingerprint": presented})
            }
            Self::Message(refusal) => return refusal.details(),
            _ => return Map::new(),
        };
        match details {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// When to try again, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after, .. }
            | Self::Untrusted(Untrusted::NotLookedUp(ResolveError::TooOften { retry_after }))
            | Self::Message(Refusal::Limited { retry_after }) => Some(*retry_after),
            Self::Untrusted(Untrusted::Silent(_)) => Some(30),
            Self::Stopping => Some(5),
            Self::Message(Refusal::Moving(_) | Refusal::Unsure(_)) => Some(1),
            _ => None,
        }
    }

    /// Whether the same delivery may be taken later, so that nobody is at fault.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.retry_after().is_some() || matches!(self, Self::Full)
    }
}
