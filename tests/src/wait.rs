//! Waiting for a condition with a generous bound; the only sleep that tests use.

use anyhow::{Result, bail};
use std::future::Future;
use std::time::{Duration, Instant};

/// Asks until there is an answer, and returns it.
///
/// # Errors
/// When there is none within [`patience`]; `what` is said in the message.
pub async fn wait_for<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let begun = Instant::now();
    loop {
        let last_error = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if begun.elapsed() > patience() {
            match last_error {
                Some(error) => return Err(error.context(format!("waited in vain for {what}"))),
                None => bail!("waited in vain for {what}"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until `ask` says yes.
///
/// # Errors
/// As [`wait_for`].
pub async fn wait_until<F>(what: &str, mut ask: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    wait_for(what, || {
        let answer = ask();
        async move { Ok(answer.await?.then_some(())) }
    })
    .await
}

/// How long a test waits for anything: far longer than it takes, so that only what never happens fails.
#[must_use]
pub fn patience() -> Duration {
    let seconds = std::env::var("AMESH_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(90))
}

const LOOK_EVERY: Duration = Duration::from_millis(20);
