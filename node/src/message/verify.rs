//! Step 2 of the hallway: the signature (SIG-8, RTE-9). A wrong one ends here; the node never signs for an agent.
//!
//! What is delivered carries the spellings of sender and recipient that were signed, so that every later
//! hop, and the recipient years later, needs one candidate only.

use super::accept::forwarded::HostSource;
use super::accept::{Draft, Source};
use super::error::{Refusal, SignatureFault};
use super::guards::{self, Guard};
use crate::agents::Agent;
use crate::agents::directory::{Directory, KeyAnswer};
use amesh_proto::api::fields::BadBody;
use amesh_proto::canonical::{self, CanonicalForm, Signable, VerifyError};
use amesh_proto::key::PublicKey;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;

/// A draft whose signature, if it has one, is genuine.
pub(super) struct Verified {
    pub draft: Draft,
    /// The key that judged the signature; none where there was none to judge.
    pub judged_by: Option<PublicKey>,
}

/// Verifies and seals the envelope.
pub(super) fn verify(draft: Draft, directory: &Directory) -> Result<Verified, Refusal> {
    match draft.source.clone() {
        // A body may take its time, and the sender may have changed its key meanwhile (KEY-7).
        Source::Agent(agent) => from_agent(draft, &directory.present(&agent), directory),
        Source::Peer(peer) => from_peer(draft, peer, directory),
        Source::Gateway(_, key) => from_gateway(draft, &key),
        Source::HttpHost(host) | Source::Provider(host) | Source::Registration(host) => {
            from_outside(draft, &host)
        }
    }
}

fn from_agent(mut draft: Draft, agent: &Agent, directory: &Directory) -> Result<Verified, Refusal> {
    let envelope = &mut draft.envelope;
    let claimed = guards::claimed_key(envelope);
    let judged_by = match envelope.signature.as_deref() {
        None => {
            envelope.from = draft.mail.from.to_string();
            envelope.to = draft.mail.to.to_string();
            None
        }
        Some(signature) => {
            let lower = envelope.to.to_ascii_lowercase();
            let short = draft.mail.to.short();
            // Positions have fixed meanings, so that the form remembered of one message helps with the next.
            let to = [envelope.to.as_str(), &lower, draft.mail.to.as_str(), short.as_str()];
            let mut from = vec![envelope.from.as_str()];
            from.extend(agent.spellings().iter().map(String::as_str));
            let what = signable(&draft.mail, &from, &to, &envelope.subject, envelope.in_reply_to.as_deref());
            let key = claimed.as_ref().unwrap_or(&agent.key);
            let form = check(key, &what, signature, agent.last_form()).or_else(|refusal| {
                let keys = guards::revoked_keys(directory, &agent.address);
                keys.iter().find_map(|key| check(key, &what, signature, None).ok()).ok_or(refusal)
            })?;
            agent.remember_form(form);
            let from = from[form.from_index().min(from.len() - 1)].to_owned();
            let to = to[form.to_index().min(to.len() - 1)].to_owned();
            (envelope.from, envelope.to) = (from, to);
            draft.mail.form = Some(form.settled());
            Some(agent.key.clone())
        }
    };
    draft.mail.envelope =
        serde_json::to_vec(&draft.envelope).map_err(|error| Refusal::Store(error.to_string()))?;
    Ok(Verified { draft, judged_by })
}

