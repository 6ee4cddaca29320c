//! `PUT /attachments/{id}/upload?token=…` (ICL-34): the bytes of a file, straight to disk. The token is the only proof,
//! so the URL can be handed to any program.

use super::{DISK_FULL, FileParam, PENDING, full, hash, id_of, unknown};
use crate::attachments::{Expected, Intake, IntakeError};
use crate::http::body::Segment;
use crate::http::error::Problem;
use crate::http::page::Query;
use crate::http::state::{self, Peer, Shared};
use amesh_proto::api::attachments::Uploaded;
use amesh_proto::api::error::code;
use amesh_proto::attachment::FileDigest;
use amesh_store::{Holder, Stage, StoreError, Upload};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::time::Instant;

/// Takes the bytes of a file (ICL-34). The token in the URL is the only proof.
#[utoipa::path(put, path = "", tag = "attachments", security(()),
    params(FileParam, ("token" = String, Query, description = "As in the `upload_url`.")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, description = "They are on disk, and as declared.", body = Uploaded)),
    extensions(("x-errors" = json!(["attachment_pending", "queue_full", "rate_limited"]))))]
pub(crate) async fn upload(
    State(state): State<Shared>,
    peer: Peer,
    id: Result<Segment, Problem>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let taken = async {
        let upload = find(&state, &peer, &id?.0, &uri)?;
        take(&state, &upload, &headers, body).await?;
        Ok(axum::Json(Uploaded {
            attachment_id: upload.id.to_string(),
            size: upload.size,
            digest: upload.digest.to_string(),
        }))
    };
    taken.await.map_err(|problem: Problem| problem).into_response()
}

/// The upload that the token opens.
fn find(state: &state::State, peer: &Peer, id: &str, uri: &Uri) -> Result<Upload, Problem> {
    let id = id_of(id)?;
    let query = Query::parse(uri.query());
    let token = query.get("token").map(hash);
    let mut uploads = state.parts.store.uploads(&id)?.into_iter();
    match uploads.find(|upload| Some(upload.upload_token) == token) {
        Some(upload) => Ok(upload),
        None => {
            state.limits(peer).failure(peer.remote.ip(), state.now())?;
            Err(unknown())
        }
    }
}

async fn take(state: &state::State, upload: &Upload, headers: &HeaderMap, body: Body) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > upload.size => {
            return Err(at_fault(IntakeError::TooLong(upload.size)));
        }
        Some(length) if length < upload.size => {
            let missing = upload.size - length;
            return Err(at_fault(IntakeError::TooShort { missing, size: upload.size }));
        }
        _ => {}
    }
    let Holder::Agent(agent) = upload.holder else { return Err(unknown()) };
    let Some(_place) = state.uploads.take(agent.0) else {
        return Err(Problem::unavailable("too many uploads at a time; try again when one has finished"));
    };
    let mut bytes = Arriving::new(state, body);
    match upload.stage {
        Stage::Requested => {}
        // The answer to the first time was lost: the same bytes come again, and nothing is done with them.
        _ => return bytes.same_again(upload).await,
    }
    let expected = Expected {
        size: upload.size,
        digest: upload.digest,
        content_type: upload.content_type.clone(),
        filename: upload.filename.clone(),
    };
    let (store, tasks) = (&state.parts.store, &state.parts.tasks);
    let mut intake = Intake::begin(store, tasks, expected).await.map_err(at_fault)?;
    while let Some(data) = bytes.next().await? {
        intake = intake.push(data).await.map_err(at_fault)?;
    }
    let received = intake.finish().await.map_err(at_fault)?;
    let key = (upload.id.clone(), upload.holder.clone());
    let judged = (received.stage, received.oddity);
    match store.store_upload(key, received.part, judged, state.now()).await? {
        Some(_) => Ok(()),
        // Another upload to the same URL was faster, or its time was over.
        None => Err(Problem::new(PENDING, "this upload is over; ask for a new one")),
    }
}

/// A body piece by piece, within its deadlines.
struct Arriving {
    body: Body,
    stall: Duration,
    until: Instant,
}

impl Arriving {
    fn new(state: &state::State, body: Body) -> Self {
        let config = &state.parts.config.attachments;
        Self { body, stall: config.stall(), until: Instant::now() + config.longest() }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let patience = self.until.min(Instant::now() + self.stall);
            let Ok(frame) = tokio::time::timeout_at(patience, self.body.frame()).await else {
                return Err(Problem::new(code::REQUEST_TIMEOUT, "the file did not arrive in time"));
            };
            let Some(frame) = frame else { return Ok(None) };
            let broken =
                |_| Problem::new(code::INVALID_REQUEST, "the body ended before its announced length");
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    async fn same_again(&mut self, upload: &Upload) -> Result<(), Problem> {
        let (mut size, mut hash) = (0, Sha256::new());
        while let Some(data) = self.next().await? {
            size += data.len() as u64;
            if size > upload.size {
                return Err(at_fault(IntakeError::TooLong(upload.size)));
            }
            hash.update(&data);
        }
        if size < upload.size {
            return Err(at_fault(IntakeError::TooShort { missing: upload.size - size, size: upload.size }));
        }
        let found = FileDigest(hash.finalize().into());
        let other = IntakeError::Digest { found, declared: upload.digest };
        if found == upload.digest { Ok(()) } else { Err(at_fault(other)) }
    }
}

fn at_fault(error: IntakeError) -> Problem {
    match &error {
        IntakeError::TooLong(_) => Problem::new(code::PAYLOAD_TOO_LARGE, error.to_string()).field("size"),
        IntakeError::TooShort { .. } => Problem::invalid("size", error.to_string()),
        IntakeError::Digest { .. } => Problem::invalid("digest", error.to_string()),
        IntakeError::Store(StoreError::DiskFull) => full(DISK_FULL),
        IntakeError::Store(store) => store.clone().into(),
    }
}
