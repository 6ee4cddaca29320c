//! A mailbox entry as its owner is handed it, by polling or by socket. This is the last hop, so here, and nowhere
//! before, foreign content is wrapped (TRU-4, TRU-10); the payload as signed goes along, and signs of prompt
//! injection are named (INJ-1).

use crate::message::incoming::{Basis, Method};
use amesh_proto::api::pending::{Delivery, Local, Security};
use amesh_proto::injection::Rules;
use amesh_proto::json::parse_object;
use amesh_proto::trust::{self, Trust};
use amesh_store::MailboxEntry;
use serde_json::value::RawValue;

/// Renders `entry`. `key` is the sender's, where the message was signed; `method` is how it is being handed out.
///
/// # Errors
/// When the entry's text is not JSON, which the hallway never stores.
pub(in crate::message) fn render(
    entry: &MailboxEntry,
    key: Option<String>,
    method: Method,
    rules: &Rules,
) -> Result<Delivery, serde_json::Error> {
    let mail = &entry.mail;
    let signed = mail.form.is_some();
    let parsed = parse_object(&mail.payload).map_err(serde::ser::Error::custom)?;
    let subject = mail.envelope()?.subject;
    let flags = rules.scan_message(&subject, &parsed);
    let original = raw(mail.payload.clone())?;
    let wrapped = entry.trust != Trust::Verified;
    let received_at = entry.queued_at.to_rfc3339();
    let (payload, original_payload) = match wrapped {
        true => {
            let fenced =
                trust::wrap_parsed(&parsed, &mail.from, entry.trust).map_err(serde::ser::Error::custom)?;
            (raw(fenced)?, Some(original))
        }
        false => (original, None),
    };
    Ok(Delivery {
        id: entry.shown_id.to_string(),
        envelope: envelope(entry)?,
        payload,
        queued_at: received_at.clone(),
        expires_at: entry.expires_at.to_rfc3339(),
        sender_public_key: key,
        local: Some(Local {
            verified: signed,
            received_at: Some(received_at.clone()),
            delivery_method: Some(method.as_str().to_owned()),
            basis: Some(basis(method).as_str().to_owned()),
            security: Security {
                trust: entry.trust.as_str().to_owned(),
                injection_flags: flags.ids(),
                wrapped,
                verified_at: signed.then_some(received_at),
            },
            original_payload,
        }),
    })
}

/// What whoever reads this delivery can rely on. The answer of a webhook is not known to the request that asks for it.
fn basis(method: Method) -> Basis {
    match method {
        Method::Websocket => Basis::SocketWritten,
        Method::Webhook | Method::Relay | Method::Mesh => Basis::MailboxWritten,
    }
}

/// The id is not signed (SIG-10): where the mailbox shows the message under another one, so does the envelope.
fn envelope(entry: &MailboxEntry) -> Result<Box<RawValue>, serde_json::Error> {
    if entry.shown_id == entry.mail.id {
        return raw(entry.mail.envelope.clone());
    }
    let mut envelope = entry.mail.envelope()?;
    envelope.id = entry.shown_id.to_string();
    serde_json::value::to_raw_value(&envelope)
}

fn raw(text: Vec<u8>) -> Result<Box<RawValue>, serde_json::Error> {
    String::from_utf8(text).map_err(serde::ser::Error::custom).and_then(RawValue::from_string)
}
