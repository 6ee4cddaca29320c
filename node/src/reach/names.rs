//! How names become addresses, and this machine's own way of it. Used by [`super::Reach`].

use crate::tasks::Tasks;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How names become addresses.
pub trait Names: Send + Sync + std::fmt::Debug {
    /// The addresses of `host`, with `port`.
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> LookingUp<'a>;
}

/// What [`Names::look_up`] gives.
pub type LookingUp<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// The machine's own way of looking names up. It blocks a thread until it has an answer, however long ago the asker went,
/// and others choose the names: hence few at a time.
#[derive(Debug, Clone)]
pub struct SystemNames {
    tasks: Tasks,
    places: Arc<Semaphore>,
}

impl Default for SystemNames {
    fn default() -> Self {
        // Not among the groups that a stop waits for: nothing depends on an answer.
        Self { tasks: Tasks::new("names"), places: Arc::new(Semaphore::new(LOOK_UPS)) }
    }
}

impl Names for SystemNames {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> LookingUp<'a> {
        Box::pin(async move {
            let place = self.places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let host = host.to_owned();
            let asking = self.tasks.spawn_blocking(move || {
                let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
                drop(place);
                found
            });
            asking.await.map_err(io::Error::other)?
        })
    }
}

const LOOK_UPS: usize = 16;
