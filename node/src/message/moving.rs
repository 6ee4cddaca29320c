//! Mail for an agent that has just moved waits a moment, so that what was written to it before arrives first (DESIGN §3,
//! Moving). Called by `submit` before and after the plan is made, as the agent may move in between, and by `commit`.

use super::Prepared;
use super::incoming::Incoming;
use super::plan::Plan;
use crate::agents::Agents;
use crate::agents::directory::Way;
use amesh_proto::address::Address;
use amesh_store::{NewMail, Origin, Store};
use std::time::Duration;

/// A plan that is made now would be made for the agent's new home.
pub(super) async fn before_planning(agents: &Agents, incoming: &Incoming) {
    if let Incoming::FromAgent { agent, request, .. } = incoming
        && agents.arrivals().some()
        && let Ok(to) = agents.directory().expand(&request.to, Some(&agent.address))
    {
        agents.arrivals().settled(&to, PASSING).await;
    }
}

/// A plan that leads to the new home must wait. One that leads to the old home must not: it is followed from there.
pub(super) async fn after_planning(agents: &Agents, prepared: &Prepared) {
    let to = &prepared.mail.mail.to;
    if !agents.arrivals().holds(to) {
        return;
    }
    let leads_home = match &prepared.plan {
        Plan::Local { agent, .. } => agents.directory().leaving(&agent.address).is_none(),
        Plan::Host { node, .. } => agents.directory().home_of(to).is_some_and(|home| home.node == *node),
        Plan::Provider { .. } | Plan::HttpHost { .. } => false,
    };
    if leads_home {
        agents.arrivals().settled(to, PASSING).await;
    }
}

/// The way that a plan stands for, where its recipient may leave it by moving.
pub(super) fn way_of(mail: &NewMail, plan: &Plan) -> Option<Way> {
    match (plan, &mail.origin) {
        (Plan::Local { .. }, Origin::Node(carrier)) => Some(Way::Here(Some(*carrier))),
        (Plan::Local { .. }, _) => Some(Way::Here(None)),
        (Plan::Host { node, .. }, _) => Some(Way::To(*node)),
        (Plan::Provider { .. } | Plan::HttpHost { .. }, _) => None,
    }
}

/// Whom mail of a link is for, where the directory does not show that agent here. Asked before the mail is judged: the
/// agent may be shown just after.
pub(super) fn unknown_by_link(agents: &Agents, incoming: &Incoming) -> Option<Address> {
    match incoming {
        Incoming::FromPeer { mail, .. } if !agents.directory().lists_here(&mail.to) => Some(mail.to.clone()),
        _ => None,
    }
}

/// Whether the roster on disk lists it all the same: another node may have read that roster, and what it sends must not be
/// refused for good.
pub(super) fn is_just_coming(store: &Store, to: &Address) -> bool {
    store.own_face(to).is_ok_and(|face| face.is_some_and(|face| face.tombstone.is_none()))
}

/// How long a sender waits, who is then asked to try again; the last host hands on within moments, or is away.
const PASSING: Duration = Duration::from_secs(10);
