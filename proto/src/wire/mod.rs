//! The node-to-node link: frames of kind, length and body. The node's mesh reads and writes them.
//!
//! A frame is `kind u8 ‖ length u32 BE ‖ body`; a body is a version byte and a frozen postcard struct. Unknown kinds are
//! skipped, lengths are capped per kind before a byte of the body is read, enums grow only at the end (DESIGN §3).

pub mod decode;
pub mod file;
pub mod hello;
pub mod join;
pub mod mail;
pub mod members;
pub mod presence;
pub mod receipt;
pub mod roster;

pub use decode::{FrameDecoder, FrameError};
pub use hello::{Goodbye, Greeting, Hello, HelloAck, Proof, Refuse, RefuseCode, Software};
pub use join::{JoinClashes, JoinConfirm, JoinGrant, JoinRefuseCode, JoinRefused, JoinRequest};
pub use mail::{LaterReason, MailFrame, OutsideMail, Verdict, Verdicts};
pub use members::{Neighbour, Neighbours, SecretFrame, SwarmAddresses};
pub use presence::{Presence, PresenceAsk};
pub use receipt::Receipts;
pub use roster::{RosterAdvert, RosterPart, RosterPull, RosterVersion};

use crate::member::list::Statements;
use serde::{Deserialize, Serialize};

/// The application protocol name of links.
pub const LINK_ALPN: &[u8] = b"amesh/1";
/// The application protocol name of joining.
pub const JOIN_ALPN: &[u8] = b"amesh-join/1";
/// The link protocol versions spoken here, lowest and highest.
pub const VERSIONS: (u16, u16) = (1, 1);

/// One frame. Called by both ends of a link and of a join.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// The dialer's first word.
    Hello(Hello),
    /// The listener's answer.
    HelloAck(Box<HelloAck>),
    /// What the dialer tells of itself, after the listener's proof.
    Greeting(Box<Greeting>),
    /// No admission; the connection closes.
    Refuse(Refuse),
    /// Every membership statement the sender knows.
    Members(Statements),
    /// The secret of a newer epoch.
    Secret(SecretFrame),
    /// Which rosters the sender holds.
    RosterAdvert(RosterAdvert),
    /// Send me a roster from this version on.
    RosterPull(RosterPull),
    /// Some entries, and with the last part the signed head.
    RosterPart(Box<RosterPart>),
    /// One message.
    Mail(Box<MailFrame>),
    /// One message of somebody outside the mesh.
    OutsideMail(Box<OutsideMail>),
    /// What became of messages.
    Verdicts(Verdicts),
    /// Are you there?
    Ping(u64),
    /// I am.
    Pong(u64),
    /// The sender shuts down or closes an idle link.
    Goodbye(Goodbye),
    /// Where other members were last reached.
    Neighbours(Neighbours),
    /// Where the sender's swarm listens.
    Swarm(SwarmAddresses),
    /// What the sender runs.
    Software(Software),
    /// Which of these agents are connected?
    PresenceAsk(PresenceAsk),
    /// These.
    Presence(Presence),
    /// Word of messages that came from the other side.
    Receipts(Receipts),
    /// The receipts up to this one are durable.
    ReceiptsTaken(u64),
    /// The newcomer's first word.
    JoinRequest(Box<JoinRequest>),
    /// Names that clash, before anything is decided.
    JoinClashes(JoinClashes),
    /// The newcomer goes ahead.
    JoinConfirm(JoinConfirm),
    /// The newcomer is in.
    JoinGrant(Box<JoinGrant>),
    /// The newcomer is not let in.
    JoinRefused(JoinRefused),
}

