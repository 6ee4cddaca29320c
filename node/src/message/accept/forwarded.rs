//! Acceptance of what an HTTP host forwards (IPR-1, IPR-2). The host vouches for everything that is not signed; here the
//! message must be whole, within its limits and agree with itself.

use super::{Circumstances, Draft, Source, check_fields, check_payload, expiry, invalid, take_payload};
use crate::agents::directory::Resolution;
use crate::message::error::Refusal;
use crate::message::guards::{self, Guard};
use crate::message::incoming::Forwarded;
use amesh_proto::address::Address;
use amesh_proto::api::fields::BadBody;
use amesh_proto::id::MessageId;
use amesh_proto::json;
use amesh_proto::key::PublicKey;
use amesh_proto::message::{ENVELOPE_VERSION, Envelope, Mail, Priority};
use amesh_proto::time::UnixMillis;
use serde_json::Map;
use std::sync::Arc;
use std::time::Duration;

/// The host or provider that brought a message, and what its signature is judged by.
#[derive(Debug)]
pub(in crate::message) struct HostSource {
    pub name: Arc<str>,
    /// The key known for the sender there.
    pub key: Option<PublicKey>,
    /// The owner takes unsigned mail from there (MSH-10, `trusted` and `open`).
    pub relaxed: bool,
    /// Spellings of the sender that may have been signed, the likeliest first.
    pub from: Vec<String>,
    /// The same for the recipient.
    pub to: Vec<String>,
}

/// Checks mail of an HTTP host whose sender `bridge` has identified.
pub(super) fn from_http_host(forwarded: Forwarded, around: &Circumstances<'_>) -> Result<Draft, Refusal> {
    let Forwarded { host, relaxed, sender, key, id, forward } = forwarded;
    let (mut request, trail) = (forward.request, forward.trail);
    let attachments = check_payload(&request)?;
    let payload = take_payload(&mut request);
    json::parse_object(&payload).map_err(|error| BadBody::Unreadable(format!("payload: {error}")))?;
    check_fields(&request)?;
    let same_sender = |text: &str| around.directory.expand(text, None).is_ok_and(|address| address == sender);
    if trail.original_from.as_deref().is_some_and(|text| !same_sender(text)) {
        return Err(invalid("_forwarded.original_from", "it is not the sender in `from`"));
    }
    let to = recipient(&request.to, trail.original_to.as_deref(), around)?;
    let priority = match request.priority.as_deref() {
        None => Priority::Normal,
        Some(text) => Priority::parse(text).map_err(|error| invalid("priority", error))?,
    };
    let expires_at = expiry(request.expires_at.as_deref(), around)?;
    // the header's id where it is well formed, so that a repeat is known as one.
    let own_id = || request.id.as_deref().and_then(|text| MessageId::parse(text).ok());
    let id = id.or_else(own_id).unwrap_or_else(|| MessageId::mint(around.now, around.random));
    let in_reply_to = request.in_reply_to.filter(|text| !text.is_empty());
    let thread = request.thread_id.filter(|text| !text.is_empty()).or_else(|| in_reply_to.clone());
    let from = [trail.original_from.as_deref(), request.from.as_deref()];
    let source = HostSource {
        name: host,
        key,
        relaxed,
        from: spellings(from, &sender),
        to: spellings([trail.original_to.as_deref(), Some(&request.to)], &to),
    };
    let envelope = Envelope {
        version: ENVELOPE_VERSION.to_owned(),
        id: id.as_str().to_owned(),
        from: sender.to_string(),
        to: to.to_string(),
        subject: request.subject,
        priority,
        timestamp: stamped(trail.forwarded_at.as_deref(), around.now),
        thread_id: thread.unwrap_or_else(|| id.as_str().to_owned()),
        in_reply_to,
        expires_at: request.expires_at,
        signature: request.signature,
        extra: Map::new(),
    };
    let mail = Mail {
        id,
        from: sender,
        to,
        priority,
        envelope: Vec::new(),
        payload,
        form: None,
        accepted_at: around.now,
        expires_at,
        receipt: false,
    };
    let source = Source::HttpHost(Arc::new(source));
    Ok(Draft { source, mail, envelope, idempotency_key: None, lane: None, attachments })
}

/// The mailbox that is meant. A bare name means an agent of this node; what was signed must lead to the same.
fn recipient(to: &str, original: Option<&str>, around: &Circumstances<'_>) -> Result<Address, Refusal> {
    let directory = around.directory;
    let meant = |text: &str| {
        let address = directory.expand(text, None).ok()?;
        match directory.resolve(&address) {
            Resolution::Local(agent) => Some(agent.address.clone()),
            _ => None,
        }
    };
    let typed = directory.expand(to, None).map_err(|error| invalid("to", error))?;
    let Some(original) = original else { return Ok(meant(to).unwrap_or(typed)) };
    let signed =
        directory.expand(original, None).map_err(|error| invalid("_forwarded.original_to", error))?;
    match (to.contains('@'), meant(to), meant(original)) {
        (true, Some(here), Some(there)) if here == there => Ok(here),
        // A bare name says nothing of the tenant; the signed address does.
        (false, _, Some(there)) if there.name() == typed.name() => Ok(there),
        (_, None, None) if signed.name() == typed.name() => Ok(typed),
        (_, Some(here), _) if guards::is_down(Guard::Agreement) => Ok(here),
        _ => Err(invalid("_forwarded.original_to", "it is not the recipient in `to`")),
    }
}

pub(super) fn spellings(given: [Option<&str>; 2], address: &Address) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let own = [address.to_string(), address.short().to_string()];
    for text in given.into_iter().flatten().map(str::to_owned).chain(own) {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// When the host says that it was sent, if that can be.
fn stamped(claim: Option<&str>, now: UnixMillis) -> String {
    let past = claim.filter(|text| {
        UnixMillis::parse_rfc3339(text).is_some_and(|at| at.saturating_since(now) <= Duration::from_secs(60))
    });
    past.map_or_else(|| now.to_rfc3339(), str::to_owned)
}
