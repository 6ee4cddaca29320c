//! `POST /attachments/upload`, `POST /attachments/{id}/confirm`, `GET /attachments/{id}` (ICL-33, ICL-35): what is said
//! about files. Their bytes come in by `upload` and go out by `download`.

pub(crate) mod download;
pub(crate) mod upload;

use crate::agents::Agent;
use crate::http::auth::Caller;
use crate::http::body::{self, Json, Segment};
use crate::http::error::Problem;
use crate::http::state::{self, Peer, Shared};
use crate::http::well_known::origin;
use amesh_proto::api::attachments::{AttachmentStatus, UploadRequest, UploadTicket};
use amesh_proto::api::error::code;
use amesh_proto::attachment::{AttachmentId, ScanStatus, is_blocked, safe_name};
use amesh_proto::limits::ATTACHMENT_BYTES;
use amesh_proto::time::UnixMillis;
use amesh_store::{Holder, Stage, UPLOAD_LIFE, Upload, UploadOutcome};
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use rand::TryRngCore as _;
use sha2::{Digest as _, Sha256};

/// Announces a file; its bytes are then put to the answer's `upload_url` (ICL-33).
#[utoipa::path(post, path = "", tag = "attachments", request_body = UploadRequest,
    responses((status = 201, description = "Where the bytes go. An upload that no message names ends after two hours.", body = UploadTicket)),
    extensions(("x-errors" = json!(["attachment_rejected", "queue_full"]))))]
pub(crate) async fn request(
    State(state): State<Shared>,
    caller: Caller,
    door: Door,
    body: Result<Json<{ body::SMALL }>, Problem>,
) -> Response {
    let answer = async { begin(&state, &caller.agent, &door, &body?.0).await };
    let answer = answer.await.map(|ticket| (StatusCode::CREATED, axum::Json(ticket)));
    caller.reply(answer)
}

/// Says that the bytes are all there: from now on a message may name the file (ICL-35).
#[utoipa::path(post, path = "", tag = "attachments", params(FileParam),
    responses((status = 200, description = "How the file stands.", body = AttachmentStatus)),
    extensions(("x-errors" = json!(["invalid_field", "attachment_pending"]))))]
pub(crate) async fn confirm(
    State(state): State<Shared>,
    caller: Caller,
    door: Door,
    id: Result<Segment, Problem>,
) -> Response {
    let confirmed = async {
        let (id, holder) = (id_of(&id?.0)?, Holder::Agent(caller.agent.no));
        let upload = state.parts.store.confirm_upload(id, holder).await?.ok_or_else(unknown)?;
        if upload.stage == Stage::Requested {
            return Err(Problem::new(PENDING, "the bytes of this file have not come yet"));
        }
        Ok(axum::Json(shown(&upload, &door)))
    };
    let answer = confirmed.await;
    caller.reply(answer)
}

/// How an upload of the caller stands (ICL-35).
#[utoipa::path(get, path = "", tag = "attachments", params(FileParam),
    responses((status = 200, description = "How the file stands.", body = AttachmentStatus)),
    extensions(("x-errors" = json!(["invalid_field"]))))]
pub(crate) async fn status(
    State(state): State<Shared>,
    caller: Caller,
    door: Door,
    id: Result<Segment, Problem>,
) -> Response {
    let found = id.and_then(|id| {
        let upload = state.parts.store.upload(&id_of(&id.0)?, &Holder::Agent(caller.agent.no))?;
        Ok(axum::Json(shown(&upload.ok_or_else(unknown)?, &door)))
    });
    caller.reply(found)
}

