//! Mail as it comes: the agents' WebSocket (AMP 05 §WebSocket Delivery). Called by `inbox --follow` and examples.

use amesh_proto::api::ws::ServerFrame;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longest wait for the connection and for the node's greeting.
const GREETING: Duration = Duration::from_secs(10);
/// A ping is sent when nothing came for so long (WS-8).
const QUIET: Duration = Duration::from_secs(30);

/// An open WebSocket of one agent.
#[derive(Debug)]
pub struct MailStream {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// Why there is no stream of mail, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection failed.
    #[error("the connection to {0} failed")]
    Failed(String, #[source] Box<WsError>),
    /// Nothing came, not even an answer to a ping.
    #[error("the node has gone silent")]
    Silent,
    /// The node ended it.
    #[error("the node closed the connection")]
    Closed,
    /// The API key was not accepted, or the first frame was not the greeting.
    #[error("the node refused the connection: {0}")]
    Refused(String),
}

impl MailStream {
    /// Connects to the API at `base` (with its version) and proves who is asking.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses.
    pub async fn open(base: &str, api_key: &str) -> Result<Self, StreamError> {
        let url = format!("{}/ws", base.replacen("http", "ws", 1));
        let connecting = tokio::time::timeout(GREETING, tokio_tungstenite::connect_async(&url));
        let (socket, _) = match connecting.await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(StreamError::Failed(url, Box::new(error))),
            Err(_) => return Err(StreamError::Silent),
        };
        let mut stream = Self { socket };
        stream.say(&json!({ "type": "auth", "token": api_key })).await?;
        match tokio::time::timeout(GREETING, stream.frame()).await {
            Ok(Ok(ServerFrame::Connected { .. })) => Ok(stream),
            Ok(Ok(ServerFrame::Error(said))) => Err(StreamError::Refused(said.message)),
            Ok(Ok(other)) => Err(StreamError::Refused(format!("it greeted with {other:?}"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StreamError::Silent),
        }
    }

    /// The next frame, however long it takes; the connection is kept alive meanwhile.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn next(&mut self) -> Result<ServerFrame, StreamError> {
        let mut asked = false;
        loop {
            match tokio::time::timeout(QUIET, self.frame()).await {
                Ok(Ok(ServerFrame::Pong)) => asked = false,
                Ok(frame) => return frame,
                Err(_) if asked => return Err(StreamError::Silent),
                Err(_) => {
                    asked = true;
                    self.say(&json!({ "type": "ping" })).await?;
                }
            }
        }
    }

    /// Acknowledges a message that is safe on disk here.
    ///
    /// # Errors
    /// When the connection is over; the node will then offer the message again.
    pub async fn acknowledge(&mut self, id: &str) -> Result<(), StreamError> {
        self.say(&json!({ "type": "ack", "id": id })).await
    }

    async fn frame(&mut self) -> Result<ServerFrame, StreamError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    // What cannot be understood is no reason to lose what comes after it (WS-12).
                    if let Ok(frame) = ServerFrame::parse(text.as_bytes()) {
                        return Ok(frame);
                    }
                }
                Some(Ok(Message::Close(_))) | None => return Err(StreamError::Closed),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(StreamError::Failed("the node".to_owned(), Box::new(error))),
            }
        }
    }

    async fn say(&mut self, frame: &serde_json::Value) -> Result<(), StreamError> {
        let sending = self.socket.send(Message::text(frame.to_string()));
        match tokio::time::timeout(GREETING, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(StreamError::Failed("the node".to_owned(), Box::new(error))),
            Err(_) => Err(StreamError::Silent),
        }
    }
}
