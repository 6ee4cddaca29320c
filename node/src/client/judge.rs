//! Whether a message is what it says it is. The node has verified it before; the client does so again, with the key
//! it knows the sender by, when mail comes in and when it is shown (CLI-12, SIG-8, TRU-1, A-39).

use super::known_keys::KnownKeys;
use super::mailbox::Stored;
use super::raw::RawObject;
use super::received::Received;
use super::shell_fence;
use amesh_proto::address::Address;
use amesh_proto::canonical::Signable;
use amesh_proto::injection::{Category, Flags, Rules};
use amesh_proto::json::parse_object;
use amesh_proto::key::PublicKey;
use amesh_proto::message::Priority;
use amesh_proto::sign::verify_delivered;
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::{self, Trust};
use serde_json::Value;
use serde_json::value::RawValue;

/// A message with its judgement.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Who claims to have written it.
    pub from: String,
    /// How far it is to be trusted.
    pub trust: Trust,
    /// The signature was verified here and now.
    pub verified: bool,
    /// Why it is not trusted.
    pub problem: Option<Problem>,
    /// The payload to show and to store: wrapped unless trust is `verified` (TRU-4, TRU-5).
    pub payload: Box<RawValue>,
    /// The payload as signed.
    pub original: Box<RawValue>,
    /// The sender's key.
    pub key: Option<PublicKey>,
    /// What it seems to try: what its provider noticed, and what is noticed here (INJ-1).
    pub flags: Flags,
}

/// Why a message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No signature.
    #[error("it is not signed")]
    Unsigned,
    /// Nothing to verify it with.
    #[error("the sender's key is not known")]
    NoKey,
    /// The key is none, or a weak one.
    #[error("the sender's key cannot be used: {0}")]
    BadKey(String),
    /// The signature is wrong.
    #[error("the signature is wrong: {0}")]
    BadSignature(String),
    /// Signed with another key than before.
    #[error("the sender's key has changed: it was {known}, now it is {now}")]
    KeyChanged {
        /// The fingerprint it was first seen with.
        known: String,
        /// The fingerprint it has now.
        now: String,
    },
    /// Signed for somebody else.
    #[error("it was written to {0}, not to you")]
    NotForMe(String),
    /// The sender's address is none.
    #[error("the sender's address is not valid: {0}")]
    BadSender(String),
    /// The provider itself does not trust it.
    #[error("the provider that handed it over does not vouch for it")]
    NodeDoubts,
}

/// The message's parts that are signed, and what came with them.
struct Claims<'a> {
    envelope: &'a RawObject,
    payload: &'a RawValue,
    local: &'a RawObject,
    key: Option<String>,
}

impl Judged {
    /// Judges mail that came in for `me`, an address at `provider`.
    #[must_use]
    pub fn received(mail: &Received, me: &str, provider: &str, known: &KnownKeys) -> Self {
        let envelope = RawObject::parse(mail.envelope.get()).unwrap_or_default();
        let claims = Claims {
            envelope: &envelope,
            payload: &mail.payload,
            local: &mail.local,
            key: mail.sender_key.clone(),
        };
        claims.judge(me, provider, known)
    }

    /// Judges a stored message again: its file may have been changed, or written by another client.
    #[must_use]
    pub fn stored(mail: &Stored, me: &str, provider: &str, known: &KnownKeys) -> Self {
        let nothing = RawValue::NULL;
        let claims = Claims {
            envelope: &mail.envelope,
            payload: mail.file.get("payload").unwrap_or(nothing),
            local: &mail.local,
            // The reference client keeps what the provider handed over, with the key at the top.
            key: mail.local.text("sender_public_key").or_else(|| mail.file.text("sender_public_key")),
        };
        claims.judge(me, provider, known)
    }

