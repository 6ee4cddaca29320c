//! Request bodies: bounded in size and in time, and JSON by their own word (API-12, API-15). Called by every handler that takes one.

use crate::http::error::Problem;
use crate::http::state::Shared;
use amesh_proto::api::error::code;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::time::Duration;

/// A body of at most `MAX` bytes that claims to be JSON; not parsed yet.
#[derive(Debug)]
pub(crate) struct Json<const MAX: usize>(pub Bytes);

/// Room for a message (API-15: hard cap 1 MB; the hallway judges the limits of MSG-9).
pub(crate) const MESSAGE: usize = 1024 * 1024;
/// Room for everything else.
pub(crate) const SMALL: usize = 64 * 1024;

impl<const MAX: usize> FromRequest<Shared> for Json<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        let declared =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|declared| declared > MAX) {
            return Err(too_large(MAX));
        }
        let patience = Duration::from_secs(state.parts.config.body_timeout_s);
        match tokio::time::timeout(patience, collect(body, declared.unwrap_or(0), MAX)).await {
            Ok(read) => read.map(Self),
            Err(_) => Err(Problem::new(
                code::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} s", patience.as_secs()),
            )),
        }
    }
}

async fn collect(mut body: Body, expected: usize, max: usize) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(code::INVALID_REQUEST, "the body ended before its announced length");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > max {
            return Err(too_large(max));
        }
        if first.is_empty() && all.is_empty() {
            // Most bodies come in one piece and are never copied.
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(expected.min(max).max(first.len() + data.len()));
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = kind.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem::new(code::INVALID_REQUEST, "expected `Content-Type: application/json`"))
}

fn too_large(max: usize) -> Problem {
    Problem::new(code::PAYLOAD_TOO_LARGE, format!("the body is over {} KiB", max / 1024))
}

/// The one variable part of a path, decoded.
#[derive(Debug)]
pub(crate) struct Segment(pub String);

impl FromRequestParts<Shared> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Problem::new(code::INVALID_REQUEST, "the path is not UTF-8 once decoded")),
        }
    }
}
