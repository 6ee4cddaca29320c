//! The calls about attached files.

use super::Store;
use crate::attachments::{self, Share, Stage, Upload, UploadOutcome};
use crate::change::{Change, Durable, StoredUpload};
use crate::error::StoreError;
use crate::files::{FilePart, FileWriter, no_directory};
use crate::mail::Holder;
use amesh_proto::attachment::{AttachmentId, FileDigest};
use amesh_proto::time::UnixMillis;
use std::path::PathBuf;

impl Store {
    /// Begins a file of `size` bytes. Blocks: not for async code.
    ///
    /// # Errors
    /// `DiskFull`, also where files take as much as they may since the upload was asked for; or what the system says.
    pub fn begin_file(&self, size: u64) -> Result<FileWriter, StoreError> {
        if self.shared().tally().file_bytes() + size > u64::from(self.shared().config.attachments_mib) << 20 {
            return Err(StoreError::DiskFull);
        }
        let dir = self.shared().attachments().ok_or_else(no_directory)?;
        FileWriter::begin(dir, size, &self.inner.probe, self.shared().config.min_free_mib)
    }

    /// Remembers that a file is to be uploaded.
    pub fn request_upload(&self, upload: Upload) -> Durable<UploadOutcome> {
        self.submit(|reply| Change::RequestUpload(Box::new(upload), reply))
    }

    /// The bytes of an upload came and were looked at. None where nobody asked for the upload, or it is past this, or
    /// the bytes are others than declared; nothing of the part is left then.
    pub fn store_upload(
        &self,
        (id, holder): (AttachmentId, Holder),
        part: FilePart,
        (stage, oddity): (Stage, Option<String>),
        now: UnixMillis,
    ) -> Durable<Option<Upload>> {
        let stored = StoredUpload { id, holder, part, stage, oddity, now };
        self.submit(|reply| Change::StoreUpload(Box::new(stored), reply))
    }

    /// The upload is whole, its owner says. Gives it as it stands then, if it is there.
    pub fn confirm_upload(&self, id: AttachmentId, holder: Holder) -> Durable<Option<Upload>> {
        self.submit(|reply| Change::ConfirmUpload(id, holder, reply))
    }

    /// An upload of a holder.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn upload(&self, id: &AttachmentId, holder: &Holder) -> Result<Option<Upload>, StoreError> {
        self.read(|read| attachments::upload(read, id, holder))
    }

    /// Every upload under an id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn uploads(&self, id: &AttachmentId) -> Result<Vec<Upload>, StoreError> {
        self.read(|read| attachments::uploads(read, id))
    }

    /// Everything under an id that messages share, with whomever.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn shares(&self, id: &AttachmentId) -> Result<Vec<Share>, StoreError> {
        self.read(|read| attachments::shares(read, id))
    }

    /// What messages share with a holder under an id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn shares_with(&self, id: &AttachmentId, holder: &Holder) -> Result<Vec<Share>, StoreError> {
        self.read(|read| attachments::shares_with(read, id, holder))
    }

    /// Where a file lies, to be opened and read.
    #[must_use]
    pub fn file_path(&self, digest: &FileDigest) -> Option<PathBuf> {
        self.shared().attachments().map(|dir| dir.join(digest.hex()))
    }
}
