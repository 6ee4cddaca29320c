//! Files that go with messages, from the agent's side (ICL-33…37): uploaded before the message that names them, and
//! fetched with their digest checked before they get their name. Called by `send`, `reply` and `download`.

use super::disk::{self, DiskError};
use super::http::{Api, ApiError};
use amesh_proto::api::attachments::{AttachmentStatus, UploadRequest, UploadTicket};
use amesh_proto::attachment::{Attachment, FileDigest, safe_name};
use amesh_proto::limits::{ATTACHMENT_BYTES, ATTACHMENTS, ATTACHMENTS_BYTES};
use reqwest::Body;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a file was not sent or fetched.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written here.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The provider said no, or nothing.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It is over a limit.
    #[error("{0}")]
    TooMuch(String),
    /// The provider found that it is not to be sent.
    #[error("{name} was rejected: {why}")]
    Rejected {
        /// The file.
        name: String,
        /// What was found.
        why: String,
    },
    /// The provider has not finished looking at it.
    #[error("{0} is still being checked by the provider; try again later")]
    Unchecked(String),
    /// What came is not what the message names.
    #[error("{name} is damaged: {why}; nothing was kept")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// A file to upload, looked at once.
#[derive(Debug)]
pub struct Outgoing {
    path: PathBuf,
    request: UploadRequest,
}

impl Outgoing {
    /// Looks at the files of one message: they must be there and within the limits.
    ///
    /// # Errors
    /// [`FileError`], naming the file.
    pub fn look(paths: &[PathBuf]) -> Result<Vec<Self>, FileError> {
        if paths.len() > ATTACHMENTS {
            return Err(FileError::TooMuch(format!(
                "{} files are too many for one message; {ATTACHMENTS} are allowed",
                paths.len()
            )));
        }
        let files = paths.iter().map(|path| Self::of(path)).collect::<Result<Vec<_>, _>>()?;
        let total: u64 = files.iter().map(|file| file.request.size).sum();
        if total > ATTACHMENTS_BYTES {
            return Err(FileError::TooMuch(format!(
                "the files have {total} bytes together; {ATTACHMENTS_BYTES} are allowed"
            )));
        }
        Ok(files)
    }

