//! The tree `tickets`: invitations given out by this node. A spend is durable before the secret is sent, and may be
//! repeated by the same node until the ticket ends (DESIGN §3, Joining). Used by the node's mesh.

use crate::codec::{self, Value};
use crate::engine::Read;
use crate::error::StoreError;
use crate::expire::Kind;
use crate::group::Group;
use crate::trees::Tree;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Hash of a ticket's token; the token itself is never stored.
pub type TokenHash = [u8; 32];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TicketValue {
    pub(crate) expires_at: UnixMillis,
    /// Whoever uses it may let others in.
    pub(crate) introducer: bool,
    pub(crate) spent_by: Option<NodeId>,
}

impl Value for TicketValue {
    const TREE: Tree = Tree::Tickets;
}

/// What became of an attempt to use a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpendOutcome {
    /// It was good and is now spent by this node.
    Spent {
        /// As the inviter decided when it was written.
        introducer: bool,
    },
    /// This node spent it before.
    Again {
        /// As the inviter decided when it was written.
        introducer: bool,
    },
    /// Another node spent it.
    ByAnother,
    /// Its time is over.
    Expired,
    /// This node never gave it out, or long ago.
    Unknown,
}

pub(crate) fn add(
    group: &mut Group<'_>,
    token: TokenHash,
    expires_at: UnixMillis,
    introducer: bool,
) -> Result<(), StoreError> {
    put(group, token, TicketValue { expires_at, introducer, spent_by: None })?;
    // Kept a day longer, so that a late comer hears "expired" and not "unknown".
    group.due.add(expires_at.plus(DAY), Kind::Ticket, token.to_vec());
    Ok(())
}

pub(crate) fn spend(
    group: &mut Group<'_>,
    token: TokenHash,
    node: NodeId,
    now: UnixMillis,
) -> Result<SpendOutcome, StoreError> {
    let Some(bytes) = group.txn.get(Tree::Tickets, &token)? else { return Ok(SpendOutcome::Unknown) };
    let ticket: TicketValue = codec::decode(&bytes)?;
    if ticket.expires_at <= now {
        return Ok(SpendOutcome::Expired);
    }
    let introducer = ticket.introducer;
    match ticket.spent_by {
        Some(spender) if spender == node => Ok(SpendOutcome::Again { introducer }),
        Some(_) => Ok(SpendOutcome::ByAnother),
        None => {
            put(group, token, TicketValue { spent_by: Some(node), ..ticket })?;
            Ok(SpendOutcome::Spent { introducer })
        }
    }
}

fn put(group: &mut Group<'_>, token: TokenHash, ticket: TicketValue) -> Result<(), StoreError> {
    group.txn.put(Tree::Tickets, token.to_vec(), codec::encode(&ticket)?);
    Ok(())
}

const DAY: Duration = Duration::from_secs(24 * 3600);
