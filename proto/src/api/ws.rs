//! Frames of the WebSocket `/v1/ws` (AMP 05 §WebSocket Delivery; AMP 08 §WebSocket API).

use crate::api::fields::{BadBody, Fields};
use crate::api::pending::{Delivery, Local};
use crate::api::route::RouteResponse;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a client says.
#[derive(Debug, Clone)]
pub enum ClientFrame {
    /// First frame: the API key (WS-2).
    Auth {
        /// The key.
        token: String,
    },
    /// A sign of life (WS-8).
    Ping,
    /// A message is dealt with (WS-7, A-13).
    Ack {
        /// Its id as shown.
        id: String,
    },
    /// As `POST /route` (WS-10).
    Route {
        /// The request body, verbatim.
        data: Box<RawValue>,
        /// Echoed in the reply (A-15).
        reference: Option<Box<RawValue>>,
    },
    /// A type this version does not know.
    Unknown {
        /// Its name.
        kind: String,
    },
}

impl ClientFrame {
    /// Reads one text frame.
    ///
    /// # Errors
    /// [`BadBody`] naming the member; the connection survives it (WS-12).
    pub fn parse(text: &[u8]) -> Result<Self, BadBody> {
        let mut fields = Fields::parse(text)?;
        let kind = fields.text("type")?;
        match kind.as_str() {
            "auth" => Ok(Self::Auth { token: fields.text("token")? }),
            "ping" => Ok(Self::Ping),
            "ack" | "message.ack" => {
                if let Some(id) = fields.optional_text("id")? {
                    return Ok(Self::Ack { id });
                }
                let mut data = fields.object("data")?.ok_or(BadBody::Missing("id"))?;
                Ok(Self::Ack { id: data.text("id")? })
            }
            "route" => Ok(Self::Route {
                data: fields.raw("data").ok_or(BadBody::Missing("data"))?,
                reference: fields.raw("ref").or_else(|| fields.raw("id")),
            }),
            _ => Ok(Self::Unknown { kind }),
        }
    }
}

/// `connected`, in both shapes (A-10).
#[derive(Debug, Clone, Serialize)]
pub struct Connected<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    data: ConnectedData<'a>,
    #[serde(flatten)]
    top: ConnectedData<'a>,
}

/// `address` and `pending_count` (WS-3).
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ConnectedData<'a> {
    /// The agent's address.
    pub address: &'a str,
    /// Mail waiting.
    pub pending_count: usize,
}

impl<'a> Connected<'a> {
    /// The frame for an agent.
    #[must_use]
    pub fn new(address: &'a str, pending_count: usize) -> Self {
        let data = ConnectedData { address, pending_count };
        Self { kind: "connected", data, top: data }
    }
}

/// `message.new`, in both shapes (A-11).
#[derive(Debug, Clone, Serialize)]
pub struct MessageNew<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    data: MessageNewData<'a>,
    id: &'a str,
    envelope: &'a RawValue,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_public_key: Option<&'a str>,
    delivered_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<&'a Local>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replay: bool,
}

#[derive(Debug, Clone, Serialize)]
struct MessageNewData<'a> {
    id: &'a str,
    envelope: &'a RawValue,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_public_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<&'a Local>,
    queued_at: &'a str,
    expires_at: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replay: bool,
}

impl<'a> MessageNew<'a> {
    /// The frame for a delivery; `replay` marks what waited before the socket opened (A-16).
    #[must_use]
    pub fn new(mail: &'a Delivery, delivered_at: &'a str, replay: bool) -> Self {
        let (id, envelope, payload) = (mail.id.as_str(), mail.envelope.as_ref(), mail.payload.as_ref());
        let (sender_public_key, local) = (mail.sender_public_key.as_deref(), mail.local.as_ref());
        let data = MessageNewData {
            id,
            envelope,
            payload,
            sender_public_key,
            local,
            queued_at: &mail.queued_at,
            expires_at: &mail.expires_at,
            replay,
        };
        Self {
            kind: "message.new",
            data,
            id,
            envelope,
            payload,
            sender_public_key,
            delivered_at,
            local,
            replay,
        }
    }
}

/// `message.delivered` (WS-11, RCP-1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDelivered {
    /// The message.
    pub id: String,
    /// Its recipient.
    pub to: String,
    /// RFC 3339.
    pub delivered_at: String,
    /// How.
    #[serde(default)]
    pub method: String,
}

/// `message.read` (WS-11, RCP-2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRead {
    /// The message.
    pub id: String,
    /// Its recipient.
    #[serde(default)]
    pub to: String,
    /// RFC 3339.
    pub read_at: String,
}

/// `error` (WS-12).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorFrame {
    /// A code.
    pub error: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The member at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What the failed `route` frame gave as `ref`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Value>,
}

/// A frame with a type and `data`, as this node writes it.
#[derive(Debug, Clone, Serialize)]
pub struct Framed<'a, T: Serialize> {
    /// The type.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Its content.
    pub data: T,
    /// The client's `ref`.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'a RawValue>,
}

