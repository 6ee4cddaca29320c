//! A stand-in for another provider that delivers mail over HTTPS: its key, its agents' signatures, and every way of getting
//! them wrong. Used by tests of federation.

use crate::authority::Authority;
use amesh_proto::canonical::Signable;
use amesh_proto::delivery::{self, Beside, PROVIDER, SIGNATURE, TIMESTAMP};
use amesh_proto::key::AgentKey;
use amesh_proto::message::Priority;
use amesh_proto::sign::sign;
use amesh_proto::time::UnixMillis;
use anyhow::{Context, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// A message as one of the provider's agents signed it, with what its provider says of it.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its members; the signature is among them.
    pub envelope: Value,
    /// As signed.
    pub payload: Value,
    /// `sender_public_key`.
    pub sender_key: Option<String>,
    /// `queued_at`.
    pub queued_at: Option<String>,
}

/// A request that is ready to be sent, and can still be spoilt.
#[derive(Debug, Clone)]
pub struct Post {
    /// By name; each may be taken out or changed.
    pub headers: HeaderMap,
    /// As signed.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: Value,
}

impl Said {
    /// Status and code.
    #[must_use]
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.body["error"].as_str().unwrap_or_default())
    }
}

/// This moment.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixMillis::from_secs(since.as_secs())
}

impl Message {
    /// From the agent `from`, whose key is grown from `seed`, to `to`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn new(id: &str, from: &str, seed: u8, to: &str) -> Result<Self> {
        let (key, payload) =
            (AgentKey::from_seed(&[seed; 32]), json!({"message": "Hello.", "type": "request"}));
        let text = payload.to_string();
        let what = Signable {
            from: &[from],
            to: &[to],
            subject: "from afar",
            priority: Priority::Normal,
            in_reply_to: None,
            payload: text.as_bytes(),
        };
        let signature = sign(&key, &what)?;
        let envelope = json!({
            "version": "amp/0.1", "id": id, "from": from, "to": to, "subject": "from afar", "priority": "normal",
            "timestamp": now().to_rfc3339(), "thread_id": id, "signature": signature
        });
        Ok(Self { envelope, payload, sender_key: Some(key.public().sender_key_text()), queued_at: None })
    }

    /// Changes a member of the envelope, and leaves the signature as it is.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.envelope[member] = value;
        self
    }

    /// The request of `domain`, whose key is grown from `seed`, signed now.
    ///
    /// # Errors
    /// When it is no message.
    pub fn by(&self, domain: &str, seed: u8) -> Result<Post> {
        let beside = Beside { sender_key: self.sender_key.as_deref(), queued_at: self.queued_at.as_deref() };
        let (envelope, payload) = (self.envelope.to_string(), self.payload.to_string());
        let body = delivery::body(envelope.as_bytes(), payload.as_bytes(), beside)?;
        Post::signed(domain, seed, now().as_secs(), body)
    }
}

impl Post {
    /// `body`, signed at `at` with the key of a provider that is grown from `seed`.
    ///
    /// # Errors
    /// When the domain cannot stand in a header.
    pub fn signed(domain: &str, seed: u8, at: u64, body: Vec<u8>) -> Result<Self> {
        let signature = delivery::sign(&AgentKey::from_seed(&[seed; 32]), at, &body);
        let post = Self { headers: HeaderMap::new(), body };
        post.with(PROVIDER, domain)?.with(TIMESTAMP, &at.to_string())?.with(SIGNATURE, &signature)
    }

    /// With another value of a header.
    ///
    /// # Errors
    /// When it cannot stand there.
    pub fn with(mut self, name: &'static str, value: &str) -> Result<Self> {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        Ok(self)
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Sends it to `url`, whose host is at `door` and vouched for by `authority`.
    ///
    /// # Errors
    /// When nothing comes back.
    pub async fn send(&self, url: &str, door: SocketAddr, authority: &Authority) -> Result<Said> {
        let root = reqwest::Certificate::from_pem(authority.pem().as_bytes())?;
        let host = reqwest::Url::parse(url)?.host_str().context("no host")?.to_owned();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([root]).resolve(&host, door).build()?;
        let headers = self.headers.clone();
        let request = client.post(url).headers(headers).header("content-type", "application/json");
        let answer = request.body(self.body.clone()).send().await?;
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Said { status: answer.status().as_u16(), retry_after, body: answer.json().await? })
    }
}
