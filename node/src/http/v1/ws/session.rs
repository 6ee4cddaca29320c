//! One authenticated WebSocket: mail out, frames in (WS-6…WS-14, A-10…A-16). One task, no queue of its own: mail is read
//! from the mailbox by cursor when a signal says that there is some, and a client that does not read is cut off.

use super::push::Progress;
use super::{Gone, Identity, close, error_frame, say, text};
use crate::agents::Agent;
use crate::agents::presence::Guard;
use crate::http::error::Problem;
use crate::http::state::{Peer, Shared};
use crate::message::MailSignal;
use amesh_proto::api::ws::Connected;
use amesh_store::Seq;
use axum::extract::ws::{Message, WebSocket};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// See the module.
pub(super) struct Session {
    pub(super) state: Shared,
    pub(super) peer: Peer,
    pub(super) identity: Identity,
    pub(super) socket: WebSocket,
    pub(super) signal: MailSignal,
    _online: Guard,
    /// How much of the mailbox has been written to this socket.
    pub(super) progress: Progress,
    /// The agent's receipts up to here have been written to this socket.
    pub(super) told: Option<Seq>,
    /// Work that frames of this client asked for; its frames are the answers.
    pub(super) under_way: FuturesUnordered<BoxFuture<'static, Vec<String>>>,
    pub(super) last_active: Instant,
}

/// Why a session ends.
pub(super) enum End {
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
        let signal = state.parts.hallway.subscribe(&identity.agent).telling();
        let progress = Progress::since(state.parts.store.position());
        let online = state.parts.agents.presence().connect(identity.agent.no);
        Self {
            state,
            peer,
            identity,
            socket,
            signal,
            _online: online,
            progress,
            told: None,
            under_way: FuturesUnordered::new(),
            last_active: Instant::now(),
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
        let greeting = text(&Connected::new(self.agent().address.as_str(), waiting));
        say(&mut self.socket, greeting).await?;
        let mut has_more = true;
        let stopping = self.state.parts.tasks.stopping();
        let idle = Duration::from_secs(self.state.parts.config.socket_idle_s);
        loop {
            let idle_at = self.last_active + idle;
            let event = tokio::select! {
                frame = self.socket.recv(), if self.under_way.len() < MAX_UNDER_WAY => Event::Frame(frame),
                // A page at a time: acknowledgements are heard in between.
                () = std::future::ready(()), if has_more => Event::Mail,
                () = self.signal.changed() => Event::Mail,
                Some(frames) = self.under_way.next(), if !self.under_way.is_empty() => Event::Answer(frames),
                () = tokio::time::sleep_until(idle_at) => Event::Idle,
                () = stopping.cancelled() => Event::Stop,
            };
            match event {
                Event::Frame(Some(Ok(message))) => self.heard(message).await?,
                Event::Frame(Some(Err(_)) | None) => return Err(End::Gone),
                Event::Mail => {
                    has_more = self.push().await?;
                    self.tell().await?;
                }
                Event::Answer(frames) => {
                    for frame in frames {
                        say(&mut self.socket, frame).await?;
                    }
                }
                Event::Idle => return Err(End::Close(1000, "idle")),
                Event::Stop => return Err(End::Close(1001, "the node is stopping")),
            }
        }
    }

    /// Ends the session of an agent that is gone or whose key was revoked (REG-25, KEY-4).
    pub(super) async fn still_known(&mut self) -> Result<(), End> {
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

    pub(super) async fn refuse(&mut self, problem: &Problem) -> Result<(), End> {
        Ok(say(&mut self.socket, error_frame(problem, None)).await?)
    }

    pub(super) async fn fail(&mut self, problem: &Problem) -> End {
        self.fail_with(problem, 1011).await
    }

    pub(super) async fn fail_with(&mut self, problem: &Problem, close_code: u16) -> End {
        match self.refuse(problem).await {
            Ok(()) => End::Close(close_code, problem.code()),
            Err(end) => end,
        }
    }

    pub(super) fn agent(&self) -> &Arc<Agent> {
        &self.identity.agent
    }
}

const MAX_UNDER_WAY: usize = 64;