/// Mail of a link is verified again here: this node believes signatures, not peers. Its text stays as it came.
fn from_peer(mut draft: Draft, peer: NodeId, directory: &Directory) -> Result<Verified, Refusal> {
    let mail = &draft.mail;
    let Some(signature) = draft.envelope.signature.as_deref() else {
        return Err(Refusal::Signature(SignatureFault::Missing));
    };
    let envelope = &draft.envelope;
    let (from, to) = ([envelope.from.as_str()], [envelope.to.as_str()]);
    let what = signable(mail, &from, &to, &envelope.subject, envelope.in_reply_to.as_deref());
    let judge = |key: PublicKey| check(&key, &what, signature, mail.form).map(|form| (key, form));
    let revoked = Refusal::Signature(SignatureFault::KeyRevoked);
    let by_its_time = match directory.key_for(peer, &mail.from, mail.accepted_at) {
        KeyAnswer::Valid(key) => judge(guards::claimed_key(envelope).unwrap_or(key)),
        KeyAnswer::NoneAtThatTime => Err(revoked),
        // The last host of an agent that moved hands on what others wrote to it (DESIGN §3, Moving).
        KeyAnswer::NotListed if directory.hands_on(peer, &mail.to) || guards::is_down(Guard::OwnAgents) => {
            directory.key_at(&mail.from, mail.accepted_at).ok_or(revoked).and_then(judge)
        }
        KeyAnswer::NotListed => {
            return Err(Refusal::Forbidden(format!(
                "{} is not an agent of the host that brought this",
                mail.from
            )));
        }
        KeyAnswer::HeldBy(holder) => {
            return Err(Refusal::NameLost {
                address: mail.from.to_string(),
                holder: holder.host,
                mend: format!("amesh agents rename {0} {0}-NEW (on its host)", mail.from.name()),
            });
        }
    };
    // When it was accepted is known by this machine's clock and to within its time on the way, when keys were replaced by
    // the origin's clock. The origin took it by the key of then (KEY-7); which one that was, the signature tells.
    let (key, form) = by_its_time.or_else(|refusal| {
        let mut keys = directory.good_keys(peer, &mail.from, mail.accepted_at);
        keys.extend(guards::revoked_keys(directory, &mail.from));
        keys.into_iter().find_map(|key| judge(key).ok()).ok_or(refusal)
    })?;
    draft.mail.form = Some(form.settled());
    Ok(Verified { draft, judged_by: Some(key) })
}

/// Mail of somebody outside: judged by the key for which the gateway vouches, and not only by the gateway's own judgement.
fn from_gateway(mut draft: Draft, key: &PublicKey) -> Result<Verified, Refusal> {
    let (mail, envelope) = (&draft.mail, &draft.envelope);
    let Some(signature) = envelope.signature.as_deref() else {
        return Err(Refusal::Signature(SignatureFault::Missing));
    };
    let (from, to) = ([envelope.from.as_str()], [envelope.to.as_str()]);
    let what = signable(mail, &from, &to, &envelope.subject, envelope.in_reply_to.as_deref());
    let form = check(key, &what, signature, mail.form)?;
    draft.mail.form = Some(form.settled());
    Ok(Verified { draft, judged_by: Some(key.clone()) })
}

/// Mail of an HTTP host or of another provider: judged by the key that is known for its sender there. Where there is none, only
/// an owner who asked for it gets unverified mail (MSH-10); a signature that can be judged and is wrong gets nobody anything
/// (RTE-9).
fn from_outside(mut draft: Draft, host: &HostSource) -> Result<Verified, Refusal> {
    let judged_by = match (draft.envelope.signature.as_deref(), &host.key) {
        (Some(signature), Some(key)) => {
            let from: Vec<&str> = host.from.iter().map(String::as_str).collect();
            let to: Vec<&str> = host.to.iter().map(String::as_str).collect();
            let envelope = &draft.envelope;
            let what = signable(&draft.mail, &from, &to, &envelope.subject, envelope.in_reply_to.as_deref());
            let form = check(key, &what, signature, None)?;
            let from = from[form.from_index().min(from.len() - 1)].to_owned();
            let to = to[form.to_index().min(to.len() - 1)].to_owned();
            (draft.envelope.from, draft.envelope.to) = (from, to);
            draft.mail.form = Some(form.settled());
            Some(key.clone())
        }
        (Some(_), None) if !host.relaxed => return Err(Refusal::Signature(SignatureFault::KeyUnknown)),
        _ => None,
    };
    draft.mail.envelope =
        serde_json::to_vec(&draft.envelope).map_err(|error| Refusal::Store(error.to_string()))?;
    Ok(Verified { draft, judged_by })
}

fn signable<'a>(
    mail: &'a Mail,
    from: &'a [&'a str],
    to: &'a [&'a str],
    subject: &'a str,
    in_reply_to: Option<&'a str>,
) -> Signable<'a> {
    Signable { from, to, subject, priority: mail.priority, in_reply_to, payload: &mail.payload }
}

fn check(
    key: &PublicKey,
    what: &Signable<'_>,
    signature: &str,
    hint: Option<CanonicalForm>,
) -> Result<CanonicalForm, Refusal> {
    if guards::is_down(Guard::Signature) {
        return Ok(CanonicalForm::EMITTED);
    }
    canonical::verify(key, what, signature, hint).map_err(|error| match error {
        VerifyError::Payload(error) => Refusal::Body(BadBody::Unreadable(format!("payload: {error}"))),
        VerifyError::Separator => {
            Refusal::Invalid { field: "to", why: "it may not contain '|' or control characters".to_owned() }
        }
        VerifyError::Encoding | VerifyError::Invalid => Refusal::Signature(SignatureFault::Invalid),
    })
}
