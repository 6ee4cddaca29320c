//! Attachments: their ids, digests and names, what a payload says of them, and what their first bytes tell (A-57,
//! ICL-33…37). Called by the doors, the store, the links and the client.

mod kind;
mod name;
mod named;
#[cfg(test)]
mod tests;

pub use kind::{HEAD_BYTES, Verdict, is_blocked, judge};
pub use name::{is_safe, safe_name};
pub use named::{Attachment, BadAttachment, ScanStatus, list_in};

use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A well-formed attachment id: `att_<time>_<suffix>` or `att-<time>-<suffix>` (ICL-33). It holds nothing that is
/// special in a path, a URL or a shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttachmentId(String);

/// A text that is no attachment id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an attachment id looks like att_<unix time>_<letters and digits>")]
pub struct BadId;

impl AttachmentId {
    /// Reads an id as others write it.
    ///
    /// # Errors
    /// [`BadId`] for any other shape.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let rest = text.strip_prefix("att_").or_else(|| text.strip_prefix("att-")).ok_or(BadId)?;
        let (time, suffix) = rest.split_once(['_', '-']).ok_or(BadId)?;
        let whole = !time.is_empty()
            && time.bytes().all(|b| b.is_ascii_digit())
            && !suffix.is_empty()
            && suffix.bytes().all(|b| b.is_ascii_alphanumeric());
        if whole && text.len() <= LONGEST_ID { Ok(Self(text.to_owned())) } else { Err(BadId) }
    }

    /// Mints `att_<unix seconds>_<16 lowercase hex>` from randomness that the caller brings.
    #[must_use]
    pub fn mint(now: UnixMillis, random: [u8; 8]) -> Self {
        Self(format!("att_{}_{:016x}", now.as_secs(), u64::from_be_bytes(random)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AttachmentId {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        Self::parse(&text)
    }
}

impl From<AttachmentId> for String {
    fn from(id: AttachmentId) -> Self {
        id.0
    }
}

/// SHA-256 of a file, written `sha256:<64 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileDigest(pub [u8; 32]);

impl FileDigest {
    /// Reads `sha256:<hex>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii())?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(digest))
    }

    /// The 64 hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

const LONGEST_ID: usize = 128;