impl Frame {
    /// Appends this frame to `out`; several may follow each other in one write.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Self::Hello(body) => put(kind::HELLO, body, out),
            Self::HelloAck(body) => put(kind::HELLO_ACK, body, out),
            Self::Greeting(body) => put(kind::GREETING, body, out),
            Self::Refuse(body) => put(kind::REFUSE, body, out),
            Self::Members(body) => put(kind::MEMBERS, body, out),
            Self::Secret(body) => put(kind::SECRET, body, out),
            Self::RosterAdvert(body) => put(kind::ROSTER_ADVERT, body, out),
            Self::RosterPull(body) => put(kind::ROSTER_PULL, body, out),
            Self::RosterPart(body) => put(kind::ROSTER_PART, body, out),
            Self::Mail(body) => put(kind::MAIL, body, out),
            Self::OutsideMail(body) => put(kind::OUTSIDE_MAIL, body, out),
            Self::Verdicts(body) => put(kind::VERDICTS, body, out),
            Self::Ping(body) => put(kind::PING, body, out),
            Self::Pong(body) => put(kind::PONG, body, out),
            Self::Goodbye(body) => put(kind::GOODBYE, body, out),
            Self::Neighbours(body) => put(kind::NEIGHBOURS, body, out),
            Self::Swarm(body) => put(kind::SWARM, body, out),
            Self::Software(body) => put(kind::SOFTWARE, body, out),
            Self::PresenceAsk(body) => put(kind::PRESENCE_ASK, body, out),
            Self::Presence(body) => put(kind::PRESENCE, body, out),
            Self::Receipts(body) => put(kind::RECEIPTS, body, out),
            Self::ReceiptsTaken(body) => put(kind::RECEIPTS_TAKEN, body, out),
            Self::JoinRequest(body) => put(kind::JOIN_REQUEST, body, out),
            Self::JoinClashes(body) => put(kind::JOIN_CLASHES, body, out),
            Self::JoinConfirm(body) => put(kind::JOIN_CONFIRM, body, out),
            Self::JoinGrant(body) => put(kind::JOIN_GRANT, body, out),
            Self::JoinRefused(body) => put(kind::JOIN_REFUSED, body, out),
        }
    }

    /// This frame alone.
    pub fn to_vec(&self) -> Result<Vec<u8>, FrameError> {
        let mut out = Vec::new();
        self.encode(&mut out)?;
        Ok(out)
    }

    /// The frame of kind `kind` whose body is `body`; `None` for a kind this version does not know.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, FrameError> {
        Ok(Some(match kind {
            kind::HELLO => Self::Hello(take(kind, body)?),
            kind::HELLO_ACK => Self::HelloAck(take(kind, body)?),
            kind::GREETING => Self::Greeting(take(kind, body)?),
            kind::REFUSE => Self::Refuse(take(kind, body)?),
            kind::MEMBERS => Self::Members(take(kind, body)?),
            kind::SECRET => Self::Secret(take(kind, body)?),
            kind::ROSTER_ADVERT => Self::RosterAdvert(take(kind, body)?),
            kind::ROSTER_PULL => Self::RosterPull(take(kind, body)?),
            kind::ROSTER_PART => Self::RosterPart(take(kind, body)?),
            kind::MAIL => Self::Mail(take(kind, body)?),
            kind::OUTSIDE_MAIL => Self::OutsideMail(take(kind, body)?),
            kind::VERDICTS => Self::Verdicts(take(kind, body)?),
            kind::PING => Self::Ping(take(kind, body)?),
            kind::PONG => Self::Pong(take(kind, body)?),
            kind::GOODBYE => Self::Goodbye(take(kind, body)?),
            kind::NEIGHBOURS => Self::Neighbours(take(kind, body)?),
            kind::SWARM => Self::Swarm(take(kind, body)?),
            kind::SOFTWARE => Self::Software(take(kind, body)?),
            kind::PRESENCE_ASK => Self::PresenceAsk(take(kind, body)?),
            kind::PRESENCE => Self::Presence(take(kind, body)?),
            kind::RECEIPTS => Self::Receipts(take(kind, body)?),
            kind::RECEIPTS_TAKEN => Self::ReceiptsTaken(take(kind, body)?),
            kind::JOIN_REQUEST => Self::JoinRequest(take(kind, body)?),
            kind::JOIN_CLASHES => Self::JoinClashes(take(kind, body)?),
            kind::JOIN_CONFIRM => Self::JoinConfirm(take(kind, body)?),
            kind::JOIN_GRANT => Self::JoinGrant(take(kind, body)?),
            kind::JOIN_REFUSED => Self::JoinRefused(take(kind, body)?),
            _ => return Ok(None),
        }))
    }
}