    fn of(path: &Path) -> Result<Self, FileError> {
        let unreadable = |error| DiskError::new("read", path, error);
        let mut file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        if size > ATTACHMENT_BYTES {
            let why = format!("{} has {size} bytes; {ATTACHMENT_BYTES} are allowed", path.display());
            return Err(FileError::TooMuch(why));
        }
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece).map_err(unreadable)? {
                0 => break,
                count => hash.update(&piece[..count]),
            }
        }
        let filename = safe_name(&path.file_name().unwrap_or_default().to_string_lossy());
        let content_type = type_of(&filename).to_owned();
        let digest = FileDigest(hash.finalize().into()).to_string();
        Ok(Self { path: path.to_owned(), request: UploadRequest { filename, content_type, size, digest } })
    }

    /// Uploads the file; gives what the message says of it.
    ///
    /// # Errors
    /// [`FileError`].
    pub async fn upload(&self, api: &Api) -> Result<Value, FileError> {
        let ticket = api.request_upload(&self.request).await?;
        api.put_file(&ticket.upload_url, &self.path, &self.request).await?;
        api.confirm_upload(&ticket.attachment_id).await?;
        let name = || self.request.filename.clone();
        let mut pause = FIRST_PAUSE;
        for _ in 0..LOOKS {
            let status = api.upload_status(&ticket.attachment_id).await?;
            match status.scan_status.as_str() {
                "pending" => tokio::time::sleep(pause).await,
                "rejected" => {
                    let why = status.scan_detail.unwrap_or_else(|| "it is not to be sent".to_owned());
                    return Err(FileError::Rejected { name: name(), why });
                }
                _ => return Ok(named(&status)),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(FileError::Unchecked(name()))
    }
}

/// An entry of `payload.attachments`, its members in code-point order.
fn named(status: &AttachmentStatus) -> Value {
    json!({
        "content_type": status.content_type,
        "digest": status.digest,
        "expires_at": status.expires_at,
        "filename": status.filename,
        "id": status.id,
        "scan_status": status.scan_status,
        "size": status.size,
        "uploaded_at": status.uploaded_at,
        "url": status.url,
    })
}

/// Fetches a file into `dir`, under its own name or one beside it that is free. It gets the name only once it is whole,
/// synced, and what the message says it is.
///
/// # Errors
/// [`FileError`]; nothing is left then.
pub async fn fetch(api: &Api, file: &Attachment, dir: &Path) -> Result<PathBuf, FileError> {
    disk::make_dir(dir)?;
    let (unfinished, mut out) = Unfinished::create(dir, file.id.as_str())?;
    let damaged = |why: String| FileError::Damaged { name: file.filename.clone(), why };
    let mut answer = api.open_file(file).await?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    while let Some(chunk) = api.chunk_of(&mut answer).await? {
        size += chunk.len() as u64;
        if size > file.size {
            return Err(damaged(format!("more than its {} bytes came", file.size)));
        }
        hash.update(&chunk);
        out.write_all(&chunk).map_err(|error| unfinished.failed(error))?;
    }
    let digest = FileDigest(hash.finalize().into());
    if (size, digest) != (file.size, file.digest) {
        return Err(damaged(format!(
            "{size} bytes with {digest} came, {} with {} are meant",
            file.size, file.digest
        )));
    }
    out.sync_all().map_err(|error| unfinished.failed(error))?;
    let path = unfinished.publish(dir, &safe_name(&file.filename))?;
    disk::sync(dir)?;
    Ok(path)
}

/// A file without its name; removed whatever happens.
struct Unfinished(PathBuf);

impl Unfinished {
    /// One that nobody else writes: neither another download of the same file, nor through a link that somebody laid in
    /// a directory that others may write to.
    fn create(dir: &Path, id: &str) -> Result<(Self, File), DiskError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(disk::PRIVATE);
        let mut attempt = 0;
        loop {
            let path = dir.join(format!(".{id}.{}-{attempt}.unfinished", std::process::id()));
            match options.open(&path) {
                Ok(file) => return Ok((Self(path), file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < NAMES => attempt += 1,
                Err(error) => return Err(DiskError::new("write", &path, error)),
            }
        }
    }

    fn failed(&self, error: io::Error) -> DiskError {
        DiskError::new("write", &self.0, error)
    }

    /// Never replaces what is there.
    fn publish(&self, dir: &Path, name: &str) -> Result<PathBuf, DiskError> {
        let (stem, end) = match name.rsplit_once('.') {
            Some((stem, end)) if !stem.is_empty() => (stem, format!(".{end}")),
            _ => (name, String::new()),
        };
        for number in 0..NAMES {
            let name = if number == 0 { name.to_owned() } else { format!("{stem}_{number}{end}") };
            let path = dir.join(name);
            match self.name(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(DiskError::new("write", &path, error)),
            }
        }
        let taken = io::Error::new(io::ErrorKind::AlreadyExists, "too many files of this name");
        Err(DiskError::new("write", &dir.join(name), taken))
    }

    /// By a hard link, which fails where something is; on a disk without them (a USB stick) the name is taken first.
    fn name(&self, path: &Path) -> io::Result<()> {
        match fs::hard_link(&self.0, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => self.take_over(path),
            linked => linked,
        }
    }

    fn take_over(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(disk::PRIVATE).open(path)?;
        fs::rename(&self.0, path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Its content lives on under its name, or is of no use to anybody.
        fs::remove_file(&self.0).unwrap_or_default();
    }
}

impl Api {
    async fn request_upload(&self, request: &UploadRequest) -> Result<UploadTicket, ApiError> {
        let url = format!("{}/attachments/upload", self.base());
        self.answer(self.http.post(&url).json(request), url).await
    }

    /// Without the API key: the URL has its own proof, and may lead to a storage service.
    async fn put_file(&self, url: &str, path: &Path, request: &UploadRequest) -> Result<(), FileError> {
        let file = tokio::fs::File::open(path).await.map_err(|error| DiskError::new("read", path, error))?;
        let kind =
            if request.content_type.is_empty() { "application/octet-stream" } else { &request.content_type };
        let sending = self.http.put(url).timeout(TRANSFER).header("content-type", kind);
        let sending = sending.header("content-length", request.size).body(Body::from(file));
        let unreachable = |source: reqwest::Error| ApiError::Unreachable {
            url: self.base().to_owned(),
            source: source.without_url(),
        };
        let answer = sending.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(());
        }
        Err(ApiError::refused_in(answer).await.into())
    }

    async fn confirm_upload(&self, id: &str) -> Result<(), ApiError> {
        let url = format!("{}/attachments/{id}/confirm", self.base());
        let _: Value = self.answer(self.http.post(&url), url).await?;
        Ok(())
    }

    async fn upload_status(&self, id: &str) -> Result<AttachmentStatus, ApiError> {
        let url = format!("{}/attachments/{id}", self.base());
        self.answer(self.http.get(&url), url).await
    }

    /// By the API key; a URL in a message may lead anywhere, and is only followed where it leads to a TLS server.
    async fn open_file(&self, file: &Attachment) -> Result<reqwest::Response, ApiError> {
        let url = format!("{}/attachments/{}/download", self.base(), file.id);
        let first = self.open(&url, true).await;
        match (&first, file.url.as_deref().filter(|url| url.starts_with("https://"))) {
            (Err(ApiError::Refused { status: 404, .. }), Some(url)) => self.open(url, false).await,
            _ => first,
        }
    }

    async fn open(&self, url: &str, with_key: bool) -> Result<reqwest::Response, ApiError> {
        let asking = self.http.get(url).timeout(TRANSFER);
        let asking = match &self.key {
            Some(key) if with_key => asking.bearer_auth(key),
            _ => asking,
        };
        let unreachable = |source: reqwest::Error| ApiError::Unreachable {
            url: self.base().to_owned(),
            source: source.without_url(),
        };
        let answer = asking.send().await.map_err(unreachable)?;
        match answer.status().as_u16() {
            200 => Ok(answer),
            _ => Err(ApiError::refused_in(answer).await),
        }
    }

    async fn chunk_of(&self, answer: &mut reqwest::Response) -> Result<Option<bytes::Bytes>, ApiError> {
        let broken = |source: reqwest::Error| ApiError::Unreachable {
            url: self.base().to_owned(),
            source: source.without_url(),
        };
        answer.chunk().await.map_err(broken)
    }
}

/// The type of a file by its name; the node compares it with what is in it.
fn type_of(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
    TYPES.iter().find(|(known, _)| *known == end).map_or("application/octet-stream", |(_, kind)| kind)
}

const TYPES: [(&str, &str); 24] = [
    ("txt", "text/plain"),
    ("log", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("tar", "application/x-tar"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("svg", "image/svg+xml"),
    ("webp", "image/webp"),
    ("mp4", "video/mp4"),
    ("wav", "audio/wav"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
];

const PIECE: usize = 256 * 1024;
/// Longest time for one file.
const TRANSFER: Duration = Duration::from_secs(600);
/// Other providers scan for a while (ICL-35).
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const LOOKS: usize = 12;
/// Files of one name in one directory.
const NAMES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_over_a_limit_are_not_even_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a.txt"), "hello").unwrap();
        File::create(path("large")).unwrap().set_len(ATTACHMENT_BYTES + 1).unwrap();
        let of = |paths: &[PathBuf]| Outgoing::look(paths).map_err(|error| error.to_string());
        assert!(of(&vec![path("a.txt"); 11]).unwrap_err().contains("11 files"));
        assert!(of(&[path("large")]).unwrap_err().contains("large"));
        assert!(of(&[path("none")]).unwrap_err().contains("none"));
        let files = of(&[path("a.txt")]).unwrap();
        assert_eq!(files[0].request.content_type, "text/plain");
        let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!((files[0].request.size, files[0].request.digest.as_str()), (5, digest));
    }

    #[test]
    fn a_name_that_is_taken_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.txt"), "mine").unwrap();
        for expected in ["a_1.txt", "a_2.txt"] {
            let (unfinished, mut out) = Unfinished::create(dir.path(), "x").unwrap();
            out.write_all(b"theirs").unwrap();
            assert_eq!(unfinished.publish(dir.path(), "a.txt").unwrap(), dir.path().join(expected));
        }
        assert_eq!(fs::read(dir.path().join("a.txt")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing unfinished is left");
        // As on a disk without hard links.
        let (unfinished, mut out) = Unfinished::create(dir.path(), "x").unwrap();
        out.write_all(b"theirs").unwrap();
        assert!(unfinished.take_over(&dir.path().join("a.txt")).is_err());
        unfinished.take_over(&dir.path().join("b.txt")).unwrap();
        drop(unfinished);
        assert_eq!(fs::read(dir.path().join("a.txt")).unwrap(), b"mine");
        assert_eq!(fs::read(dir.path().join("b.txt")).unwrap(), b"theirs");
    }

    #[test]
    fn a_download_shares_its_unfinished_file_with_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let aim = dir.path().join("aim");
        fs::write(&aim, "mine").unwrap();
        let laid = dir.path().join(format!(".x.{}-0.unfinished", std::process::id()));
        std::os::unix::fs::symlink(&aim, laid).unwrap();
        let (one, mut first) = Unfinished::create(dir.path(), "x").unwrap();
        first.write_all(b"first").unwrap();
        let (_two, mut second) = Unfinished::create(dir.path(), "x").unwrap();
        second.write_all(b"sec").unwrap();
        let path = one.publish(dir.path(), "a.txt").unwrap();
        assert_eq!((fs::read(path).unwrap(), fs::read(aim).unwrap()), (b"first".to_vec(), b"mine".to_vec()));
    }
}
