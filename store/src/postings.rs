//! The tree `postings`: what became of mail that was posted to a webhook, while it is in its mailbox (WHK-5, DESIGN §1.3).
//! Mail without a row was never posted. Used by the node's webhook carrier, and by `status` for senders who ask.

use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::group::Group;
use crate::handed;
use crate::key::{first_number, with_number};
use crate::mail::{AgentNo, Seq};
use crate::trees::Tree;
use crate::walk;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// How far the posting of one message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Posting {
    /// Tried in vain, and to be tried again.
    Waiting {
        /// How often it was tried.
        attempts: u32,
        /// When it is due.
        next_at: UnixMillis,
    },
    /// Not to be tried again: it waits to be fetched.
    GivenUp {
        /// How often it was tried.
        attempts: u32,
    },
    /// The webhook took it.
    Taken {
        /// When.
        at: UnixMillis,
    },
}

impl Value for Posting {
    const TREE: Tree = Tree::Postings;
}

/// Notes how far the posting of a message came, unless it has left the mailbox. What was taken was handed out.
pub(crate) fn note(
    group: &mut Group<'_>,
    agent: AgentNo,
    seq: Seq,
    posting: Posting,
) -> Result<bool, StoreError> {
    let key = key_of(agent, seq);
    if !group.txn.has(Tree::Mailbox, &key)? {
        return Ok(false);
    }
    let is_new = !group.txn.has(Tree::Postings, &key)?;
    group.txn.put(Tree::Postings, key, codec::encode(&posting)?);
    if let Posting::Taken { .. } = posting {
        let before = group.tally().mailbox(agent);
        let count = handed::mark(&mut group.txn, before, agent, &[seq])?;
        group.set_mailbox(agent, count);
    }
    if is_new {
        group.tally_mut().add_posting(agent);
    }
    Ok(true)
}

/// Forgets what is known of a message that leaves its mailbox.
pub(crate) fn forget(group: &mut Group<'_>, agent: AgentNo, seq: Seq) -> Result<(), StoreError> {
    // Few agents have webhooks: those without pay nothing for it.
    if group.tally().postings(agent) == 0 {
        return Ok(());
    }
    let key = key_of(agent, seq);
    if group.txn.has(Tree::Postings, &key)? {
        group.txn.remove(Tree::Postings, key);
        group.tally_mut().remove_posting(agent);
    }
    Ok(())
}

/// How far the posting of one message came.
pub(crate) fn of(read: &dyn Read, agent: AgentNo, seq: Seq) -> Result<Option<Posting>, StoreError> {
    read.get(Tree::Postings, &key_of(agent, seq))?.map(|bytes| codec::decode(&bytes)).transpose()
}

/// Calls once for every row, with the agent; for the counts at open.
pub(crate) fn each(read: &dyn Read, visit: &mut dyn FnMut(AgentNo)) -> Result<(), StoreError> {
    walk::each(read, Tree::Postings, &Range::ALL, |key, _| {
        visit(AgentNo(first_number(Tree::Postings, key)?));
        Ok(())
    })
}

fn key_of(agent: AgentNo, seq: Seq) -> Vec<u8> {
    with_number(&agent.0.to_be_bytes(), seq.0)
}