async fn begin(
    state: &state::State,
    agent: &Agent,
    door: &Door,
    body: &[u8],
) -> Result<UploadTicket, Problem> {
    let (request, digest) = UploadRequest::parse(body)?;
    if request.size > ATTACHMENT_BYTES {
        let why = format!("the file has {} bytes, {ATTACHMENT_BYTES} are allowed", request.size);
        return Err(Problem::new(code::PAYLOAD_TOO_LARGE, why).field("size"));
    }
    let filename = safe_name(&request.filename);
    if let Some(why) = is_blocked(&request.content_type, &filename) {
        return Err(Problem::new(REJECTED, why).field("content_type"));
    }
    let random = || secret().map_err(|error| Problem::internal("attachments", &error));
    let (upload_token, download_token, now) = (hex(&random()?), hex(&random()?), state.now());
    let mut suffix = [0; 8];
    suffix.copy_from_slice(&random()?[..8]);
    let upload = Upload {
        id: AttachmentId::mint(now, suffix),
        holder: Holder::Agent(agent.no),
        filename: filename.clone(),
        content_type: request.content_type,
        size: request.size,
        digest,
        upload_token: hash(&upload_token),
        download_token,
        stage: Stage::Requested,
        oddity: None,
        changed_at: now,
        ends_at: now.plus(UPLOAD_LIFE),
    };
    let ticket = UploadTicket {
        attachment_id: upload.id.to_string(),
        upload_url: format!("{}/{}/upload?token={upload_token}", door.attachments, upload.id),
        filename,
        expires_at: upload.ends_at.to_rfc3339(),
    };
    match state.parts.store.request_upload(upload).await? {
        UploadOutcome::Requested => Ok(ticket),
        UploadOutcome::HolderFull => Err(full("the files of this agent take as much as they may")),
        UploadOutcome::Full => Err(full("the files on this node take as much as they may")),
        UploadOutcome::DiskFull => Err(full(DISK_FULL)),
    }
}

fn shown(upload: &Upload, door: &Door) -> AttachmentStatus {
    let (scan_status, scan_detail) = match (&upload.stage, &upload.oddity) {
        (Stage::Requested | Stage::Stored, _) => (ScanStatus::Pending, None),
        (Stage::Rejected(why), _) => (ScanStatus::Rejected, Some(why.clone())),
        (Stage::Confirmed, Some(why)) => (ScanStatus::Suspicious, Some(why.clone())),
        (Stage::Confirmed, None) => (ScanStatus::BasicClean, None),
    };
    let url = (upload.stage == Stage::Confirmed)
        .then(|| format!("{}/{}/download?token={}", door.attachments, upload.id, upload.download_token));
    let arrived = upload.stage != Stage::Requested;
    let at = |at: UnixMillis| at.to_rfc3339();
    AttachmentStatus {
        id: upload.id.to_string(),
        attachment_id: upload.id.to_string(),
        filename: upload.filename.clone(),
        content_type: upload.content_type.clone(),
        size: upload.size,
        digest: upload.digest.to_string(),
        scan_status: scan_status.as_str().to_owned(),
        scan_detail,
        download_url: url.clone(),
        url,
        uploaded_at: arrived.then(|| at(upload.changed_at)),
        expires_at: at(upload.ends_at),
    }
}

/// A file's id in the path, for the API's document.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct FileParam {
    /// A file's id.
    #[param(min_length = 1, max_length = 128, example = "att_1790000000_a1b2c3")]
    id: String,
}

/// The URL of the attachments' resource as the caller wrote it: what the tokens are appended to.
#[derive(Debug)]
pub(crate) struct Door {
    attachments: String,
}

impl FromRequestParts<Shared> for Door {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let peer = Peer::from_request_parts(parts, state).await?;
        let path = parts.uri.path();
        let base = path.split_once(RESOURCE).map_or("/api/v1", |(base, _)| base);
        Ok(Self { attachments: format!("{}{base}{RESOURCE}", origin(&peer, &parts.uri, &parts.headers)) })
    }
}

fn id_of(text: &str) -> Result<AttachmentId, Problem> {
    AttachmentId::parse(text).map_err(|error| Problem::invalid("id", error.to_string()))
}

fn unknown() -> Problem {
    Problem::not_found("there is no such file for you; an upload that no message names goes after two hours")
        .field("id")
}

fn full(why: &'static str) -> Problem {
    Problem::new(code::QUEUE_FULL, why)
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn secret() -> Result<[u8; 16], rand::rand_core::OsError> {
    let mut random = [0; 16];
    rand::rngs::OsRng.try_fill_bytes(&mut random)?;
    Ok(random)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The upload is not at the point that the request supposes.
pub(crate) const PENDING: &str = "attachment_pending";
/// The file is of a kind that is not taken.
pub(crate) const REJECTED: &str = "attachment_rejected";

const RESOURCE: &str = "/attachments";
const DISK_FULL: &str = "the disk of this node is nearly full; it takes files again when there is space";
