//! The trees `uploads` and `shares`: files that were brought to this node, by an agent here or by the node whose mail
//! names them, and who may have them since a message named them. An upload that no message names goes after two hours; a
//! share stays as long as its message may live, and a week at least (ICL-37). Used by `accept` and through `Store`.

use crate::codec::{self, Value};
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::expire::Kind;
use crate::files::{self, FilePart};
use crate::group::Group;
use crate::mail::{AttachmentFault, Holder, Seq};
use crate::trees::Tree;
use crate::walk;
use amesh_proto::attachment::{Attachment, AttachmentId, FileDigest};
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far an upload is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Its bytes have not come.
    Requested,
    /// They are on disk; its owner has not said that this is all.
    Stored,
    /// A message may name it.
    Confirmed,
    /// It is not taken, for this reason; its bytes are gone.
    Rejected(String),
}

/// A file that was, or is to be, brought to this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its id.
    pub id: AttachmentId,
    /// Who brings it.
    pub holder: Holder,
    /// A safe name.
    pub filename: String,
    /// As declared.
    pub content_type: String,
    /// As declared, and checked when the bytes came.
    pub size: u64,
    /// As declared, and checked when the bytes came.
    pub digest: FileDigest,
    /// Hash of the token that opens the door for the bytes.
    pub upload_token: [u8; 32],
    /// The token in the URL where it can be had.
    pub download_token: String,
    /// How far it is.
    pub stage: Stage,
    /// Why a human should look first, where something is odd.
    pub oddity: Option<String>,
    /// When its bytes came, or else when it was asked for.
    pub changed_at: UnixMillis,
    /// Until when it is kept.
    pub ends_at: UnixMillis,
}

impl Value for Upload {
    const TREE: Tree = Tree::Uploads;
}

/// A file that a message names, and one of those who may have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which file.
    pub digest: FileDigest,
    /// Bytes.
    pub size: u64,
    /// A safe name.
    pub filename: String,
    /// As declared.
    pub content_type: String,
    /// The token in the URL of the message, if that has one.
    pub token: Option<String>,
    /// Until when it is kept.
    pub ends_at: UnixMillis,
}

impl Value for Share {
    const TREE: Tree = Tree::Shares;
}

/// What became of a request to upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The bytes may come.
    Requested,
    /// Files of this holder take as much as they may.
    HolderFull,
    /// Files of all take as much as they may.
    Full,
    /// The disk is nearly full.
    DiskFull,
}

/// Begins an upload, if there is room. One of the same id and holder, whose file never came or was lost, is given up for
/// it: a pull begins again after every cut.
pub(crate) fn request(group: &mut Group<'_>, upload: &Upload) -> Result<UploadOutcome, StoreError> {
    if !group.room {
        return Ok(UploadOutcome::DiskFull);
    }
    forget(group, upload_key(&upload.id, &upload.holder))?;
    let tally = group.tally();
    let (count, bytes) = tally.uploads_of(&upload.holder);
    let per_agent = u64::from(group.config.attachments_per_agent_mib) << 20;
    let is_agent = matches!(upload.holder, Holder::Agent(_));
    if count >= UPLOADS_PER_HOLDER || (is_agent && bytes + upload.size > per_agent) {
        return Ok(UploadOutcome::HolderFull);
    }
    if tally.file_bytes() + upload.size > u64::from(group.config.attachments_mib) << 20 {
        return Ok(UploadOutcome::Full);
    }
    drop(tally);
    put_upload(group, upload)?;
    due(group, upload);
    group.tally_mut().add_upload(&upload.holder, upload.size);
    Ok(UploadOutcome::Requested)
}

/// The bytes came, and are what was declared: the file gets its name. None where the upload is not there or is past
/// this.
pub(crate) fn store(
    group: &mut Group<'_>,
    id: &AttachmentId,
    holder: &Holder,
    part: FilePart,
    (stage, oddity): (Stage, Option<String>),
    now: UnixMillis,
) -> Result<Option<Upload>, StoreError> {
    let Some(upload) = upload(&group.txn, id, holder)?.filter(|upload| upload.stage == Stage::Requested)
    else {
        return Ok(None);
    };
    let (digest, size) = (part.digest(), part.size());
    if (digest, size) != (upload.digest, upload.size) {
        return Ok(None);
    }
    let rejected = matches!(stage, Stage::Rejected(_));
    let upload = Upload { stage, oddity, changed_at: now, ..upload };
    put_upload(group, &upload)?;
    if !rejected {
        group.files.adopt(part)?;
        name_file(group, &digest, size)?;
    }
    Ok(Some(upload))
}

