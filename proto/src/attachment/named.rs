//! What a payload says of the files that go with it: `payload.attachments[]`, as the reference client writes it.

use super::{AttachmentId, FileDigest, is_safe};
use crate::limits::{ATTACHMENT_BYTES, ATTACHMENTS, ATTACHMENTS_BYTES};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;

/// One file that a message names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Given by the node that took the upload.
    pub id: AttachmentId,
    /// A safe name.
    pub filename: String,
    /// Its declared type; empty where nothing was declared.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// Of the bytes.
    pub digest: FileDigest,
    /// Where it can be had.
    pub url: Option<String>,
    /// What the sender says of its check.
    pub scan_status: Option<ScanStatus>,
}

/// The six words for how a file was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanStatus {
    /// Not checked yet.
    Pending,
    /// Scanned, and found clean.
    Clean,
    /// Name, type and first bytes were looked at; no virus scan.
    BasicClean,
    /// Not what it claims to be.
    Suspicious,
    /// Not to be delivered.
    Rejected,
    /// Nobody looked.
    Unscanned,
}

/// What is wrong with `payload.attachments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadAttachment {
    /// The member, such as `payload.attachments[2].size`.
    pub field: String,
    /// What is expected of it.
    pub why: String,
}

impl ScanStatus {
    /// Reads one of the six words.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Clean, Self::BasicClean, Self::Suspicious, Self::Rejected, Self::Unscanned]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Clean => "clean",
            Self::BasicClean => "basic_clean",
            Self::Suspicious => "suspicious",
            Self::Rejected => "rejected",
            Self::Unscanned => "unscanned",
        }
    }
}

impl Attachment {
    /// The token in its URL, where that leads to this very file of some node.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        let (path, query) = self.url.as_deref()?.split_once('?')?;
        let ours = path.strip_suffix("/download")?.strip_suffix(self.id.as_str())?.ends_with("/attachments/");
        let token = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
        let plain =
            !token.is_empty() && token.len() <= 128 && token.bytes().all(|b| b.is_ascii_alphanumeric());
        (ours && plain).then_some(token)
    }
}

/// The files that a payload names, all within the limits.
///
/// # Errors
/// [`BadAttachment`] naming the first member that is not as it should be.
pub fn list_in(payload: &[u8]) -> Result<Vec<Attachment>, BadAttachment> {
    let bad = |why: &str| BadAttachment { field: "payload.attachments".to_owned(), why: why.to_owned() };
    let Ok(Face { attachments: Some(raw) }) = serde_json::from_slice(payload) else { return Ok(Vec::new()) };
    let Ok(entries) = serde_json::from_str::<Option<Vec<&RawValue>>>(raw.get()) else {
        return Err(bad("expected a list of objects"));
    };
    let entries = entries.unwrap_or_default();
    if entries.len() > ATTACHMENTS {
        return Err(bad(&format!("{} files are named, {ATTACHMENTS} are allowed", entries.len())));
    }
    let mut list: Vec<Attachment> = Vec::with_capacity(entries.len());
    for (at, raw) in entries.into_iter().enumerate() {
        let one = read(at, raw.get())?;
        if list.iter().any(|other| other.id == one.id) {
            return Err(wrong(at, "id", "the file is named twice"));
        }
        list.push(one);
    }
    let total: u64 = list.iter().map(|one| one.size).sum();
    if total > ATTACHMENTS_BYTES {
        return Err(bad(&format!("the files have {total} bytes together, {ATTACHMENTS_BYTES} are allowed")));
    }
    Ok(list)
}

#[derive(Deserialize)]
struct Face<'a> {
    #[serde(borrow, default)]
    attachments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry {
    id: Option<String>,
    filename: Option<String>,
    content_type: Option<String>,
    size: Option<u64>,
    digest: Option<String>,
    url: Option<String>,
    download_url: Option<String>,
    scan_status: Option<String>,
}

fn read(at: usize, text: &str) -> Result<Attachment, BadAttachment> {
    let expected = "an object {id, filename, content_type, size, digest, url, scan_status}";
    let entry: Entry = serde_json::from_str(text).map_err(|error| BadAttachment {
        field: format!("payload.attachments[{at}]"),
        why: format!("expected {expected}: {error}"),
    })?;
    let id = entry.id.as_deref().unwrap_or_default();
    let id = AttachmentId::parse(id).map_err(|error| wrong(at, "id", error))?;
    let digest = entry.digest.as_deref().and_then(FileDigest::parse);
    let digest = digest.ok_or_else(|| wrong(at, "digest", "expected sha256: and 64 hex digits"))?;
    let filename = entry.filename.unwrap_or_default();
    if !is_safe(&filename) {
        return Err(wrong(at, "filename", "expected a plain file name, as the upload was answered with"));
    }
    let size = entry.size.ok_or_else(|| wrong(at, "size", "expected the number of bytes"))?;
    if size > ATTACHMENT_BYTES {
        let why = format!("the file has {size} bytes, {ATTACHMENT_BYTES} are allowed");
        return Err(wrong(at, "size", why));
    }
    let scan_status = match entry.scan_status.as_deref() {
        None => None,
        Some(text) => Some(ScanStatus::parse(text).ok_or_else(|| {
            wrong(
                at,
                "scan_status",
                "expected pending, clean, basic_clean, suspicious, rejected or unscanned",
            )
        })?),
    };
    let content_type = entry.content_type.unwrap_or_default();
    let url = entry.url.or(entry.download_url).filter(|url| !url.is_empty());
    Ok(Attachment { id, filename, content_type, size, digest, url, scan_status })
}

fn wrong(at: usize, member: &str, why: impl fmt::Display) -> BadAttachment {
    BadAttachment { field: format!("payload.attachments[{at}].{member}"), why: why.to_string() }
}
