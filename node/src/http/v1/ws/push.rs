//! Mail out of the mailbox onto a WebSocket (WS-6, WS-14, A-16): what was there when the socket opened goes first, in its
//! order; what comes later goes by its class, whatever waits before it (MSG-13). Called by `session` when there is news.

use super::session::{End, Session};
use super::{WRITE, text};
use crate::agents::Agent;
use crate::http::error::Problem;
use crate::http::mailbox;
use crate::message::{Hallway, Method, Turn, Turns};
use amesh_proto::api::ws::MessageNew;
use amesh_proto::message::Priority;
use amesh_store::{MailboxEntry, Seq, StoreError};
use axum::extract::ws::Message;
use futures_util::sink::{Sink, SinkExt};
use std::future::poll_fn;
use std::pin::Pin;
use tokio::time::Instant;

/// How much of a mailbox one socket has written. Places only: the mail stays in the mailbox.
#[derive(Debug)]
pub(super) struct Progress {
    /// What was there when the socket opened lies up to here, and is marked as replayed.
    replay_until: Seq,
    /// Of that, everything up to here.
    replayed: Seq,
    /// Of what came since, everything up to here, class by class.
    live: [Seq; Priority::ALL.len()],
    turns: Turns,
}

impl Session {
    /// Writes the next page of mail that is not written yet and whose turn it is. Says whether there may be more.
    pub(super) async fn push(&mut self) -> Result<bool, End> {
        self.still_known().await?;
        let acknowledgements = self.signal.acknowledgements();
        let (hallway, agent) = (self.state.parts.hallway.clone(), self.agent().clone());
        let page = match self.progress.next_page(&hallway, &agent) {
            Ok(page) if page.is_empty() => return Ok(false),
            Ok(page) => page,
            Err(error) => return Err(self.fail(&Problem::from(error)).await),
        };
        let now = self.state.now().to_rfc3339();
        let mut written = Vec::with_capacity(page.len());
        for entry in &page {
            let Some(delivery) = hallway.render(entry, Method::Websocket) else { continue };
            let is_replayed = entry.seq <= self.progress.replay_until;
            let frame = text(&MessageNew::new(&delivery, &now, is_replayed));
            if self.write_mail(entry, frame, acknowledgements).await? {
                written.push(entry);
            }
        }
        self.flush().await?;
        mailbox::handed_out(&self.state, &agent, written, Method::Websocket);
        for class in Priority::ALL {
            if let Some(last) = page.iter().rfind(|entry| entry.mail.priority == class) {
                hallway.pushed(&agent, class, last.seq);
            }
        }
        self.last_active = Instant::now();
        Ok(true)
    }

    /// Writes one message, unless it was acknowledged while those before it were written. Says whether it did.
    async fn write_mail(&mut self, entry: &MailboxEntry, frame: String, seen: u64) -> Result<bool, End> {
        let Self { socket, signal, state, identity, .. } = self;
        let room = tokio::time::timeout(WRITE, poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx))).await;
        room.map_err(|_| End::Gone)?.map_err(|_| End::Gone)?;
        let written = signal.write_unless_acknowledged(
            seen,
            || state.parts.hallway.is_pending(&identity.agent, entry.seq),
            || Pin::new(socket).start_send(Message::text(frame)),
        );
        match written {
            Ok(Some(Ok(()))) => Ok(true),
            Ok(Some(Err(_))) => Err(End::Gone),
            Ok(None) => Ok(false),
            Err(error) => Err(self.fail(&Problem::from(error)).await),
        }
    }

    /// Writes frames that nobody can take back.
    pub(super) async fn write_all(&mut self, frames: Vec<String>) -> Result<(), End> {
        for frame in frames {
            let fed = tokio::time::timeout(WRITE, self.socket.feed(Message::text(frame))).await;
            fed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)?;
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), End> {
        let flushed = tokio::time::timeout(WRITE, self.socket.flush()).await;
        flushed.map_err(|_| End::Gone)?.map_err(|_| End::Gone)
    }
}

