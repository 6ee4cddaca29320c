//! An agent as a stranger would write one: its own key, its own signing, plain HTTP. It shares no code with the node,
//! so that a mistake in ours does not cancel out.

use crate::http::{Http, Reply};
use crate::place::Place;
use crate::socket::Socket;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;

/// A registered agent.
#[derive(Debug, Clone)]
pub struct TestAgent {
    /// Its full address.
    pub address: String,
    /// Its API key.
    pub key: String,
    signing: SigningKey,
    http: Http,
}

/// A message to send.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The recipient.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// `payload.message`.
    pub text: String,
    /// The priority.
    pub priority: &'static str,
    /// `payload.type`.
    pub kind: &'static str,
    /// Whether to tell its sender what becomes of it.
    pub receipt: bool,
    /// A client's own id, for retries.
    pub id: Option<String>,
}

/// A message as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// The id it is shown under.
    pub id: String,
    /// The sender.
    pub from: String,
    /// The subject.
    pub subject: String,
    /// `payload.message`, as delivered.
    pub text: String,
    /// All of it.
    pub whole: Value,
}

impl Letter {
    /// A plain letter.
    #[must_use]
    pub fn new(to: &str, subject: &str, text: &str) -> Self {
        Self {
            to: to.into(),
            subject: subject.into(),
            text: text.into(),
            priority: "normal",
            kind: "notification",
            receipt: false,
            id: None,
        }
    }

    /// A question that wants an answer, and receipts for itself.
    #[must_use]
    pub fn request(to: &str, subject: &str) -> Self {
        Self { kind: "request", receipt: true, ..Self::new(to, subject, "an answer, please") }
    }

    /// What its sender signs and sends along.
    fn payload(&self) -> Value {
        // The keys are in sorted order: the emitted form of A-1.
        json!({"message": self.text, "type": self.kind})
    }
}

impl TestAgent {
    /// Makes a key and registers `name` at the node whose API is at `api`.
    ///
    /// # Errors
    /// When the registration is refused.
    pub async fn register(place: &Place, api: SocketAddr, name: &str) -> Result<Self> {
        let signing = SigningKey::from_bytes(&rand::random());
        let http = Http::new(place, api)?;
        let key = public_pem(&signing.verifying_key());
        let request =
            json!({"name": name, "tenant": "default", "public_key": key, "key_algorithm": "Ed25519"});
        let reply = http.post("/v1/register", None, &request).await?.ok().context("registering")?;
        let text =
            |field: &str| reply[field].as_str().map(str::to_owned).with_context(|| format!("no {field}"));
        Ok(Self { address: text("address")?, key: text("api_key")?, signing, http })
    }

    /// The same agent, talking to the node whose API is at `api` now.
    ///
    /// # Errors
    /// When there is no way to ask from `place`.
    pub fn at(&self, place: &Place, api: SocketAddr) -> Result<Self> {
        Ok(Self { http: Http::new(place, api)?, ..self.clone() })
    }

