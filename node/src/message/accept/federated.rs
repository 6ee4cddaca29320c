//! Acceptance of what another provider delivers (AMP 06 §Forward Endpoint). `federation` has made sure of the provider, of whose
//! agent the sender is, and of its key; here the message must be whole, within its limits, fresh, and for this domain.

use super::forwarded::{HostSource, spellings};
use super::{
    Circumstances, Draft, NEWEST, OLDEST, Source, check_fields, check_payload, invalid, take_payload,
};
use crate::message::error::Refusal;
use crate::message::incoming::Federated;
use amesh_proto::api::fields::BadBody;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::id::MessageId;
use amesh_proto::message::{ENVELOPE_VERSION, Envelope, Mail, Priority};
use amesh_proto::time::UnixMillis;
use std::sync::Arc;

/// Checks mail of a provider's own agent.
pub(super) fn from_provider(came: Federated, around: &Circumstances<'_>) -> Result<Draft, Refusal> {
    let Federated { provider, sender, key, queued_at, request } = came;
    let mut request = *request;
    if !check_payload(&request)?.is_empty() {
        return Err(Refusal::Attachment {
            code: "invalid_field",
            field: "payload.attachments".to_owned(),
            why: "files do not come with mail of other providers".to_owned(),
        });
    }
    let payload = take_payload(&mut request);
    check_fields(&request)?;
    let naming = around.directory.naming();
    let to = naming.parse(&request.to).map_err(|error| invalid("to", error))?;
    // Never a relay: what is not for this domain ends here.
    if !naming.is_ours(&to) {
        return Err(Refusal::NoRecipient(to.to_string()));
    }
    let priority = match request.priority.as_deref() {
        None => Priority::Normal,
        Some(text) => Priority::parse(text).map_err(|error| invalid("priority", error))?,
    };
    let id = request.id.as_deref().ok_or(BadBody::Missing("id"))?;
    let id = MessageId::parse(id).map_err(|error| invalid("id", error))?;
    let (timestamp, sent_at) = fresh(&request, queued_at, around.now)?;
    let expires_at = end(request.expires_at.as_deref(), sent_at, around)?;
    let in_reply_to = request.in_reply_to.filter(|text| !text.is_empty());
    let thread = request.thread_id.filter(|text| !text.is_empty()).or_else(|| in_reply_to.clone());
    let source = HostSource {
        name: provider,
        key: Some(key),
        relaxed: false,
        from: spellings([request.from.as_deref(), None], &sender),
        to: spellings([Some(&request.to), None], &to),
    };
    let envelope = Envelope {
        version: ENVELOPE_VERSION.to_owned(),
        id: id.as_str().to_owned(),
        from: sender.to_string(),
        to: to.to_string(),
        subject: request.subject,
        priority,
        timestamp,
        thread_id: thread.unwrap_or_else(|| id.as_str().to_owned()),
        in_reply_to,
        expires_at: request.expires_at,
        signature: request.signature,
        extra: request.extra,
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
    let source = Source::Provider(Arc::new(source));
    Ok(Draft { source, mail, envelope, idempotency_key: None, lane: None, attachments: Vec::new() })
}

/// RPL-2 and RPL-5. What waited at its provider is older than five minutes; the provider says since when (A-48).
fn fresh(
    request: &RouteRequest,
    queued_at: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(String, UnixMillis), Refusal> {
    let text = request.timestamp.clone().ok_or(BadBody::Missing("timestamp"))?;
    let stamped = UnixMillis::parse_rfc3339(&text)
        .ok_or_else(|| invalid("timestamp", "expected a time such as 2026-01-31T10:00:00Z"))?;
    if [Some(stamped), queued_at].into_iter().flatten().any(|at| at.saturating_since(now) > NEWEST) {
        let why = format!("the message is of a time over a minute ahead of this node, whose time is {now}");
        return Err(Refusal::Time { code: "timestamp_future", why });
    }
    if queued_at.is_none() && now.saturating_since(stamped) > OLDEST {
        let why = format!("the timestamp {text} is over 5 minutes old, and no queued_at says that it waited");
        return Err(Refusal::Time { code: "timestamp_expired", why });
    }
    Ok((text, stamped))
}

/// When it loses its meaning: by its own word, else by what is usual here, counted from when it was sent. So it has expired
/// before its id is forgotten, and cannot come a second time.
fn end(wanted: Option<&str>, sent_at: UnixMillis, around: &Circumstances<'_>) -> Result<UnixMillis, Refusal> {
    let at = match wanted {
        None => sent_at.plus(around.config.default_ttl()),
        Some(text) => UnixMillis::parse_rfc3339(text)
            .ok_or_else(|| invalid("expires_at", "expected a time such as 2026-01-31T10:00:00Z"))?
            .min(sent_at.plus(around.config.longest_ttl())),
    };
    if at <= around.now {
        return Err(Refusal::Time {
            code: "message_expired",
            why: format!("the message expired at {}", at.to_rfc3339()),
        });
    }
    Ok(at.min(around.now.plus(around.config.longest_ttl())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::directory::Directory;
    use crate::message::Config;
    use amesh_proto::address::{Address, Naming};
    use amesh_proto::key::AgentKey;
    use amesh_proto::node_id::NodeId;
    use std::time::Duration;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn judged(envelope: &str, payload: &str, queued_s_ago: Option<u64>) -> Result<Draft, Refusal> {
        let naming = Naming::new("default", "corp.test", "alpha").unwrap();
        let directory = Directory::new(naming, NodeId::from_bytes([1; 32]));
        let config = Config::default();
        let around = Circumstances {
            directory: &directory,
            config: &config,
            now: NOW,
            random: [0; 8],
            thread_of: &|_, _| None,
        };
        let body = format!(
            r#"{{"envelope":{{"id":"msg_1_a","from":"eve@far.away.test","to":"bob@default.corp.test","subject":"s","timestamp":"{}"{envelope}}},"payload":{payload}}}"#,
            NOW.to_rfc3339()
        );
        // Of two members of one name a stranger's would be refused before: here the later one stands in its place.
        let body = match envelope.split_once(r#""timestamp":"#) {
            Some(_) => body.replacen(&format!(r#","timestamp":"{}""#, NOW.to_rfc3339()), "", 1),
            None => body,
        };
        let came = Federated {
            provider: "away.test".into(),
            sender: Address::parse("eve@far.away.test", &["away.test"]).unwrap(),
            key: AgentKey::from_seed(&[1; 32]).public(),
            queued_at: queued_s_ago.map(|ago| NOW.minus(Duration::from_secs(ago))),
            request: Box::new(RouteRequest::parse(body.as_bytes()).unwrap()),
        };
        from_provider(came, &around)
    }

    fn code(envelope: &str, queued_s_ago: Option<u64>) -> &'static str {
        judged(envelope, PAYLOAD, queued_s_ago).map_or_else(|refusal| refusal.code(), |_| "taken")
    }

    const PAYLOAD: &str = r#"{"type":"t","message":"m"}"#;

    fn stamped(ago: u64) -> String {
        format!(r#","timestamp":"{}""#, NOW.minus(Duration::from_secs(ago)).to_rfc3339())
    }

    #[test]
    fn what_is_old_is_taken_if_it_waited_and_never_once_its_id_may_be_forgotten() {
        let (hour, days) = (3_600, 86_400);
        assert_eq!(code("", None), "taken");
        assert_eq!(code(&stamped(290), None), "taken");
        assert_eq!(code(&stamped(301), None), "timestamp_expired");
        assert_eq!(code(&stamped(hour), Some(hour)), "taken");
        assert_eq!(code(&stamped(6 * days), Some(6 * days)), "taken");
        assert_eq!(code(&stamped(7 * days), Some(hour)), "message_expired");
        let far = format!(r#"{},"expires_at":"2099-01-01T00:00:00Z""#, stamped(31 * days));
        assert_eq!(code(&far, Some(hour)), "message_expired");
        assert_eq!(code(r#","expires_at":"2020-01-01T00:00:00Z""#, None), "message_expired");
        let ahead = format!(r#","timestamp":"{}""#, NOW.plus(Duration::from_secs(61)).to_rfc3339());
        assert_eq!(code(&ahead, None), "timestamp_future");
        assert_eq!(code(r#","timestamp":"yesterday""#, Some(1)), "invalid_field");
    }

    #[test]
    fn its_times_thread_and_unknown_members_travel_and_files_do_not() {
        let draft = judged(r#","in_reply_to":"msg_0_z","from_did":"did:key:z""#, PAYLOAD, None).unwrap();
        assert_eq!((draft.envelope.thread_id.as_str(), draft.mail.id.as_str()), ("msg_0_z", "msg_1_a"));
        assert_eq!(draft.envelope.extra["from_did"], "did:key:z");
        assert!(draft.is_carried() && draft.carrier().is_none());
        let file = r#"{"type":"t","message":"m","attachments":[{"id":"att_1_a","filename":"a.txt","content_type":"text/plain","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}"#;
        let refused = judged("", file, None).unwrap_err();
        assert_eq!((refused.code(), refused.field()), ("invalid_field", Some("payload.attachments")));
    }
}
