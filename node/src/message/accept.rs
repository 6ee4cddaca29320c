//! Step 1 of the hallway: from what a door brought to a [`Draft`], all of whose fields are present, within their
//! limits (MSG-9, A-70) and such as this door may bring (RTE-3). Nothing here needs a key.

use super::Config;
mod carried;
mod federated;
pub(super) mod forwarded;
mod pulled;
#[cfg(test)]
mod tests;

use super::error::Refusal;
use super::guards::{self, Guard};
use super::incoming::Incoming;
use crate::agents::Agent;
use crate::agents::directory::{Directory, Standing};
use amesh_proto::api::fields::BadBody;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::attachment::{Attachment, ScanStatus, list_in};
use amesh_proto::id::MessageId;
use amesh_proto::key::PublicKey;
use amesh_proto::message::{ENVELOPE_VERSION, Envelope, Mail, Priority};
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::{json, limits};
use amesh_store::LaneStamp;
use forwarded::HostSource;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A message in the hallway.
#[derive(Debug)]
pub(super) struct Draft {
    pub source: Source,
    /// As it will be stored. For an agent's message the envelope's text is still to be written (step 2).
    pub mail: Mail,
    /// The envelope, read.
    pub envelope: Envelope,
    /// Set when the sender chose the id or gave an idempotency key: a repeat is then told from a new message.
    pub idempotency_key: Option<String>,
    pub lane: Option<LaneStamp>,
    /// The files that go with it.
    pub attachments: Vec<Attachment>,
}

impl Draft {
    /// Brought by a link, a host or a provider, not sent by an agent of this node.
    pub(super) fn is_carried(&self) -> bool {
        !matches!(self.source, Source::Agent(_))
    }

    /// From where unsigned mail is taken, as untrusted: an HTTP host that the owner relaxed, or an agent's own provider.
    pub(super) fn is_relaxed(&self) -> bool {
        matches!(&self.source, Source::HttpHost(host) | Source::Registration(host) if host.relaxed)
    }

    /// The member of the mesh that brought it.
    pub(super) fn carrier(&self) -> Option<NodeId> {
        match self.source {
            Source::Peer(peer) | Source::Gateway(peer, _) => Some(peer),
            _ => None,
        }
    }

    /// Whether the sender may use its name. Of carried mail, the origin's roster has answered that (step 2).
    pub(super) fn standing(&self, directory: &Directory) -> Standing {
        match &self.source {
            Source::Agent(agent) => directory.standing(agent),
            Source::Peer(_)
            | Source::Gateway(..)
            | Source::HttpHost(_)
            | Source::Provider(_)
            | Source::Registration(_) => Standing::Holds,
        }
    }
}

/// Who brought a message.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Agent(Arc<Agent>),
    Peer(NodeId),
    /// The member that brings mail of other providers, and the key that it knows for this sender.
    Gateway(NodeId, Arc<PublicKey>),
    HttpHost(Arc<HostSource>),
    Provider(Arc<HostSource>),
    /// A provider with which the recipient is registered.
    Registration(Arc<HostSource>),
}

/// What acceptance needs besides the message.
pub(super) struct Circumstances<'a> {
    pub directory: &'a Directory,
    pub config: &'a Config,
    pub now: UnixMillis,
    pub random: [u8; 8],
    /// The thread of a message in the sender's own mailbox.
    pub thread_of: &'a dyn Fn(&Agent, &MessageId) -> Option<String>,
}

/// Checks what a door brought.
pub(super) fn accept(incoming: Incoming, around: &Circumstances<'_>) -> Result<Draft, Refusal> {
    match incoming {
        Incoming::FromAgent { agent, request, idempotency_key } => {
            from_agent(&agent, *request, idempotency_key, around)
        }
        Incoming::FromPeer { peer, mail, lane, outsider } => {
            let source = match outsider {
                None => Source::Peer(peer),
                Some(key) => carried::from_gateway(peer, *key, &mail, around)?,
            };
            carried::from_peer(source, *mail, lane, around)
        }
        Incoming::FromHttpHost(forwarded) => forwarded::from_http_host(*forwarded, around),
        Incoming::FromProvider(federated) => federated::from_provider(*federated, around),
        Incoming::FromRegistration(pulled) => pulled::from_registration(*pulled, around),
    }
}

