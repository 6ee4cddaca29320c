//! Acceptance of what the node fetched for one of its agents from a provider where that agent is registered (AMP 06a §Solo
//! Agent; EXT-3). `bridge` knows the sender and his key; here the message must be whole, within its limits, and addressed to
//! that agent: what was signed for somebody else is nobody's here.

use super::forwarded::{HostSource, spellings};
use super::{Circumstances, Draft, Source, check_fields, check_payload, invalid, take_payload};
use crate::message::error::Refusal;
use crate::message::incoming::Pulled;
use amesh_proto::address::Address;
use amesh_proto::json;
use amesh_proto::message::{ENVELOPE_VERSION, Envelope, Mail, Priority};
use amesh_proto::time::UnixMillis;
use std::sync::Arc;

/// Checks mail that a provider kept for the agent. Files stay with the provider; the payload names them.
pub(super) fn from_registration(came: Pulled, around: &Circumstances<'_>) -> Result<Draft, Refusal> {
    let Pulled { agent, provider, address, sender, key, id, request } = came;
    let mut request = *request;
    check_payload(&request)?;
    let payload = take_payload(&mut request);
    json::parse_object(&payload).map_err(|error| invalid("payload", error))?;
    check_fields(&request)?;
    if !is_for(&request.to, &address) {
        return Err(invalid("to", format_args!("it is not {address}, for whom it was fetched")));
    }
    let priority = match request.priority.as_deref() {
        None => Priority::Normal,
        Some(text) => Priority::parse(text).map_err(|error| invalid("priority", error))?,
    };
    let in_reply_to = request.in_reply_to.filter(|text| !text.is_empty());
    let thread = request.thread_id.filter(|text| !text.is_empty()).or_else(|| in_reply_to.clone());
    let source = HostSource {
        name: provider,
        key,
        relaxed: true,
        from: spellings([request.from.as_deref(), None], &sender),
        to: spellings([Some(&request.to), None], &address),
    };
    let stamped = request.timestamp.filter(|text| UnixMillis::parse_rfc3339(text).is_some());
    let envelope = Envelope {
        version: ENVELOPE_VERSION.to_owned(),
        id: id.as_str().to_owned(),
        from: sender.to_string(),
        to: address.to_string(),
        subject: request.subject,
        priority,
        timestamp: stamped.unwrap_or_else(|| around.now.to_rfc3339()),
        thread_id: thread.unwrap_or_else(|| id.as_str().to_owned()),
        in_reply_to,
        expires_at: request.expires_at,
        signature: request.signature,
        extra: request.extra,
    };
    let mail = Mail {
        id,
        from: sender,
        to: agent.address.clone(),
        priority,
        envelope: Vec::new(),
        payload,
        form: None,
        accepted_at: around.now,
        // By the time here: the provider gives it out until it is acknowledged, and its id is known for as long as it lies.
        expires_at: around.now.plus(around.config.longest_ttl()),
        receipt: false,
    };
    let source = Source::Registration(Arc::new(source));
    Ok(Draft { source, mail, envelope, idempotency_key: None, lane: None, attachments: Vec::new() })
}

/// In full, without its host, or its bare name.
fn is_for(typed: &str, address: &Address) -> bool {
    let meant = Address::parse(typed, &[address.provider()]);
    typed.eq_ignore_ascii_case(address.name()) || meant.is_ok_and(|meant| meant.short() == address.short())
}
