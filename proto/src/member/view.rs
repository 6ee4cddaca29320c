//! From statements to members: who stands, given every statement. A pure function of the set, so that the order in
//! which statements arrived cannot matter. Called by [`super::list`].

use super::list::Member;
use super::{MemberEntry, Removal, StatementId};
use crate::node_id::NodeId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Everyone who stands. Grows from the founder outwards until nothing is added, so that nodes cannot vouch for each
/// other in a circle.
pub(super) fn standing(
    entries: &BTreeMap<StatementId, MemberEntry>,
    removals: &BTreeMap<StatementId, Removal>,
    founder: Option<NodeId>,
) -> BTreeMap<NodeId, Member> {
    let mut gone: HashMap<NodeId, Vec<&Removal>> = HashMap::new();
    for removal in removals.values() {
        gone.entry(removal.says.node).or_default().push(removal);
    }
    let ends =
        |node: &NodeId| gone.get(node).and_then(|all| all.iter().map(|r| r.says.term).max()).unwrap_or(0);
    let mut open: Vec<(&StatementId, &MemberEntry)> =
        entries.iter().filter(|(_, entry)| entry.says.term > ends(&entry.says.node)).collect();
    let mut members: BTreeMap<NodeId, Member> = BTreeMap::new();
    loop {
        let mut newcomers = Vec::new();
        open.retain(|(id, entry)| {
            let holds = vouched(id, entry, founder, &members, &gone);
            if holds {
                newcomers.push(*entry);
            }
            !holds
        });
        if newcomers.is_empty() {
            return members;
        }
        for entry in newcomers {
            seat(&mut members, entry);
        }
    }
}

/// Whether the introducer's word for this entry holds: it stands, or was removed by someone who keeps this entry.
fn vouched(
    id: &StatementId,
    entry: &MemberEntry,
    founder: Option<NodeId>,
    members: &BTreeMap<NodeId, Member>,
    gone: &HashMap<NodeId, Vec<&Removal>>,
) -> bool {
    let says = &entry.says;
    if says.introducer == says.node {
        // The founder's own entry, or one in an open mesh: good for the first term only.
        return says.term == 1 && founder.is_none_or(|founder| founder == says.node);
    }
    let mut later = gone
        .get(&says.introducer)
        .into_iter()
        .flatten()
        .filter(|removal| removal.says.term >= says.introducer_term)
        .peekable();
    if later.peek().is_some() {
        return later.all(|removal| removal.says.keeps.contains(id));
    }
    members.get(&says.introducer).is_some_and(|introducer| introducer.may_introduce)
}

/// Several entries may stand for one node: it is as old as the first, and is called as the last says.
fn seat(members: &mut BTreeMap<NodeId, Member>, entry: &MemberEntry) {
    let says = &entry.says;
    let new = Member {
        node: says.node,
        host: says.host.clone(),
        order: says.order,
        named_in: (says.order, says.host.clone()),
        term: says.term,
        introducer: says.introducer,
        may_introduce: says.may_introduce,
        joined_at: says.joined_at,
    };
    let Some(known) = members.get_mut(&says.node) else {
        members.insert(says.node, new);
        return;
    };
    if (new.order, new.introducer) < (known.order, known.introducer) {
        (known.order, known.introducer) = (new.order, new.introducer);
    }
    if new.named_in > known.named_in {
        (known.host, known.named_in) = (new.host, new.named_in);
    }
    known.term = known.term.max(new.term);
    known.may_introduce |= new.may_introduce;
    known.joined_at = known.joined_at.min(new.joined_at);
}

/// Every node that ever had a vouched-for right to introduce, removed or not: removals by these count, for a removal
/// must not fall because its author was removed too.
pub(super) fn once_introducers(
    entries: &BTreeMap<StatementId, MemberEntry>,
    founder: Option<NodeId>,
) -> BTreeSet<NodeId> {
    entries
        .values()
        .filter(|entry| entry.says.may_introduce)
        .map(|entry| entry.says.node)
        .chain(founder)
        .collect()
}