/// What a server says, as a client reads it: from `data` or from the top level, whichever is there (A-10, A-11).
#[derive(Debug, Clone)]
pub enum ServerFrame {
    /// The API key was accepted.
    Connected {
        /// The agent's address.
        address: String,
        /// Mail waiting.
        pending_count: usize,
    },
    /// Mail.
    Mail {
        /// The message.
        mail: Box<Delivery>,
        /// It waited before the socket opened.
        replay: bool,
    },
    /// A message of ours was delivered.
    Delivered(MessageDelivered),
    /// A message of ours was read.
    Read(MessageRead),
    /// The reply to a `route` frame.
    RouteResult(RouteResponse),
    /// The reply to a ping.
    Pong,
    /// Something was refused.
    Error(ErrorFrame),
    /// A type this version does not know.
    Unknown(String),
}

impl ServerFrame {
    /// Reads one text frame.
    ///
    /// # Errors
    /// [`BadBody`] where the frame is not what its type promises.
    pub fn parse(text: &[u8]) -> Result<Self, BadBody> {
        let mut fields = Fields::parse(text)?;
        let kind = fields.text("type")?;
        if kind == "error" {
            let invalid = |_| BadBody::Unreadable("an error frame without `error`".to_owned());
            return serde_json::from_slice(text).map(Self::Error).map_err(invalid);
        }
        if kind == "pong" {
            return Ok(Self::Pong);
        }
        let data = fields.object("data")?;
        let mut of = data.unwrap_or(fields);
        match kind.as_str() {
            "connected" => Ok(Self::Connected {
                address: of.text("address")?,
                pending_count: of.optional("pending_count", "a number")?.unwrap_or(0),
            }),
            "message.new" | "message" => Self::mail(&mut of),
            "message.delivered" => Ok(Self::Delivered(MessageDelivered {
                id: of.text("id")?,
                to: of.optional_text("to")?.unwrap_or_default(),
                delivered_at: of.optional_text("delivered_at")?.unwrap_or_default(),
                method: of.optional_text("method")?.unwrap_or_default(),
            })),
            "message.read" => Ok(Self::Read(MessageRead {
                id: of.text("id")?,
                to: of.optional_text("to")?.unwrap_or_default(),
                read_at: of.optional_text("read_at")?.unwrap_or_default(),
            })),
            "route.result" => Ok(Self::RouteResult(RouteResponse {
                id: of.text("id")?,
                status: of.text("status")?,
                method: of.optional_text("method")?.unwrap_or_default(),
                basis: of.optional_text("basis")?,
                delivered_at: of.optional_text("delivered_at")?,
                queued_at: of.optional_text("queued_at")?,
                remote_host: of.optional_text("remote_host")?,
            })),
            _ => Ok(Self::Unknown(kind)),
        }
    }

    fn mail(of: &mut Fields<'_>) -> Result<Self, BadBody> {
        let envelope = of.raw("envelope").ok_or(BadBody::Missing("envelope"))?;
        let id = match of.optional_text("id")? {
            Some(id) => id,
            None => Fields::parse(envelope.get().as_bytes())?.text("id")?,
        };
        let queued_at = of.optional_text("queued_at")?.or(of.optional_text("delivered_at")?);
        let mail = Delivery {
            id,
            envelope,
            payload: of.raw("payload").ok_or(BadBody::Missing("payload"))?,
            queued_at: queued_at.unwrap_or_default(),
            expires_at: of.optional_text("expires_at")?.unwrap_or_default(),
            sender_public_key: of.optional_text("sender_public_key")?,
            local: of.optional("local", "an object")?,
        };
        let replay = of.optional("replay", "true or false")?.unwrap_or(false);
        Ok(Self::Mail { mail: Box::new(mail), replay })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_read_in_all_its_shapes() {
        for text in [
            r#"{"type":"ack","id":"msg_1_a"}"#,
            r#"{"type":"message.ack","id":"msg_1_a"}"#,
            r#"{"type":"message.ack","data":{"id":"msg_1_a"}}"#,
        ] {
            let Ok(ClientFrame::Ack { id }) = ClientFrame::parse(text.as_bytes()) else {
                panic!("{text}");
            };
            assert_eq!(id, "msg_1_a");
        }
    }

    #[test]
    fn a_delivery_reads_back_from_either_shape_with_its_numbers_untouched() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let mail = Delivery {
            id: "msg_1_a".to_owned(),
            envelope: raw(r#"{"id":"msg_1_a"}"#),
            payload: raw(r#"{"n":1.50}"#),
            queued_at: "q".to_owned(),
            expires_at: "e".to_owned(),
            sender_public_key: Some("ab".to_owned()),
            local: None,
        };
        let text = serde_json::to_string(&MessageNew::new(&mail, "d", true)).unwrap();
        let legacy =
            r#"{"type":"message","envelope":{"id":"msg_1_a"},"payload":{"n":1.50},"delivered_at":"d"}"#;
        for text in [text.as_str(), legacy] {
            let Ok(ServerFrame::Mail { mail: back, .. }) = ServerFrame::parse(text.as_bytes()) else {
                panic!("{text}");
            };
            assert_eq!((back.id.as_str(), back.payload.get()), ("msg_1_a", r#"{"n":1.50}"#));
        }
    }

    #[test]
    fn connected_carries_its_fields_in_both_places() {
        let text = serde_json::to_string(&Connected::new("a@b.c.d", 3)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["data"]["pending_count"], 3);
        assert_eq!(value["address"], "a@b.c.d");
    }
}
