//! The agents' API over HTTP. Called by every command that acts as an agent, and by examples.

use crate::authorities;
use amesh_proto::api::agents::{AgentPage, ResolvedAgent};
use amesh_proto::api::error::ErrorBody;
use amesh_proto::api::info::Organization;
use amesh_proto::api::messages::MessageState;
use amesh_proto::api::pending::{AckBatch, AckMany};
use amesh_proto::api::register::{ProviderFace, RegisterRequest, RegisterResponse};
use amesh_proto::api::route::{RouteRequest, RouteResponse};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

/// Longest wait for a connection (ICL-3).
const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for an answer (ICL-10).
const ANSWER: Duration = Duration::from_secs(15);
/// Messages asked for at once; 50 of the largest fit into [`LARGEST`].
const PAGE: usize = 50;
/// No refusal is read beyond about this.
const LONGEST_REFUSAL: usize = 64 << 10;
/// No answer is read beyond this.
const LARGEST: usize = 128 << 20;

/// One provider's API, for one agent or for nobody yet.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    pub(super) key: Option<String>,
    pub(super) http: reqwest::Client,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No HTTP client could be made.
    #[error("cannot prepare HTTP requests")]
    Setup(#[source] reqwest::Error),
    /// Nobody answered.
    #[error("{url} does not answer")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// The answer was no.
    #[error("{} ({})", .body.message, .body.error)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the provider says.
        body: Box<ErrorBody>,
    },
    /// The answer made no sense.
    #[error("the answer of {url} cannot be understood: {why}")]
    Nonsense {
        /// Who answered.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

/// One page of a mailbox, each message as its JSON text: foreign providers leave members out (ICL-16, ICL-18).
#[derive(Debug, Deserialize)]
pub struct Page {
    /// The messages.
    #[serde(default)]
    pub messages: Vec<Box<RawValue>>,
    /// How many are left after it.
    #[serde(default)]
    pub remaining: usize,
    /// Where the next page begins, where the provider pages so.
    #[serde(default)]
    pub cursor: Option<String>,
    /// It came from `/inbox`, which acknowledges in its own way (A-34).
    #[serde(skip)]
    pub from_inbox: bool,
}

impl Api {
    /// The API at `url`; a version is added unless the URL ends in one (A-37).
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(url: &str, key: Option<&str>) -> Result<Self, ApiError> {
        let http = authorities::client(&[], |client| {
            let no_redirects = reqwest::redirect::Policy::none();
            client.connect_timeout(CONNECT).timeout(ANSWER).redirect(no_redirects)
        })
        .map_err(ApiError::Setup)?;
        Ok(Self { base: versioned(url), key: key.map(str::to_owned), http })
    }

    /// The base, with its version.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Registers an agent; `user_key` or an old API key goes into the header (ICL-6, A-42).
    ///
    /// # Errors
    /// As any request.
    pub async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, ApiError> {
        let url = format!("{}/register", self.base);
        let said: Value = self.answer(self.http.post(&url).json(request), url.clone()).await?;
        registered(&said, &self.base, request)
            .ok_or_else(|| ApiError::Nonsense { url, why: "it has no API key or no address".to_owned() })
    }

    /// Sends a message to `route_url`, or to the base's own.
    ///
    /// # Errors
    /// As any request.
    pub async fn route(&self, route_url: &str, request: &RouteRequest) -> Result<RouteResponse, ApiError> {
        let url = if route_url.is_empty() { format!("{}/route", self.base) } else { route_url.to_owned() };
        self.answer(self.http.post(&url).json(request), url).await
    }

    /// The oldest messages that wait, from `cursor` on.
    ///
    /// # Errors
    /// As any request.
    pub async fn pending(&self, cursor: Option<&str>) -> Result<Page, ApiError> {
        let mut url = format!("{}/messages/pending?limit={PAGE}", self.base);
        // A cursor with anything but plain letters is none of ours; it would need escaping.
        if let Some(cursor) = cursor.filter(|cursor| cursor.bytes().all(is_plain)) {
            url.push_str("&cursor=");
            url.push_str(cursor);
        }
        match self.answer(self.http.get(&url), url).await {
            Err(ApiError::Refused { status: 404, .. }) => {
                let url = format!("{}/inbox", self.base);
                let page: Page = self.answer(self.http.get(&url), url).await?;
                Ok(Page { from_inbox: true, ..page })
            }
            other => other,
        }
    }

    /// Acknowledges messages that are safe on disk here; gives how many the provider removed.
    ///
    /// # Errors
    /// As any request.
    pub async fn acknowledge(&self, ids: &[String], to_inbox: bool) -> Result<usize, ApiError> {
        let mut removed = 0;
        if to_inbox {
            for id in ids {
                let url = format!("{}/inbox/{id}/ack", self.base);
                let _: Value = self.answer(self.http.post(&url), url).await?;
                removed += 1;
            }
            return Ok(removed);
        }
        for batch in ids.chunks(AckBatch::MAX) {
            let url = format!("{}/messages/pending/ack", self.base);
            let body = AckBatch { ids: batch.to_vec() };
            let answer: AckMany = self.answer(self.http.post(&url).json(&body), url).await?;
            removed += answer.acknowledged;
        }
        Ok(removed)
    }

    /// What became of a message that this agent sent.
    ///
    /// # Errors
    /// As any request.
    pub async fn message(&self, id: &str) -> Result<MessageState, ApiError> {
        let url = format!("{}/messages/{id}", self.base);
        self.answer(self.http.get(&url), url).await
    }

    /// Agents of this organization, on any host.
    ///
    /// # Errors
    /// As any request.
    pub async fn agents(&self) -> Result<AgentPage, ApiError> {
        let url = format!("{}/agents", self.base);
        self.answer(self.http.get(&url), url).await
    }

    /// Where an address leads, and its key.
    ///
    /// # Errors
    /// As any request.
    pub async fn resolve(&self, address: &str) -> Result<ResolvedAgent, ApiError> {
        let url = format!("{}/agents/resolve/{address}", self.base);
        self.answer(self.http.get(&url), url).await
    }

    /// The organization of a node's agents (ICL-2); `root` is the URL without `/api` and version.
    ///
    /// # Errors
    /// As any request.
    pub async fn organization(&self, root: &str) -> Result<Organization, ApiError> {
        let url = format!("{root}/api/organization");
        self.answer(self.http.get(&url), url).await
    }

    pub(super) async fn answer<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
        url: String,
    ) -> Result<T, ApiError> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(source) => return Err(ApiError::Unreachable { url, source: source.without_url() }),
        };
        let status = response.status().as_u16();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(ApiError::Nonsense { url, why: "it does not end".to_owned() }),
                Ok(None) => break,
                Err(source) => return Err(ApiError::Unreachable { url, source: source.without_url() }),
            }
        }
        if (200..300).contains(&status) {
            return serde_json::from_slice(&body)
                .map_err(|error| ApiError::Nonsense { url, why: error.to_string() });
        }
        Err(ApiError::refused(status, &body))
    }
}

