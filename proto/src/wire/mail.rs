//! One message on a link, and what became of it. Written and judged by the node's `mesh/link`.

use crate::address::Address;
use crate::canonical::CanonicalForm;
use crate::id::MessageId;
use crate::message::{Mail, Priority};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// A message with its place in its lane. Addresses and id are text here, so that one that this version does not accept
/// is refused by itself and does not take the link down with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailFrame {
    /// Names this message in the verdicts: its sequence number in the sender's outbox.
    pub outbox_seq: u64,
    /// Where it stands in its lane.
    pub lane: LaneStamp,
    /// How long it has left. Clocks differ, spans do not.
    pub remaining_ms: u64,
    /// How long ago the sending node accepted it.
    pub age_ms: u64,
    /// The version of the sending node's roster at the time of sending.
    pub roster_version: u64,
    /// Which form the signature covered; `None` for unsigned mail.
    pub form: Option<CanonicalForm>,
    /// Whether the sender asked for a delivery receipt.
    pub receipt: bool,
    /// The id the sending node gave.
    pub id: String,
    /// The sender's full address.
    pub from: String,
    /// The recipient's full address.
    pub to: String,
    /// Decides the lane together with `from` and `to`.
    pub priority: Priority,
    /// The envelope's JSON text.
    #[serde(with = "serde_bytes")]
    pub envelope: Vec<u8>,
    /// The payload's JSON text, verbatim.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
}

/// A message of somebody outside the mesh, which its gateway brings (DESIGN §3, A carrier brings only its own).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideMail {
    /// The message.
    pub mail: MailFrame,
    /// The key that the gateway knows for its sender, SPKI DER: no roster lists it.
    #[serde(with = "serde_bytes")]
    pub sender_key: Vec<u8>,
}

/// A place in a lane (sender, recipient, priority): the receiver commits in this order (DESIGN §1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LaneStamp {
    /// Counts restores of the sending store; numbers of different generations do not compare.
    pub generation: u64,
    /// Counted by commit at the sending node.
    pub number: u64,
    /// The least number of the lane that the sender still holds: everything below is settled and will never come.
    pub floor: u64,
}

impl MailFrame {
    /// The frame that carries `mail`.
    #[must_use]
    pub fn carrying(
        mail: Mail,
        outbox_seq: u64,
        lane: LaneStamp,
        roster_version: u64,
        now: UnixMillis,
    ) -> Self {
        let age_ms = now.0.saturating_sub(mail.accepted_at.0);
        Self {
            outbox_seq,
            lane,
            remaining_ms: mail.expires_at.0.saturating_sub(now.0),
            // Older than mail can be: the clock was set. The key of today is the better judge than none.
            age_ms: if age_ms > LONGEST_LIFE_MS { 0 } else { age_ms },
            roster_version,
            form: mail.form,
            receipt: mail.receipt,
            id: mail.id.into(),
            from: mail.from.as_str().to_owned(),
            to: mail.to.as_str().to_owned(),
            priority: mail.priority,
            envelope: mail.envelope,
            payload: mail.payload,
        }
    }

    /// The mail it carries, with its times by the receiver's clock and addresses taken apart by its `own_domains`.
    pub fn into_mail(self, own_domains: &[&str], now: UnixMillis) -> Result<Mail, BadMail> {
        Ok(Mail {
            id: MessageId::parse(&self.id).map_err(|_| BadMail::Id)?,
            from: Address::parse(&self.from, own_domains).map_err(|_| BadMail::From)?,
            to: Address::parse(&self.to, own_domains).map_err(|_| BadMail::To)?,
            priority: self.priority,
            envelope: self.envelope,
            payload: self.payload,
            form: self.form,
            accepted_at: UnixMillis(now.0.saturating_sub(self.age_ms)),
            expires_at: UnixMillis(now.0.saturating_add(self.remaining_ms)),
            receipt: self.receipt,
        })
    }

    /// Bytes that count against the window.
    #[must_use]
    pub fn size(&self) -> usize {
        self.envelope.len() + self.payload.len()
    }
}

/// A frame whose text fields are not what they should be: refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMail {
    /// `id` is no message id.
    #[error("the id is not a message id")]
    Id,
    /// `from` is no address.
    #[error("the sender's address is malformed")]
    From,
    /// `to` is no address.
    #[error("the recipient's address is malformed")]
    To,
}

/// What became of several messages. Sent only after the commits that it speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdicts(pub Vec<(u64, Verdict)>);

impl Verdicts {
    /// Verdicts in one frame.
    pub const LIMIT: usize = 1024;
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is durable at the receiver.
    Committed,
    /// It was durable there already.
    Duplicate,
    /// Keep it, and its lane, and try again after a while.
    Later(LaterReason),
    /// It will never be taken. The code is one of AMP's error codes, at most [`Verdict::CODE_LIMIT`] bytes.
    Refused(String),
}

impl Verdict {
    /// The longest code.
    pub const CODE_LIMIT: usize = 64;
}

/// Why not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LaterReason {
    /// The recipient's mailbox is full.
    MailboxFull,
    /// Too much at a time.
    Limit,
    /// The receiver's disk is nearly full.
    DiskFull,
    /// An earlier message of the lane has not arrived.
    LaneGap,
    /// An earlier message of the lane was answered with `Later`.
    LaneHeld,
    /// The receiver could not get the roster that this message was sent under.
    RosterBehind,
    /// The receiver's store is not available, or it is stopping.
    Unavailable,
}

impl LaterReason {
    /// Stable name, for status and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MailboxFull => "mailbox_full",
            Self::Limit => "limit",
            Self::DiskFull => "disk_full",
            Self::LaneGap => "lane_gap",
            Self::LaneHeld => "lane_held",
            Self::RosterBehind => "roster_behind",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Mail lives 30 days at most (DESIGN §5, Clocks); a day for good measure.
const LONGEST_LIFE_MS: u64 = 31 * 24 * 3600 * 1000;