/// Its owner says that the bytes are all there. Gives the upload as it stands then.
pub(crate) fn confirm(
    group: &mut Group<'_>,
    id: &AttachmentId,
    holder: &Holder,
) -> Result<Option<Upload>, StoreError> {
    let Some(mut upload) = upload(&group.txn, id, holder)? else { return Ok(None) };
    if upload.stage == Stage::Stored {
        upload.stage = Stage::Confirmed;
        put_upload(group, &upload)?;
    }
    Ok(Some(upload))
}

/// Whether `holder` may send a message with these files; if not, which one is at fault and why.
pub(crate) fn check(
    group: &Group<'_>,
    holder: &Holder,
    named: &[Attachment],
) -> Result<Option<(usize, AttachmentFault)>, StoreError> {
    for (at, file) in named.iter().enumerate() {
        let fault = match upload(&group.txn, &file.id, holder)? {
            None => Some(AttachmentFault::Unknown),
            Some(upload) => fault_of(&upload, file),
        };
        let lost = || (!group.files.has(&file.digest)).then_some(AttachmentFault::Unknown);
        if let Some(fault) = fault.or_else(lost) {
            return Ok(Some((at, fault)));
        }
    }
    Ok(None)
}

fn fault_of(upload: &Upload, file: &Attachment) -> Option<AttachmentFault> {
    let differs = [
        ("digest", upload.digest == file.digest),
        ("size", upload.size == file.size),
        ("filename", upload.filename == file.filename),
        ("content_type", file.content_type.is_empty() || upload.content_type == file.content_type),
    ];
    match &upload.stage {
        Stage::Rejected(why) => Some(AttachmentFault::Rejected(why.clone())),
        Stage::Requested | Stage::Stored => Some(AttachmentFault::Pending),
        Stage::Confirmed => {
            differs.into_iter().find(|(_, same)| !same).map(|(member, _)| AttachmentFault::Differs(member))
        }
    }
}

/// A message that names these files is being committed: `recipient` may have them while it may live.
pub(crate) fn share(
    group: &mut Group<'_>,
    (sender, recipient): (&Holder, &Holder),
    seq: Seq,
    named: &[Attachment],
    (expires_at, now): (UnixMillis, UnixMillis),
) -> Result<(), StoreError> {
    let ends_at = expires_at.max(now.plus(SHORTEST_SHARE));
    for file in named {
        let share = Share {
            digest: file.digest,
            size: file.size,
            filename: file.filename.clone(),
            content_type: file.content_type.clone(),
            token: file.token().map(str::to_owned),
            ends_at,
        };
        let key = share_key(&file.id, recipient, seq);
        group.txn.put(Tree::Shares, key.clone(), codec::encode(&share)?);
        group.due.add(ends_at, Kind::Share, key);
        name_file(group, &file.digest, file.size)?;
        // What its sender sees of it must not end before the message does.
        if let (Holder::Agent(_), Some(upload)) = (sender, upload(&group.txn, &file.id, sender)?)
            && upload.ends_at < ends_at
        {
            put_upload(group, &Upload { ends_at, ..upload })?;
        }
    }
    Ok(())
}

/// An upload's time is over, or was put off.
pub(crate) fn expire_upload(group: &mut Group<'_>, key: Vec<u8>, now: UnixMillis) -> Result<(), StoreError> {
    let Some(bytes) = group.txn.get(Tree::Uploads, &key)? else { return Ok(()) };
    let upload: Upload = codec::decode(&bytes)?;
    if upload.ends_at > now {
        due(group, &upload);
        return Ok(());
    }
    forget(group, key)
}

fn forget(group: &mut Group<'_>, key: Vec<u8>) -> Result<(), StoreError> {
    let Some(bytes) = group.txn.get(Tree::Uploads, &key)? else { return Ok(()) };
    let upload: Upload = codec::decode(&bytes)?;
    group.txn.remove(Tree::Uploads, key);
    if matches!(upload.stage, Stage::Stored | Stage::Confirmed) {
        unname_file(group, &upload.digest)?;
    }
    group.tally_mut().remove_upload(&upload.holder, upload.size);
    Ok(())
}

