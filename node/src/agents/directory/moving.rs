//! Where agents live that moved (DESIGN §3, Moving): only by a statement signed with the agent's own key. Without it the
//! older member's entry stands. Asked by `picture` for every address, and by `Directory` for who moves away from here.

use super::picture::Picture;
use crate::agents::Agent;
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use std::sync::Arc;

/// An agent of this node that lives elsewhere by its own word.
#[derive(Debug, Clone)]
pub struct Leaving {
    /// It, as it was here.
    pub agent: Arc<Agent>,
    /// Where it lives now.
    pub home: NodeId,
    /// This node no longer lists it.
    pub departed: bool,
}

/// From `node`, which has `address` by its age in the mesh, to where the agent went from there.
pub(super) fn followed(picture: &Picture, address: &Address, node: NodeId) -> NodeId {
    let mut home = node;
    // The latest statement of the agent holds, then the latest of whoever has the keys of that one.
    while let Some(next) = picture
        .claimants(address)
        .filter(|there| is_later(picture, address, home, *there))
        .max_by_key(|there| (picture.known(*there, address).and_then(|known| known.home), *there))
    {
        home = next;
    }
    home
}

/// Whether the agent of `address` that lives at `home`, or a namesake, is the one that `node` lists, or listed, and
/// went there by its own word.
pub(super) fn has_moved(picture: &Picture, address: &Address, node: NodeId, home: NodeId) -> bool {
    node != home && is_later(picture, address, node, home)
}

fn is_later(picture: &Picture, address: &Address, from: NodeId, to: NodeId) -> bool {
    let (Some(before), Some(after)) = (picture.known(from, address), picture.known(to, address)) else {
        return false;
    };
    after.home > before.home && before.is_same_agent(after)
}

/// The agent of this node with exactly this address, if it moved away.
pub(super) fn leaving(picture: &Picture, address: &Address) -> Option<Leaving> {
    let agent = picture.local(address)?.clone();
    let (me, home) = (picture.me().node, picture.holder(address)?);
    let departed = picture.known(me, address)?.entry.tombstone.is_some();
    has_moved(picture, address, me, home).then_some(Leaving { agent, home, departed })
}

/// Who held an address, and whether the node that speaks of it now had spoken of it.
pub(super) type Before = (Option<NodeId>, bool);

/// What [`arrives`] must know from before a change.
pub(super) fn whereabouts(picture: &Picture, address: &Address, author: Option<NodeId>) -> Before {
    (picture.holder(address), author.is_some_and(|author| picture.known(author, address).is_some()))
}

/// Whether the agent of `address` has another home since, or `author` lists it, which it left before that was heard of.
pub(super) fn arrives(
    picture: &Picture,
    address: &Address,
    author: Option<NodeId>,
    (holder, spoken_of): Before,
) -> bool {
    let Some(home) = picture.holder(address) else { return false };
    let from = holder.filter(|holder| *holder != home);
    let late = author.filter(|author| !spoken_of && picture.claimants(address).any(|node| node == *author));
    [from, late].into_iter().flatten().any(|node| has_moved(picture, address, node, home))
}

/// Whether `node` lists the agent of this node with this address, and may hand its mail on.
pub(super) fn still_lists(picture: &Picture, node: NodeId, address: &Address) -> bool {
    picture.claimants(address).any(|claimant| claimant == node) && hands_on(picture, node, address)
}

/// Whether `node` may bring mail that others wrote to the agent `address` of this node: that one lived there.
pub(super) fn hands_on(picture: &Picture, node: NodeId, address: &Address) -> bool {
    let (Some(theirs), Some(ours)) =
        (picture.known(node, address), picture.known(picture.me().node, address))
    else {
        return false;
    };
    picture.local(address).is_some() && theirs.is_same_agent(ours)
}
