//! One file on its way to disk: bytes are gathered to sizeable pieces, hashed and written off the async workers, and
//! compared with what was declared. Given up or failed, it leaves nothing.

use crate::tasks::Tasks;
use amesh_proto::attachment::{FileDigest, HEAD_BYTES, Verdict, judge};
use amesh_store::{FilePart, FileWriter, Stage, Store, StoreError};
use bytes::Bytes;

/// What was declared of a file.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Bytes.
    pub size: u64,
    /// Of the bytes.
    pub digest: FileDigest,
    /// Its type.
    pub content_type: String,
    /// Its name.
    pub filename: String,
}

/// A file whose bytes are being received.
#[derive(Debug)]
pub struct Intake {
    tasks: Tasks,
    expected: Expected,
    writer: FileWriter,
    head: Vec<u8>,
    gathered: Vec<Bytes>,
    bytes: usize,
}

/// A file that is what was declared, synced to disk.
#[derive(Debug)]
pub struct Received {
    /// The file, which has no name yet.
    pub part: FilePart,
    /// `Stored`, or `Rejected` by what its first bytes tell.
    pub stage: Stage,
    /// Why a human should look first.
    pub oddity: Option<String>,
}

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// More came than was declared.
    #[error("more than the {0} bytes came that were declared")]
    TooLong(u64),
    /// Less came than was declared.
    #[error("{missing} bytes of the {size} that were declared are missing")]
    TooShort {
        /// Bytes that did not come.
        missing: u64,
        /// Bytes declared.
        size: u64,
    },
    /// Other bytes came than were declared.
    #[error("the bytes have the digest {found}, declared was {declared}")]
    Digest {
        /// Of what came.
        found: FileDigest,
        /// Of what was to come.
        declared: FileDigest,
    },
    /// They could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Intake {
    /// Takes the room for the file.
    ///
    /// # Errors
    /// When the disk is full or cannot be written.
    pub async fn begin(store: &Store, tasks: &Tasks, expected: Expected) -> Result<Self, IntakeError> {
        let (store, size) = (store.clone(), expected.size);
        let writer = off_the_workers(tasks, move || store.begin_file(size)).await?;
        Ok(Self { tasks: tasks.clone(), expected, writer, head: Vec::new(), gathered: Vec::new(), bytes: 0 })
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// [`IntakeError`]; the file is then gone.
    pub async fn push(mut self, bytes: Bytes) -> Result<Self, IntakeError> {
        if bytes.len() as u64 > self.writer.missing().saturating_sub(self.bytes as u64) {
            return Err(IntakeError::TooLong(self.expected.size));
        }
        let wanted = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..wanted]);
        self.bytes += bytes.len();
        self.gathered.push(bytes);
        if self.bytes >= PIECE { self.write().await } else { Ok(self) }
    }

    /// All bytes have come: compares them with what was declared and syncs the file.
    ///
    /// # Errors
    /// [`IntakeError`]; the file is then gone.
    pub async fn finish(self) -> Result<Received, IntakeError> {
        let Self { tasks, expected, writer, head, .. } = self.write().await?;
        if writer.missing() > 0 {
            return Err(IntakeError::TooShort { missing: writer.missing(), size: expected.size });
        }
        let part = off_the_workers(&tasks, move || writer.finish()).await?;
        if part.digest() != expected.digest {
            return Err(IntakeError::Digest { found: part.digest(), declared: expected.digest });
        }
        let (stage, oddity) = match judge(&expected.content_type, &expected.filename, &head) {
            Verdict::Clean => (Stage::Stored, None),
            Verdict::Suspicious(why) => (Stage::Stored, Some(why)),
            Verdict::Rejected(why) => (Stage::Rejected(why), None),
        };
        Ok(Received { part, stage, oddity })
    }

    async fn write(mut self) -> Result<Self, IntakeError> {
        let (mut writer, gathered) = (self.writer, std::mem::take(&mut self.gathered));
        let written = off_the_workers(&self.tasks, move || {
            gathered.iter().try_for_each(|bytes| writer.write(bytes))?;
            Ok(writer)
        });
        let writer = written.await?;
        Ok(Self { writer, bytes: 0, ..self })
    }
}

async fn off_the_workers<T: Send + 'static>(
    tasks: &Tasks,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tasks.spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Failed { reason: error.to_string() }))
}

/// Bytes written at once; what an upload holds in memory.
const PIECE: usize = 512 * 1024;
