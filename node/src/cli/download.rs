//! `amesh download`: the files that go with a message, checked against it before they get their names (CLI-9, ICL-36);
//! and uploading them, for `send` and `reply`.

use super::args::DownloadArgs;
use super::context::Context;
use super::output::Trouble;
use super::session::Session;
use super::table::shown;
use crate::client::attachments::{FileError, Outgoing, fetch};
use crate::client::mailbox::{Folder, Mailbox, Stored};
use crate::client::registration::Registration;
use amesh_proto::attachment::{Attachment, ScanStatus, list_in};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

/// What is printed.
#[derive(Serialize)]
pub(super) struct Report {
    id: String,
    directory: PathBuf,
    files: Vec<Saved>,
}

#[derive(Serialize)]
struct Saved {
    id: String,
    filename: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) async fn download(ctx: &Context, args: &DownloadArgs) -> anyhow::Result<()> {
    let report = bring(ctx, args).await?;
    ctx.out.show(&report, || report.text())?;
    report.judge()
}

/// Fetches files; what could not be fetched is said in the report.
pub(super) async fn bring(ctx: &Context, args: &DownloadArgs) -> anyhow::Result<Report> {
    let session = Session::open(ctx).await?;
    let home = session.identity.home.clone();
    let folder = if args.sent { Folder::Sent } else { Folder::Inbox };
    let Some(stored) = Mailbox::of(&home).find(folder, &args.id).map_err(Trouble::from)? else {
        return Err(ctx.not_here(&args.id).into());
    };
    let wanted = wanted(&stored, args)?;
    let session = through(ctx, session, &stored)?;
    let directory = args.dest.clone().unwrap_or_else(|| home.dir().join("attachments").join(&args.id));
    let mut files = Vec::new();
    for file in wanted {
        let saved = match odd(&file, args.suspicious) {
            Some(problem) => Err(problem),
            None => fetch(&session.api, &file, &directory).await.map_err(|error| error.to_string()),
        };
        files.push(Saved {
            id: file.id.to_string(),
            filename: file.filename,
            path: saved.as_ref().ok().cloned(),
            problem: saved.err(),
        });
    }
    Ok(Report { id: args.id.clone(), directory, files })
}

/// The files of the message that were asked for.
fn wanted(stored: &Stored, args: &DownloadArgs) -> Result<Vec<Attachment>, Trouble> {
    let payload = stored.file.get("payload").map_or("{}", |raw| raw.get());
    let mut files = list_in(payload.as_bytes()).map_err(|bad| {
        Trouble::new("bad_attachment", "what the message says of its files cannot be used")
            .because(format!("{}: {}", bad.field, bad.why))
    })?;
    if let Some(id) = &args.attachment {
        files.retain(|file| file.id.as_str() == id);
    }
    if files.is_empty() {
        let what = match &args.attachment {
            Some(id) => format!("the message {} names no file {id}", args.id),
            None => format!("no files go with the message {}", args.id),
        };
        return Err(Trouble::new("no_attachments", what));
    }
    Ok(files)
}

/// Where the message came from: the provider that `fetch` noted, else the agent's own node.
fn through(ctx: &Context, session: Session, stored: &Stored) -> Result<Session, Trouble> {
    let provider = stored.local.text("fetched_from");
    let Some(provider) = provider.filter(|provider| *provider != session.registration.provider) else {
        return Ok(session);
    };
    let all = Registration::all(&session.identity.home)?;
    match all.into_iter().find(|one| one.provider == provider) {
        Some(other) => Session::with(session.identity, other, ctx.node().ok().as_ref()),
        None => Ok(session),
    }
}

/// Why a file is not fetched without more ado.
fn odd(file: &Attachment, accepted: bool) -> Option<String> {
    match file.scan_status {
        Some(ScanStatus::Rejected) => Some("it was rejected when it was checked".to_owned()),
        Some(ScanStatus::Suspicious) if !accepted => {
            Some("it is not what it claims to be; `--suspicious` fetches it all the same".to_owned())
        }
        _ => None,
    }
}

/// Uploads the files of a message; gives what the message says of them.
pub(super) async fn upload(
    ctx: &Context,
    session: &mut Session,
    paths: &[PathBuf],
) -> Result<Vec<Value>, Trouble> {
    let mut named = Vec::with_capacity(paths.len());
    for file in Outgoing::look(paths)? {
        let entry = match file.upload(&session.api).await {
            Err(FileError::Api(error)) if session.renew(ctx, &error).await? => {
                file.upload(&session.api).await?
            }
            other => other?,
        };
        if entry["scan_status"] == "suspicious" {
            let name = entry["filename"].as_str().unwrap_or_default();
            ctx.out.note(&format!("{} is not what it claims to be; its recipient is warned", shown(name)));
        }
        named.push(entry);
    }
    Ok(named)
}

impl Report {
    /// Whether every file was fetched.
    pub(super) fn judge(&self) -> anyhow::Result<()> {
        match self.files.iter().filter(|file| file.problem.is_some()).count() {
            0 => Ok(()),
            failed => {
                let what = format!("{failed} of {} files were not fetched", self.files.len());
                Err(Trouble::new("not_fetched", what).into())
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let line = |file: &Saved| match (&file.path, &file.problem) {
            (Some(path), _) => path.display().to_string(),
            (None, problem) => {
                let why = problem.as_deref().unwrap_or_default();
                format!("{} {}: {}", file.id, shown(&file.filename), shown(why))
            }
        };
        self.files.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
