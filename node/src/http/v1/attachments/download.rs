//! `GET /attachments/{id}/download` (ICL-36): the bytes of a file, straight from disk, for whoever has the token of its
//! URL or the API key of one who may have it. Answered with 200 and the bytes, never with a redirect.

use super::{FileParam, PENDING, id_of, unknown};
use crate::http::auth::Caller;
use crate::http::body::Segment;
use crate::http::error::Problem;
use crate::http::page::Query;
use crate::http::state::{self, Peer, Shared};
use amesh_proto::attachment::{AttachmentId, FileDigest};
use amesh_store::{Holder, Share, Stage, Upload};
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use std::io;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

/// The bytes of a file, for whoever has the token of its URL, or the API key of one who may have it (ICL-36).
#[utoipa::path(get, path = "", tag = "attachments", security((), ("api_key" = [])),
    params(FileParam, ("token" = Option<String>, Query, description = "As in the file's `url`.")),
    responses((status = 200, description = "The file.", content_type = "*/*", body = Vec<u8>)),
    extensions(("x-errors" = json!(["invalid_field", "attachment_pending"]))))]
pub(crate) async fn download(
    State(state): State<Shared>,
    asker: Result<Asker, Problem>,
    id: Result<Segment, Problem>,
) -> Response {
    let answer = async {
        let (asker, id) = (asker?, id_of(&id?.0)?);
        let file = find(&state, &asker, &id)?;
        serve(&state, file).await
    };
    answer.await.map_err(|problem: Problem| problem).into_response()
}

/// Who asks.
#[derive(Debug)]
pub(crate) enum Asker {
    /// Whoever has this token.
    Token(String, Peer),
    /// An agent.
    Agent(Box<Caller>),
}

impl FromRequestParts<Shared> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let token = Query::parse(parts.uri.query()).get("token").map(str::to_owned);
        match token {
            Some(token) => Ok(Self::Token(token, Peer::from_request_parts(parts, state).await?)),
            None => Ok(Self::Agent(Box::new(Caller::from_request_parts(parts, state).await?))),
        }
    }
}

/// What is served.
struct Served {
    digest: FileDigest,
    size: u64,
    filename: String,
    content_type: String,
}

fn find(state: &state::State, asker: &Asker, id: &AttachmentId) -> Result<Served, Problem> {
    let store = &state.parts.store;
    match asker {
        Asker::Token(token, peer) => {
            // Hashes are compared, so that time tells nothing of the tokens.
            let (wanted, hash) = (super::hash(token), super::hash);
            let has = |share: &Share| share.token.as_deref().map(hash) == Some(wanted);
            if let Some(share) = store.shares(id)?.into_iter().find(has) {
                return Ok(share.into());
            }
            let mut uploads = store.uploads(id)?.into_iter();
            if let Some(upload) = uploads.find(|upload| hash(&upload.download_token) == wanted) {
                return upload.try_into();
            }
            state.limits(peer).failure(peer.remote.ip(), state.now())?;
            Err(unknown())
        }
        Asker::Agent(caller) => {
            let holder = Holder::Agent(caller.agent.no);
            if let Some(share) = store.shares_with(id, &holder)?.into_iter().next() {
                return Ok(share.into());
            }
            store.upload(id, &holder)?.ok_or_else(unknown)?.try_into()
        }
    }
}

impl From<Share> for Served {
    fn from(share: Share) -> Self {
        let Share { digest, size, filename, content_type, .. } = share;
        Self { digest, size, filename, content_type }
    }
}

impl TryFrom<Upload> for Served {
    type Error = Problem;

    fn try_from(upload: Upload) -> Result<Self, Problem> {
        match upload.stage {
            Stage::Confirmed => {
                let Upload { digest, size, filename, content_type, .. } = upload;
                Ok(Self { digest, size, filename, content_type })
            }
            Stage::Rejected(_) => Err(unknown()),
            Stage::Requested | Stage::Stored => {
                Err(Problem::new(PENDING, "this upload has not been confirmed"))
            }
        }
    }
}

async fn serve(state: &state::State, served: Served) -> Result<Response, Problem> {
    let Ok(place) = state.downloads.clone().try_acquire_owned() else {
        return Err(Problem::unavailable("too many downloads at a time; try again when one has finished"));
    };
    let lost = || Problem::not_found(LOST).field("id");
    let path = state.parts.store.file_path(&served.digest).ok_or_else(lost)?;
    let file = match File::open(&path).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost()),
        Err(error) => return Err(Problem::internal("attachments", &error)),
    };
    let (pieces, body) = mpsc::channel(QUEUED);
    let config = &state.parts.config.attachments;
    let (stall, until) = (config.stall(), Instant::now() + config.longest());
    state.parts.tasks.spawn_until_stopped(feed(file, pieces, stall, until, place));
    let body = stream::unfold(body, async |mut body| body.recv().await.map(|piece| (piece, body)));
    Ok((headers_of(&served), Body::from_stream(body)).into_response())
}

/// Reads ahead of the reader, a few pieces only; gives up on one that does not read.
async fn feed(
    mut file: File,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    stall: Duration,
    until: Instant,
    _place: OwnedSemaphorePermit,
) {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        let piece = match file.read_buf(&mut piece).await {
            Ok(0) => return,
            Ok(_) => Ok(piece.freeze()),
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        let taken = tokio::time::timeout_at(until.min(Instant::now() + stall), pieces.send(piece)).await;
        if failed || !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

/// A file is nothing that a browser should show under this node's address.
fn headers_of(served: &Served) -> [(header::HeaderName, HeaderValue); 6] {
    let fixed = HeaderValue::from_static;
    let or = |text: &str, fallback: &'static str| {
        HeaderValue::from_str(text).ok().filter(|_| !text.is_empty()).unwrap_or_else(|| fixed(fallback))
    };
    let plain: String = served
        .filename
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._- ".contains(c) { c } else { '_' })
        .collect();
    let encoded: String = served.filename.bytes().map(encode).collect();
    [
        (header::CONTENT_TYPE, or(&served.content_type, "application/octet-stream")),
        (header::CONTENT_LENGTH, served.size.into()),
        (
            header::CONTENT_DISPOSITION,
            or(&format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"), "attachment"),
        ),
        (header::ETAG, or(&format!("\"{}\"", served.digest), "\"\"")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::CONTENT_SECURITY_POLICY, fixed("sandbox; default-src 'none'")),
    ]
}

fn encode(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// As after a restore from a backup that had lost its files (`amesh db restore` says so).
const LOST: &str = "the file is known, but its bytes are lost on this node; ask its sender to send it again";
const PIECE: usize = 128 * 1024;
/// Pieces read ahead.
const QUEUED: usize = 2;
