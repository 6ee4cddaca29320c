//! A message as it is carried and stored. Made by the doors, read by every carrier and by the client.

pub use crate::priority::{Priority, UnknownPriority};

use crate::address::Address;
use crate::canonical::CanonicalForm;
use crate::id::MessageId;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What `envelope.version` says (MSG-2, A-21).
pub const ENVELOPE_VERSION: &str = "amp/0.1";

/// The envelope as JSON shows it (MSG-1). Members that we do not know travel along (MSG-14).
///
/// `from` and `to` are the spellings that were signed (A-3, A-4), so they are text, not [`Address`]es.
/// Not for postcard: it flattens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Envelope {
    /// `amp/0.1`.
    #[serde(default = "default_version")]
    pub version: String,
    /// The message's id as the recipient sees it.
    pub id: String,
    /// Who wrote it, as signed.
    pub from: String,
    /// For whom it is, as signed.
    pub to: String,
    /// What it is about, as signed or as typed (A-2).
    pub subject: String,
    /// How urgent it is; always written (ICL-21).
    #[serde(default)]
    pub priority: Priority,
    /// When the sender or the accepting node stamped it; not signed.
    pub timestamp: String,
    /// First message of the thread (MSG-11).
    pub thread_id: String,
    /// The parent message, `null` when there is none.
    #[serde(default)]
    pub in_reply_to: Option<String>,
    /// When the message loses its meaning.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Standard base64 of the sender's signature; absent for unsigned mail.
    #[serde(default)]
    pub signature: Option<String>,
    /// Members that we do not know, kept and passed on (MSG-14, A-78).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn default_version() -> String {
    ENVELOPE_VERSION.to_owned()
}

/// The members of a payload that AMP prescribes (MSG-6). Others travel along, and all of it travels verbatim (SIG-11):
/// nothing is ever read into this type and written again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Payload {
    /// What kind of message this is: `request`, `response`, `notification`, or any other word (A-51).
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 128, example = "request")]
    pub kind: String,
    /// The text.
    #[schema(min_length = 1, max_length = 65536, example = "Please review the change.")]
    pub message: String,
    /// Anything that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
    /// Members that we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A message on its way: what frames carry and the store keeps. Frozen: a change needs a new version byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The id that the accepting node gave or kept.
    pub id: MessageId,
    /// The sender's full address.
    pub from: Address,
    /// The recipient's full address.
    pub to: Address,
    /// Decides the lane.
    pub priority: Priority,
    /// The [`Envelope`] as JSON text.
    #[serde(with = "serde_bytes")]
    pub envelope: Vec<u8>,
    /// The payload's JSON text, verbatim as the sender wrote it (SIG-11).
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// Which form the signature covered; `None` for unsigned mail.
    pub form: Option<CanonicalForm>,
    /// When the origin node accepted it; decides which key judges it (DESIGN §3).
    pub accepted_at: UnixMillis,
    /// When it is given up.
    pub expires_at: UnixMillis,
    /// Whether the sender asked for a delivery receipt (RCP-1).
    pub receipt: bool,
}

impl Mail {
    /// Reads the envelope's JSON text.
    ///
    /// # Errors
    /// When the text is not an envelope.
    pub fn envelope(&self) -> Result<Envelope, serde_json::Error> {
        serde_json::from_slice(&self.envelope)
    }

    /// Bytes that count against queue and size limits.
    #[must_use]
    pub fn size(&self) -> usize {
        self.envelope.len() + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Envelope, Mail, Priority};
    use crate::address::Address;
    use crate::canonical::CanonicalForm;
    use crate::id::MessageId;
    use crate::time::UnixMillis;

    const ENVELOPE: &str = r#"{"version":"amp/0.1","id":"msg_1_a","from":"Bob@t.p.q","to":"al@t.p.q","subject":"s","priority":"high","timestamp":"2026-01-01T00:00:00Z","thread_id":"msg_1_a","in_reply_to":null,"expires_at":null,"signature":null,"from_did":"did:key:z6"}"#;

    #[test]
    fn unknown_members_of_an_envelope_travel_along() {
        let envelope: Envelope = serde_json::from_str(ENVELOPE).unwrap();
        assert_eq!(serde_json::to_string(&envelope).unwrap(), ENVELOPE);
    }

    #[test]
    fn a_missing_priority_is_normal_and_an_odd_one_is_refused() {
        let text = ENVELOPE.replace(r#""priority":"high","#, "");
        assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap().priority, Priority::Normal);
        assert!(Priority::parse("High").is_err());
        assert!(serde_json::from_str::<Envelope>(&ENVELOPE.replace("high", "asap")).is_err());
    }

    #[test]
    fn mail_survives_postcard_byte_for_byte() {
        let mail = Mail {
            id: MessageId::parse("msg_1_a").unwrap(),
            from: Address::parse("bob@t.agents.corp.io", &["agents.corp.io"]).unwrap(),
            to: Address::parse("al@t.p.q", &[]).unwrap(),
            priority: Priority::Low,
            envelope: ENVELOPE.into(),
            payload: br#"{"message":"x"}"#.to_vec(),
            form: Some(CanonicalForm::EMITTED),
            accepted_at: UnixMillis(1),
            expires_at: UnixMillis(2),
            receipt: true,
        };
        let back: Mail = postcard::from_bytes(&postcard::to_stdvec(&mail).unwrap()).unwrap();
        assert_eq!(back, mail);
        assert_eq!(back.from.provider(), "agents.corp.io");
        assert_eq!(back.envelope().unwrap().from, "Bob@t.p.q");
    }
}
