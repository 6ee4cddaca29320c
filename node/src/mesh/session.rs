//! One link in use: what comes in is judged, what is ready goes out, in batches, and nothing waits for anything else.
//! Owned by `peer`, which replaces it when a newer link takes over; everything that must outlive it is in the store.

mod gossip;
mod lists;

use super::endpoint::{CloseCode, WINDOW};
use super::frames::{FrameReader, FrameWriter, StreamError};
use super::greet::{Link, explain};
use super::incoming::Incoming;
use super::lend;
use super::outgoing::Outgoing;
use super::peers::News;
use super::pull::Puller;
use super::receipts::ReceiptRelay;
use super::roster::RosterSync;
use super::shared::Shared;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::{Frame, Goodbye, Neighbours, Refuse, RefuseCode, RosterVersion, Software};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
pub(crate) struct Session {
    shared: Arc<Shared>,
    node: NodeId,
    lists: lists::Lists,
    connection: quinn::Connection,
    reader: FrameReader,
    writer: FrameWriter,
    /// Frames other than mail and verdicts, in order.
    out: VecDeque<Frame>,
    incoming: Incoming,
    outgoing: Outgoing,
    receipts: ReceiptRelay,
    sync: RosterSync,
    installing: FuturesUnordered<BoxFuture<'static, (NodeId, Option<u64>)>>,
    frames: Vec<Frame>,
    /// How far this link has told of rosters.
    told: u64,
    /// Rosters of nodes that are not known as members yet, in the version that was offered.
    unknown: BTreeMap<NodeId, u64>,
    /// Addresses of such nodes.
    unmet: BTreeMap<NodeId, Vec<SocketAddr>>,
    /// The digest of the member list that the other end is known to have.
    members_there: [u8; 32],
    /// When mail, a verdict or a receipt last went over the link, either way.
    active_at: Duration,
}

/// Why a link is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("{0}")]
    Stream(#[from] StreamError),
    #[error("it said goodbye: {}", farewell(*.0))]
    Goodbye(Goodbye),
    #[error("it broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("refused: {}", explain(*.0))]
    Refused(RefuseCode),
    #[error("this node's store failed")]
    Broken,
}

impl Ended {
    pub(crate) fn close_code(&self) -> CloseCode {
        match self {
            Self::Stream(StreamError::Frame(_)) | Self::Protocol(_) => CloseCode::Protocol,
            _ => CloseCode::Done,
        }
    }

    /// Whether the link ended because nothing came any more.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Stream(error) if error.is_silence())
    }

    /// Whether the other node does not want this one.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_)) || self.closed_with() == Some(CloseCode::Refused)
    }

    /// With which code the other node closed the link, if it did.
    pub(crate) fn closed_with(&self) -> Option<CloseCode> {
        match self {
            Self::Stream(error) => error.close_code(),
            _ => None,
        }
    }
}

