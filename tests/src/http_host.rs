//! A stand-in host of the AMP 06a kind, written from its wire format: it answers by name, takes forwards and forwards itself.
//! Its server has a runtime of its own, so that it can go down with every connection.

use crate::agent::public_pem;
use crate::http::Reply;
use crate::place::reserved_port;
use crate::wait::patience;
use anyhow::{Context, Result, ensure};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// See the module.
#[derive(Debug)]
pub struct HttpHost {
    /// Its id.
    pub id: String,
    /// Where it listens while it is up.
    pub address: SocketAddr,
    books: Arc<Mutex<Books>>,
    running: Option<Runtime>,
    /// Keeps the port for this host while it is down.
    _port: TcpSocket,
}

#[derive(Debug, Default)]
struct Books {
    id: String,
    agents: HashMap<String, HostAgent>,
    received: Vec<Forwarded>,
    asked: Vec<String>,
    /// Answers every forward with this status instead, an error of this code.
    grumpy: Option<(u16, String)>,
}

/// An agent of a stand-in host.
#[derive(Debug, Clone)]
pub struct HostAgent {
    /// Its address, of the organization's form.
    pub address: String,
    signing: SigningKey,
    tells_key: bool,
}

/// A forward as it came.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// Its headers.
    pub headers: HashMap<String, String>,
    /// Its body.
    pub body: Value,
}

/// A forward as a host of this kind sends it, to be spoiled by tests.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Headers besides the content type.
    pub headers: HashMap<&'static str, String>,
    /// The body.
    pub body: Value,
    /// The address to come from.
    pub source: IpAddr,
}

impl HttpHost {
    /// A host on this machine that is up.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(id: &str) -> Result<Self> {
        let (port, address) = reserved_port()?;
        let books = Arc::new(Mutex::new(Books { id: id.to_owned(), ..Books::default() }));
        let mut host = Self { id: id.to_owned(), address, books, running: None, _port: port };
        host.up()?;
        Ok(host)
    }

    /// Starts to listen, where it was before.
    ///
    /// # Errors
    /// When it cannot.
    pub fn up(&mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind(self.address)?;
        listener.set_nonblocking(true)?;
        let routes = axum::Router::new()
            .route("/api/agents/by-name/{name}", get(by_name))
            .route("/v1/route", post(route))
            .with_state(self.books.clone());
        runtime.spawn(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            axum::serve(listener, routes).await.ok();
        });
        self.running = Some(runtime);
        Ok(())
    }

    /// Goes down, and every connection with it: it answers nothing any more when this is over.
    pub fn down(&mut self) {
        if let Some(runtime) = self.running.take() {
            // On a thread of its own, since the caller may be a task, which must not wait for the end of a runtime.
            std::thread::spawn(move || runtime.shutdown_timeout(patience())).join().ok();
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its table in a node's configuration file.
    #[must_use]
    pub fn setting(&self, mode: &str) -> String {
        format!("[[http_mesh.host]]\nname = {:?}\nurl = {:?}\nmode = {mode:?}\n", self.id, self.url())
    }

    /// An agent of this host with a new key, in the place of one of that name. With `tells_key` the host names its key
    /// when asked, as some do.
    #[must_use]
    pub fn agent(&self, name: &str, tells_key: bool) -> HostAgent {
        let address = format!("{name}@default.aimaestro.local");
        let agent = HostAgent { address, signing: SigningKey::from_bytes(&rand::random()), tells_key };
        self.books().agents.insert(name.to_owned(), agent.clone());
        agent
    }

    /// Answers every forward with an error, or takes them again.
    pub fn refuse_all(&self, with: Option<(u16, &str)>) {
        self.books().grumpy = with.map(|(status, code)| (status, code.to_owned()));
    }

    /// What it has taken, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Forwarded> {
        self.books().received.clone()
    }

    /// The subjects of what it has taken, in order.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        self.received().iter().map(|mail| text(&mail.body["subject"])).collect()
    }

    /// The names it was asked for.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.books().asked.clone()
    }

    /// A forward of `from` to `to`, in the shape of AMP 06a.
    #[must_use]
    pub fn forward(&self, from: &HostAgent, to: &str, subject: &str) -> Forward {
        let payload = json!({"message": "hello from afar", "type": "notification"});
        let signature = from.sign(to, subject, &payload);
        let id = format!("msg_1790000000_{:08x}", rand::random::<u32>());
        let name = to.split('@').next().unwrap_or_default();
        Forward {
            headers: HashMap::from([
                ("x-forwarded-from", self.id.clone()),
                ("x-amp-envelope-id", id),
                ("x-amp-signature", signature.clone()),
                ("x-amp-sender-key", from.key_hex()),
            ]),
            body: json!({
                "from": from.address, "to": name, "subject": subject, "payload": payload, "priority": "normal",
                "in_reply_to": null, "signature": signature,
                "_forwarded": {
                    "original_from": from.address, "original_to": to, "forwarded_by": self.id,
                    "forwarded_at": "2026-01-30T10:00:00Z",
                },
            }),
            source: IpAddr::from([127, 0, 0, 1]),
        }
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HttpHost {
    fn drop(&mut self) {
        self.down();
    }
}

impl HostAgent {
    /// Its public key, in hex.
    #[must_use]
    pub fn key_hex(&self) -> String {
        self.signing.verifying_key().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sign(&self, to: &str, subject: &str, payload: &Value) -> String {
        let hash = BASE64.encode(Sha256::digest(payload.to_string()));
        let text = format!("{}|{to}|{subject}|normal||{hash}", self.address);
        BASE64.encode(self.signing.sign(text.as_bytes()).to_bytes())
    }
}

impl Forward {
    /// Sends it to the door at `door`.
    ///
    /// # Errors
    /// When there is no answer, or one that is not JSON.
    pub async fn send(&self, door: SocketAddr) -> Result<Reply> {
        request(self.source, "POST", &format!("http://{door}/v1/route"), &self.headers, Some(&self.body))
            .await
    }
}

impl Forwarded {
    /// Checks the signature from nothing but the forward itself.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn check_signature(&self) -> Result<()> {
        let header =
            |name: &str| self.headers.get(name).cloned().with_context(|| format!("no header {name}"));
        let (body, trail) = (&self.body, &self.body["_forwarded"]);
        ensure!(header("x-amp-signature")? == text(&body["signature"]), "two signatures");
        let hash = BASE64.encode(Sha256::digest(body["payload"].to_string()));
        let (from, to) = (text(&trail["original_from"]), text(&trail["original_to"]));
        let (subject, priority) = (text(&body["subject"]), text(&body["priority"]));
        let signed = format!("{from}|{to}|{subject}|{priority}|{}|{hash}", text(&body["in_reply_to"]));
        let hex = header("x-amp-sender-key")?;
        let mut key = [0; 32];
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2).context("a short key")?, 16)?;
        }
        let signature = Signature::from_slice(&BASE64.decode(text(&body["signature"]))?)?;
        Ok(VerifyingKey::from_bytes(&key)?.verify_strict(signed.as_bytes(), &signature)?)
    }
}

