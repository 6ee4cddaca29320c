//! One authenticated WebSocket: mail out, frames in (WS-6…WS-14, A-10…A-16). One task, no queue of its own: mail is read
//! from the mailbox by cursor when a signal says that there is some, and a client that does not read is cut off.

use super::{Gone, Identity, close, error_frame, framed, say, text};
use crate::agents::Agent;
use crate::agents::presence::Guard;
use crate::http::auth::log_in;
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::limit::Class;
use crate::http::mailbox;
use crate::http::state::{Peer, Shared};
use crate::http::v1::route;
use crate::message::{Accepted, MailSignal, Status};
use amesh_proto::api::error::code;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::api::ws::{ClientFrame, Connected, MessageDelivered, MessageNew};
use amesh_store::Seq;
use axum::extract::ws::{Message, WebSocket};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, SinkExt};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// See the module.
pub(super) struct Session {
    state: Shared,
    peer: Peer,
    identity: Identity,
    socket: WebSocket,
    signal: MailSignal,
    _online: Guard,
    /// Everything up to here has been written to this socket.
    written: Option<Seq>,
    /// How many of the next messages waited before the socket opened.
    replay_left: usize,
    /// Work that frames of this client asked for; its frames are the answers.
    under_way: FuturesUnordered<BoxFuture<'static, Vec<String>>>,
    last_heard: Instant,
}