fn farewell(goodbye: Goodbye) -> &'static str {
    match goodbye {
        Goodbye::Stopping => "it is stopping",
        Goodbye::Idle => "the link was idle",
        Goodbye::Redundant => "it uses another link",
        Goodbye::Leaving => "it leaves the mesh",
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, link: Link) -> Self {
        let Link { node, connection, reader, writer, greeting, first, .. } = link;
        // Beside the link's own stream there is room for one with a file; mail must not wait for it.
        connection.set_max_concurrent_bi_streams(quinn::VarInt::from_u32(2));
        connection.set_receive_window(quinn::VarInt::from_u32(2 * WINDOW));
        shared.tasks.spawn_until_stopped(lend::run(shared.clone(), node, connection.clone()));
        let puller = Puller::new(shared.clone(), node, connection.clone());
        let held = shared.rosters.version_of(&node).unwrap_or(0);
        let mut session = Self {
            node,
            lists: lists::Lists::default(),
            connection,
            reader,
            writer,
            out: first.into(),
            incoming: Incoming::new(shared.clone(), node, held, puller),
            outgoing: Outgoing::new(shared.clone(), node),
            receipts: ReceiptRelay::new(shared.clone(), node),
            sync: RosterSync::new(shared.mesh_id()),
            installing: FuturesUnordered::new(),
            frames: Vec::new(),
            told: shared.rosters.tidings_so_far(),
            unknown: BTreeMap::new(),
            unmet: BTreeMap::new(),
            members_there: greeting.members,
            active_at: shared.clock.monotonic(),
            shared,
        };
        session.catch_up(&greeting);
        // Something is always said first: it tells the other end that this link is the one in use (see `greet`).
        session.out.push_back(Frame::RosterAdvert(session.shared.rosters.advert(&session.shared)));
        session.want(RosterVersion { node, version: greeting.roster_version });
        session.out.extend(session.neighbours());
        session.out.extend(session.own_swarm());
        session.out.push_back(Frame::Software(Software(env!("CARGO_PKG_VERSION").to_owned())));
        session
    }

    /// Does the next piece of work. Safe to cancel.
    pub(crate) async fn step(&mut self) -> Result<(), Ended> {
        let now = self.shared.clock.monotonic();
        if self.outgoing.broken {
            return Err(Ended::Broken);
        }
        let to_send = !self.out.is_empty()
            || self.incoming.has_verdicts()
            || self.outgoing.wants_to_send(now)
            || self.receipts.wants_to_send(now);
        let wake = [self.outgoing.next_wake(), self.incoming.next_wake(), self.receipts.next_wake()];
        let wake = wake.into_iter().flatten().min();
        let Self { reader, writer, frames, incoming, outgoing, receipts, installing, .. } = self;
        tokio::select! {
            read = reader.batch(BATCH, frames) => {
                read?;
                self.take_in()?;
            }
            room = writer.room(), if to_send => {
                let room = room?;
                let frames = self.next_frames(now);
                room.send(&frames)?;
            }
            () = outgoing.settled() => {}
            () = incoming.progress() => {}
            answer = receipts.progress() => self.out.extend(answer),
            Some((node, version)) = installing.next(), if !installing.is_empty() => {
                if let Some(version) = version.filter(|_| node == self.node) {
                    self.incoming.on_roster(version, self.shared.clock.monotonic());
                }
            }
            () = tokio::time::sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => {
                self.incoming.on_tick(self.shared.clock.monotonic());
            }
        }
        if let Some(version) = self.incoming.wants_roster.take() {
            self.want(RosterVersion { node: self.node, version });
        }
        Ok(())
    }

    /// Something happened on this node that the other may have to hear.
    pub(crate) fn tell(&mut self, news: &News) {
        if news.kept {
            self.outgoing.again();
        }
        if news.mail {
            self.outgoing.more();
            self.receipts.more();
        }
        if news.members {
            self.members_changed();
        }
        self.tell_of_addresses(&news.reached);
        self.out.extend(news.secret.as_deref().cloned());
        if news.swarm {
            self.out.extend(self.own_swarm());
        }
        if news.asked {
            let questions = self.shared.presence.to_send(&self.node);
            self.out.extend(questions.into_iter().map(Frame::PresenceAsk));
        }
        if news.roster {
            self.tell_of_rosters();
            // The peer's own roster may have come by another way.
            if let Some(version) = self.shared.rosters.version_of(&self.node) {
                self.incoming.on_roster(version, self.shared.clock.monotonic());
            }
        }
    }

    /// Tells the other node that a second machine has its key.
    pub(crate) fn report_twin(&mut self) {
        self.out.push_back(Frame::Refuse(Refuse { code: RefuseCode::TwoMachines }));
    }

    /// Whether the other node owes a verdict.
    pub(crate) fn is_owed(&self) -> bool {
        self.outgoing.is_owed()
    }

    /// Whether nothing is under way, either way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.out.is_empty()
            && !self.outgoing.is_owed()
            && !self.incoming.has_verdicts()
            && self.incoming.is_idle()
            && self.installing.is_empty()
    }

    /// When mail or word of it last went over the link.
    pub(crate) fn active_at(&self) -> Duration {
        self.active_at
    }

    pub(crate) fn packets_received(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Drops the link as it stands. What was under way comes again over the next one.
    pub(crate) fn abandon(self, code: CloseCode) {
        self.connection.close(code.into(), b"");
    }

    /// Finishes what is under way, answers it, says goodbye and closes.
    pub(crate) async fn close(mut self, goodbye: Goodbye, code: CloseCode) {
        let finishing = async {
            while !self.incoming.is_idle() {
                self.incoming.progress().await;
            }
            self.outgoing.drain().await;
        };
        if tokio::time::timeout(FINISHING, finishing).await.is_err() {
            tracing::debug!(peer = %self.node, "not everything that was under way could be finished");
        }
        let mut last: Vec<Frame> = self.out.drain(..).collect();
        while self.incoming.has_verdicts() {
            last.push(Frame::Verdicts(self.incoming.take_verdicts()));
        }
        last.push(Frame::Goodbye(goodbye));
        if let Ok(Ok(())) = tokio::time::timeout(FINISHING, self.writer.send(&last)).await {
            self.writer.finish(FINISHING).await;
        }
        self.connection.close(code.into(), b"");
    }

    fn take_in(&mut self) -> Result<(), Ended> {
        let now = self.shared.clock.monotonic();
        for frame in std::mem::take(&mut self.frames) {
            self.note_old_list(&frame);
            self.on_frame(frame, now)?;
        }
        self.incoming.launch();
        Ok(())
    }

    fn on_frame(&mut self, frame: Frame, now: Duration) -> Result<(), Ended> {
        if matches!(
            frame,
            Frame::Mail(_)
                | Frame::OutsideMail(_)
                | Frame::Verdicts(_)
                | Frame::Receipts(_)
                | Frame::ReceiptsTaken(_)
        ) {
            self.active_at = now;
        }
        match frame {
            Frame::Mail(mail) => self.incoming.arrived(*mail, None, now),
            Frame::OutsideMail(mail) => self.incoming.arrived_from_outside(*mail, now),
            Frame::Verdicts(verdicts) => self.outgoing.judged(verdicts.0, now),
            Frame::Receipts(receipts) => {
                if !self.receipts.arrived(receipts) {
                    return Err(Ended::Protocol("it sends receipts and waits for no answer"));
                }
            }
            Frame::ReceiptsTaken(seq) => self.receipts.answered(seq),
            Frame::Members(statements) => self.on_members(&statements),
            Frame::Secret(secret) => {
                let changed = self.shared.membership().on_secret(&secret);
                self.shared.apply_soon(changed);
            }
            Frame::RosterAdvert(advert) => advert.0.into_iter().for_each(|offered| self.want(offered)),
            Frame::RosterPull(pull) => self.answer(pull),
            Frame::RosterPart(part) => self.on_part(*part, now),
            Frame::Neighbours(mut neighbours) => {
                neighbours.0.truncate(Neighbours::LIMIT);
                self.meet(neighbours);
            }
            Frame::Swarm(addresses) => self.meet_swarm(addresses),
            Frame::Software(software) => self.runs(software),
            Frame::PresenceAsk(ask) => {
                self.out.push_back(Frame::Presence(self.shared.say_who_is_online(&ask)));
            }
            Frame::Presence(answer) => self.shared.presence.answered(&self.node, &answer, now),
            Frame::Ping(number) => self.out.push_back(Frame::Pong(number)),
            Frame::Pong(_) => {}
            Frame::Refuse(Refuse { code: RefuseCode::TwoMachines }) => self.shared.twin_noticed(),
            // It judged this node's greeting while this node took the link for open.
            Frame::Refuse(Refuse { code }) => return Err(Ended::Refused(code)),
            Frame::Goodbye(goodbye) => return Err(Ended::Goodbye(goodbye)),
            _ => return Err(Ended::Protocol("a frame that has no place on a link")),
        }
        if self.out.len() > OUT_LIMIT || self.incoming.verdict_count() > OUT_LIMIT {
            return Err(Ended::Protocol("it asks for more than it reads"));
        }
        Ok(())
    }

    fn next_frames(&mut self, now: Duration) -> Vec<Frame> {
        let mut frames = Vec::new();
        if self.incoming.has_verdicts() {
            frames.push(Frame::Verdicts(self.incoming.take_verdicts()));
        }
        let count = self.out.len().min(CONTROL);
        frames.extend(self.out.drain(..count));
        if self.out.is_empty() {
            frames.extend(self.receipts.next(now));
            self.outgoing.next(now, &mut frames);
        }
        frames
    }
}

/// Frames taken in at once.
const BATCH: usize = 128;
/// Frames other than mail written at once; each may be large.
const CONTROL: usize = 4;
/// Frames other than mail that may wait to be written.
const OUT_LIMIT: usize = 4096;
/// For each stage of an orderly end.
const FINISHING: Duration = Duration::from_secs(1);
