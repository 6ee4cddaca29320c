//! Plain HTTP to a node's agents' API, as a stranger's client would do it: JSON in, status and JSON out.

use crate::place::Place;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// A client in one place, for one API.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    place: Place,
    api: SocketAddr,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body; null when it is not JSON.
    pub body: Value,
}

impl Reply {
    /// The body, if the status is 2xx.
    ///
    /// # Errors
    /// For any other status, with the body.
    pub fn ok(self) -> Result<Value> {
        if (200..300).contains(&self.status) {
            Ok(self.body)
        } else {
            bail!("{}: {}", self.status, self.body)
        }
    }

    /// The code of an error body.
    #[must_use]
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

impl Http {
    /// A client for the API at `api`, in `place`.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(place: &Place, api: SocketAddr) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().build()?;
        Ok(Self { client, place: place.clone(), api })
    }

    /// The place its sockets are in.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The API's address.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// `GET`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str, key: Option<&str>) -> Result<Reply> {
        self.send("GET", path, key, None).await
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Result<Reply> {
        self.send("POST", path, key, Some(body.to_string())).await
    }

    /// `POST` of JSON text as it stands.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post_text(&self, path: &str, key: Option<&str>, body: &str) -> Result<Reply> {
        self.send("POST", path, key, Some(body.to_owned())).await
    }

    /// `PATCH` with JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn patch(&self, path: &str, key: Option<&str>, body: &Value) -> Result<Reply> {
        self.send("PATCH", path, key, Some(body.to_string())).await
    }

    /// `PUT` with JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn put(&self, path: &str, key: Option<&str>, body: &Value) -> Result<Reply> {
        self.send("PUT", path, key, Some(body.to_string())).await
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn delete(&self, path: &str, key: Option<&str>) -> Result<Reply> {
        self.send("DELETE", path, key, None).await
    }

    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<String>) -> Result<Reply> {
        let method = method.parse::<reqwest::Method>()?;
        let mut request = self.client.request(method, format!("http://{}{path}", self.api));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let exchange = async move {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.bytes().await?))
        };
        let (status, body) =
            self.place.run(exchange).await?.with_context(|| format!("no answer to {path}"))?;
        Ok(Reply { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }
}

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
