//! What hosts of the AMP 06a kind say to each other over plain HTTP (AMP 06a §Mesh Routing; MSH-4, 5; IPR-1…9): forwarded
//! messages, agents looked up by name, hosts that introduce themselves. Used by the node's HTTP mesh, in both directions.
//!
//! Answers are read leniently: such hosts write `hostId` or `host_id`, and leave out what they do not have. What this
//! node says is written in the spelling of the reference network.

use crate::api::fields::{BadBody, Fields};
use crate::api::route::RouteRequest;
use crate::limits;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The header that names the forwarding host (MSH-4).
pub const FORWARDED_FROM: &str = "x-forwarded-from";
/// The header with the message's id.
pub const ENVELOPE_ID: &str = "x-amp-envelope-id";
/// The header with the sender's signature, as in the body.
pub const SIGNATURE: &str = "x-amp-signature";
/// The header with the sender's public key, in hex. Some hosts leave it out (A-36).
pub const SENDER_KEY: &str = "x-amp-sender-key";

/// The way a message came (MSH-5). All of it is only the forwarding host's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The sender, as signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_from: Option<String>,
    /// The recipient, as signed (A-3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_to: Option<String>,
    /// The forwarding host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_by: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_at: Option<String>,
}

/// A forwarded message as it came: a route request with a `from` of its own and a trail.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    /// The message.
    pub request: RouteRequest,
    /// Its way.
    pub trail: Trail,
}

impl Forward {
    /// Reads a body.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let request = RouteRequest::parse(body)?;
        let mut trail = Trail::default();
        if let Some(mut fields) = Fields::parse(body)?.object("_forwarded")? {
            trail.original_from = fields.optional_text("original_from")?;
            trail.original_to = fields.optional_text("original_to")?;
            trail.forwarded_by = fields.optional_text("forwarded_by")?;
            trail.forwarded_at = fields.optional_text("forwarded_at")?;
        }
        Ok(Self { request, trail })
    }
}

/// A message that is forwarded, as it leaves (IPR-3).
#[derive(Debug, Serialize)]
pub struct ForwardBody<'a> {
    /// The sender, as signed.
    pub from: &'a str,
    /// The bare name of the recipient.
    pub to: &'a str,
    /// The subject, as signed.
    pub subject: &'a str,
    /// The payload, verbatim.
    pub payload: &'a RawValue,
    /// The priority.
    pub priority: &'a str,
    /// The parent, or null.
    pub in_reply_to: Option<&'a str>,
    /// The first message of the thread.
    pub thread_id: &'a str,
    /// When it loses its meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<&'a str>,
    /// The sender's signature.
    pub signature: &'a str,
    /// Its way.
    #[serde(rename = "_forwarded")]
    pub trail: Trail,
}

/// What a host answered to a forward, whatever its status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardAnswer {
    /// The id under which it has the message; often not ours (IPR-4).
    pub id: Option<String>,
    /// `delivered`, `queued`, `failed` or another word.
    pub status: Option<String>,
    /// `accepted`, where it says so (A-29).
    pub accepted: Option<bool>,
    /// `delivered`, where it says so: whether the recipient has it (FED-12).
    pub delivered: Option<bool>,
    /// How the recipient got it, or will.
    pub method: Option<String>,
    /// The code of an error body.
    pub error: Option<String>,
    /// Its words.
    pub message: Option<String>,
}

