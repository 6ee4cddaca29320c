//! Bad signatures, charged to whoever brought them (DESIGN §6, RAT-8): verification is the dearest thing a stranger
//! can make this node do, so a source that keeps failing is refused before it.

use super::error::Refusal;
use super::incoming::Incoming;
use super::per_minute::{PerMinute, TooOften};
use amesh_proto::node_id::NodeId;
use amesh_store::AgentNo;
use std::sync::Arc;
use std::time::Duration;

/// Whom a failure is charged to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Agent(AgentNo),
    Peer(NodeId),
    HttpHost(Arc<str>),
    Provider(Arc<str>),
    /// What an agent has fetched from its own providers: no charge to the providers, nor to what it sends.
    Registrations(AgentNo),
}

/// Failures of the current minute, by source.
#[derive(Debug)]
pub(super) struct Faults(PerMinute<Source>);

pub(super) fn source_of(incoming: &Incoming) -> Source {
    match incoming {
        Incoming::FromAgent { agent, .. } => Source::Agent(agent.no),
        Incoming::FromPeer { peer, .. } => Source::Peer(*peer),
        Incoming::FromHttpHost(forwarded) => Source::HttpHost(forwarded.host.clone()),
        Incoming::FromProvider(federated) => Source::Provider(federated.provider.clone()),
        Incoming::FromRegistration(pulled) => Source::Registrations(pulled.agent.no),
    }
}

impl Faults {
    pub(super) fn new(per_minute: u32) -> Self {
        Self(PerMinute::new(per_minute))
    }

    /// Refuses a source that has failed too often in this minute.
    pub(super) fn admit(&self, source: &Source, now: Duration) -> Result<(), Refusal> {
        self.0.check(source, now).map_err(|TooOften(retry_after)| Refusal::Limited { retry_after })
    }

    /// Charges `refusal`, if it came of a bad signature, to `source`.
    pub(super) fn count(&self, source: Source, refusal: &Refusal, now: Duration) {
        if matches!(refusal, Refusal::Signature(_)) {
            tracing::debug!(?source, %refusal, "a signature was refused");
            self.0.add(source, now);
        }
    }
}
