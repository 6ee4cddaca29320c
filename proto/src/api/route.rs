//! `POST /route` and the WebSocket frame `route` (AMP 05 §Route Request; AMP 08 §Send Message).

use crate::api::fields::{BadBody, Fields};
use crate::message::{Payload, Priority};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{AnyOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// A message to send, in the flat form or in the full form `{envelope, payload}` (RTE-1, RTE-11).
///
/// Both forms end here, so that whoever accepts the message handles one. Text is as sent: nothing is trimmed or lowercased.
#[derive(Debug, Clone, Default)]
pub struct RouteRequest {
    /// Sent as `{envelope, payload}`: the caller chose id and timestamp (ICL-14).
    pub full: bool,
    /// `envelope.version`.
    pub version: Option<String>,
    /// The client's own id (A-75).
    pub id: Option<String>,
    /// Only as a claim to be checked (A-9).
    pub from: Option<String>,
    /// The recipient as typed.
    pub to: String,
    /// The subject; present, perhaps empty.
    pub subject: String,
    /// As sent.
    pub priority: Option<String>,
    /// `envelope.timestamp`.
    pub timestamp: Option<String>,
    /// The thread.
    pub thread_id: Option<String>,
    /// The direct parent.
    pub in_reply_to: Option<String>,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// Base64; empty counts as absent (ICL-27).
    pub signature: Option<String>,
    /// Delivery options.
    pub options: RouteOptions,
    /// Unknown members of the envelope, passed on (MSG-14). Empty in the flat form.
    pub extra: Map<String, Value>,
    /// The payload, verbatim. `None` only in a default value.
    pub payload: Option<Box<RawValue>>,
}

/// `options` of a route request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteOptions {
    /// The sender wants `message.delivered` (RCP-1).
    #[serde(default)]
    pub receipt: bool,
}

impl RouteRequest {
    /// Reads a request body in either form.
    ///
    /// # Errors
    /// [`BadBody`] naming the member; members of the envelope are named without a prefix, as in the flat form.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let mut outer = Fields::parse(body)?;
        let payload = outer.raw("payload");
        let options = outer.optional_object("options", "an object {receipt: true|false}")?;
        let mut request = match outer.object("envelope")? {
            Some(mut envelope) => {
                let mut request = Self::members(&mut envelope)?;
                request.full = true;
                request.extra = envelope
                    .rest()
                    .map(|(name, raw)| Ok((name, serde_json::from_str(raw.get())?)))
                    .collect::<Result<_, serde_json::Error>>()
                    .map_err(|e| BadBody::Unreadable(format!("the envelope holds {e}")))?;
                request
            }
            None => Self::members(&mut outer)?,
        };
        request.options = options.unwrap_or_default();
        request.payload = Some(payload.ok_or(BadBody::Missing("payload"))?);
        Ok(request)
    }

    fn members(fields: &mut Fields<'_>) -> Result<Self, BadBody> {
        let to = fields.text("to")?;
        let subject = fields.optional_text("subject")?.ok_or(BadBody::Missing("subject"))?;
        Ok(Self {
            to,
            subject,
            version: fields.optional_text("version")?,
            id: fields.optional_text("id")?,
            from: fields.optional_text("from")?,
            priority: fields.optional_text("priority")?,
            timestamp: fields.optional_text("timestamp")?,
            thread_id: fields.optional_text("thread_id")?,
            in_reply_to: fields.optional_text("in_reply_to")?,
            expires_at: fields.optional_text("expires_at")?,
            signature: fields.optional_text("signature")?.filter(|text| !text.is_empty()),
            ..Self::default()
        })
    }
}

/// The head of a message that is to be sent.
#[derive(Serialize, ToSchema)]
#[schema(as = RouteHead)]
struct Members<'a> {
    /// `amp/0.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// The client's own id (A-75).
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// Only as a claim: another agent than the caller is refused (A-9).
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    /// The recipient: a full address, or a short form of one (ADR-10).
    #[schema(min_length = 1, max_length = 254, example = "bert@default.aimaestro.local")]
    to: &'a str,
    /// At most 256 characters; may be empty.
    #[schema(max_length = 256, example = "A change to review")]
    subject: &'a str,
    /// `urgent`, `high`, `normal` or `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Priority>)]
    priority: Option<&'a str>,
    /// RFC 3339; counts in the full form.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
    /// The first message of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    /// The direct parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_reply_to: Option<&'a str>,
    /// RFC 3339; at most 30 days ahead count.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<&'a str>,
    /// Base64 of the sender's signature (AMP 04 §Message Signing). Optional only towards agents of this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    signature: Option<&'a str>,
    /// Members that this node does not know; they travel along (MSG-14).
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

/// The full form: the client chose id and timestamp (RTE-11).
#[derive(Serialize, ToSchema)]
#[schema(as = RouteFull)]
struct Full<'a> {
    envelope: Members<'a>,
    /// Signed and delivered verbatim.
    #[schema(value_type = Payload)]
    payload: &'a Option<Box<RawValue>>,
    #[schema(value_type = Option<RouteOptions>)]
    options: RouteOptions,
}

/// The flat form: the node makes the envelope (RTE-1).
#[derive(Serialize, ToSchema)]
#[schema(as = RouteFlat)]
struct Flat<'a> {
    #[serde(flatten)]
    members: Members<'a>,
    #[schema(value_type = Option<RouteOptions>)]
    options: RouteOptions,
    /// Signed and delivered verbatim.
    #[schema(value_type = Payload)]
    payload: &'a Option<Box<RawValue>>,
}

