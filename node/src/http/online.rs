//! Who is connected, here or at another member of the mesh. Asked by whatever lists or resolves agents.

use super::state::State;
use crate::agents::directory::Listed;
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use std::collections::HashSet;

impl State {
    /// Which of `agents` are connected: of this node's own that is known, of others what their hosts say when asked.
    pub(super) async fn online(&self, agents: &[Listed]) -> HashSet<Address> {
        let presence = self.parts.agents.presence();
        let here = agents.iter().filter(|agent| agent.local.is_some_and(|no| presence.online(no)));
        let mut online: HashSet<Address> = here.map(|agent| agent.address.clone()).collect();
        let there = agents.iter().filter(|agent| agent.local.is_none());
        let there: Vec<_> = there.map(|agent| (agent.node, agent.address.clone())).collect();
        online.extend(self.online_there(&there).await);
        online
    }

    /// Which of these agents of other members are connected there, as far as those can be asked.
    pub(super) async fn online_there(&self, agents: &[(NodeId, Address)]) -> HashSet<Address> {
        match &self.parts.mesh {
            Some(mesh) if !agents.is_empty() => mesh.online(agents).await,
            _ => HashSet::new(),
        }
    }
}
