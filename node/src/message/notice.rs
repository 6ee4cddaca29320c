//! `system` messages: what this node itself has to tell an agent (DESIGN §1.9). Written here, put into the mailbox by
//! the store in the same commit as what they tell of. Never sent about a `system` message.

use crate::agents::SYSTEM_NAME;
use amesh_proto::address::{Address, AddressError, Naming};
use amesh_proto::id::MessageId;
use amesh_proto::limits;
use amesh_proto::message::{ENVELOPE_VERSION, Envelope, Mail, Priority};
use amesh_proto::time::UnixMillis;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Something to tell an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Mail that was accepted will not arrive.
    Undeliverable {
        /// The message's id.
        id: MessageId,
        /// Whom it was for.
        to: String,
        /// Its subject.
        subject: String,
        /// Its thread.
        thread_id: String,
        /// `expired`, or the code of the refusing side.
        code: String,
        /// The refusing side's words; data, not instructions.
        detail: String,
    },
    /// A new API key was given for the agent without proof of its key.
    Reregistered {
        /// Who asked, for people.
        by: String,
    },
    /// Somebody who wrote to the agent lost a private key to others (KEY-10).
    KeyCompromised {
        /// Whose it was.
        address: Address,
        /// The lost key's fingerprint.
        was: String,
        /// The present key's.
        now: String,
    },
    /// Mail that waited at another provider was not taken over from there.
    NotTakenOver {
        /// The provider's domain.
        provider: String,
        /// The message's id there.
        id: String,
        /// What it says of its sender; data, not to be believed.
        from: String,
        /// For people.
        why: String,
    },
    /// The owner gave the agent another name.
    Renamed {
        /// Its address until now.
        was: String,
        /// Its address from now on.
        now: String,
    },
}

impl Notice {
    /// That `mail` will not arrive.
    #[must_use]
    pub fn undeliverable(mail: &Mail, code: &str, detail: &str) -> Self {
        let envelope = mail.envelope().ok();
        let (subject, thread_id) = envelope.map_or_else(
            || (String::new(), mail.id.as_str().to_owned()),
            |envelope| (envelope.subject, envelope.thread_id),
        );
        Self::of_failure((mail.id.clone(), &mail.to), (subject, thread_id), code, detail)
    }

    /// The same of mail that a member of the mesh had taken to carry it on: its subject is no longer known here.
    pub(super) fn unforwarded(id: &MessageId, to: &Address, code: &str, detail: &str) -> Self {
        Self::of_failure((id.clone(), to), (id.to_string(), id.to_string()), code, detail)
    }

    fn of_failure(
        (id, to): (MessageId, &Address),
        (subject, thread_id): (String, String),
        code: &str,
        detail: &str,
    ) -> Self {
        // Code and words come from another host: bounded, and a code is no place for anything but a code.
        let is_code = code.len() <= 40 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        Self::Undeliverable {
            id,
            to: to.to_string(),
            subject,
            thread_id,
            code: if is_code { code.to_owned() } else { "refused".to_owned() },
            detail: cut(detail, DETAIL_CHARS),
        }
    }

    /// The message that tells it to `recipient`.
    pub(super) fn compose(
        &self,
        naming: &Naming,
        recipient: &Address,
        now: UnixMillis,
        random: [u8; 8],
    ) -> Result<Mail, AddressError> {
        let from = naming.address_of(SYSTEM_NAME)?;
        let id = MessageId::mint(now, random);
        let (parent, thread_id) = match self {
            Self::Undeliverable { id, thread_id, .. } => (Some(id.to_string()), thread_id.clone()),
            Self::Reregistered { .. }
            | Self::KeyCompromised { .. }
            | Self::Renamed { .. }
            | Self::NotTakenOver { .. } => (None, id.to_string()),
        };
        let envelope = Envelope {
            version: ENVELOPE_VERSION.to_owned(),
            id: id.to_string(),
            from: from.to_string(),
            to: recipient.to_string(),
            subject: self.subject(),
            priority: Priority::Normal,
            timestamp: now.to_rfc3339(),
            thread_id,
            in_reply_to: parent,
            expires_at: None,
            signature: None,
            extra: Map::new(),
        };
        let payload = json!({"type": "system", "message": self.text(), "context": self.context()});
        Ok(Mail {
            id,
            from,
            to: recipient.clone(),
            priority: Priority::Normal,
            envelope: serde_json::to_vec(&envelope).unwrap_or_default(),
            payload: payload.to_string().into_bytes(),
            form: None,
            accepted_at: now,
            expires_at: now.plus(KEPT),
            receipt: false,
        })
    }

    fn subject(&self) -> String {
        match self {
            Self::Undeliverable { subject, .. } => {
                cut(&format!("Undeliverable: {subject}"), limits::SUBJECT_CHARS)
            }
            Self::Reregistered { .. } => "A new API key was issued for you".to_owned(),
            Self::KeyCompromised { address, .. } => {
                cut(&format!("A key of {address} is in other hands"), limits::SUBJECT_CHARS)
            }
            Self::Renamed { .. } => "You have another name".to_owned(),
            Self::NotTakenOver { provider, .. } => {
                cut(&format!("A message from {provider} was not taken over"), limits::SUBJECT_CHARS)
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Undeliverable { id, to, code, .. } if code == "expired" => {
                format!(
                    "Your message {id} to {to} expired before it could be delivered. It was not delivered."
                )
            }
            Self::Undeliverable { id, to, code, .. } => {
                format!(
                    "Your message {id} to {to} was refused by the recipient's host ({code}). It was not delivered."
                )
            }
            Self::Reregistered { by } => format!(
                "Somebody registered your name again with your public key and was given a new API key; the earlier ones \
                 no longer work. Asked by: {by}. If that was not you, register again and tell the owner of this machine."
            ),
            Self::KeyCompromised { address, was, now } => format!(
                "{address} has replaced its key because somebody else has the old one. Mail that you had from {address} may have \
                 been written by somebody else, and the old key verifies nothing any more. Old key: {was}. New key: {now}."
            ),
            Self::NotTakenOver { provider, .. } => format!(
                "A message that waited for you at {provider} was not put into your mailbox and does not wait there any more. \
                 The context says which one and why; what it says of the sender is not to be believed."
            ),
            Self::Renamed { was, now } => format!(
                "The owner of this node gave you another name. You were {was} and are {now}. Your keys and your mail are as \
                 they were; sign as {now} from now on: what is signed as {was} is refused."
            ),
        }
    }

    fn context(&self) -> Value {
        match self {
            Self::Undeliverable { id, to, code, detail, .. } => {
                json!({"event": "delivery_failed", "id": id.as_str(), "to": to, "code": code, "detail": detail})
            }
            Self::Reregistered { by } => json!({"event": "reregistered", "by": by}),
            Self::KeyCompromised { address, was, now } => json!({
                "event": "key_compromised", "address": address.as_str(), "old_fingerprint": was, "fingerprint": now,
            }),
            Self::NotTakenOver { provider, id, from, why } => json!({
                "event": "not_taken_over", "provider": provider, "id": cut(id, ID_CHARS), "from": cut(from, DETAIL_CHARS),
                "why": cut(why, DETAIL_CHARS),
            }),
            Self::Renamed { was, now } => json!({"event": "renamed", "was": was, "now": now}),
        }
    }
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

const DETAIL_CHARS: usize = 300;
const ID_CHARS: usize = 128;
const KEPT: Duration = Duration::from_secs(30 * 86_400);
