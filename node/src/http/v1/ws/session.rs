//! One authenticated WebSocket: mail out, frames in (WS-6…WS-14, A-10…A-16). One task, no queue of its own: mail is read
//! from the mailbox by cursor when a signal says that there is some, and a client that does not read is cut off.

use super::{Gone, Identity, close, error_frame, say, text};
use crate::agents::Agent;
use crate::agents::presence::Guard;
use crate::http::error::Problem;
use crate::http::mailbox::{self, Shown};
use crate::http::state::{Peer, Shared};
use crate::message::{MailSignal, Method};
use amesh_proto::api::ws::{Connected, MessageNew};
use amesh_store::Seq;
use axum::extract::ws::{Message, WebSocket};
use futures_util::SinkExt;
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
    /// Everything up to here has been written to this socket.
    written: Option<Seq>,
    /// The agent's receipts up to here have been written to this socket.
    pub(super) told: Option<Seq>,
    /// What was there when the socket opened lies up to here, and is marked as replayed.
    replay_until: Seq,
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
        let replay_until = state.parts.store.position();
        let online = state.parts.agents.presence().connect(identity.agent.no);
        Self {
            state,
            peer,
            identity,
            socket,
            signal,
            _online: online,
            written: None,
            told: None,
            replay_until,
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
        self.push().await?;
        self.tell().await?;
        let stopping = self.state.parts.tasks.stopping();
        let idle = Duration::from_secs(self.state.parts.config.socket_idle_s);
        loop {
            let idle_at = self.last_active + idle;
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
                Event::Mail => {
                    self.push().await?;
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

    /// Writes all mail that is not written yet: what was there first, in its order, then page by page, in each the
    /// urgent lanes first (MSG-13).
    async fn push(&mut self) -> Result<(), End> {
        self.still_known().await?;
        loop {
            let page = mailbox::read(&self.state, self.agent(), self.written, PAGE, Method::Websocket);
            let mut page = match page {
                Ok(page) => page,
                Err(problem) => return Err(self.fail(&problem).await),
            };
            let Some(last) = page.last else { return Ok(()) };
            let now = self.state.now().to_rfc3339();
            let mut frames = Vec::with_capacity(page.mail.len());
            urgent_first(&mut page.mail, self.replay_until);
            for shown in &page.mail {
                frames.push(text(&MessageNew::new(&shown.delivery, &now, shown.seq <= self.replay_until)));
            }
            let (has_more, awaited) = (page.has_more, page.awaited);
            drop(page.mail);
            self.write_all(frames).await?;
            mailbox::delivered(&self.state, self.agent(), awaited, Method::Websocket);
            self.written = Some(last);
            self.last_active = Instant::now();
            self.state.parts.hallway.pushed(self.agent(), last);
            if !has_more {
                return Ok(());
            }
        }
    }

    pub(super) async fn write_all(&mut self, frames: Vec<String>) -> Result<(), End> {
        for frame in frames {
            let fed = tokio::time::timeout(super::WRITE, self.socket.feed(Message::text(frame))).await;
            fed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)?;
        }
        let flushed = tokio::time::timeout(super::WRITE, self.socket.flush()).await;
        flushed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
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

    async fn fail(&mut self, problem: &Problem) -> End {
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

/// Orders live mail by its class. A lane is of one class, and keeps its order.
fn urgent_first(mail: &mut [Shown], replay_until: Seq) {
    let replayed = mail.iter().take_while(|shown| shown.seq <= replay_until).count();
    mail[replayed..].sort_by_key(|shown| shown.priority);
}

const PAGE: usize = 32;
const MAX_UNDER_WAY: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Shown, urgent_first};
    use amesh_proto::api::pending::Delivery;
    use amesh_proto::message::Priority;
    use amesh_store::Seq;
    use serde_json::value::RawValue;

    #[test]
    fn live_mail_goes_by_class_and_replayed_mail_and_lanes_keep_their_order() {
        use Priority::{High, Low, Normal, Urgent};
        let classes = [Normal, Urgent, Low, Normal, Urgent, High, Normal, Urgent];
        let raw = || RawValue::from_string("{}".to_owned()).unwrap();
        let mut mail: Vec<Shown> = (1..)
            .zip(classes)
            .map(|(seq, priority)| {
                let (queued_at, expires_at) = (String::new(), String::new());
                let (envelope, payload) = (raw(), raw());
                let (sender_public_key, local) = (None, None);
                let id = seq.to_string();
                let delivery =
                    Delivery { id, envelope, payload, queued_at, expires_at, sender_public_key, local };
                Shown { seq: Seq(seq), priority, delivery }
            })
            .collect();
        urgent_first(&mut mail, Seq(2));
        let order: Vec<u64> = mail.iter().map(|shown| shown.seq.0).collect();
        assert_eq!(order, [1, 2, 5, 8, 6, 4, 7, 3]);
    }
}
