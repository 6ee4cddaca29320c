//! Requests to HTTP mesh hosts: no proxy, no redirect, no authorization (IPR-3), a deadline on everything, and no more of an
//! answer read than its limit. Called by `outgoing` and `places`.

use super::config::Config;
use super::host::Host;
use super::verdict::{self, Outcome};
use crate::authorities;
use amesh_proto::api::http_mesh::{
    ByName, ENVELOPE_ID, FORWARDED_FROM, ForwardBody, SENDER_KEY, SIGNATURE, Trail,
};
use amesh_proto::key::PublicKey;
use amesh_proto::message::Mail;
use amesh_proto::time::UnixMillis;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use serde_json::value::RawValue;
use std::error::Error;
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    ask: Duration,
    forward: Duration,
}

/// A message as it leaves.
#[derive(Debug)]
pub(super) struct Letter {
    id: String,
    signature: String,
    sender_key: Option<String>,
    body: Vec<u8>,
}

impl Letter {
    /// The message in the shape of IPR-3; nothing for one whose stored text is damaged or that is not signed.
    pub(super) fn of(mail: &Mail, key: Option<&PublicKey>, own_id: &str, now: UnixMillis) -> Option<Self> {
        let envelope = mail.envelope().ok()?;
        let signature = envelope.signature.clone()?;
        let payload = RawValue::from_string(String::from_utf8(mail.payload.clone()).ok()?).ok()?;
        let body = ForwardBody {
            from: &envelope.from,
            to: mail.to.name(),
            subject: &envelope.subject,
            payload: &payload,
            priority: mail.priority.as_str(),
            in_reply_to: envelope.in_reply_to.as_deref(),
            thread_id: &envelope.thread_id,
            expires_at: envelope.expires_at.as_deref(),
            signature: &signature,
            trail: Trail {
                original_from: Some(envelope.from.clone()),
                original_to: Some(envelope.to.clone()),
                forwarded_by: Some(own_id.to_owned()),
                forwarded_at: Some(now.to_rfc3339()),
            },
        };
        let body = serde_json::to_vec(&body).ok()?;
        let sender_key = key.map(|key| match key.raw_ed25519() {
            Some(_) => key.sender_key_text(),
            None => BASE64.encode(key.to_spki_der()),
        });
        Some(Self { id: mail.id.to_string(), signature, sender_key, body })
    }
}

impl Client {
    pub(super) fn new(config: &Config) -> Result<Self, reqwest::Error> {
        let (ask, forward) = (config.ask_timeout_s.max(1), config.forward_timeout_s.max(1));
        let http = authorities::client(&config.authorities, |client| {
            client
                .user_agent(concat!("amesh/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .redirect(Policy::none())
                .referer(false)
                .connect_timeout(CONNECT)
                .pool_max_idle_per_host(2)
                .pool_idle_timeout(IDLE)
        })?;
        Ok(Self { http, ask: Duration::from_secs(ask), forward: Duration::from_secs(forward) })
    }

    /// Asks `host` whether it has an agent of this name (IPR-5).
    ///
    /// # Errors
    /// Why it gave no answer.
    pub(super) async fn by_name(&self, host: &Host, name: &str) -> Result<ByName, String> {
        let answer = self.send(self.http.get(host.by_name_url(name)).timeout(self.ask)).await?;
        let status = answer.status().as_u16();
        let body = read(answer).await?;
        match status {
            200..=299 => ByName::parse(&body).ok_or_else(|| "its answer is no JSON object".to_owned()),
            404 => Ok(ByName::default()),
            _ => Err(format!("it answered {status} when asked for an agent")),
        }
    }

    /// One attempt.
    pub(super) async fn forward(&self, host: &Host, own_id: &str, letter: &Letter) -> Outcome {
        let mut missed = Vec::new();
        for url in host.route_urls() {
            match self.post(url.clone(), own_id, letter).await {
                Outcome::NotThere(answer) => missed.push(answer),
                Outcome::Taken { remote_id } => {
                    host.route_is(&url);
                    return Outcome::Taken { remote_id };
                }
                other => return other,
            }
        }
        verdict::nowhere(missed)
    }

    async fn post(&self, url: Url, own_id: &str, letter: &Letter) -> Outcome {
        let mut request = self
            .http
            .post(url)
            .timeout(self.forward)
            .header("content-type", "application/json")
            .header(FORWARDED_FROM, own_id)
            .header(ENVELOPE_ID, &letter.id)
            .header(SIGNATURE, &letter.signature);
        if let Some(key) = &letter.sender_key {
            request = request.header(SENDER_KEY, key);
        }
        let down = |reason| Outcome::Down { reason, retry_after: None };
        let answer = match self.send(request.body(letter.body.clone())).await {
            Ok(answer) => answer,
            Err(reason) => return down(reason),
        };
        let status = answer.status().as_u16();
        let retry_after =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match read(answer).await {
            Ok(body) => verdict::judge(status, retry_after, &body),
            Err(reason) => down(reason),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, String> {
        request.send().await.map_err(|error| why(&error))
    }
}

/// The whole answer, if it is not too long.
async fn read(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(part)) if body.len() + part.len() <= ANSWER_BYTES => body.extend_from_slice(&part),
            Ok(Some(_)) => return Err(format!("its answer is longer than {} KiB", ANSWER_BYTES / 1024)),
            Ok(None) => return Ok(body),
            Err(error) => return Err(why(&error)),
        }
    }
}

fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

const CONNECT: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(30);
const ANSWER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::super::config::{HostConfig, Mode};
    use super::*;
    use crate::authorities::tests::Authority;
    use crate::message::retry;
    use crate::message::tests::webhook::receiver::{Answer, Receiver};
    use amesh_proto::address::Naming;

    #[tokio::test]
    async fn a_host_is_asked_over_https_only_if_its_certificate_is_good_and_else_the_reason_is_named() {
        let (authority, another) = (Authority::named("one"), Authority::named("another"));
        let receiver = Receiver::new(Answer::Status(200)).await;
        let config = HostConfig {
            name: "den".to_owned(),
            url: format!("https://localhost:{}", receiver.port()),
            mode: Mode::Strict,
            aliases: Vec::new(),
            addresses: Vec::new(),
        };
        let naming = Naming::new("default", "aimaestro.local", "alpha").unwrap();
        let den = Host::new(config, false, &naming, retry::Config::default()).unwrap();
        for (known, name, last_year, reason) in [
            (None, "localhost", 4000, "UnknownIssuer"),
            (Some(&another), "localhost", 4000, "UnknownIssuer"),
            (Some(&authority), "other.example", 4000, "not valid for name"),
            (Some(&authority), "localhost", 2021, "expired"),
        ] {
            receiver.shows(authority.vouches_for(&[name], last_year).acceptor());
            let authorities = known.iter().map(|known| known.file()).collect();
            let client = Client::new(&Config { authorities, ..Config::default() }).unwrap();
            let why = client.by_name(&den, "kim").await.unwrap_err();
            assert!(why.contains("invalid peer certificate") && why.contains(reason), "{reason}: {why}");
        }
        assert_eq!(receiver.posts().len(), 0);
        receiver.shows(authority.vouches_for(&["localhost"], 4000).acceptor());
        let client =
            Client::new(&Config { authorities: vec![authority.file()], ..Config::default() }).unwrap();
        let why = client.by_name(&den, "kim").await.unwrap_err();
        assert_eq!((why.as_str(), receiver.posts().len()), ("its answer is no JSON object", 1));
    }
}
