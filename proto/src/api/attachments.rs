//! `POST /attachments/upload`, `PUT` of the bytes, `POST /attachments/{id}/confirm`, `GET /attachments/{id}` (ICL-33…35).

use crate::api::fields::{BadBody, Fields};
use crate::attachment::FileDigest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an agent says of a file before it uploads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "filename": "report.pdf", "content_type": "application/pdf", "size": 11,
    "digest": "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
}))]
pub struct UploadRequest {
    /// The file's name.
    #[schema(min_length = 1)]
    pub filename: String,
    /// Its type; empty or absent for unknown.
    #[serde(default)]
    #[schema(max_length = 255, value_type = Option<String>)]
    pub content_type: String,
    /// Bytes.
    #[schema(maximum = 26_214_400)]
    pub size: u64,
    /// `sha256:<hex>`.
    #[schema(pattern = "^sha256:[0-9a-fA-F]{64}$")]
    pub digest: String,
}

impl UploadRequest {
    /// Reads a request body; unknown members are ignored.
    ///
    /// # Errors
    /// [`BadBody`] naming the member.
    pub fn parse(body: &[u8]) -> Result<(Self, FileDigest), BadBody> {
        let mut fields = Fields::parse(body)?;
        let request = Self {
            filename: fields.text("filename")?,
            content_type: fields.optional_text("content_type")?.unwrap_or_default(),
            size: fields.optional("size", "a number of bytes")?.ok_or(BadBody::Missing("size"))?,
            digest: fields.text("digest")?,
        };
        if request.content_type.len() > LONGEST_TYPE || !request.content_type.bytes().all(is_printable) {
            let why = format!("expected a media type of at most {LONGEST_TYPE} printable characters");
            return Err(BadBody::Invalid { field: "content_type", why });
        }
        let why = || "expected sha256: and 64 hex digits".to_owned();
        let digest = FileDigest::parse(&request.digest)
            .ok_or_else(|| BadBody::Invalid { field: "digest", why: why() })?;
        Ok((request, digest))
    }
}

/// Where the bytes go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadTicket {
    /// What the message names.
    pub attachment_id: String,
    /// `PUT` the bytes here; no `Authorization` is needed.
    pub upload_url: String,
    /// The name, made safe; what the message must name.
    pub filename: String,
    /// When the upload is forgotten unless a message names it; RFC 3339.
    pub expires_at: String,
}

/// How an upload stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttachmentStatus {
    /// What the message names.
    pub id: String,
    /// The same.
    pub attachment_id: String,
    /// The name, made safe.
    pub filename: String,
    /// As declared.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// `sha256:<hex>`.
    pub digest: String,
    /// `pending` until the upload is confirmed, then `basic_clean`, `suspicious` or `rejected`.
    pub scan_status: String,
    /// Why it is suspicious or rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan_detail: Option<String>,
    /// Where it can be had; none before it is confirmed.
    pub url: Option<String>,
    /// The same.
    pub download_url: Option<String>,
    /// When the bytes came; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded_at: Option<String>,
    /// Until when it is kept as things stand; RFC 3339.
    pub expires_at: String,
}

/// What the door says when the bytes are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Uploaded {
    /// What the message names.
    pub attachment_id: String,
    /// Bytes.
    pub size: u64,
    /// `sha256:<hex>`.
    pub digest: String,
}

fn is_printable(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

const LONGEST_TYPE: usize = 255;
