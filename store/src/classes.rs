//! The tree `classes`: where in a mailbox the mail lies that is not of the class `normal`, so that the urgent can go first
//! whatever lies before it (MSG-13). Normal mail has no rows here and pays nothing. Used by `mailbox`.

use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::group::Group;
use crate::key::{first_number, join, last_number, with_number};
use crate::mail::{AgentNo, Seq};
use crate::trees::Tree;
use crate::walk;
use amesh_proto::message::Priority;

/// Notes a message that was put into a mailbox.
pub(crate) fn put(group: &mut Group<'_>, agent: AgentNo, class: Priority, seq: Seq) {
    if has_rows(class) {
        group.txn.put(Tree::Classes, key_of(agent, class, seq), Vec::new());
        group.tally_mut().add_classed(agent);
    }
}

/// Forgets a message that leaves its mailbox.
pub(crate) fn forget(group: &mut Group<'_>, agent: AgentNo, seq: Seq) -> Result<(), StoreError> {
    // Most mailboxes hold normal mail only.
    if group.tally().classed(agent) == 0 {
        return Ok(());
    }
    for class in Priority::ALL.into_iter().filter(|class| has_rows(*class)) {
        let key = key_of(agent, class, seq);
        if group.txn.has(Tree::Classes, &key)? {
            group.txn.remove(Tree::Classes, key);
            group.tally_mut().remove_classed(agent);
            return Ok(());
        }
    }
    Ok(())
}

/// The first messages of a class with rows, with `after < seq <= until`, oldest first.
pub(crate) fn seqs(
    read: &dyn Read,
    agent: AgentNo,
    class: Priority,
    (after, until): (Seq, Seq),
    limit: usize,
) -> Result<Vec<Seq>, StoreError> {
    let prefix = prefix_of(agent, class);
    let range = Range::numbers(&prefix, after.0.saturating_add(1), until.0.saturating_add(1));
    walk::first(read, Tree::Classes, &range, limit, |key, _| last_number(Tree::Classes, key).map(Seq))
}

/// Calls once for every row, with the agent; for the counts at open.
pub(crate) fn each(read: &dyn Read, visit: &mut dyn FnMut(AgentNo)) -> Result<(), StoreError> {
    walk::each(read, Tree::Classes, &Range::ALL, |key, _| {
        visit(AgentNo(first_number(Tree::Classes, key)?));
        Ok(())
    })
}

/// Whether mail of this class is noted here.
pub(crate) fn has_rows(class: Priority) -> bool {
    class != Priority::Normal
}

pub(crate) fn key_of(agent: AgentNo, class: Priority, seq: Seq) -> Vec<u8> {
    with_number(&prefix_of(agent, class), seq.0)
}

fn prefix_of(agent: AgentNo, class: Priority) -> Vec<u8> {
    join(&agent.0.to_be_bytes(), &[class as u8])
}