/// A request to the door of a node from the address `source`; the answer must be JSON.
///
/// # Errors
/// When there is no answer, or one that is not JSON.
pub async fn request(
    source: IpAddr,
    method: &str,
    url: &str,
    headers: &HashMap<&'static str, String>,
    body: Option<&Value>,
) -> Result<Reply> {
    let client = reqwest::Client::builder().no_proxy().local_address(source).build()?;
    let mut request = client.request(method.parse::<reqwest::Method>()?, url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await?;
    let body = serde_json::from_slice(&body).with_context(|| format!("{status} is not JSON: {body:?}"))?;
    Ok(Reply { status, body })
}

/// Names are spelled as this host pleases: some members in one spelling, some in the other, some missing.
async fn by_name(State(books): State<Arc<Mutex<Books>>>, Path(name): Path<String>) -> Json<Value> {
    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
    books.asked.push(name.clone());
    let Some(agent) = books.agents.get(&name) else { return Json(json!({"exists": false})) };
    let mut shown = json!({"name": name, "host_id": books.id, "ampRegistered": true});
    if agent.tells_key {
        shown["public_key"] = json!(public_pem(&agent.signing.verifying_key()));
    }
    Json(json!({"agent": shown}))
}

/// Under `/v1` only, as AMP 06a says; a node has to find that out.
async fn route(State(books): State<Arc<Mutex<Books>>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((status, code)) = &books.grumpy {
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
        return (status, Json(json!({"error": code}))).into_response();
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_request"}))).into_response();
    };
    if !books.agents.contains_key(body["to"].as_str().unwrap_or_default()) {
        return (StatusCode::NOT_FOUND, Json(json!({"error": "agent_not_found"}))).into_response();
    }
    let named = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = headers.iter().map(named).collect();
    books.received.push(Forwarded { headers, body });
    let id = format!("msg_{}_theirs", books.received.len());
    Json(json!({"id": id, "status": "delivered", "method": "local"})).into_response()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