    /// Signs and routes; the raw reply.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn route(&self, letter: &Letter) -> Result<Reply> {
        self.http.post("/v1/route", Some(&self.key), &self.signed(letter)).await
    }

    /// Signs and routes; the id of an accepted message.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn send(&self, to: &str, subject: &str) -> Result<String> {
        let reply = self.route(&Letter::new(to, subject, "hello")).await?.ok()?;
        Ok(reply["id"].as_str().context("no id")?.to_owned())
    }

    /// The body of a route request.
    #[must_use]
    pub fn signed(&self, letter: &Letter) -> Value {
        let payload = letter.payload();
        let hash = BASE64.encode(Sha256::digest(payload.to_string()));
        let text = format!("{}|{}|{}|{}||{hash}", self.address, letter.to, letter.subject, letter.priority);
        let signature = BASE64.encode(self.signing.sign(text.as_bytes()).to_bytes());
        let mut body = json!({"to": letter.to, "subject": letter.subject, "priority": letter.priority,
            "payload": payload, "signature": signature});
        if let Some(id) = &letter.id {
            body["id"] = json!(id);
        }
        if letter.receipt {
            body["options"] = json!({"receipt": true});
        }
        body
    }

    /// One page of the mailbox, oldest first, each signature checked as the recipient would.
    ///
    /// # Errors
    /// When the mailbox cannot be read or holds what does not verify.
    pub async fn pending(&self) -> Result<Vec<Received>> {
        let page = self.http.get("/v1/messages/pending?limit=100", Some(&self.key)).await?.ok()?;
        let messages = page["messages"].as_array().context("no messages")?;
        messages.iter().map(Received::checked).collect()
    }

    /// Acknowledges; how many were removed.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn ack(&self, ids: &[String]) -> Result<u64> {
        let reply =
            self.http.post("/v1/messages/pending/ack", Some(&self.key), &json!({"ids": ids})).await?.ok()?;
        reply["acknowledged"].as_u64().context("no count")
    }

    /// Takes what is there: reads pages and acknowledges them until the mailbox is empty.
    ///
    /// # Errors
    /// As [`Self::pending`] and [`Self::ack`].
    pub async fn take(&self) -> Result<Vec<Received>> {
        let mut taken = Vec::new();
        loop {
            let page = self.pending().await?;
            if page.is_empty() {
                return Ok(taken);
            }
            let ids: Vec<String> = page.iter().map(|mail| mail.id.clone()).collect();
            self.ack(&ids).await?;
            taken.extend(page);
        }
    }

    /// What became of a sent message.
    ///
    /// # Errors
    /// When the node does not say.
    pub async fn fate(&self, id: &str) -> Result<Value> {
        self.http.get(&format!("/v1/messages/{id}"), Some(&self.key)).await?.ok()
    }

    /// Any request with this agent's key.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.http.get(path, Some(&self.key)).await
    }

    /// Its public key, as it registered it.
    #[must_use]
    pub fn public_key(&self) -> String {
        public_pem(&self.signing.verifying_key())
    }

    /// Where its node's API is.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.http.api()
    }

    /// Changes how mail is delivered to this agent; the raw reply.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn wants(&self, delivery: &Value) -> Result<Reply> {
        self.http.patch("/v1/agents/me", Some(&self.key), &json!({"delivery": delivery})).await
    }

    /// Opens a WebSocket and authenticates by the first frame.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn connect(&self) -> Result<Socket> {
        Socket::open(self.http.place(), self.http.api(), &self.key).await
    }
}

impl Received {
    fn checked(whole: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let envelope = &whole["envelope"];
        let mail = Self {
            id: text(&whole["id"]),
            from: text(&envelope["from"]),
            subject: text(&envelope["subject"]),
            text: text(&whole["payload"]["message"]),
            whole: whole.clone(),
        };
        if mail.from.starts_with("system@") {
            return Ok(mail);
        }
        mail.check_signature().with_context(|| format!("checking {whole}"))?;
        Ok(mail)
    }

    /// Checks the signature from nothing but the delivery itself (AMP 09 §List Pending).
    fn check_signature(&self) -> Result<()> {
        let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let envelope = &self.whole["envelope"];
        let original = &self.whole["local"]["original_payload"];
        let payload = if original.is_object() { original } else { &self.whole["payload"] };
        let hash = BASE64.encode(Sha256::digest(payload.to_string()));
        let parts = ["from", "to", "subject", "priority", "in_reply_to"].map(|name| field(&envelope[name]));
        let text = format!("{}|{hash}", parts.join("|"));
        let signature = Signature::from_slice(&BASE64.decode(field(&envelope["signature"]))?)?;
        let raw = unhex(&field(&self.whole["sender_public_key"])).context("sender_public_key")?;
        VerifyingKey::from_bytes(&raw)?.verify_strict(text.as_bytes(), &signature)?;
        Ok(())
    }
}

/// A public key as clients send it.
#[must_use]
pub fn public_pem(key: &VerifyingKey) -> String {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(key.as_bytes());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(der))
}

fn unhex(text: &str) -> Result<[u8; 32]> {
    ensure!(text.len() == 64 && text.is_ascii(), "not 64 hex digits: {text}");
    let mut raw = [0; 32];
    for (at, byte) in raw.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16)?;
    }
    Ok(raw)
}