impl Progress {
    /// For a socket that opened when mail was durable up to `position`.
    pub(super) fn since(position: Seq) -> Self {
        let live = [position; Priority::ALL.len()];
        Self { replay_until: position, replayed: Seq(0), live, turns: Turns::default() }
    }

    /// What is to be written next; nothing, when all is written or waits for its webhook's turn.
    fn next_page(&mut self, hallway: &Hallway, agent: &Agent) -> Result<Vec<MailboxEntry>, StoreError> {
        let mut page = Vec::new();
        if self.is_replaying() {
            for class in self.turns.order() {
                page = match class {
                    Priority::Normal => self.replayed_page(hallway, agent)?,
                    // Replayed mail goes before what has no hurry.
                    Priority::Low => continue,
                    class => self.passing_page(hallway, agent, class)?,
                };
                if !page.is_empty() {
                    break;
                }
            }
        }
        if page.is_empty() && !self.is_replaying() {
            for class in self.turns.order() {
                page = self.live_page(hallway, agent, class)?;
                if !page.is_empty() {
                    break;
                }
            }
        }
        if !page.is_empty() {
            self.turns.taken();
        }
        Ok(page)
    }

    fn is_replaying(&self) -> bool {
        self.replayed < self.replay_until
    }

    fn replayed_page(&mut self, hallway: &Hallway, agent: &Agent) -> Result<Vec<MailboxEntry>, StoreError> {
        let mut page = hallway.pending(agent, Some(self.replayed), PAGE)?;
        let read = page.len();
        page.retain(|entry| entry.seq <= self.replay_until);
        let is_last = page.len() < read || read < PAGE;
        // What a webhook took is replayed as well: it is not acknowledged.
        let turns = Sieved::of(page, |entry| match hallway.turn(agent, entry)? {
            Turn::Taken => Ok(Turn::Socket),
            turn => Ok(turn),
        })?;
        self.replayed = match turns.until {
            _ if is_last && !turns.waits => self.replay_until,
            until => until.unwrap_or(self.replayed),
        };
        Ok(turns.mail)
    }

    /// Live mail of a class, unless mail of the class is still to be replayed: lanes keep their order (DESIGN §1.7).
    fn passing_page(
        &mut self,
        hallway: &Hallway,
        agent: &Agent,
        class: Priority,
    ) -> Result<Vec<MailboxEntry>, StoreError> {
        let first = hallway.pending_of(agent, class, Some(self.replayed), 1)?;
        match first.first() {
            Some(first) if first.seq > self.replay_until => self.live_page(hallway, agent, class),
            _ => Ok(Vec::new()),
        }
    }

    fn live_page(
        &mut self,
        hallway: &Hallway,
        agent: &Agent,
        class: Priority,
    ) -> Result<Vec<MailboxEntry>, StoreError> {
        let live = &mut self.live[class as usize];
        loop {
            let page = hallway.pending_of(agent, class, Some(*live), PAGE)?;
            let is_last = page.len() < PAGE;
            let turns = Sieved::of(page, |entry| hallway.turn(agent, entry))?;
            *live = turns.until.unwrap_or(*live);
            if is_last || turns.waits || !turns.mail.is_empty() {
                return Ok(turns.mail);
            }
        }
    }
}

/// A page as far as it is the socket's turn.
#[derive(Debug, Default)]
struct Sieved {
    mail: Vec<MailboxEntry>,
    /// How far that is.
    until: Option<Seq>,
    /// What follows waits for its webhook's turn.
    waits: bool,
}

impl Sieved {
    fn of(
        page: Vec<MailboxEntry>,
        turn: impl Fn(&MailboxEntry) -> Result<Turn, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut sieved = Self::default();
        for entry in page {
            let turn = turn(&entry)?;
            if turn == Turn::Webhook {
                sieved.waits = true;
                break;
            }
            sieved.until = Some(entry.seq);
            if turn == Turn::Socket {
                sieved.mail.push(entry);
            }
        }
        Ok(sieved)
    }
}

/// Few enough that their bodies fit in memory, and that what is urgent does not wait long behind them.
const PAGE: usize = 16;

#[cfg(test)]
mod tests;
