//! A stock WebSocket client to a node.

use crate::place::Place;
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Message, handshake::client::Request};
use tokio_tungstenite::{WebSocketStream, client_async};

/// An authenticated connection.
#[derive(Debug)]
pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Connects and authenticates by the first frame (WS-2).
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn open(place: &Place, api: SocketAddr, key: &str) -> Result<Self> {
        let mut socket = Self::connect(place, api, request(api)?).await?;
        socket.say(&json!({"type": "auth", "token": key})).await?;
        socket.expect("connected").await?;
        Ok(socket)
    }

    /// Connects and authenticates by header, as the protocol's README does.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn open_by_header(place: &Place, api: SocketAddr, key: &str) -> Result<Self> {
        let mut request = request(api)?;
        request.headers_mut().insert("authorization", HeaderValue::from_str(&format!("Bearer {key}"))?);
        let mut socket = Self::connect(place, api, request).await?;
        socket.expect("connected").await?;
        Ok(socket)
    }

    async fn connect(place: &Place, api: SocketAddr, request: Request) -> Result<Self> {
        let connecting = async move {
            let stream = TcpStream::connect(api).await?;
            anyhow::Ok(client_async(request, stream).await?.0)
        };
        Ok(Self(place.run(connecting).await??))
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn say(&mut self, frame: &Value) -> Result<()> {
        Ok(self.0.send(Message::text(frame.to_string())).await?)
    }

    /// The next frame of type `kind`; frames of other types are passed over.
    ///
    /// # Errors
    /// When none comes, or an `error` frame does.
    pub async fn expect(&mut self, kind: &str) -> Result<Value> {
        let waiting = async {
            while let Some(message) = self.0.next().await {
                let Message::Text(text) = message? else { continue };
                let frame: Value = serde_json::from_str(&text)?;
                match frame["type"].as_str() {
                    Some(this) if this == kind => return Ok(frame),
                    Some("error") => bail!("{frame}"),
                    _ => {}
                }
            }
            bail!("the connection ended before {kind}")
        };
        tokio::time::timeout(crate::wait::patience(), waiting).await.with_context(|| format!("no {kind}"))?
    }
}

fn request(api: SocketAddr) -> Result<Request> {
    Ok(format!("ws://{api}/v1/ws").into_client_request()?)
}