/// Why a session ends.
enum End {
    /// The client left, or does not read.
    Gone,
    /// The node ends it, for a reason.
    Close(u16, &'static str),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// What a session waits for.
enum Event {
    Frame(Option<Result<Message, axum::Error>>),
    Mail,
    Answer(Vec<String>),
    Idle,
    Stop,
}

impl Session {
    pub(super) fn new(state: Shared, peer: Peer, identity: Identity, socket: WebSocket) -> Self {
        // Watching begins before the mailbox is read, so that nothing falls between.
        let signal = state.parts.hallway.subscribe(&identity.agent);
        let online = state.parts.agents.presence().connect(identity.agent.no);
        Self {
            state,
            peer,
            identity,
            socket,
            signal,
            _online: online,
            written: None,
            replay_left: 0,
            under_way: FuturesUnordered::new(),
            last_heard: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let Err(end) = self.live().await;
        if let End::Close(code, reason) = end {
            close(&mut self.socket, code, reason).await;
        }
    }

    async fn live(&mut self) -> Result<std::convert::Infallible, End> {
        let waiting = self.state.parts.hallway.pending_count(self.agent());
        self.replay_left = waiting;
        let greeting = text(&Connected::new(self.agent().address.as_str(), waiting));
        say(&mut self.socket, greeting).await?;
        self.push().await?;
        let stopping = self.state.parts.tasks.stopping();
        loop {
            let idle_at = self.last_heard + IDLE;
            let event = tokio::select! {
                frame = self.socket.recv(), if self.under_way.len() < MAX_UNDER_WAY => Event::Frame(frame),
                () = self.signal.changed() => Event::Mail,
                Some(frames) = self.under_way.next(), if !self.under_way.is_empty() => Event::Answer(frames),
                () = tokio::time::sleep_until(idle_at) => Event::Idle,
                () = stopping.cancelled() => Event::Stop,
            };
            match event {
                Event::Frame(Some(Ok(message))) => self.heard(message).await?,
                Event::Frame(Some(Err(_)) | None) => return Err(End::Gone),
                Event::Mail => self.push().await?,
                Event::Answer(frames) => {
                    for frame in frames {
                        say(&mut self.socket, frame).await?;
                    }
                }
                Event::Idle => return Err(End::Close(1000, "idle for 5 minutes")),
                Event::Stop => return Err(End::Close(1001, "the node is stopping")),
            }
        }
    }

    /// Writes all mail that is not written yet, oldest first.
    async fn push(&mut self) -> Result<(), End> {
        self.still_known().await?;
        loop {
            let page = mailbox::read(&self.state, self.agent(), self.written, PAGE, "websocket");
            let page = match page {
                Ok(page) => page,
                Err(problem) => return Err(self.fail(&problem).await),
            };
            let Some(last) = page.last else { return Ok(()) };
            let now = self.state.now().to_rfc3339();
            let mut frames = Vec::with_capacity(page.mail.len());
            for mail in &page.mail {
                let replay = self.replay_left > 0;
                self.replay_left = self.replay_left.saturating_sub(1);
                frames.push(text(&MessageNew::new(mail, &now, replay)));
            }
            let has_more = page.has_more;
            drop(page);
            self.write_all(frames).await?;
            self.written = Some(last);
            self.state.parts.hallway.pushed(self.agent(), last);
            if !has_more {
                // What waited has been shown; whatever was acknowledged elsewhere meanwhile no longer counts.
                self.replay_left = 0;
                return Ok(());
            }
        }
    }

    async fn write_all(&mut self, frames: Vec<String>) -> Result<(), End> {
        for frame in frames {
            let fed = tokio::time::timeout(super::WRITE, self.socket.feed(Message::text(frame))).await;
            fed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)?;
        }
        let flushed = tokio::time::timeout(super::WRITE, self.socket.flush()).await;
        flushed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
    }

    async fn heard(&mut self, message: Message) -> Result<(), End> {
        self.last_heard = Instant::now();
        let frame = match message {
            Message::Text(text) => ClientFrame::parse(text.as_bytes()).map_err(Problem::from),
            Message::Binary(_) => {
                Err(Problem::new(code::INVALID_REQUEST, "frames are JSON text, not binary"))
            }
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Gone),
        };
        match frame {
            Ok(frame) => self.act(frame).await,
            Err(problem) => self.refuse(&problem).await,
        }
    }

    async fn act(&mut self, frame: ClientFrame) -> Result<(), End> {
        let class = match &frame {
            ClientFrame::Route { .. } => Class::Route,
            ClientFrame::Ack { .. } => Class::Pending,
            _ => Class::Other,
        };
        let limits = self.state.limits(&self.peer);
        if let Err(exceeded) = limits.agent(class, &self.agent().no, self.state.now()) {
            let reference =
                if let ClientFrame::Route { reference, .. } = &frame { reference.as_deref() } else { None };
            let answer = error_frame(&exceeded.into(), value_of(reference));
            return Ok(say(&mut self.socket, answer).await?);
        }
        match frame {
            ClientFrame::Ping => self.pong().await,
            ClientFrame::Auth { token } => self.again(&token).await,
            ClientFrame::Ack { id } => {
                self.still_known().await?;
                self.acknowledge(id).await
            }
            ClientFrame::Route { data, reference } => {
                self.still_known().await?;
                self.route(data, reference)
            }
            ClientFrame::Unknown { kind } => {
                let kind: String = kind.chars().take(40).collect();
                let problem =
                    Problem::new(code::INVALID_REQUEST, format!("there is no frame of type {kind:?}"));
                self.refuse(&problem.field("type")).await
            }
        }
    }

    /// WS-8.
    async fn pong(&mut self) -> Result<(), End> {
        #[derive(serde::Serialize)]
        struct Pong {
            #[serde(rename = "type")]
            kind: &'static str,
            timestamp: String,
        }
        let pong = text(&Pong { kind: "pong", timestamp: self.state.now().to_rfc3339() });
        Ok(say(&mut self.socket, pong).await?)
    }

    /// A later `auth` frame is tolerated when it says the same.
    async fn again(&mut self, token: &str) -> Result<(), End> {
        match log_in(&self.state, &self.peer, token) {
            Ok(agent) if agent.no == self.agent().no => Ok(()),
            Ok(_) => {
                let other = Problem::unauthorized("this connection belongs to another agent; open a new one");
                Err(self.fail_with(&other, 4003).await)
            }
            Err(problem) => Err(self.fail_with(&problem, 4003).await),
        }
    }

    /// WS-7. Silent when done; an id that is not waiting gets an error frame.
    async fn acknowledge(&mut self, id: String) -> Result<(), End> {
        let id = match mailbox::id_of(&id) {
            Ok(id) => id,
            Err(problem) => return self.refuse(&problem).await,
        };
        let (state, agent) = (self.state.clone(), self.identity.agent.clone());
        let work = async move {
            match mailbox::acknowledge(&state, &agent, vec![id]).await {
                Ok(0) => vec![error_frame(&mailbox::unknown(), None)],
                Ok(_) => Vec::new(),
                Err(problem) => vec![error_frame(&problem, None)],
            }
        };
        self.begin(work);
        Ok(())
    }

    /// WS-10, A-15. Messages of one socket are committed in the order of their frames.
    fn route(&mut self, data: Box<RawValue>, reference: Option<Box<RawValue>>) -> Result<(), End> {
        let (state, agent) = (self.state.clone(), self.identity.agent.clone());
        let work = async move {
            let sent = async {
                let request = RouteRequest::parse(data.get().as_bytes())?;
                let to = request.to.clone();
                Ok((route::send(&state, &agent, None, request).await?, to))
            };
            match sent.await {
                Ok((accepted, to)) => answers(&accepted, to, reference.as_deref()),
                Err(problem) => vec![error_frame(&problem, value_of(reference.as_deref()))],
            }
        };
        self.begin(work);
        Ok(())
    }

    /// Begins `work` now, up to its first wait: what frames ask for is done in their order.
    fn begin(&mut self, work: impl Future<Output = Vec<String>> + Send + 'static) {
        let mut work = to_the_end(&self.state.parts.tasks, work);
        match (&mut work).now_or_never() {
            Some(frames) => self.under_way.push(std::future::ready(frames).boxed()),
            None => self.under_way.push(work.boxed()),
        }
    }

    /// Ends the session of an agent that is gone or whose key was revoked (REG-25, KEY-4).
    async fn still_known(&mut self) -> Result<(), End> {
        match self.state.parts.agents.authenticate(&self.identity.key) {
            Ok(agent) if agent.no == self.agent().no => {
                self.identity.agent = agent;
                Ok(())
            }
            _ => {
                let gone = Problem::unauthorized("the API key of this connection is no longer valid");
                Err(self.fail_with(&gone, 4003).await)
            }
        }
    }

    async fn refuse(&mut self, problem: &Problem) -> Result<(), End> {
        Ok(say(&mut self.socket, error_frame(problem, None)).await?)
    }

    async fn fail(&mut self, problem: &Problem) -> End {
        self.fail_with(problem, 1011).await
    }

    async fn fail_with(&mut self, problem: &Problem, close_code: u16) -> End {
        match self.refuse(problem).await {
            Ok(()) => End::Close(close_code, problem.code()),
            Err(end) => end,
        }
    }

    fn agent(&self) -> &Arc<Agent> {
        &self.identity.agent
    }
}

/// `route.result`, and `message.delivered` where it was (A-15, WS-11).
fn answers(accepted: &Accepted, to: String, reference: Option<&RawValue>) -> Vec<String> {
    let shown = route::shown(accepted);
    let mut frames = Vec::with_capacity(2);
    let delivered = (accepted.status == Status::Delivered).then(|| MessageDelivered {
        id: shown.id.clone(),
        to,
        delivered_at: shown.delivered_at.clone().unwrap_or_default(),
        method: shown.method.clone(),
    });
    frames.push(framed("route.result", shown, reference));
    frames.extend(delivered.map(|delivered| framed("message.delivered", delivered, None)));
    frames
}

fn value_of(reference: Option<&RawValue>) -> Option<serde_json::Value> {
    reference.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

const IDLE: Duration = Duration::from_secs(300);
const PAGE: usize = 32;
const MAX_UNDER_WAY: usize = 64;
