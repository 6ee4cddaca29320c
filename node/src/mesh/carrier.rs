//! The mesh as the hallway knows it: something that moves mail to other nodes when it is told that there is some.

use super::shared::Shared;
use crate::message::Carrier;
use amesh_store::Destination;
use std::sync::{Arc, Weak};

/// See the module. Holds the mesh weakly: the hallway keeps its carriers, and the mesh keeps the hallway.
#[derive(Debug)]
pub(crate) struct MeshCarrier {
    shared: Weak<Shared>,
}

impl MeshCarrier {
    pub(crate) fn of(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::downgrade(shared) })
    }
}

impl Carrier for MeshCarrier {
    fn serves(&self, destination: &Destination) -> bool {
        matches!(destination, Destination::Node(_))
    }

    fn wake(&self, destination: &Destination) {
        let (Some(shared), Destination::Node(node)) = (self.shared.upgrade(), destination) else { return };
        if let Some(handle) = shared.peers.handle(node) {
            handle.tell(|news| news.mail = true);
        }
    }

    fn answers_soon(&self, destination: &Destination) -> bool {
        let (Some(shared), Destination::Node(node)) = (self.shared.upgrade(), destination) else {
            return false;
        };
        shared.is_linked(node) && shared.store.outbox_len(destination) < LIGHT
    }
}

/// With fewer messages than this waiting, a verdict comes within milliseconds.
const LIGHT: u32 = 64;