impl ApiError {
    /// A refusal with its body, whatever that is.
    pub(super) fn refused(status: u16, body: &[u8]) -> Self {
        Self::Refused { status, body: Box::new(refusal(status, body)) }
    }

    /// A refusal, of which no more is read than one can have to say.
    pub(super) async fn refused_in(mut answer: reqwest::Response) -> Self {
        let (status, mut body) = (answer.status().as_u16(), Vec::new());
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_REFUSAL {
                break;
            }
        }
        Self::refused(status, &body)
    }

    /// The HTTP status and the code of a refusal.
    #[must_use]
    pub fn refusal(&self) -> Option<(u16, &str)> {
        match self {
            Self::Refused { status, body } => Some((*status, &body.error)),
            _ => None,
        }
    }
}

/// What a refusal says, whichever of `error` and `message` the provider filled (ICL-7).
fn refusal(status: u16, body: &[u8]) -> ErrorBody {
    let mut said: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    if said.error.is_empty() {
        said.error = format!("http_{status}");
    }
    if said.message.is_empty() {
        said.message = format!("refused with HTTP status {status}");
    }
    said
}

/// What a provider's answer to a registration amounts to, in either spelling and with what may be left out left out
/// (ICL-6, A-44).
fn registered(said: &Value, base: &str, asked: &RegisterRequest) -> Option<RegisterResponse> {
    let text = |names: &[&str]| {
        let texts = names.iter().filter_map(|name| said.pointer(name)?.as_str());
        texts.map(str::to_owned).find(|text| !text.is_empty())
    };
    let address = text(&["/address"])?;
    let domain = address.split_once('@')?.1;
    let tenant = text(&["/tenant"]).or_else(|| asked.tenant.clone()).unwrap_or_default();
    let by_address = domain.strip_prefix(&tenant).and_then(|rest| rest.strip_prefix('.')).unwrap_or(domain);
    let endpoint = text(&["/provider/endpoint"]).unwrap_or_else(|| base.to_owned());
    Some(RegisterResponse {
        api_key: text(&["/api_key", "/apiKey"])?,
        short_address: text(&["/short_address", "/shortAddress"]).unwrap_or_else(|| address.clone()),
        local_name: text(&["/local_name", "/localName"]).unwrap_or_else(|| asked.name.clone()),
        agent_id: text(&["/agent_id", "/agentId"]).unwrap_or_default(),
        owner_id: text(&["/owner_id", "/ownerId"]),
        tenant_id: text(&["/tenant_id", "/tenantId"]).unwrap_or_else(|| tenant.clone()),
        fingerprint: text(&["/fingerprint"]).unwrap_or_default(),
        registered_at: text(&["/registered_at", "/registeredAt"]).unwrap_or_default(),
        provider: ProviderFace {
            name: text(&["/provider/name"]).unwrap_or_else(|| by_address.to_owned()),
            route_url: text(&["/provider/route_url", "/provider/routeUrl"])
                .unwrap_or_else(|| format!("{endpoint}/route")),
            endpoint,
        },
        tenant,
        address,
    })
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

/// The base of an API: the URL itself if it ends in `/v<digits>`, else with `/v1`.
fn versioned(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let last = url.rsplit('/').next().unwrap_or_default();
    let is_version = |last: &str| {
        last.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    if is_version(last) { url.to_owned() } else { format!("{url}/v1") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_added_where_the_url_has_none() {
        for (url, base) in [
            ("http://h:1", "http://h:1/v1"),
            ("http://h:1/", "http://h:1/v1"),
            ("http://h:1/api/v1", "http://h:1/api/v1"),
            ("https://api.crabmail.ai/v1/", "https://api.crabmail.ai/v1"),
            ("https://h/v", "https://h/v/v1"),
        ] {
            assert_eq!(versioned(url), base);
        }
    }

    #[test]
    fn a_refusal_always_says_something() {
        assert_eq!(refusal(502, b"<html>").error, "http_502");
        let said = refusal(409, br#"{"error":"name_taken"}"#);
        assert_eq!((said.error.as_str(), said.message.is_empty()), ("name_taken", false));
    }

    #[test]
    fn a_sparse_answer_to_a_registration_is_enough() {
        let asked =
            RegisterRequest { name: "a".to_owned(), tenant: Some("t".to_owned()), ..Default::default() };
        let said = serde_json::json!({"agentId": "1", "apiKey": "k", "address": "a@t.crabmail.ai"});
        let answer = registered(&said, "https://api.crabmail.ai/v1", &asked).unwrap();
        assert_eq!((answer.provider.name.as_str(), answer.api_key.as_str()), ("crabmail.ai", "k"));
        assert_eq!(answer.provider.route_url, "https://api.crabmail.ai/v1/route");
        assert!(registered(&serde_json::json!({"address": "a@t.p.q"}), "", &asked).is_none());
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_unreachable() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Api::new(&format!("http://{free}"), None).unwrap().pending(None).await.unwrap_err();
        assert!(matches!(error, ApiError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&free.to_string()));
    }
}
