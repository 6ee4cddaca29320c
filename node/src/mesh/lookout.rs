//! What discovery says, and that this machine woke up, turned into news for the peers' tasks. Run by `mod` as two tasks.

use super::shared::Shared;
use crate::waking::Waking;
use amesh_discovery::finder::{Candidate, Event};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Passes on what discovery says until it ends.
pub(crate) async fn run(shared: Arc<Shared>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Found(Candidate { node: Some(node), .. }) => match shared.peers.handle(&node) {
                Some(handle) => handle.tell(|news| news.life = true),
                None => shared.seeds.poke(),
            },
            Event::Found(Candidate { node: None, .. }) => shared.seeds.poke(),
            Event::InterfacesChanged => {
                tracing::info!("addresses or links of this machine changed");
                shared.peers.tell_all(|news| news.interfaces = true);
                shared.seeds.poke();
            }
            // A hint only: the link itself knows better whether it lives.
            Event::Lost { .. } => {}
        }
    }
}

/// Takes everything up again whenever this machine wakes up: whatever is open may be dead, whoever was off may be there.
pub(crate) async fn wake(shared: Arc<Shared>, mut waking: Waking) {
    loop {
        waking.next().await;
        if let Some(lookout) = &shared.lookout {
            lookout.look_again();
        }
        shared.peers.tell_all(|news| news.interfaces = true);
        shared.seeds.poke();
    }
}
