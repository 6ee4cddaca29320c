//! Posts deliveries. Called by `worker`.

use super::super::config::Sending;
use super::super::https::{Https, Patience, whole};
use super::super::own::OwnProvider;
use super::far::Far;
use super::letter::Letter;
use super::verdict::{self, Outcome};
use crate::reach::Reach;
use amesh_discovery::providers::AskError;
use amesh_proto::delivery::{self, PROVIDER, SIGNATURE, TIMESTAMP};
use amesh_proto::time::UnixMillis;
use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Client(Https);

impl Client {
    pub(super) fn new(config: &Sending, reach: Reach) -> Result<Self, reqwest::Error> {
        let patience = Patience {
            connect: CONNECT,
            whole: Duration::from_secs(config.deliver_timeout_s.max(1)),
            idle: IDLE,
            idle_connections: config.in_flight.max(1),
        };
        Ok(Self(Https::new(config.authorities.clone(), reach, patience)?))
    }

    /// One attempt, signed at `now`.
    pub(super) async fn deliver(
        &self,
        far: &Far,
        endpoint: &str,
        own: &OwnProvider,
        letter: &Letter,
        now: UnixMillis,
    ) -> Outcome {
        let timestamp = now.as_secs();
        let signature = delivery::sign(own.key(), timestamp, &letter.body);
        let mut missed = Vec::new();
        for url in far.urls(endpoint) {
            let sent = self.0.send(&url, |client, url| {
                client
                    .post(url)
                    .header("content-type", "application/json")
                    .header("accept", "application/json")
                    .header(PROVIDER, own.domain())
                    .header(TIMESTAMP, timestamp)
                    .header(SIGNATURE, &signature)
                    .body(letter.body.clone())
            });
            match judged(sent.await, letter.is_old).await {
                Outcome::NotThere(answer) => missed.push(*answer),
                outcome => {
                    if matches!(outcome, Outcome::Taken(_)) {
                        far.took_at(endpoint, &url);
                    }
                    return outcome;
                }
            }
        }
        verdict::nowhere(missed)
    }
}

async fn judged(sent: Result<Response, AskError>, is_old: bool) -> Outcome {
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return Outcome::down(why(error)),
    };
    let status = answer.status().as_u16();
    let seconds =
        answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let patience = seconds.map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_WAIT_S)));
    match whole(answer, ANSWER_BYTES).await {
        Ok(body) => verdict::judge(status, patience, &body, is_old),
        Err(error) => Outcome::down(format!("its answer: {}", why(error))),
    }
}

fn why(error: AskError) -> String {
    match error {
        AskError::Nothing => "there is nothing".to_owned(),
        AskError::Refused(why) | AskError::Failed(why) => why,
    }
}

const CONNECT: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);
const ANSWER_BYTES: usize = 64 * 1024;
/// As long as the longest pause of our own.
const LONGEST_WAIT_S: u64 = 3_600;