impl ForwardAnswer {
    /// Reads a body; nothing where it is no JSON object.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let members = object(body)?;
        let (mut error, mut message) = (text(&members, &["error", "code"]), text(&members, &["message"]));
        if let Some(Value::Object(inner)) = members.get("error") {
            error = text(inner, &["code", "error", "type"]);
            message = text(inner, &["message"]).or(message);
        }
        Some(Self {
            id: text(&members, &["id", "message_id", "messageId"]),
            status: text(&members, &["status"]),
            accepted: members.get("accepted").and_then(Value::as_bool),
            delivered: members.get("delivered").and_then(Value::as_bool),
            method: text(&members, &["method"]),
            error,
            message,
        })
    }

    /// Its code, where it is one: a short word. Otherwise, what stands for one.
    #[must_use]
    pub fn code_or<'a>(&'a self, otherwise: &'a str) -> &'a str {
        let is_word = |code: &&str| {
            code.len() <= CODE && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        self.error.as_deref().or(self.status.as_deref()).filter(is_word).unwrap_or(otherwise)
    }

    /// Whether its error is one of `codes`.
    #[must_use]
    pub fn is_one_of(&self, codes: &[&str]) -> bool {
        self.error.as_deref().is_some_and(|error| codes.contains(&error))
    }

    /// Whether it says that there is no such recipient (A-82).
    #[must_use]
    pub fn knows_nobody(&self) -> bool {
        self.is_one_of(&["not_found", "invalid_recipient", "recipient_not_found", "agent_not_found"])
    }

    /// The id under which it has the message, where that can be one.
    #[must_use]
    pub fn remote_id(self) -> Option<String> {
        self.id.filter(|id| id.len() <= limits::MESSAGE_ID_LEN && !id.chars().any(char::is_control))
    }

    /// Whether a 2xx with this body says that the host has the message (IPR-3, A-29).
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let status = self.status.as_deref();
        let denied = self.accepted == Some(false) || status == Some("failed") || status == Some("rejected");
        let said = self.id.is_some()
            || self.accepted == Some(true)
            || matches!(status, Some("delivered" | "queued"));
        said && !denied
    }
}

const CODE: usize = 64;

/// The answer to a look-up by name (IPR-5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByName {
    /// The agent, where the host has it.
    pub agent: Option<NamedAgent>,
}

/// An agent as its host describes it. Any of it may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedAgent {
    /// The host's own id for it.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// The host it lives on, where the host asked knows agents of others.
    pub host_id: Option<String>,
    /// Whether it is registered for messaging.
    pub registered: Option<bool>,
    /// Its full address.
    pub address: Option<String>,
    /// Its public key, in any form.
    pub public_key: Option<String>,
}

impl ByName {
    /// Reads a body; nothing where it is no JSON object. An agent counts as there when it is described, or when the host
    /// says only that it exists.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let members = object(body)?;
        let exists = members.get("exists").and_then(Value::as_bool);
        let agent = match members.get("agent") {
            Some(Value::Object(agent)) if exists != Some(false) => Some(NamedAgent::of(agent)),
            _ if exists == Some(true) => Some(NamedAgent::default()),
            _ => None,
        };
        Some(Self { agent })
    }

    /// As this node answers, the key and the host in both spellings.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Some(agent) = &self.agent else { return json!({"exists": false}) };
        let (id, name, host, key) = (&agent.id, &agent.name, &agent.host_id, &agent.public_key);
        json!({"exists": true, "agent": {
            "id": id, "name": name, "hostId": host, "host_id": host, "ampRegistered": agent.registered,
            "address": agent.address, "publicKey": key, "public_key": key,
        }})
    }
}

impl NamedAgent {
    fn of(members: &Map<String, Value>) -> Self {
        let registered = ["ampRegistered", "amp_registered", "registered"];
        Self {
            id: text(members, &["id", "agent_id", "agentId"]),
            name: text(members, &["name", "alias"]),
            host_id: text(members, &["hostId", "host_id", "host"]),
            registered: registered.iter().find_map(|name| members.get(*name)?.as_bool()),
            address: text(members, &["address", "ampAddress", "amp_address"]),
            public_key: text(members, &["publicKey", "public_key", "publicKeyHex", "public_key_hex"]),
        }
    }
}

/// A host that is to become a peer, as somebody describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFace {
    /// Its id, in lower case and without `.local` (IPR-11).
    pub id: String,
    /// Where it is reached.
    pub url: String,
    /// A name for people.
    pub name: Option<String>,
}

/// A host that introduces itself, or others (IPR-8, IPR-9).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Introduction {
    /// The host that speaks.
    pub host: HostFace,
    /// Hosts it knows. Others than the first [`Introduction::KNOWN`] are not read.
    pub known: Vec<HostFace>,
    /// Its organization, which is shown and never adopted.
    pub organization: Option<String>,
}