    /// The message as it is stored: `{envelope, payload, local, metadata}` (IDN-13), for both kinds of client.
    #[must_use]
    pub fn file(&self, mail: &Received, provider: &str, method: &str, now: UnixMillis) -> RawObject {
        let mut local = mail.local.clone();
        let mut security = local.object("security");
        security.put("trust", self.trust.as_str());
        security.put("wrapped", &(self.trust != Trust::Verified));
        security.put("injection_flags", &self.flags.ids());
        security.put("verified_at", &self.verified.then(|| now.to_rfc3339()));
        local.put("received_at", &now.to_rfc3339());
        local.put("status", "unread");
        local.put("read_at", &None::<String>);
        local.put("delivery_method", method);
        local.put("fetched_from", provider);
        local.put("verified", &self.verified);
        local.put("signature_verified", &self.verified);
        local.put("security", &security);
        if let Some(problem) = &self.problem {
            local.put("problem", &problem.to_string());
        }
        if let Some(key) = &mail.sender_key {
            local.put("sender_public_key", key);
        }
        if let Some(at) = &mail.queued_at {
            local.put("queued_at", at);
        }
        if self.trust != Trust::Verified {
            local.put_raw("original_payload", self.original.clone());
        }
        let mut metadata = RawObject::default();
        metadata.put("status", "unread");
        let mut file = RawObject::default();
        file.put_raw("envelope", mail.envelope.clone());
        file.put_raw("payload", self.payload.clone());
        file.put("local", &local);
        file.put("metadata", &metadata);
        file
    }
}

