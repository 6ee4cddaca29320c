//! The body of a stored message: inline after its head, or a blob. Used by mailbox and outbox.

use crate::blob::{self, Digest};
use crate::codec::{self, Value, damaged};
use crate::config::INLINE_BYTES;
use crate::error::StoreError;
use crate::group::Group;
use crate::trees::Tree;
use amesh_proto::message::Mail;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A message as bytes, made by the caller's thread so that the writer only copies.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    blob: Option<Digest>,
}

/// Where the head of a stored message says its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BodyPlace {
    /// The bytes that follow the head.
    Inline,
    /// A blob.
    Blob(Digest),
}

impl Body {
    /// `blobs`: whether there is a directory for large ones.
    pub(crate) fn new(mail: &Mail, blobs: bool) -> Result<Self, StoreError> {
        let bytes = Vec::with_capacity(mail.size() + 256);
        let bytes = postcard::to_extend(mail, bytes).map_err(|_| damaged(Tree::Mailbox))?;
        let blob = (blobs && bytes.len() > INLINE_BYTES).then(|| blob::digest_of(&bytes));
        Ok(Self { bytes, blob })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn place(&self) -> BodyPlace {
        self.blob.map_or(BodyPlace::Inline, BodyPlace::Blob)
    }

    /// Head and body as one value; a large body is written to its file first.
    pub(crate) fn store<T: Value>(&self, group: &mut Group<'_>, head: &T) -> Result<Vec<u8>, StoreError> {
        match &self.blob {
            Some(digest) => {
                group.blobs.add(&mut group.txn, digest, &self.bytes)?;
                codec::encode(head)
            }
            None => {
                let mut value = codec::encode_with_room(head, self.bytes.len())?;
                value.extend_from_slice(&self.bytes);
                Ok(value)
            }
        }
    }
}

impl BodyPlace {
    /// Reads the message whose head was followed by `rest`.
    pub(crate) fn read(&self, tree: Tree, rest: &[u8], blobs: Option<&Path>) -> Result<Mail, StoreError> {
        match self {
            Self::Inline => decode(tree, rest),
            Self::Blob(digest) if rest.is_empty() => decode(tree, &blob::read(blobs, digest)?),
            Self::Blob(_) => Err(damaged(tree)),
        }
    }

    /// The message that named this body is gone.
    pub(crate) fn release(&self, group: &mut Group<'_>) -> Result<(), StoreError> {
        match self {
            Self::Inline => Ok(()),
            Self::Blob(digest) => blob::release(&mut group.txn, digest),
        }
    }
}

fn decode(tree: Tree, bytes: &[u8]) -> Result<Mail, StoreError> {
    match postcard::take_from_bytes(bytes) {
        Ok((mail, [])) => Ok(mail),
        _ => Err(damaged(tree)),
    }
}