impl Introduction {
    /// Most hosts that are read of one introduction.
    pub const KNOWN: usize = 32;

    /// Reads the body of `register-peer` or `exchange-peers`.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let unreadable = || BadBody::Unreadable("expected a JSON object".to_owned());
        let members = object(body).ok_or_else(unreadable)?;
        let described = ["host", "fromHost", "from_host"].iter().find_map(|name| members.get(*name));
        let Some(Value::Object(host)) = described else { return Err(BadBody::Missing("host")) };
        let host = HostFace {
            id: host_id(&text(host, &["id"]).ok_or(BadBody::Missing("host.id"))?),
            url: text(host, &["url"]).ok_or(BadBody::Missing("host.url"))?,
            name: text(host, &["name"]),
        };
        let known = ["knownHosts", "known_hosts"].iter().find_map(|name| members.get(*name)?.as_array());
        let known = known.into_iter().flatten().filter_map(HostFace::read).take(Self::KNOWN).collect();
        Ok(Self { host, known, organization: text(&members, &["organization"]) })
    }
}

impl HostFace {
    fn read(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let id = host_id(&text(members, &["id"])?);
        Some(Self { id, url: text(members, &["url"])?, name: text(members, &["name"]) })
    }
}

/// A host's id as it is compared: in lower case, without `.local` (IPR-11).
#[must_use]
pub fn host_id(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    text.strip_suffix(".local").map(str::to_owned).unwrap_or(text)
}

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body).ok()? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// The first of these members that holds text; of endless text, the beginning is not worth having.
fn text(members: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let found = names.iter().filter_map(|name| members.get(*name)?.as_str()).map(str::trim);
    found.into_iter().find(|text| !text.is_empty() && text.len() <= LONGEST_TEXT).map(str::to_owned)
}

