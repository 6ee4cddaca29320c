//! A message to send: composed and signed here, by the agent itself (SIG-1, CLI-2). Called by `send` and `reply`.

use super::raw::RawObject;
use amesh_proto::address::Address;
use amesh_proto::api::route::{RouteOptions, RouteRequest};
use amesh_proto::canonical::{Signable, VerifyError};
use amesh_proto::id::MessageId;
use amesh_proto::key::AgentKey;
use amesh_proto::message::{ENVELOPE_VERSION, Priority};
use amesh_proto::sign::sign;
use amesh_proto::time::UnixMillis;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// What a user wants to say.
#[derive(Debug, Clone)]
pub struct Draft {
    /// To whom.
    pub to: Address,
    /// About what.
    pub subject: String,
    /// The text.
    pub message: String,
    /// `payload.type`.
    pub kind: String,
    /// How urgent.
    pub priority: Priority,
    /// Which message it answers.
    pub in_reply_to: Option<String>,
    /// Which thread it continues.
    pub thread_id: Option<String>,
    /// A JSON object, verbatim.
    pub context: Option<String>,
    /// What is said of the files that go with it, as their upload was answered.
    pub attachments: Vec<Value>,
}

/// A signed message.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its id, chosen here so that a repeated request is recognised (A-75).
    pub id: MessageId,
    /// Its sender's address.
    pub from: String,
    /// Its thread.
    pub thread_id: String,
    /// When it was written; RFC 3339.
    pub timestamp: String,
    draft: Draft,
    payload: Box<RawValue>,
    signature: String,
}