impl Claims<'_> {
    fn judge(&self, me: &str, provider: &str, known: &KnownKeys) -> Judged {
        let original = self.original();
        let own_domains = [provider];
        let from_text = self.text("from");
        let from = Address::parse(&from_text, &own_domains);
        let (key, problem) = match &from {
            Ok(from) => self.check(from, me, &original, known),
            Err(error) => (None, Some(Problem::BadSender(error.to_string()))),
        };
        let verified = problem.is_none() && key.is_some();
        let mut problem = problem;
        let trust = match (&from, Address::parse(me, &own_domains)) {
            (Ok(from), _) if self.is_notice(from, provider) => {
                problem = None;
                Trust::Verified
            }
            (Ok(from), Ok(me)) => self.with_the_nodes_doubts(trust::label(from, &me, verified), &mut problem),
            _ => Trust::Untrusted,
        };
        let wrapped = from.ok().and_then(|from| trust::wrap(original.get().as_bytes(), &from, trust).ok());
        let wrapped = wrapped.and_then(|bytes| RawValue::from_string(String::from_utf8(bytes).ok()?).ok());
        // What cannot be wrapped has no text; it is still shown as untrusted.
        let payload = wrapped.unwrap_or_else(|| original.clone());
        let flags = self.flags(&original);
        Judged { from: from_text, trust, verified, problem, payload, original, key, flags }
    }

    /// Signs of prompt injection, found by the provider, which may have rules of its own, or by the built-in rules here.
    fn flags(&self, original: &RawValue) -> Flags {
        let said = self.local.object("security");
        let said =
            said.get("injection_flags").and_then(|raw| serde_json::from_str::<Vec<Value>>(raw.get()).ok());
        let mut flags = Flags::default();
        // Strings, or objects as the reference provider has them.
        for flag in said.unwrap_or_default() {
            let id = flag.as_str().or_else(|| flag.get("category")?.as_str());
            id.and_then(Category::parse).into_iter().for_each(|category| flags.insert(category));
        }
        let Ok(payload) = parse_object(original.get().as_bytes()) else { return flags };
        flags.and(Rules::built_in().scan_message(&self.text("subject"), &payload))
    }

    /// The sender's key if everything is in order with it, and what is wrong otherwise.
    fn check(
        &self,
        from: &Address,
        me: &str,
        original: &RawValue,
        known: &KnownKeys,
    ) -> (Option<PublicKey>, Option<Problem>) {
        let signature = self.text("signature");
        if signature.is_empty() {
            return (None, Some(Problem::Unsigned));
        }
        let pinned = known.of(from.as_str());
        let key = match (&self.key, &pinned) {
            (Some(text), _) => match PublicKey::parse_any(text) {
                Ok(key) => key,
                Err(error) => return (None, Some(Problem::BadKey(error.to_string()))),
            },
            (None, Some(pinned)) => pinned.clone(),
            (None, None) => return (None, Some(Problem::NoKey)),
        };
        let (from_text, to_text) = (self.text("from"), self.text("to"));
        let priority = self.envelope.text("priority").unwrap_or_default();
        let reply_to = self.envelope.text("in_reply_to");
        let what = Signable {
            from: &[&from_text, from.as_str()],
            to: &[&to_text, &to_text.to_lowercase()],
            subject: &self.text("subject"),
            priority: Priority::parse(&priority).unwrap_or_default(),
            in_reply_to: reply_to.as_deref(),
            payload: original.get().as_bytes(),
        };
        let problem = match verify_delivered(&key, &what, &signature, None) {
            Err(error) => Some(Problem::BadSignature(error.to_string())),
            Ok(_) => match pinned.filter(|pinned| *pinned != key) {
                Some(pinned) => {
                    Some(Problem::KeyChanged { known: pinned.fingerprint(), now: key.fingerprint() })
                }
                None if !same_name(&to_text, me) => Some(Problem::NotForMe(to_text.clone())),
                None => None,
            },
        };
        (Some(key), problem)
    }

    /// The payload as it was signed: kept beside a wrapped one, or unwrapped from it.
    fn original(&self) -> Box<RawValue> {
        if let Some(original) = self.local.get("original_payload").filter(|raw| raw.get() != "null") {
            return original.to_owned();
        }
        let wrapped = self.local.object("security").flag("wrapped").unwrap_or(false);
        let unwrapped = if wrapped { trust::unwrap(self.payload.get().as_bytes()) } else { None };
        let unwrapped =
            unwrapped.and_then(|bytes| RawValue::from_string(String::from_utf8(bytes).ok()?).ok());
        let unwrapped = unwrapped.or_else(|| wrapped.then(|| shell_fence::unwrap(self.payload)).flatten());
        unwrapped.unwrap_or_else(|| self.payload.to_owned())
    }

    /// A provider writes to its own agents as `system`, a name nobody else can have; there is nobody to sign it.
    fn is_notice(&self, from: &Address, provider: &str) -> bool {
        from.name() == "system"
            && from.provider() == provider
            && self.text("signature").is_empty()
            && self.nodes_word() == "verified"
    }

    /// A provider may know more than a signature says, never less: its doubts count, its praise does not.
    fn with_the_nodes_doubts(&self, own: Trust, problem: &mut Option<Problem>) -> Trust {
        match (self.nodes_word().as_str(), own) {
            ("untrusted", Trust::Verified | Trust::External) => {
                problem.get_or_insert(Problem::NodeDoubts);
                Trust::Untrusted
            }
            ("external", Trust::Verified) => Trust::External,
            (_, own) => own,
        }
    }

    fn nodes_word(&self) -> String {
        let word = self.local.object("security").text("trust").unwrap_or_default();
        // The reference client, which looks no keys up, writes its own `untrusted` over the word of a provider that
        // verified the signature. Nobody's doubt is lost: it is verified again here.
        let by_the_shell = word == "untrusted" && self.local.flag("verified") == Some(true);
        if by_the_shell { "external".to_owned() } else { word }
    }

    fn text(&self, member: &str) -> String {
        self.envelope.text(member).unwrap_or_default()
    }
}

/// Whether a recipient as signed, perhaps in a short spelling, can be this agent.
fn same_name(to: &str, me: &str) -> bool {
    let name = |address: &str| address.split('@').next().unwrap_or_default().to_lowercase();
    name(to) == name(me)
}

#[cfg(test)]
mod tests;