/// The longest body of each kind.
#[must_use]
pub const fn body_limit(kind: u8) -> usize {
    match kind {
        kind::REFUSE | kind::SECRET | kind::ROSTER_PULL | kind::PING | kind::PONG | kind::RECEIPTS_TAKEN => {
            256
        }
        kind::GOODBYE | kind::JOIN_CONFIRM | kind::JOIN_REFUSED | kind::SOFTWARE => 256,
        kind::HELLO | kind::HELLO_ACK | kind::GREETING | kind::SWARM | kind::PRESENCE => 16 << 10,
        kind::NEIGHBOURS | kind::ROSTER_ADVERT | kind::VERDICTS | kind::RECEIPTS => 256 << 10,
        kind::JOIN_REQUEST | kind::JOIN_CLASHES => 1 << 20,
        kind::MEMBERS | kind::JOIN_GRANT => 4 << 20,
        // Mail, parts of rosters, and whatever a later version sends.
        _ => 1 << 20,
    }
}

/// Bytes before each body.
pub const HEADER_LENGTH: usize = 5;

fn put<T: Serialize>(kind: u8, body: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0, BODY_VERSION]);
    let Ok(mut grown) = postcard::to_extend(body, std::mem::take(out)) else {
        return Err(FrameError::Malformed { kind });
    };
    let length = grown.len() - start - HEADER_LENGTH;
    let fits = length <= body_limit(kind);
    if fits {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        grown[start + 1..start + HEADER_LENGTH].copy_from_slice(&length.to_be_bytes());
    } else {
        grown.truncate(start);
    }
    *out = grown;
    if fits { Ok(()) } else { Err(FrameError::TooLong { kind, length, limit: body_limit(kind) }) }
}

fn take<'a, T: Deserialize<'a>>(kind: u8, body: &'a [u8]) -> Result<T, FrameError> {
    let Some((version, rest)) = body.split_first() else { return Err(FrameError::Malformed { kind }) };
    if *version != BODY_VERSION {
        return Err(FrameError::Version { kind, version: *version });
    }
    match postcard::take_from_bytes(rest) {
        Ok((body, [])) => Ok(body),
        _ => Err(FrameError::Malformed { kind }),
    }
}

const BODY_VERSION: u8 = 1;

/// The kinds. A number is never used twice.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const HELLO_ACK: u8 = 2;
    pub(super) const REFUSE: u8 = 3;
    pub(super) const MEMBERS: u8 = 4;
    pub(super) const SECRET: u8 = 5;
    pub(super) const ROSTER_ADVERT: u8 = 6;
    pub(super) const ROSTER_PULL: u8 = 7;
    pub(super) const ROSTER_PART: u8 = 8;
    pub(super) const MAIL: u8 = 9;
    pub(super) const VERDICTS: u8 = 10;
    pub(super) const PING: u8 = 11;
    pub(super) const PONG: u8 = 12;
    pub(super) const GOODBYE: u8 = 13;
    pub(super) const NEIGHBOURS: u8 = 14;
    pub(super) const GREETING: u8 = 15;
    pub(super) const RECEIPTS: u8 = 16;
    pub(super) const RECEIPTS_TAKEN: u8 = 17;
    pub(super) const SWARM: u8 = 18;
    pub(super) const SOFTWARE: u8 = 19;
    pub(super) const PRESENCE_ASK: u8 = 20;
    pub(super) const PRESENCE: u8 = 21;
    pub(super) const OUTSIDE_MAIL: u8 = 22;
    pub(super) const JOIN_REQUEST: u8 = 32;
    pub(super) const JOIN_CLASHES: u8 = 33;
    pub(super) const JOIN_CONFIRM: u8 = 34;
    pub(super) const JOIN_GRANT: u8 = 35;
    pub(super) const JOIN_REFUSED: u8 = 36;
}

#[cfg(test)]
mod tests;
