//! Agents that no roster lists: the hallway asks whoever may know, before it plans. Implemented by `bridge`; asked by
//! [`Hallway::submit`] and by whoever resolves an address, for agents of this node only, and only about addresses of its own
//! domain (MSH-3).

use super::{Hallway, Incoming};
use crate::agents::directory::Resolution;
use amesh_proto::address::Address;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Where an agent is that the directory does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// Nowhere, as far as anybody can tell.
    Nowhere,
    /// At this HTTP host.
    HttpHost(Arc<str>),
    /// Perhaps at one of these, which do not answer.
    Unsure(Vec<String>),
}

/// Whoever can be asked.
pub trait Elsewhere: Send + Sync + std::fmt::Debug {
    /// Looks for `address`; may take seconds, and must end.
    fn find(&self, address: Address) -> Pin<Box<dyn Future<Output = Whereabouts> + Send + '_>>;
}

impl Hallway {
    /// Registers whom to ask. Called once, by `bridge`, before the doors open.
    pub fn ask_elsewhere(&self, elsewhere: Arc<dyn Elsewhere>) {
        if self.inner.elsewhere.set(elsewhere).is_err() {
            tracing::error!("a second place to ask for agents was given, and is not asked");
        }
    }

    /// Where the recipient of an agent's message is, should the directory not know it.
    pub(super) async fn whereabouts(&self, incoming: &Incoming) -> Whereabouts {
        let Incoming::FromAgent { agent, request, .. } = incoming else { return Whereabouts::Nowhere };
        let directory = self.inner.agents.directory();
        // What is no address is refused by acceptance, in its words.
        match directory.expand(&request.to, Some(&agent.address)) {
            Ok(to) if matches!(directory.resolve(&to), Resolution::Unknown) => self.find_elsewhere(to).await,
            _ => Whereabouts::Nowhere,
        }
    }

    /// Where an agent is that the directory does not know. Whoever is not of this node's domain is nowhere.
    pub async fn find_elsewhere(&self, address: Address) -> Whereabouts {
        match self.inner.elsewhere.get() {
            Some(elsewhere) if self.inner.agents.directory().naming().is_ours(&address) => {
                elsewhere.find(address).await
            }
            _ => Whereabouts::Nowhere,
        }
    }
}
