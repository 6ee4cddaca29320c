//! A message as a provider hands it over, before anything in it is believed. Called by fetching and following.

use super::raw::RawObject;
use amesh_proto::api::pending::Delivery;
use amesh_proto::id::MessageId;
use serde_json::value::RawValue;

/// What came, each part as its JSON text.
#[derive(Debug, Clone)]
pub struct Received {
    /// The id to show, store and acknowledge it by.
    pub id: String,
    /// The envelope.
    pub envelope: Box<RawValue>,
    /// The payload; perhaps wrapped by the provider.
    pub payload: Box<RawValue>,
    /// The sender's key as the provider knows it.
    pub sender_key: Option<String>,
    /// What the provider says about the message.
    pub local: RawObject,
    /// RFC 3339.
    pub queued_at: Option<String>,
}

/// Why an entry of a mailbox cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not a message.
    #[error("the provider handed over something that is no message: {0}")]
    Shape(String),
    /// Its id could not be a file's name.
    #[error("the provider handed over a message whose id cannot be stored: {0:?}")]
    Id(String),
}

impl Received {
    /// Reads one entry of a mailbox page, whoever serves it (RLY-3, ICL-16).
    ///
    /// # Errors
    /// When it is not a message, or its id would be dangerous in a path.
    pub fn parse(entry: &RawValue) -> Result<Self, Unusable> {
        let entry = RawObject::parse(entry.get()).map_err(|error| Unusable::Shape(error.to_string()))?;
        let part = |name: &str| {
            let raw = entry.get(name).ok_or_else(|| Unusable::Shape(format!("it has no {name}")))?;
            RawObject::parse(raw.get()).map_err(|error| Unusable::Shape(format!("{name}: {error}")))?;
            Ok(raw.to_owned())
        };
        let envelope = part("envelope")?;
        let own_id = || RawObject::parse(envelope.get()).ok()?.text("id");
        let id = entry.text("id").or_else(own_id).unwrap_or_default();
        Ok(Self {
            id: storable(id)?,
            payload: part("payload")?,
            sender_key: entry.text("sender_public_key"),
            local: entry.object("local"),
            queued_at: entry.text("queued_at"),
            envelope,
        })
    }

    /// Takes over what the WebSocket delivered.
    ///
    /// # Errors
    /// When its id would be dangerous in a path.
    pub fn from_delivery(delivery: Delivery) -> Result<Self, Unusable> {
        let local = delivery.local.and_then(|local| serde_json::to_string(&local).ok());
        Ok(Self {
            id: storable(delivery.id)?,
            envelope: delivery.envelope,
            payload: delivery.payload,
            sender_key: delivery.sender_public_key,
            local: local.and_then(|text| RawObject::parse(&text).ok()).unwrap_or_default(),
            queued_at: Some(delivery.queued_at).filter(|at| !at.is_empty()),
        })
    }
}

/// CLI-10; other providers' own ids are tolerated as the reference client does (ICL-20).
fn storable(id: String) -> Result<String, Unusable> {
    let mut letters = id.chars();
    let tolerable = (4..=64).contains(&id.len())
        && letters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if tolerable || MessageId::parse(&id).is_ok() { Ok(id) } else { Err(Unusable::Id(id)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Received, Unusable> {
        Received::parse(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn an_entry_without_an_outer_id_goes_by_the_envelopes() {
        let received = parse(r#"{"envelope":{"id":"msg_1_a"},"payload":{"n":1.50}}"#).unwrap();
        assert_eq!((received.id.as_str(), received.payload.get()), ("msg_1_a", r#"{"n":1.50}"#));
    }

    #[test]
    fn an_id_that_is_a_path_is_refused() {
        for id in ["../../x", "a/b", "", ".abc", "msg_1_a/../b"] {
            let text = format!(r#"{{"id":"{id}","envelope":{{}},"payload":{{}}}}"#);
            assert!(matches!(parse(&text), Err(Unusable::Id(_))), "{id}");
        }
        assert!(parse(r#"{"id":"0b1c-22","envelope":{},"payload":{}}"#).is_ok());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in ["[]", "7", r#"{"id":"msg_1_a"}"#, r#"{"id":"msg_1_a","envelope":[],"payload":{}}"#] {
            assert!(matches!(parse(text), Err(Unusable::Shape(_))), "{text}");
        }
    }
}
