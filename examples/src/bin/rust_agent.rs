//! An agent on amesh's own `client` module: it answers every request that is addressed to it. It shares its identity with
//! the command line (`amesh --agent NAME inbox`), finds the node of this machine by itself, and prints one JSON object a
//! line. Run it with `cargo run -p amesh-examples --bin rust_agent -- NAME`.

use amesh::client::compose::Draft;
use amesh::client::find::{self, NodeFile};
use amesh::client::home::{AgentHome, Surroundings};
use amesh::client::http::Api;
use amesh::client::identity::{Identity, NewIdentity};
use amesh::client::judge::Judged;
use amesh::client::known_keys::KnownKeys;
use amesh::client::mailbox::{Mailbox, Saved};
use amesh::client::raw::RawObject;
use amesh::client::received::Received;
use amesh::client::registration::Registration;
use amesh::client::websocket::MailStream;
use amesh_proto::address::Address;
use amesh_proto::api::register::RegisterRequest;
use amesh_proto::api::ws::ServerFrame;
use amesh_proto::id::MessageId;
use amesh_proto::message::Priority;
use amesh_proto::time::UnixMillis;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("usage: rust_agent NAME")?.to_lowercase();
    let asked = std::env::var_os("AMESH_DATA_DIR").map(PathBuf::from);
    let data_dir = find::data_dir(asked.as_deref())?;
    let node = find::find(&data_dir).context("start one with `amesh up --detach`")?;
    let agent = Agent::settle(&name, &node).await?;
    let mut wait = Duration::from_millis(500);
    loop {
        let ended = agent.listen(&data_dir, &mut wait).await;
        let why = ended.err().map(|error| format!("{error:#}"));
        println!("{}", json!({"event": "disconnected", "why": why}));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Who this is, and where it is known.
struct Agent {
    identity: Identity,
    registration: Registration,
}

impl Agent {
    /// Takes up the identity of that name, or makes one, and registers it where it is not yet.
    async fn settle(name: &str, node: &NodeFile) -> Result<Self> {
        let around = Surroundings { user_home: std::env::home_dir(), ..Surroundings::default() };
        let home = AgentHome::for_new(&Surroundings { agent: Some(name.to_owned()), ..around }, name)?;
        let url = node.api_url().context("the node listens to no agents")?;
        let identity = if home.is_initialized() {
            Identity::load(&home)?
        } else {
            let new = NewIdentity {
                name: name.to_owned(),
                tenant: node.org.clone(),
                provider: node.provider.clone(),
                maestro_url: url.clone(),
            };
            Identity::create(&home, new, rand::random(), now()?)?
        };
        if let Some(registration) = Registration::with(&home, &node.provider)? {
            return Ok(Self { identity, registration });
        }
        let key = identity.key()?.public();
        let request = RegisterRequest {
            name: name.to_owned(),
            tenant: Some(identity.tenant.clone()),
            public_key: key.to_pem(),
            key_algorithm: key.algorithm().as_str().to_owned(),
            ..RegisterRequest::default()
        };
        let answer = Api::new(&url, None)?.register(&request).await?;
        let registration = Registration::from_response(answer, name, &node.node_id);
        registration.save(&home)?;
        Ok(Self { identity, registration })
    }

    /// One connection, from its beginning to its end.
    async fn listen(&self, data_dir: &Path, wait: &mut Duration) -> Result<()> {
        // Asked anew each time: a node that was started again may be at another address.
        let url = find::find(data_dir)?.api_url().context("the node listens to no agents")?;
        let api = Api::new(&url, Some(&self.registration.api_key))?;
        let mut stream = MailStream::open(api.base(), &self.registration.api_key).await?;
        println!("{}", json!({"event": "connected", "address": self.registration.address}));
        *wait = Duration::from_millis(500);
        loop {
            match stream.next().await? {
                ServerFrame::Mail { mail, .. } => {
                    let mail = Received::from_delivery(*mail)?;
                    self.received(&api, &mail).await?;
                    stream.acknowledge(&mail.id).await?;
                }
                ServerFrame::Error(said) => println!("{}", json!({"event": "error", "error": said.error})),
                _ => {}
            }
        }
    }

    /// Judges, answers and saves a message. All of it may happen twice; what is on disk is passed over.
    async fn received(&self, api: &Api, mail: &Received) -> Result<()> {
        let Registration { address, provider, .. } = &self.registration;
        let mut known = KnownKeys::load(&self.identity.home)?;
        let judged = Judged::received(mail, address, provider, &known);
        let envelope = RawObject::parse(mail.envelope.get())?;
        let payload = RawObject::parse(judged.payload.get())?;
        let subject = envelope.text("subject").unwrap_or_default();
        if judged.verified && payload.text("type").as_deref() == Some("request") {
            self.answer(api, mail, &judged.from, &subject, envelope.text("thread_id")).await?;
        }
        let file = judged.file(mail, provider, "websocket", now()?);
        if Mailbox::of(&self.identity.home).save_received(&mail.id, &judged.from, &file, now()?)?
            == Saved::New
        {
            let line = json!({"event": "mail", "id": mail.id, "from": judged.from, "subject": subject,
                "text": payload.text("message"), "trust": judged.trust.as_str(), "verified": judged.verified});
            println!("{line}");
        }
        if let (true, Some(key)) = (judged.verified, &judged.key) {
            known.remember(&judged.from, key, now()?);
            known.save()?;
        }
        Ok(())
    }

    /// The answer's id follows from the question's: answered again, it is the same message and arrives once.
    async fn answer(
        &self,
        api: &Api,
        mail: &Received,
        from: &str,
        subject: &str,
        thread_id: Option<String>,
    ) -> Result<()> {
        let re = if subject.starts_with("Re: ") { subject.to_owned() } else { format!("Re: {subject}") };
        let draft = Draft {
            to: Address::parse(from, &[&self.registration.provider])?,
            subject: re,
            message: format!("{} read your message", self.identity.name),
            kind: "response".to_owned(),
            priority: Priority::Normal,
            in_reply_to: Some(mail.id.clone()),
            thread_id,
            context: None,
            attachments: Vec::new(),
        };
        let id = MessageId::parse(&format!("{}re", mail.id))?;
        let out = draft.sign(&self.registration.address, &self.identity.key()?, id, now()?)?;
        api.route("", &out.request(false)).await?;
        Ok(())
    }
}

fn now() -> Result<UnixMillis> {
    Ok(UnixMillis(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?))
}
