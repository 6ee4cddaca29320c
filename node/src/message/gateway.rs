//! The way out of the mesh: one member, the gateway, carries mail of the others to other providers, and brings theirs (DESIGN
//! §3, A carrier brings only its own). Which member that is, and for whom it does so, the owner of each node says. Asked by
//! the hallway before it plans, and when a member brings mail of somebody outside.

use super::accept::{Draft, Source};
use crate::agents::directory::Directory;
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use amesh_store::{Destination, OutboxEntry};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Mail between this mesh and other providers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The member that carries this node's mail to other providers, and from which alone mail of theirs is taken: its host label,
    /// or its node id, which nobody else can have. Nothing: this node's mail leaves the mesh only where this node is a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// This node is the gateway of other members: it carries their agents' mail to other providers, and brings what those send.
    pub on: bool,
    /// Agents of other members that may use this gateway: names or addresses. None listed: all of them.
    pub agents: Vec<String>,
    /// The providers to and from which this gateway carries mail of other members: domains. None listed: all that this node
    /// exchanges mail with.
    pub providers: Vec<String>,
}

impl Config {
    /// The member that carries this node's mail to other providers, and its host label.
    pub(super) fn way_out(&self, directory: &Directory) -> Option<(NodeId, String)> {
        let named = self.host.as_deref()?;
        let node = match named.parse::<NodeId>() {
            Ok(node) => node,
            Err(_) => directory.node_of(named)?,
        };
        let host = directory.host_of(node)?;
        (node != directory.node()).then_some((node, host))
    }

    /// Whether this node carries a message on, between a member that brings it and another provider, whichever way.
    pub(super) fn carries(&self, draft: &Draft, directory: &Directory) -> bool {
        let mail = &draft.mail;
        match draft.source {
            Source::Peer(_) => self.serves(&mail.from, &mail.to, directory),
            Source::Provider(_) => self.serves(&mail.to, &mail.from, directory),
            Source::Agent(_) | Source::Gateway(..) | Source::HttpHost(_) | Source::Registration(_) => false,
        }
    }

    /// Whether this node carries mail between `agent`, who lives at another member, and `outsider`.
    fn serves(&self, agent: &Address, outsider: &Address, directory: &Directory) -> bool {
        let naming = directory.naming();
        let is_named = |named: &String| match named.contains('@') {
            true => directory.expand(named, None).is_ok_and(|address| address == *agent),
            false => named.eq_ignore_ascii_case(agent.name()),
        };
        // Where the provider's domain begins is not known here.
        let is_theirs = |domain: &String| {
            let end = format!(".{}", domain.to_ascii_lowercase());
            outsider.domain().ends_with(&end)
        };
        self.on
            && naming.is_ours(agent)
            && !naming.is_ours(outsider)
            && (self.agents.is_empty() || self.agents.iter().any(is_named))
            && (self.providers.is_empty() || self.providers.iter().any(is_theirs))
    }
}

/// Members that take nothing from outside by this gateway: their owners name another, or none. A provider is told so before it is
/// told that its message was taken, for afterwards nobody could tell it (AMP 06 has no word for that).
#[derive(Debug, Default)]
pub(super) struct ClosedMembers(Mutex<HashMap<NodeId, Duration>>);

impl ClosedMembers {
    /// Whether `member` refused such mail lately.
    pub(super) fn holds(&self, member: NodeId, now: Duration) -> bool {
        self.table().get(&member).is_some_and(|since| now.saturating_sub(*since) < CLOSED_FOR)
    }

    /// Mail that came from outside ends here: it is written down, and kept in mind if it was for its carrier's sake.
    pub(super) fn ended(&self, destination: &Destination, entry: &OutboxEntry, code: &str, now: Duration) {
        let mail = &entry.mail;
        let (sender, recipient) = (mail.from.as_str(), mail.to.as_str());
        tracing::info!(
            target: AUDIT, event = "federation.undelivered", from_provider = mail.from.provider(), message_id = mail.id.as_str(),
            sender, recipient, delivered = false, error = code
        );
        if let (Destination::Node(member), "forbidden") = (destination, code) {
            let mut table = self.table();
            table.retain(|_, since| now.saturating_sub(*since) < CLOSED_FOR);
            table.insert(*member, now);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<NodeId, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Then the next message shows whether the owner has thought better of it.
const CLOSED_FOR: Duration = Duration::from_secs(600);
/// As in `federation`.
const AUDIT: &str = "amesh::federation::audit";
