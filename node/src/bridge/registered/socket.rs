//! The WebSocket of a provider (AMP 05 §WebSocket Delivery), held open beside polling: it tells that there is mail, and `puller` then fetches it
//! at once, so that a message has one way into the mailbox, whoever brought the word. One task a registration, run by
//! `puller`. A provider without one is polled.

use super::client::AskError;
use super::{Served, Shared};
use crate::message::retry::{Backoff, Kind};
use amesh_proto::api::ws::ServerFrame;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Holds the socket, and opens it anew, until the registration ends.
pub(super) async fn hold(shared: &Shared, served: &Served) {
    let mut waking = shared.waking.clone();
    let mut backoff = Backoff::new(Kind::Provider, shared.hallway.config().retry);
    loop {
        let ended = follow(shared, served, &mut backoff).await;
        served.socket_is(false);
        let now = shared.clock.monotonic();
        backoff.failed(now, rand::random());
        let pause = match ended {
            // It has none.
            Err(AskError::Status(400..=499, _)) => LATER,
            _ => backoff.next_at(true).saturating_sub(now),
        };
        if let Err(error) = &ended {
            tracing::debug!(provider = %served.kept.provider, address = %served.kept.address, %error, "no WebSocket");
        }
        if tokio::time::timeout(pause, waking.next()).await.is_ok() {
            backoff.sign_of_life();
        }
    }
}

/// Until it closes.
async fn follow(shared: &Shared, served: &Served, backoff: &mut Backoff) -> Result<(), AskError> {
    let opening = tokio::time::timeout(GREETING, shared.client.socket(&served.kept));
    let stream = opening.await.map_err(|_| silent())??;
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
    say(&mut socket, json!({"type": "auth", "token": served.kept.api_key})).await?;
    let mut asked = false;
    loop {
        let frame = match tokio::time::timeout(QUIET, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => ServerFrame::parse(text.as_bytes()).ok(),
            Ok(Some(Ok(Message::Close(_))) | None) => return Ok(()),
            Ok(Some(Ok(_))) => None,
            Ok(Some(Err(error))) => return Err(AskError::Failed(error.to_string())),
            Err(_) if asked => return Err(silent()),
            Err(_) => {
                asked = true;
                say(&mut socket, json!({"type": "ping"})).await?;
                continue;
            }
        };
        asked = false;
        match frame {
            Some(ServerFrame::Connected { .. }) => {
                backoff.succeeded();
                served.socket_is(true);
            }
            Some(ServerFrame::Mail { .. }) => served.told.notify_one(),
            Some(ServerFrame::Error(error)) => {
                return Err(AskError::Failed(format!("its WebSocket says {}", error.error)));
            }
            _ => {}
        }
    }
}

type Socket = WebSocketStream<reqwest::Upgraded>;

async fn say(socket: &mut Socket, frame: serde_json::Value) -> Result<(), AskError> {
    match tokio::time::timeout(GREETING, socket.send(Message::text(frame.to_string()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(AskError::Failed(error.to_string())),
        Err(_) => Err(silent()),
    }
}

fn silent() -> AskError {
    AskError::Failed("its WebSocket is silent".to_owned())
}

/// Longest wait for the connection, and to get a frame out.
const GREETING: Duration = Duration::from_secs(15);
/// A ping is sent when nothing came for so long (WS-8).
const QUIET: Duration = Duration::from_secs(30);
/// Until one that has no WebSocket is asked for it again.
const LATER: Duration = Duration::from_secs(3600);
/// A frame holds a message at most.
const LONGEST: usize = 4 << 20;