/// Longer than a key of 8192 bits in PEM.
const LONGEST_TEXT: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_of_a_named_agent_read_alike() {
        let camel = br#"{"exists":true,"agent":{"id":"1","name":"bob","hostId":"den","ampRegistered":true,"publicKey":"aa"}}"#;
        let snake = br#"{"exists":true,"agent":{"agent_id":"1","name":"bob","host_id":"den","amp_registered":true,"public_key":"aa"}}"#;
        assert_eq!(ByName::parse(camel), ByName::parse(snake));
        assert_eq!(ByName::parse(camel).unwrap().agent.unwrap().host_id.as_deref(), Some("den"));
    }

    #[test]
    fn a_look_up_with_missing_members_still_says_whether_the_agent_is_there() {
        let there = |body: &str| ByName::parse(body.as_bytes()).map(|answer| answer.agent.is_some());
        assert_eq!(there(r#"{"exists":false}"#), Some(false));
        assert_eq!(there(r#"{"exists":true}"#), Some(true));
        assert_eq!(there(r#"{"agent":{}}"#), Some(true));
        assert_eq!(there(r#"{"agent":null}"#), Some(false));
        assert_eq!(there(r#"{"exists":false,"agent":{}}"#), Some(false));
        assert_eq!(there("{}"), Some(false));
        assert_eq!(there("[]"), None);
        assert_eq!(there("<html>"), None);
    }

    #[test]
    fn only_an_answer_that_says_so_means_that_the_message_was_taken() {
        let taken =
            |body: &str| ForwardAnswer::parse(body.as_bytes()).is_some_and(|answer| answer.is_taken());
        for body in [
            r#"{"id":"msg_1_a","status":"delivered","method":"local"}"#,
            r#"{"message_id":"x"}"#,
            r#"{"status":"queued"}"#,
            r#"{"accepted":true}"#,
        ] {
            assert!(taken(body), "{body}");
        }
        for body in [
            "{}",
            r#"{"ok":true}"#,
            r#"{"id":""}"#,
            r#"{"id":"x","status":"failed"}"#,
            r#"{"id":"x","accepted":false}"#,
            "welcome to the airport",
        ] {
            assert!(!taken(body), "{body}");
        }
    }

    #[test]
    fn an_error_is_read_as_a_word_or_as_an_object() {
        let flat = ForwardAnswer::parse(br#"{"error":"not_found","message":"nobody"}"#).unwrap();
        let nested = ForwardAnswer::parse(br#"{"error":{"code":"not_found","message":"nobody"}}"#).unwrap();
        assert_eq!((flat.error.as_deref(), flat.message.as_deref()), (Some("not_found"), Some("nobody")));
        assert_eq!(flat, nested);
    }

    #[test]
    fn an_introduction_names_what_it_lacks_and_is_read_up_to_a_limit() {
        let lacks = |body: &str| Introduction::parse(body.as_bytes()).unwrap_err();
        assert_eq!(lacks("{}").field(), Some("host"));
        assert_eq!(lacks(r#"{"host":{"url":"http://x"}}"#).field(), Some("host.id"));
        assert_eq!(lacks(r#"{"host":{"id":"x"}}"#).field(), Some("host.url"));
        assert_eq!(lacks("[]").code(), "invalid_request");
        let many: Vec<_> = (0..100).map(|n| json!({"id": format!("h{n}"), "url": "http://h"})).collect();
        let body =
            json!({"fromHost": {"id": "Den.local", "url": "http://den:1"}, "knownHosts": many}).to_string();
        let introduction = Introduction::parse(body.as_bytes()).unwrap();
        assert_eq!((introduction.host.id.as_str(), introduction.known.len()), ("den", Introduction::KNOWN));
    }

    #[test]
    fn a_forward_keeps_its_payload_and_its_trail() {
        let body = br#"{"from":"a@t.p.local","to":"bob","subject":"s","payload":{"type":"x","n":1.0e2},
            "_forwarded":{"original_to":"bob@t.p.local","forwarded_by":"den"}}"#;
        let forward = Forward::parse(body).unwrap();
        assert_eq!(forward.request.payload.unwrap().get(), r#"{"type":"x","n":1.0e2}"#);
        assert_eq!(forward.trail.original_to.as_deref(), Some("bob@t.p.local"));
        let bad = Forward::parse(br#"{"to":"b","subject":"s","payload":{},"_forwarded":[]}"#).unwrap_err();
        assert_eq!(bad.field(), Some("_forwarded"));
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_parser_fail_otherwise_than_by_saying_so(body in any::<Vec<u8>>()) {
            drop(ByName::parse(&body));
            drop(ForwardAnswer::parse(&body));
            Introduction::parse(&body).ok();
            Forward::parse(&body).ok();
        }

        #[test]
        fn nearly_right_answers_are_read_or_refused_and_texts_stay_bounded(
            name in "[a-zA-Z_]{0,12}", value in "(null|true|7|\"[a-z .]{0,20}\"|\\[\\]|\\{\"code\":\"x\"\\}|\"\")"
        ) {
            let body = format!(r#"{{"exists":true,"agent":{{"{name}":{value}}},"{name}":{value},"host":{{"id":"h","url":{value}}}}}"#);
            if let Some(found) = ByName::parse(body.as_bytes()).and_then(|answer| answer.agent) {
                prop_assert!(found.name.is_none_or(|name| !name.is_empty() && name.len() <= LONGEST_TEXT));
            }
            let id = ForwardAnswer::parse(body.as_bytes()).and_then(|answer| answer.id);
            prop_assert!(id.is_none_or(|id| !id.is_empty() && id.len() <= LONGEST_TEXT));
            Introduction::parse(body.as_bytes()).ok();
        }

        #[test]
        fn what_this_node_answers_is_what_it_would_read(
            id in "[a-z0-9]{1,8}", name in "[a-z]{1,8}", host in "[a-z]{1,8}", registered in any::<bool>()
        ) {
            let agent = NamedAgent {
                id: Some(id), name: Some(name.clone()), host_id: Some(host), registered: Some(registered),
                address: Some(format!("{name}@t.p.local")), public_key: Some("00".to_owned()),
            };
            let answer = ByName { agent: Some(agent) };
            prop_assert_eq!(ByName::parse(answer.to_json().to_string().as_bytes()), Some(answer));
        }
    }
}
