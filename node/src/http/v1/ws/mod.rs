//! The WebSocket `/ws` (AMP 05 §WebSocket Delivery): from the request to an authenticated session.

mod asked;
mod push;
mod receipts;
mod session;

use crate::agents::Agent;
use crate::http::auth::{self, log_in};
use crate::http::body;
use crate::http::error::{Problem, UPGRADE_REQUIRED};
use crate::http::page::Query;
use crate::http::state::{Peer, Shared, State as DoorState};
use amesh_proto::api::ws::{ClientFrame, ErrorFrame, Framed};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use session::Session;
use std::sync::Arc;
use std::time::Duration;

/// The WebSocket: mail is pushed, acknowledged and sent here (AMP 05 §WebSocket Delivery, AMP 08 §WebSocket API).
///
/// The first frame is `{"type":"auth","token":"…"}`, unless the upgrade request carries `Authorization`. API keys
/// are refused in the query string (WS-1).
#[utoipa::path(get, path = "", tag = "messages", security((), ("api_key" = [])),
    responses((status = 101, description = "The connection is a WebSocket from here on.")),
    extensions(("x-errors" = json!(["upgrade_required"]))))]
pub(crate) async fn upgrade(
    State(state): State<Shared>,
    peer: Peer,
    entry: Result<Entry, Problem>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let entry = match entry {
        Ok(entry) => entry,
        Err(problem) => return problem.into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(why) => {
            return Problem::new(UPGRADE_REQUIRED, format!("this is a WebSocket: {why}")).into_response();
        }
    };
    let tasks = state.parts.tasks.clone();
    upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_frame_size(body::MESSAGE)
        .max_message_size(body::MESSAGE)
        .on_upgrade(async move |socket| {
            // Axum runs this in a task of its own; the doors' shutdown must know of it.
            tasks.spawn(serve(state, peer, entry, socket)).await.ok();
        })
}

/// Who comes in by header, if anybody does.
#[derive(Debug)]
pub(crate) struct Entry(Option<Identity>);

/// An agent and the key it showed.
#[derive(Debug, Clone)]
struct Identity {
    agent: Arc<Agent>,
    key: Arc<str>,
}

impl FromRequestParts<Shared> for Entry {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let peer = Peer::from_request_parts(parts, state).await?;
        by_header(state, &peer, &parts.uri, &parts.headers).map(Self)
    }
}

fn by_header(
    state: &DoorState,
    peer: &Peer,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<Identity>, Problem> {
    Query::parse(uri.query()).refuse_tokens()?;
    let Some(key) = auth::bearer(headers)? else { return Ok(None) };
    Ok(Some(Identity { agent: log_in(state, peer, key)?, key: key.into() }))
}

async fn serve(state: Shared, peer: Peer, entry: Entry, mut socket: WebSocket) {
    let stopping = state.parts.tasks.stopping();
    let patience = Duration::from_secs(state.parts.config.socket_auth_s);
    let identity = match entry.0 {
        Some(identity) => identity,
        None => {
            let greeted = tokio::select! {
                greeted = tokio::time::timeout(patience, greet(&state, &peer, &mut socket)) => greeted,
                () = stopping.cancelled() => return,
            };
            match greeted {
                Ok(Some(Ok(identity))) => identity,
                Ok(Some(Err((problem, code)))) => return part(&mut socket, &problem, code).await,
                Ok(None) => return,
                Err(_) => {
                    let late = Problem::unauthorized("no auth frame came in time");
                    return part(&mut socket, &late, 4001).await;
                }
            }
        }
    };
    let out_of_time = async {
        stopping.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = Session::new(state, peer, identity, socket).run() => {}
        () = out_of_time => {}
    }
}

/// The first frame must be `auth` (WS-2, WS-5). Nothing when the client left.
async fn greet(
    state: &DoorState,
    peer: &Peer,
    socket: &mut WebSocket,
) -> Option<Result<Identity, (Problem, u16)>> {
    loop {
        let text = match socket.recv().await?.ok()? {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return None,
            Message::Binary(_) => return Some(Err((not_auth(), 4002))),
        };
        let Ok(ClientFrame::Auth { token }) = ClientFrame::parse(text.as_bytes()) else {
            return Some(Err((not_auth(), 4002)));
        };
        let known = log_in(state, peer, &token);
        return Some(
            known.map(|agent| Identity { agent, key: token.into() }).map_err(|problem| (problem, 4003)),
        );
    }
}

fn not_auth() -> Problem {
    Problem::unauthorized("the first frame must be {\"type\":\"auth\",\"token\":\"…\"}")
}

/// Says why, and ends the connection (WS-4, A-14).
async fn part(socket: &mut WebSocket, problem: &Problem, code: u16) {
    let frame = error_frame(problem, None);
    if say(socket, frame).await.is_ok() {
        close(socket, code, problem.code()).await;
    }
}

/// An error frame (WS-12).
fn error_frame(problem: &Problem, reference: Option<serde_json::Value>) -> String {
    let body = problem.body();
    let frame = ErrorFrame { error: body.error, message: body.message, field: body.field, reference };
    #[derive(serde::Serialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(flatten)]
        frame: ErrorFrame,
    }
    text(&Typed { kind: "error", frame })
}

/// `{type, data, ref?}`.
fn framed<T: serde::Serialize>(
    kind: &str,
    data: T,
    reference: Option<&serde_json::value::RawValue>,
) -> String {
    text(&Framed { kind, data, reference })
}

fn text<T: serde::Serialize>(frame: &T) -> String {
    // Frames are plain structs with text keys, which always have a JSON form.
    serde_json::to_string(frame).unwrap_or_default()
}

/// The client does not read, or is gone.
#[derive(Debug)]
struct Gone;

async fn say(socket: &mut WebSocket, frame: String) -> Result<(), Gone> {
    match tokio::time::timeout(WRITE, socket.send(Message::text(frame))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// Sends the closing frame and gives the client a moment to read it.
async fn close(socket: &mut WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame { code, reason: reason.to_owned().into() };
    let farewell = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // Whoever does not answer is cut off.
    tokio::time::timeout(FAREWELL, farewell).await.ok();
}

const WRITE: Duration = Duration::from_secs(10);
/// A socket that its client does not read must not hold up a stop.
const LAST_WORDS: Duration = Duration::from_secs(4);
const FAREWELL: Duration = Duration::from_secs(2);
/// The library's own default is 128 KiB for each direction of each socket.
const BUFFER: usize = 8 * 1024;