/// Either form.
impl PartialSchema for RouteRequest {
    fn schema() -> RefOr<Schema> {
        let forms = [Flat::name(), Full::name()].map(Ref::from_schema_name);
        let example = json!({
            "to": "bert@default.aimaestro.local",
            "subject": "A change to review",
            "priority": "normal",
            "payload": {"type": "request", "message": "Please review the change."}
        });
        forms.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item).examples([example]).into()
    }
}

impl ToSchema for RouteRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Flat::name().into_owned(), Flat::schema()));
        schemas.push((Full::name().into_owned(), Full::schema()));
        schemas.push((Members::name().into_owned(), Members::schema()));
        schemas.push((RouteOptions::name().into_owned(), RouteOptions::schema()));
        schemas.push((Payload::name().into_owned(), Payload::schema()));
    }
}

impl Serialize for RouteRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = Members {
            version: self.version.as_deref(),
            id: self.id.as_deref(),
            from: self.from.as_deref(),
            to: &self.to,
            subject: &self.subject,
            priority: self.priority.as_deref(),
            timestamp: self.timestamp.as_deref(),
            thread_id: self.thread_id.as_deref(),
            in_reply_to: self.in_reply_to.as_deref(),
            expires_at: self.expires_at.as_deref(),
            signature: self.signature.as_deref(),
            extra: &self.extra,
        };
        if self.full {
            Full { envelope: members, payload: &self.payload, options: self.options }.serialize(serializer)
        } else {
            Flat { members, options: self.options, payload: &self.payload }.serialize(serializer)
        }
    }
}

/// What became of a routed message so far (RTE-2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "msg_1790000000_a1b2c3", "status": "queued", "method": "relay", "basis": "mailbox_written",
    "queued_at": "2026-09-21T13:33:20Z"
}))]
pub struct RouteResponse {
    /// The message's id.
    pub id: String,
    /// `delivered`, `queued` or `failed`.
    pub status: String,
    /// `websocket`, `webhook`, `relay`, `mesh` or `local`.
    #[serde(default)]
    pub method: String,
    /// What the status rests on: `socket_written`, `webhook_2xx`, `mailbox_written`, `queued` or `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// RFC 3339, when delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    /// RFC 3339, when queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<String>,
    /// The host that took it, or is to take it (MSH-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_host: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(body: &str) -> (&'static str, Option<&'static str>) {
        let error = RouteRequest::parse(body.as_bytes()).unwrap_err();
        (error.code(), error.field())
    }

    #[test]
    fn the_flat_form_of_the_shell_client_is_read_with_its_nulls() {
        let body = r#"{"to":"b@x.y.z","subject":"s","priority":"normal","payload":{"type":"t","message":"m","context":null,"n":1.50},"in_reply_to":null,"thread_id":null,"signature":""}"#;
        let request = RouteRequest::parse(body.as_bytes()).unwrap();
        assert!(!request.full && request.signature.is_none() && request.in_reply_to.is_none());
        assert_eq!(request.payload.unwrap().get(), r#"{"type":"t","message":"m","context":null,"n":1.50}"#);
    }

    #[test]
    fn the_full_form_keeps_id_and_unknown_members_of_the_envelope() {
        let body = r#"{"envelope":{"version":"amp/0.1","id":"msg_1_a","from":"a@x.y.z","to":"b@x.y.z","subject":"","priority":"high","from_did":"did:key:z"},"payload":{},"options":{"receipt":true}}"#;
        let request = RouteRequest::parse(body.as_bytes()).unwrap();
        assert!(request.full && request.options.receipt);
        assert_eq!(request.id.as_deref(), Some("msg_1_a"));
        assert_eq!(request.extra["from_did"], "did:key:z");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(bad(r#"{"subject":"s","payload":{}}"#), ("missing_field", Some("to")));
        assert_eq!(bad(r#"{"to":"b","payload":{}}"#), ("missing_field", Some("subject")));
        assert_eq!(bad(r#"{"to":"b","subject":"s"}"#), ("missing_field", Some("payload")));
        assert_eq!(bad(r#"{"to":["b"],"subject":"s","payload":{}}"#), ("invalid_field", Some("to")));
        assert_eq!(bad(r#"{"to":"b","to":"c","subject":"s","payload":{}}"#), ("invalid_request", None));
        assert_eq!(
            bad(r#"{"envelope":{"to":"b","to":"c"},"payload":{}}"#),
            ("invalid_field", Some("envelope"))
        );
        assert_eq!(bad(r#"{"envelope":7,"payload":{}}"#), ("invalid_field", Some("envelope")));
    }

    #[test]
    fn what_is_written_reads_back_in_both_forms() {
        for full in [false, true] {
            let mut request = RouteRequest::parse(
                br#"{"to":"b@x.y.z","subject":"s","signature":"c2ln","payload":{"n":1.0e+5}}"#,
            )
            .unwrap();
            request.full = full;
            let text = serde_json::to_vec(&request).unwrap();
            let back = RouteRequest::parse(&text).unwrap();
            assert_eq!((back.full, back.to.as_str()), (full, "b@x.y.z"));
            assert_eq!(back.payload.unwrap().get(), r#"{"n":1.0e+5}"#);
        }
    }
}
