//! Files that mail from a peer names, pulled from that very peer before the mail is committed: whoever is shown a
//! message can have its files. One at a time a link. What fails by the path comes again with the mail; what is not as the
//! message says is refused. Used by `incoming`.

use super::shared::Shared;
use crate::attachments::{Expected, Intake, IntakeError};
use crate::message::{Full, Refusal};
use amesh_proto::attachment::Attachment;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::file::{FileAnswer, FileRequest, LONGEST, decode, encode};
use amesh_store::{Holder, Stage, StoreError, UPLOAD_LIFE, Upload, UploadOutcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// One link's puller. Clones share its turn.
#[derive(Clone)]
pub(super) struct Puller {
    shared: Arc<Shared>,
    peer: NodeId,
    connection: quinn::Connection,
    turn: Arc<Semaphore>,
}

impl Puller {
    pub(super) fn new(shared: Arc<Shared>, peer: NodeId, connection: quinn::Connection) -> Self {
        Self { shared, peer, connection, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Brings every file that is not here yet.
    ///
    /// # Errors
    /// [`Refusal`]: a passing one if the same may work later.
    pub(super) async fn bring(&self, named: &[Attachment]) -> Result<(), Refusal> {
        for (at, file) in named.iter().enumerate() {
            if !self.is_here(at, file)? {
                self.bring_one(at, file).await?;
            }
        }
        Ok(())
    }

    fn is_here(&self, at: usize, file: &Attachment) -> Result<bool, Refusal> {
        let upload = self.shared.store.upload(&file.id, &Holder::Node(self.peer)).map_err(store_failed)?;
        let Some(upload) = upload else { return Ok(false) };
        if (upload.digest, upload.size) != (file.digest, file.size) {
            return Err(refused("invalid_field", at, "id", "another file came under this id lately"));
        }
        match upload.stage {
            Stage::Rejected(why) => Err(refused("attachment_rejected", at, "id", &why)),
            Stage::Confirmed => {
                Ok(self.shared.store.file_path(&file.digest).is_some_and(|path| path.exists()))
            }
            Stage::Requested | Stage::Stored => Ok(false),
        }
    }

    async fn bring_one(&self, at: usize, file: &Attachment) -> Result<(), Refusal> {
        let turn = self.turn.acquire().await;
        // Another message that names it may have brought it meanwhile.
        if self.is_here(at, file)? {
            return Ok(());
        }
        self.announce(file).await?;
        let whole = tokio::time::timeout(LONGEST_PULL, self.pull(at, file)).await;
        drop(turn);
        whole.unwrap_or_else(|_| Err(passing("it took too long")))
    }

    /// Notes that the file is to come, within what this node keeps.
    async fn announce(&self, file: &Attachment) -> Result<(), Refusal> {
        let now = self.shared.clock.now();
        let upload = Upload {
            id: file.id.clone(),
            holder: Holder::Node(self.peer),
            filename: file.filename.clone(),
            content_type: file.content_type.clone(),
            size: file.size,
            digest: file.digest,
            // Nobody puts bytes here over HTTP, and only the message's own token fetches them.
            upload_token: rand::random(),
            download_token: format!("{:032x}", rand::random::<u128>()),
            stage: Stage::Requested,
            oddity: None,
            changed_at: now,
            ends_at: now.plus(UPLOAD_LIFE),
        };
        match self.shared.store.request_upload(upload).await.map_err(store_failed)? {
            UploadOutcome::Requested => Ok(()),
            UploadOutcome::HolderFull | UploadOutcome::Full | UploadOutcome::DiskFull => {
                Err(Refusal::Full(Full::Disk))
            }
        }
    }

    async fn pull(&self, at: usize, file: &Attachment) -> Result<(), Refusal> {
        let request = FileRequest { id: file.id.clone(), digest: file.digest };
        let mut stream = self.ask(&request).await.ok_or_else(|| passing("the link broke"))?;
        match answer(&mut stream).await {
            Some(FileAnswer::Follows { .. }) => {}
            Some(FileAnswer::Unknown | FileAnswer::Gone) => {
                return Err(refused("attachment_gone", at, "id", "the sender's node has lost the file"));
            }
            Some(FileAnswer::Busy) | None => return Err(passing("the other node does not send it now")),
        }
        let expected = Expected {
            size: file.size,
            digest: file.digest,
            content_type: file.content_type.clone(),
            filename: file.filename.clone(),
        };
        let (store, tasks) = (&self.shared.store, &self.shared.tasks);
        let failed = |error: IntakeError| intake_failed(at, &error);
        let mut intake = Intake::begin(store, tasks, expected).await.map_err(failed)?;
        loop {
            let chunk = tokio::time::timeout(STALL, stream.read_chunk(CHUNK, true)).await;
            match chunk {
                Ok(Ok(Some(chunk))) => intake = intake.push(chunk.bytes).await.map_err(failed)?,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(passing(&error.to_string())),
                Err(_) => return Err(passing("nothing came any more")),
            }
        }
        let received = intake.finish().await.map_err(failed)?;
        let rejected = if let Stage::Rejected(why) = &received.stage { Some(why.clone()) } else { None };
        let stage = if rejected.is_some() { received.stage } else { Stage::Confirmed };
        let key = (file.id.clone(), Holder::Node(self.peer));
        let now = self.shared.clock.now();
        let stored = store.store_upload(key, received.part, (stage, received.oddity), now);
        match (stored.await.map_err(store_failed)?, rejected) {
            (_, Some(why)) => Err(refused("attachment_rejected", at, "id", &why)),
            (Some(_), None) => Ok(()),
            (None, None) => Err(passing("its time was over")),
        }
    }

    async fn ask(&self, request: &FileRequest) -> Option<quinn::RecvStream> {
        let asking = async {
            let (mut send, receive) = self.connection.open_bi().await.ok()?;
            send.write_all(&encode(request)?).await.ok()?;
            send.finish().ok()?;
            Some(receive)
        };
        tokio::time::timeout(STALL, asking).await.ok().flatten()
    }
}

async fn answer(stream: &mut quinn::RecvStream) -> Option<FileAnswer> {
    let reading = async {
        let mut length = [0; 2];
        stream.read_exact(&mut length).await.ok()?;
        let length = usize::from(u16::from_be_bytes(length));
        let mut body = vec![0; length.min(LONGEST)];
        stream.read_exact(&mut body).await.ok()?;
        decode(&body)
    };
    tokio::time::timeout(STALL, reading).await.ok().flatten()
}

fn intake_failed(at: usize, error: &IntakeError) -> Refusal {
    match error {
        IntakeError::TooLong(_) | IntakeError::TooShort { .. } | IntakeError::Digest { .. } => {
            refused("attachment_damaged", at, "digest", &error.to_string())
        }
        IntakeError::Store(StoreError::DiskFull) => Refusal::Full(Full::Disk),
        IntakeError::Store(error) => store_failed(error),
    }
}

fn refused(code: &'static str, at: usize, member: &str, why: &str) -> Refusal {
    Refusal::Attachment { code, field: format!("payload.attachments[{at}].{member}"), why: why.to_owned() }
}

fn passing(why: &str) -> Refusal {
    tracing::debug!(why, "a file did not come; it is asked for again with its message");
    Refusal::Store(format!("a file did not come: {why}"))
}

fn store_failed(error: impl std::fmt::Display) -> Refusal {
    Refusal::Store(error.to_string())
}

/// Without progress for so long, a file is given up for this time.
const STALL: Duration = Duration::from_secs(30);
/// One file of 25 MiB over the slowest link that is of any use.
const LONGEST_PULL: Duration = Duration::from_secs(600);
const CHUNK: usize = 256 * 1024;