fn from_agent(
    sender: &Agent,
    mut request: RouteRequest,
    idempotency_key: Option<String>,
    around: &Circumstances<'_>,
) -> Result<Draft, Refusal> {
    // What a socket authenticated long ago may have left since, or have another key (REG-25, KEY-7).
    let known = around.directory.local_agent(&sender.address).filter(|known| known.no == sender.no);
    let Some(agent) = known else {
        return Err(Refusal::Forbidden(format!("{} is not registered any more", sender.address)));
    };
    if around.directory.leaving(&agent.address).is_some_and(|leaving| leaving.departed) {
        return Err(Refusal::Forbidden(format!("{} has moved to another host of the mesh", agent.address)));
    }
    let attachments = check_payload(&request)?;
    check_envelope(&request, &agent)?;
    let priority = match request.priority.as_deref() {
        None => Priority::Normal,
        Some(text) => Priority::parse(text).map_err(|error| invalid("priority", error))?,
    };
    if idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > limits::MESSAGE_ID_LEN) {
        return Err(invalid("idempotency_key", "expected 1 to 128 characters"));
    }
    let to =
        around.directory.expand(&request.to, Some(&agent.address)).map_err(|error| invalid("to", error))?;
    let expires_at = expiry(request.expires_at.as_deref(), around)?;
    let timestamp = timestamp(&request, around.now)?;
    let id = match request.id.as_deref() {
        None => MessageId::mint(around.now, around.random),
        Some(text) => MessageId::parse(text).map_err(|error| invalid("id", error))?,
    };
    let payload = take_payload(&mut request);
    // Absent, null and empty are one thing.
    let in_reply_to = request.in_reply_to.filter(|text| !text.is_empty());
    let thread_id = thread(request.thread_id, in_reply_to.as_deref(), &id, &agent, around);
    let mail = Mail {
        id: id.clone(),
        from: agent.address.clone(),
        to,
        priority,
        envelope: Vec::new(),
        payload,
        form: None,
        accepted_at: around.now,
        expires_at,
        receipt: request.options.receipt,
    };
    let envelope = Envelope {
        version: ENVELOPE_VERSION.to_owned(),
        id: id.into(),
        from: request.from.unwrap_or_else(|| agent.address.to_string()),
        to: request.to,
        subject: request.subject,
        priority,
        timestamp,
        thread_id,
        in_reply_to,
        expires_at: request.expires_at,
        signature: request.signature,
        extra: request.extra,
    };
    Ok(Draft { source: Source::Agent(agent), mail, envelope, idempotency_key, lane: None, attachments })
}

/// The members of a payload that AMP prescribes (MSG-6).
#[derive(Deserialize)]
struct PayloadFace<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context: Option<&'a RawValue>,
    #[serde(borrow, default)]
    attachments: Option<&'a RawValue>,
}

/// Gives the files that it names.
fn check_payload(request: &RouteRequest) -> Result<Vec<Attachment>, Refusal> {
    let Some(payload) = &request.payload else { return Err(BadBody::Missing("payload").into()) };
    let text = payload.get();
    let size = text.len() + envelope_size(request);
    if size > limits::TOTAL_BYTES {
        return Err(Refusal::TooLarge { size, limit: limits::TOTAL_BYTES });
    }
    if !text.starts_with('{') {
        return Err(invalid("payload", "expected an object"));
    }
    // A signed payload is read in full when its signature is verified (SIG-13).
    if request.signature.is_none() {
        json::parse_object(text.as_bytes())
            .map_err(|error| BadBody::Unreadable(format!("payload: {error}")))?;
    }
    let face: PayloadFace<'_> = serde_json::from_str(text).map_err(|error| invalid("payload", error))?;
    member(face.kind, "payload.type", limits::TYPE_BYTES)?;
    member(face.message, "payload.message", limits::MESSAGE_BYTES)?;
    match face.context.map(RawValue::get) {
        Some(context) if context.len() > limits::CONTEXT_BYTES => Err(invalid(
            "payload.context",
            format_args!("at most {} bytes are allowed", limits::CONTEXT_BYTES),
        )),
        _ => attachments_of(text, face.attachments.is_some()),
    }
}

/// The payload's text, which large messages are not copied for.
fn take_payload(request: &mut RouteRequest) -> Vec<u8> {
    request.payload.take().map(Box::<str>::from).unwrap_or_default().into_string().into_bytes()
}

/// What the envelope adds to a message's size: all that a client may make long.
fn envelope_size(request: &RouteRequest) -> usize {
    let RouteRequest { id, from, to, subject, timestamp, thread_id, in_reply_to, expires_at, .. } = request;
    let texts = [id, from, timestamp, thread_id, in_reply_to, expires_at, &request.signature];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    // Few clients send members that AMP does not know.
    let extra = match request.extra.is_empty() {
        true => 0,
        false => serde_json::to_vec(&request.extra).map_or(limits::TOTAL_BYTES, |text| text.len()),
    };
    to.len() + subject.len() + texts + extra
}

fn attachments_of(payload: &str, some: bool) -> Result<Vec<Attachment>, Refusal> {
    if !some {
        return Ok(Vec::new());
    }
    let list = list_in(payload.as_bytes())?;
    let rejected = list.iter().position(|file| file.scan_status == Some(ScanStatus::Rejected));
    match rejected {
        Some(at) => Err(Refusal::Attachment {
            code: "attachment_rejected",
            field: format!("payload.attachments[{at}].scan_status"),
            why: "a rejected file is not delivered".to_owned(),
        }),
        None => Ok(list),
    }
}

