//! Mail for an agent that has just moved waits a moment, so that what was written to it before arrives first (DESIGN §3,
//! Moving). Called by `submit` before and after the plan is made: the agent may move in between.

use super::Prepared;
use super::incoming::Incoming;
use super::plan::Plan;
use crate::agents::Agents;
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

/// How long a sender waits; the last host hands on within moments, or is away.
const PASSING: Duration = Duration::from_secs(5);
