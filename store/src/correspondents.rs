//! Which agents of this node had mail from somebody lately, by the tree `history`. Used by the node to tell them of a key
//! that is in other hands (KEY-10).

use crate::codec;
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::history::{Entry, Parties, address_hash};
use crate::mail::{AgentNo, Place};
use crate::store::Store;
use crate::trees::Tree;
use amesh_proto::address::Address;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

impl Store {
    /// The agents of this node that were sent mail by one of `senders`, as long as this is remembered: a day longer than
    /// the mail lives, two days at least. Walks over all messages, some at a time; not for an async task.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn correspondents(&self, senders: &[Address]) -> Result<BTreeSet<(Address, AgentNo)>, StoreError> {
        let wanted: BTreeMap<[u8; 8], &Address> =
            senders.iter().map(|address| (address_hash(address), address)).collect();
        let (mut found, mut from) = (BTreeSet::new(), Vec::new());
        loop {
            match self.read(|read| some(read, &wanted, from, &mut found))? {
                Some(next) => from = next,
                None => return Ok(found),
            }
        }
    }
}

/// Looks at the next messages, and says where to go on.
fn some(
    read: &dyn Read,
    wanted: &BTreeMap<[u8; 8], &Address>,
    from: Vec<u8>,
    found: &mut BTreeSet<(Address, AgentNo)>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let (mut left, mut next, mut damage) = (AT_A_TIME, None, None);
    read.scan(Tree::History, &Range { from, to: None }, &mut |key, value| {
        if left == 0 {
            next = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        left -= 1;
        let sender = key.last_chunk().and_then(|parties: &Parties| wanted.get(&parties[..8]));
        match sender.map(|sender| (sender, codec::decode::<Entry>(value))) {
            None => {}
            Some((sender, Ok(entry))) => {
                if let Place::Mailbox(agent) = entry.place {
                    found.insert(((*sender).clone(), agent));
                }
            }
            Some((_, Err(error))) => {
                damage = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    damage.map_or(Ok(next), Err)
}

/// The writer waits while a walk reads.
const AT_A_TIME: usize = 2_000;
