//! The one-time ticket that lets a node into a mesh: `amesh invite` prints it, `amesh join` reads it (DESIGN §3).

use crate::member::MeshId;
use crate::node_id::{NodeId, sha256};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Everything that a newcomer needs to reach and trust its inviter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The mesh it leads into.
    pub mesh: MeshId,
    /// Who wrote it: the only node the newcomer will talk to.
    pub inviter: NodeId,
    /// Where the inviter listens.
    pub addresses: Vec<SocketAddr>,
    /// Proves that the newcomer was given this ticket.
    pub token: Token,
    /// Useless from then on.
    pub expires_at: UnixMillis,
}

/// 192 random bits; worth a place in the mesh until it is spent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(#[serde(with = "crate::fixed")] pub [u8; 24]);

impl Token {
    /// What the inviter keeps of it: enough to recognise it, not to use it.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[b"amesh/1 ticket", &self.0])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)")
    }
}

impl Ticket {
    /// Addresses a ticket can carry.
    pub const ADDRESS_LIMIT: usize = 16;
}

impl fmt::Display for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes = postcard::to_extend(self, bytes).map_err(|_| fmt::Error)?;
        let check = sha256(&[CHECK_CONTEXT, &bytes]);
        bytes.extend_from_slice(&check[..CHECK_LENGTH]);
        write!(out, "{PREFIX}{}", bs58::encode(bytes).into_string())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// White space around and inside is ignored: tickets are pasted from chats and terminals that wrap them.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        if text.len() > TEXT_LIMIT {
            return Err(TicketError::NotATicket);
        }
        let text: String = text.split_whitespace().collect();
        let body = text.strip_prefix(PREFIX).ok_or(TicketError::NotATicket)?;
        let bytes = bs58::decode(body).into_vec().map_err(|_| TicketError::Damaged)?;
        let at = bytes.len().checked_sub(CHECK_LENGTH).ok_or(TicketError::Damaged)?;
        let (bytes, check) = bytes.split_at(at);
        if sha256(&[CHECK_CONTEXT, bytes])[..CHECK_LENGTH] != *check {
            return Err(TicketError::Damaged);
        }
        let (version, body) = bytes.split_first().ok_or(TicketError::Damaged)?;
        if *version != VERSION {
            return Err(TicketError::Newer);
        }
        match postcard::take_from_bytes::<Self>(body) {
            Ok((ticket, [])) if ticket.addresses.len() <= Self::ADDRESS_LIMIT => Ok(ticket),
            _ => Err(TicketError::Damaged),
        }
    }
}

/// Why a text is not a usable ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not look like one.
    #[error("not a ticket: a ticket begins with `{PREFIX}`; `amesh invite` prints one")]
    NotATicket,
    /// It is not as it was printed.
    #[error("the ticket was cut short or edited: copy it again, whole, from where `amesh invite` printed it")]
    Damaged,
    /// A later version of amesh printed it.
    #[error("the ticket was made by a newer amesh: upgrade this one")]
    Newer,
}

const PREFIX: &str = "amesh1-";
const VERSION: u8 = 1;
const CHECK_CONTEXT: &[u8] = b"amesh/1 ticket check";
const CHECK_LENGTH: usize = 4;
const TEXT_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket() -> Ticket {
        Ticket {
            mesh: MeshId([7; 16]),
            inviter: NodeId::from_bytes([8; 32]),
            addresses: vec!["192.168.1.5:23001".parse().unwrap(), "[fe80::1]:23001".parse().unwrap()],
            token: Token([9; 24]),
            expires_at: UnixMillis(1_800_000_000_000),
        }
    }

    #[test]
    fn a_ticket_survives_being_wrapped_by_a_terminal() {
        let text = ticket().to_string();
        let (head, tail) = text.split_at(40);
        assert_eq!(format!("  {head}\n   {tail}\r\n").parse(), Ok(ticket()));
    }

    #[test]
    fn every_single_edit_and_every_truncation_is_recognised() {
        let text = ticket().to_string();
        for at in PREFIX.len()..text.len() {
            assert_eq!(text[..at].parse::<Ticket>(), Err(TicketError::Damaged), "cut at {at}");
            let mut edited = text.clone().into_bytes();
            edited[at] = if edited[at] == b'z' { b'y' } else { b'z' };
            assert_eq!(
                String::from_utf8(edited).unwrap().parse::<Ticket>(),
                Err(TicketError::Damaged),
                "edit at {at}"
            );
        }
    }

    #[test]
    fn other_text_is_said_not_to_be_a_ticket() {
        for text in ["", "hello", "amesh2-abc", "http://x", &"amesh1-".repeat(2000)] {
            assert_eq!(text.parse::<Ticket>(), Err(TicketError::NotATicket));
        }
    }

    #[test]
    fn the_token_never_shows_in_debug_output() {
        assert!(!format!("{:?}", ticket()).contains("9, 9"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _outcome = text.parse::<Ticket>();
            let _outcome = format!("{PREFIX}{text}").parse::<Ticket>();
        }
    }
}