fn member(raw: Option<&RawValue>, field: &'static str, limit: usize) -> Result<(), Refusal> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Err(BadBody::Missing(field).into()) };
    let Ok(text) = serde_json::from_str::<Text<'_>>(raw.get()) else {
        return Err(invalid(field, "expected a string"));
    };
    match text.0.len() {
        0 => Err(BadBody::Missing(field).into()),
        length if length > limit => Err(invalid(field, format_args!("at most {limit} bytes are allowed"))),
        _ => Ok(()),
    }
}

/// A string, borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn check_envelope(request: &RouteRequest, agent: &Agent) -> Result<(), Refusal> {
    let other = |from: &&str| !agent.is_named(from) && !guards::is_down(Guard::OwnName);
    if let Some(from) = request.from.as_deref().filter(other) {
        return Err(Refusal::Forbidden(format!(
            "this API key belongs to {}, it cannot send as {from}",
            agent.address
        )));
    }
    check_fields(request)
}

fn check_fields(request: &RouteRequest) -> Result<(), Refusal> {
    let characters = request.subject.chars().count();
    if characters > limits::SUBJECT_CHARS {
        return Err(invalid(
            "subject",
            format_args!("it has {characters} characters, {} are allowed", limits::SUBJECT_CHARS),
        ));
    }
    for (field, value) in [("in_reply_to", &request.in_reply_to), ("thread_id", &request.thread_id)] {
        let Some(text) = value else { continue };
        // SIG-14: these stand between bars in the signed text.
        if text.len() > limits::THREAD_ID_LEN || text.contains(|c: char| c == '|' || c.is_control()) {
            return Err(invalid(field, "expected a message id"));
        }
    }
    if request.signature.as_ref().is_some_and(|text| text.len() > limits::SIGNATURE_TEXT) {
        return Err(invalid("signature", "it is longer than any signature"));
    }
    // any version is taken, except an explicit major of 2 or more.
    let major =
        request.version.as_deref().map(|text| text.trim_start_matches("amp/").trim_start_matches("AMP"));
    if major.is_some_and(|rest| rest.starts_with(|c: char| ('2'..='9').contains(&c))) {
        return Err(invalid("version", "this node speaks amp/0.1"));
    }
    Ok(())
}

/// RPL-2 and RPL-5, for the form in which the client stamps the time. In the flat form the node does (MSG-12).
fn timestamp(request: &RouteRequest, now: UnixMillis) -> Result<String, Refusal> {
    let Some(text) = request.timestamp.as_deref().filter(|_| request.full) else {
        return Ok(now.to_rfc3339());
    };
    let Some(stamped) = UnixMillis::parse_rfc3339(text) else {
        return Err(invalid("timestamp", "expected a time such as 2026-01-31T10:00:00Z"));
    };
    if now.saturating_since(stamped) > OLDEST {
        return Err(Refusal::Time {
            code: "timestamp_expired",
            why: format!("the timestamp {text} is over 5 minutes old"),
        });
    }
    if stamped.saturating_since(now) > NEWEST {
        return Err(Refusal::Time {
            code: "timestamp_future",
            why: format!("the timestamp {text} is over a minute ahead of this node, whose time is {now}"),
        });
    }
    Ok(text.to_owned())
}

fn expiry(wanted: Option<&str>, around: &Circumstances<'_>) -> Result<UnixMillis, Refusal> {
    let Some(text) = wanted else { return Ok(around.now.plus(around.config.default_ttl())) };
    let Some(at) = UnixMillis::parse_rfc3339(text) else {
        return Err(invalid("expires_at", "expected a time such as 2026-01-31T10:00:00Z"));
    };
    if at <= around.now {
        return Err(Refusal::Time { code: "message_expired", why: format!("expires_at {text} has passed") });
    }
    Ok(at.min(around.now.plus(around.config.longest_ttl())))
}

/// what the client says, else the parent's thread, else the parent, else the message itself.
fn thread(
    given: Option<String>,
    parent: Option<&str>,
    id: &MessageId,
    agent: &Agent,
    around: &Circumstances<'_>,
) -> String {
    if let Some(thread) = given.filter(|text| !text.is_empty()) {
        return thread;
    }
    let Some(parent) = parent else { return id.as_str().to_owned() };
    let known = MessageId::parse(parent).ok().and_then(|parent| (around.thread_of)(agent, &parent));
    known.unwrap_or_else(|| parent.to_owned())
}

fn invalid(field: &'static str, why: impl std::fmt::Display) -> Refusal {
    Refusal::Invalid { field, why: why.to_string() }
}

const OLDEST: Duration = Duration::from_secs(300);
const NEWEST: Duration = Duration::from_secs(60);
