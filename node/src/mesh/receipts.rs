//! Receipts over one link, both ways: those kept for the other node go out a batch at a time and are forgotten once it
//! has them on disk; those it brings are written down and then answered. Owned by `session`.

use super::shared::Shared;
use crate::clock::SharedClock;
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::Frame;
use amesh_proto::wire::receipt::{ReceiptFrame, Receipts, Word};
use amesh_store::{BroughtReceipt, Receipt, ReceiptKind, ReceiptOwner, Seq, StoreError};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
pub(super) struct ReceiptRelay {
    shared: Arc<Shared>,
    node: NodeId,
    /// The last receipt of the batch that is not answered, and when it went.
    unanswered: Option<(u64, Duration)>,
    /// There may be some to send.
    fresh: bool,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
}

enum Done {
    Forgotten(Result<(), StoreError>),
    Taken(u64, Result<(), StoreError>),
}

impl ReceiptRelay {
    pub(super) fn new(shared: Arc<Shared>, node: NodeId) -> Self {
        Self { shared, node, unanswered: None, fresh: true, work: FuturesUnordered::new() }
    }

    /// There may be more to send.
    pub(super) fn more(&mut self) {
        self.fresh = true;
    }

    /// Whether [`Self::next`] is worth asking.
    pub(super) fn wants_to_send(&mut self, now: Duration) -> bool {
        if self.unanswered.is_some_and(|(_, since)| now.saturating_sub(since) >= AGAIN) {
            // The other side could not write them down; it is asked again.
            self.unanswered = None;
            self.fresh = true;
        }
        self.fresh && self.unanswered.is_none()
    }

    /// When to ask again, though nothing happened.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.unanswered.map(|(_, since)| since + AGAIN)
    }

    /// The next batch, if there is one and its turn has come.
    pub(super) fn next(&mut self, now: Duration) -> Option<Frame> {
        if !self.wants_to_send(now) {
            return None;
        }
        self.fresh = false;
        let owner = ReceiptOwner::Node(self.node);
        if self.shared.store.receipt_count(owner) == 0 {
            return None;
        }
        let kept = self.shared.store.receipts(owner, None, Receipts::LIMIT);
        let kept = kept.inspect_err(|error| tracing::error!(%error, "receipts cannot be read")).ok()?;
        let (last, _) = kept.last()?;
        self.unanswered = Some((last.0, now));
        let wall = self.shared.clock.now();
        let frames = kept.into_iter().filter_map(|(seq, receipt)| frame(seq, receipt, wall));
        Some(Frame::Receipts(Receipts(frames.collect())))
    }

    /// The other side has everything up to `seq`.
    pub(super) fn answered(&mut self, seq: u64) {
        if self.unanswered.is_some_and(|(last, _)| last == seq) {
            let store = self.shared.store.clone();
            let owner = ReceiptOwner::Node(self.node);
            self.work
                .push(Box::pin(async move { Done::Forgotten(store.forget_receipts(owner, Seq(seq)).await) }));
        }
    }

    /// Takes a batch in. Says no when the other side does not wait for answers.
    pub(super) fn arrived(&mut self, receipts: Receipts) -> bool {
        let Some(last) = receipts.0.last().map(|receipt| receipt.seq) else { return true };
        if self.work.len() >= AT_ONCE || receipts.0.len() > Receipts::LIMIT {
            return false;
        }
        let own = self.shared.directory().naming().provider.clone();
        let clock = self.shared.clock.clone();
        let brought = receipts.0.into_iter().filter_map(|frame| brought(frame, &own, &clock)).collect();
        let (hallway, node) = (self.shared.hallway.clone(), self.node);
        self.work
            .push(Box::pin(async move { Done::Taken(last, hallway.take_receipts(node, brought).await) }));
        true
    }

    /// Waits for work under way; gives what is to be answered. Safe to cancel.
    pub(super) async fn progress(&mut self) -> Option<Frame> {
        let Some(done) = self.work.next().await else { return std::future::pending().await };
        match done {
            Done::Forgotten(Ok(())) => {
                self.unanswered = None;
                self.fresh = true;
                None
            }
            Done::Taken(last, Ok(())) => Some(Frame::ReceiptsTaken(last)),
            Done::Forgotten(Err(error)) | Done::Taken(_, Err(error)) => {
                tracing::warn!(peer = %self.node, %error, "receipts could not be written down; they come again");
                None
            }
        }
    }
}

fn frame(seq: Seq, receipt: Receipt, now: UnixMillis) -> Option<ReceiptFrame> {
    Some(ReceiptFrame {
        seq: seq.0,
        id: receipt.id.into(),
        from: receipt.sender?.as_str().to_owned(),
        word: match receipt.kind {
            ReceiptKind::Delivered { method } => Word::Delivered(method),
            ReceiptKind::Read => Word::Read,
            ReceiptKind::Failed { code, detail } => Word::Failed(cut(&code), cut(&detail)),
        },
        age_ms: now.0.saturating_sub(receipt.at.0),
    })
}

/// A whole batch of them fits into a frame.
fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

/// What cannot be read is passed over: it would never be readable.
fn brought(frame: ReceiptFrame, own_domain: &str, clock: &SharedClock) -> Option<BroughtReceipt> {
    Some(BroughtReceipt {
        id: MessageId::parse(&frame.id).ok()?,
        sender: Address::parse(&frame.from, &[own_domain]).ok()?,
        kind: match frame.word {
            // Shown to the sender as it stands: only what a node may say.
            Word::Delivered(method) if ["websocket", "webhook", "relay"].contains(&method.as_str()) => {
                ReceiptKind::Delivered { method }
            }
            Word::Delivered(_) => ReceiptKind::Delivered { method: "relay".to_owned() },
            Word::Read => ReceiptKind::Read,
            Word::Failed(code, detail) => ReceiptKind::Failed { code, detail },
        },
        at: UnixMillis(clock.now().0.saturating_sub(frame.age_ms)),
        notice: None,
    })
}

/// Batches of the other side that may be under way; it sends one and waits.
const AT_ONCE: usize = 4;
/// How long an answer may take.
const AGAIN: Duration = Duration::from_secs(30);