/// A share's time is over.
pub(crate) fn expire_share(group: &mut Group<'_>, key: Vec<u8>) -> Result<(), StoreError> {
    let Some(bytes) = group.txn.get(Tree::Shares, &key)? else { return Ok(()) };
    let share: Share = codec::decode(&bytes)?;
    group.txn.remove(Tree::Shares, key);
    unname_file(group, &share.digest)
}

/// One upload.
pub(crate) fn upload(
    read: &dyn Read,
    id: &AttachmentId,
    holder: &Holder,
) -> Result<Option<Upload>, StoreError> {
    read.get(Tree::Uploads, &upload_key(id, holder))?.map(|bytes| codec::decode(&bytes)).transpose()
}

/// Every upload under an id: one, unless others made the same id up.
pub(crate) fn uploads(read: &dyn Read, id: &AttachmentId) -> Result<Vec<Upload>, StoreError> {
    all_under(read, Tree::Uploads, &id_part(id))
}

/// Every share of an id.
pub(crate) fn shares(read: &dyn Read, id: &AttachmentId) -> Result<Vec<Share>, StoreError> {
    all_under(read, Tree::Shares, &id_part(id))
}

/// What a holder may have under an id.
pub(crate) fn shares_with(
    read: &dyn Read,
    id: &AttachmentId,
    holder: &Holder,
) -> Result<Vec<Share>, StoreError> {
    all_under(read, Tree::Shares, &upload_key(id, holder))
}

/// Calls for every upload; at open.
pub(crate) fn each_upload(read: &dyn Read, visit: &mut dyn FnMut(&Upload)) -> Result<(), StoreError> {
    walk::each(read, Tree::Uploads, &Range::ALL, |_, value| {
        visit(&codec::decode(value)?);
        Ok(())
    })
}

fn all_under<T: Value>(read: &dyn Read, tree: Tree, prefix: &[u8]) -> Result<Vec<T>, StoreError> {
    walk::all(read, tree, &Range::prefix(prefix), |_, value| codec::decode(value))
}

fn name_file(group: &mut Group<'_>, digest: &FileDigest, size: u64) -> Result<(), StoreError> {
    if files::add_use(&mut group.txn, digest, size)? {
        group.tally_mut().add_file(size);
    }
    Ok(())
}

fn unname_file(group: &mut Group<'_>, digest: &FileDigest) -> Result<(), StoreError> {
    if let Some(size) = files::release(&mut group.txn, digest)? {
        group.tally_mut().remove_file(size);
        group.released.push(*digest);
    }
    Ok(())
}

fn put_upload(group: &mut Group<'_>, upload: &Upload) -> Result<(), StoreError> {
    let key = upload_key(&upload.id, &upload.holder);
    group.txn.put(Tree::Uploads, key, codec::encode(upload)?);
    Ok(())
}

fn due(group: &mut Group<'_>, upload: &Upload) {
    group.due.add(upload.ends_at, Kind::Upload, upload_key(&upload.id, &upload.holder));
}

/// No id holds a zero byte, so no id's part is the beginning of another's.
fn id_part(id: &AttachmentId) -> Vec<u8> {
    [id.as_str().as_bytes(), &[0]].concat()
}

fn upload_key(id: &AttachmentId, holder: &Holder) -> Vec<u8> {
    let mut key = id_part(id);
    match holder {
        Holder::Agent(agent) => key.extend([&b"a"[..], &agent.0.to_be_bytes()].concat()),
        Holder::Node(node) => key.extend([b"n", node.as_bytes().as_slice()].concat()),
        Holder::Provider(domain) => key.extend([b"p", domain.as_bytes(), b"\0"].concat()),
        Holder::HttpHost(name) => key.extend([b"h", name.as_bytes(), b"\0"].concat()),
    }
    key
}

fn share_key(id: &AttachmentId, holder: &Holder, seq: Seq) -> Vec<u8> {
    [upload_key(id, holder).as_slice(), &seq.0.to_be_bytes()].concat()
}

/// How long an upload is kept that no message names.
pub const UPLOAD_LIFE: Duration = Duration::from_secs(2 * 3600);

/// How long the URL in a message is good at least (ICL-37).
const SHORTEST_SHARE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Uploads that one holder may have at a time, so that empty ones are bounded too.
const UPLOADS_PER_HOLDER: u32 = 10_000;
