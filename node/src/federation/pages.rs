//! Documents of providers and of the registry over HTTPS. Asked by `amesh_discovery::providers`, and by `check`.

use super::https::{Https, Patience, whole};
use crate::authorities::AuthorityFile;
use crate::reach::Reach;
use amesh_discovery::providers::{AskError, Pages};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct HttpsPages(Arc<Https>);

impl HttpsPages {
    /// See [`Https::new`].
    pub(super) fn new(authorities: Vec<AuthorityFile>, reach: Reach) -> Result<Self, reqwest::Error> {
        Ok(Self(Arc::new(Https::new(authorities, reach, PATIENCE)?)))
    }

    async fn get(&self, text: &str) -> Result<Vec<u8>, AskError> {
        let answer = self.0.send(text, |client, url| client.get(url).header("accept", "application/json"));
        let answer = answer.await?;
        match answer.status().as_u16() {
            200 => whole(answer, LONGEST).await,
            404 | 410 => Err(AskError::Nothing),
            300..=399 => Err(AskError::Refused("it leads elsewhere; redirects are not followed".to_owned())),
            status => Err(AskError::Failed(format!("it answered {status}"))),
        }
    }
}

impl Pages for HttpsPages {
    fn page<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Vec<u8>, AskError>> {
        self.get(url).boxed()
    }

    fn judge<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), AskError>> {
        self.0.judge(url).boxed()
    }
}

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(3),
    whole: Duration::from_secs(5),
    idle: Duration::from_secs(10),
    idle_connections: 1,
};
const LONGEST: usize = 64 * 1024;