/// Why a message cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The context is no JSON object.
    #[error("the context is no JSON object")]
    Context(#[source] serde_json::Error),
    /// A field cannot be signed.
    #[error("the message cannot be signed")]
    Sign(#[from] VerifyError),
}

impl Draft {
    /// Signs the draft as `from`.
    ///
    /// # Errors
    /// When the context is no JSON object, or a field may not be signed.
    pub fn sign(
        self,
        from: &str,
        key: &AgentKey,
        id: MessageId,
        now: UnixMillis,
    ) -> Result<Outgoing, ComposeError> {
        let payload = self.payload().map_err(ComposeError::Context)?;
        let signature = sign(
            key,
            &Signable {
                from: &[from],
                to: &[self.to.as_str()],
                subject: &self.subject,
                priority: self.priority,
                in_reply_to: self.in_reply_to.as_deref(),
                payload: payload.get().as_bytes(),
            },
        )?;
        Ok(Outgoing {
            from: from.to_owned(),
            thread_id: self.thread_id.clone().unwrap_or_else(|| id.to_string()),
            timestamp: now.to_rfc3339(),
            id,
            draft: self,
            payload,
            signature,
        })
    }

    /// Members in code-point order; the context keeps its own text.
    fn payload(&self) -> Result<Box<RawValue>, serde_json::Error> {
        let mut payload = RawObject::default();
        if !self.attachments.is_empty() {
            payload.put("attachments", &self.attachments);
        }
        if let Some(context) = &self.context {
            payload.put_raw("context", serde_json::from_str(context)?);
        }
        payload.put("message", &self.message);
        payload.put("type", &self.kind);
        to_raw_value(&payload)
    }
}

impl Outgoing {
    /// The request that sends it: flat to a node, full to a provider, which otherwise would choose its own id (ICL-14).
    #[must_use]
    pub fn request(&self, full: bool) -> RouteRequest {
        let draft = &self.draft;
        RouteRequest {
            full,
            version: full.then(|| ENVELOPE_VERSION.to_owned()),
            id: Some(self.id.to_string()),
            from: Some(self.from.clone()),
            to: draft.to.to_string(),
            subject: draft.subject.clone(),
            priority: Some(draft.priority.as_str().to_owned()),
            timestamp: full.then(|| self.timestamp.clone()),
            thread_id: Some(self.thread_id.clone()),
            in_reply_to: draft.in_reply_to.clone(),
            signature: Some(self.signature.clone()),
            options: RouteOptions::default(),
            payload: Some(self.payload.clone()),
            ..RouteRequest::default()
        }
    }

    /// The copy for the sent folder, under the id that the provider gave (IDN-12, IDN-13).
    #[must_use]
    pub fn file(&self, id: &str, status: &str, method: &str, now: UnixMillis) -> RawObject {
        let draft = &self.draft;
        let mut envelope = RawObject::default();
        envelope.put("version", ENVELOPE_VERSION);
        envelope.put("id", id);
        envelope.put("from", &self.from);
        envelope.put("to", draft.to.as_str());
        envelope.put("subject", &draft.subject);
        envelope.put("priority", draft.priority.as_str());
        envelope.put("timestamp", &self.timestamp);
        envelope.put("thread_id", &self.thread_id);
        envelope.put("in_reply_to", &draft.in_reply_to);
        envelope.put("expires_at", &None::<String>);
        envelope.put("signature", &self.signature);
        let mut local = RawObject::default();
        local.put("sent_at", &now.to_rfc3339());
        local.put("status", status);
        local.put("delivery_method", method);
        let mut file = RawObject::default();
        file.put("envelope", &envelope);
        file.put_raw("payload", self.payload.clone());
        file.put("local", &local);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_proto::canonical::verify;

    fn draft() -> Draft {
        Draft {
            to: Address::parse("bob@acme.aimaestro.local", &["aimaestro.local"]).unwrap(),
            subject: "Hi | there".to_owned(),
            message: "text".to_owned(),
            kind: "notification".to_owned(),
            priority: Priority::High,
            in_reply_to: Some("msg_1_a".to_owned()),
            thread_id: None,
            context: Some(r#"{"z": 1.50, "a": 1}"#.to_owned()),
            attachments: vec![serde_json::json!({"id": "att_1_a", "size": 5})],
        }
    }

    #[test]
    fn a_signed_message_verifies_from_its_request_in_both_forms() {
        let key = AgentKey::from_seed(&[3; 32]);
        let id = MessageId::parse("msg_2_b").unwrap();
        let out = draft().sign("alice@acme.aimaestro.local", &key, id, UnixMillis(0)).unwrap();
        for full in [false, true] {
            let text = serde_json::to_vec(&out.request(full)).unwrap();
            let request = RouteRequest::parse(&text).unwrap();
            assert_eq!((request.full, request.id.as_deref()), (full, Some("msg_2_b")));
            let payload = request.payload.unwrap();
            assert!(payload.get().contains("1.50"), "numbers keep their text: {}", payload.get());
            let what = Signable {
                from: &[request.from.as_deref().unwrap()],
                to: &[&request.to],
                subject: &request.subject,
                priority: Priority::parse(request.priority.as_deref().unwrap()).unwrap(),
                in_reply_to: request.in_reply_to.as_deref(),
                payload: payload.get().as_bytes(),
            };
            verify(&key.public(), &what, request.signature.as_deref().unwrap(), None).unwrap();
        }
    }

    #[test]
    fn a_new_thread_begins_with_the_message_itself() {
        let key = AgentKey::from_seed(&[3; 32]);
        let id = MessageId::parse("msg_2_b").unwrap();
        assert_eq!(draft().sign("a@b.c.d", &key, id, UnixMillis(0)).unwrap().thread_id, "msg_2_b");
    }

    #[test]
    fn the_sent_copy_has_the_shape_of_a_stored_message() {
        let key = AgentKey::from_seed(&[3; 32]);
        let id = MessageId::parse("msg_2_b").unwrap();
        let out = draft().sign("a@b.c.d", &key, id, UnixMillis(0)).unwrap();
        let file = serde_json::to_value(out.file("msg_9_z", "queued", "mesh", UnixMillis(0))).unwrap();
        assert_eq!(file["envelope"]["id"], "msg_9_z");
        assert_eq!(file["envelope"]["expires_at"], Value::Null);
        assert_eq!(file["local"]["status"], "queued");
    }
}
