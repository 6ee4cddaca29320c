//! `amesh db`: backup and verify, of a running node through its owner's door and of a stopped one directly; restore and
//! reset of a stopped one (DESIGN §5). Nothing is ever deleted.

use super::args::{DbAction, DbArgs};
use super::context::Context;
use super::output::Trouble;
use crate::client::control::Control;
use crate::client::disk;
use amesh_proto::api::control::{BackupDone, VerifyReport};
use amesh_store::{BackupReport, Config as StoreConfig, MaintainError, OpenError, Store, StoreError};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Restored {
    restored_from: PathBuf,
    records: u64,
    files: u64,
    missing_files: u64,
    set_aside: Option<PathBuf>,
}

#[derive(Serialize)]
struct Reset {
    reset: bool,
    set_aside: PathBuf,
}

/// Where the node keeps its store.
pub(super) fn store_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("store")
}

pub(super) async fn db(ctx: &Context, args: &DbArgs) -> anyhow::Result<()> {
    match &args.action {
        DbAction::Backup { dest } => backup(ctx, dest.as_deref()).await,
        DbAction::Verify => verify(ctx).await,
        DbAction::Restore { from, force } => restore(ctx, from.as_deref(), *force),
        DbAction::Reset { force } => reset(ctx, *force),
    }
}

async fn backup(ctx: &Context, dest: Option<&Path>) -> anyhow::Result<()> {
    let data_dir = ctx.data_dir()?;
    let dest = dest.map(std::path::absolute).transpose()?;
    let done = if ctx.node().is_ok() {
        let waiting = spinner(ctx, "copying the store");
        let done = Control::of(&data_dir).backup(dest.as_deref()).await.map_err(Trouble::from);
        waiting.finish_and_clear();
        done?
    } else {
        let backups = data_dir.join("backups");
        let path = match dest {
            Some(path) => path,
            None => {
                disk::make_dir(&backups).map_err(Trouble::from)?;
                backups.join(amesh_store::backup_name(ctx.now()))
            }
        };
        let store = open(ctx, &data_dir)?;
        let written = store.backup(&path).await.map_err(|error| store_trouble(ctx, &error));
        store.close().await.map_err(|error| store_trouble(ctx, &error))?;
        let BackupReport { bytes, files, missing_files, .. } = written?;
        BackupDone { path: path.display().to_string(), bytes, files, missing_files }
    };
    ctx.out.show(&done, || {
        let beside = match done.files {
            0 => String::new(),
            count => format!("\n{0}.files ({count} attached files)", done.path),
        };
        format!("{} ({} bytes){beside}{}", done.path, done.bytes, lost(done.missing_files))
    })
}

async fn verify(ctx: &Context) -> anyhow::Result<()> {
    let data_dir = ctx.data_dir()?;
    let waiting = spinner(ctx, "reading the store");
    let report = if ctx.node().is_ok() {
        Control::of(&data_dir).verify().await.map_err(Trouble::from)
    } else {
        verify_stopped(ctx, &data_dir, &waiting).await
    };
    waiting.finish_and_clear();
    let report = report?;
    ctx.out.show(&report, || {
        let verdict = if report.ok { "whole" } else { "DAMAGED" };
        let lines = std::iter::once(format!("{} entries read: {verdict}", report.checked));
        lines
            .chain(report.problems.iter().map(|problem| format!("  {problem}")))
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    if report.ok {
        return Ok(());
    }
    Err(Trouble::new("store_damaged", format!("the store has {} problem(s)", report.problems.len()))
        .mend(ctx.command("db restore"))
        .into())
}

async fn verify_stopped(
    ctx: &Context,
    data_dir: &Path,
    waiting: &ProgressBar,
) -> Result<VerifyReport, Trouble> {
    let store = open(ctx, data_dir)?;
    let read = store.verify(&mut |values| waiting.set_position(values));
    let read = read.map_err(|error| store_trouble(ctx, &error));
    store.close().await.map_err(|error| store_trouble(ctx, &error))?;
    let read = read?;
    Ok(VerifyReport { ok: read.is_whole(), problems: read.problems, checked: read.values })
}

fn restore(ctx: &Context, from: Option<&Path>, force: bool) -> anyhow::Result<()> {
    let data_dir = stopped(ctx, "db restore")?;
    let backup = match from {
        Some(path) => path.to_owned(),
        None => newest(ctx, &data_dir)?,
    };
    agree(ctx, force, &format!("Replace the store by {}?", backup.display()), "db restore --force")?;
    let bar = bar(ctx);
    let restored = amesh_store::restore(&store_dir(&data_dir), &backup, ctx.now(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let restored = restored.map_err(|error| maintain_trouble(ctx, &error))?;
    let restored = Restored {
        restored_from: backup,
        records: restored.held.pairs,
        files: restored.files,
        missing_files: restored.missing_files,
        set_aside: restored.set_aside,
    };
    ctx.out.show(&restored, || {
        let aside = restored.set_aside.as_ref();
        let aside =
            aside.map(|dir| format!("\nthe store before it is in {}", dir.display())).unwrap_or_default();
        let Restored { records, files, missing_files, restored_from, .. } = &restored;
        let from = restored_from.display();
        format!(
            "{records} records and {files} attached files restored from {from}{}{aside}",
            lost(*missing_files)
        )
    })
}

fn lost(files: u64) -> String {
    match files {
        0 => String::new(),
        count => format!(
            "\n{count} attached files are lost: their messages can be read, the files are answered with 404"
        ),
    }
}

fn reset(ctx: &Context, force: bool) -> anyhow::Result<()> {
    let data_dir = stopped(ctx, "db reset")?;
    agree(ctx, force, "Set the store with all its mail and agents aside?", "db reset --force")?;
    let set_aside = amesh_store::reset(&store_dir(&data_dir), ctx.now());
    let set_aside = set_aside.map_err(|error| maintain_trouble(ctx, &error))?;
    let reset = Reset { reset: true, set_aside };
    ctx.out.show(&reset, || {
        format!("the next start begins with an empty store; the old one is in {}", reset.set_aside.display())
    })
}

/// The data directory, if no node runs on it.
fn stopped(ctx: &Context, command: &str) -> Result<PathBuf, Trouble> {
    if let Ok(node) = ctx.node() {
        return Err(Trouble::new("node_running", "a node is running on this store")
            .because(format!("process {} has it open", node.pid))
            .mend(format!("{} && {}", ctx.command("down"), ctx.command(command))));
    }
    ctx.data_dir()
}

fn open(ctx: &Context, data_dir: &Path) -> Result<Store, Trouble> {
    let dir = store_dir(data_dir);
    amesh_store::finish_restore(&dir).map_err(|error| Trouble::new("store", error.to_string()))?;
    if !dir.exists() {
        return Err(Trouble::new("no_store", format!("there is no store in {}", dir.display()))
            .mend(ctx.command("up --detach")));
    }
    Store::open(&dir, StoreConfig::default()).map_err(|error| open_trouble(ctx, &error))
}

fn newest(ctx: &Context, data_dir: &Path) -> Result<PathBuf, Trouble> {
    let backups = data_dir.join("backups");
    let names = std::fs::read_dir(&backups).into_iter().flatten().flatten().map(|file| file.path());
    let newest = names.filter(|path| path.extension().is_some_and(|kind| kind == "backup")).max();
    newest.ok_or_else(|| {
        Trouble::new("no_backup", format!("there is no backup in {}", backups.display()))
            .mend(ctx.command("db reset (begins empty, deletes nothing)"))
    })
}

fn agree(ctx: &Context, force: bool, question: &str, command: &str) -> anyhow::Result<()> {
    if force || super::ask::agreed(ctx, question)? {
        return Ok(());
    }
    let trouble = Trouble::usage("nothing was done").because("this replaces the store, and nobody agreed");
    Err(trouble.mend(ctx.command(command)).into())
}

fn open_trouble(ctx: &Context, error: &OpenError) -> Trouble {
    match error {
        OpenError::InUse { .. } => Trouble::new("node_running", error.to_string()).mend(ctx.command("down")),
        OpenError::Damaged { .. } => {
            Trouble::new("store_damaged", error.to_string()).mend(ctx.command("db restore"))
        }
        _ => Trouble::new("store", error.to_string()),
    }
}

fn maintain_trouble(ctx: &Context, error: &MaintainError) -> Trouble {
    match error {
        MaintainError::InUse => Trouble::new("node_running", error.to_string()).mend(ctx.command("down")),
        MaintainError::NoStore(_) => Trouble::new("no_store", error.to_string()),
        MaintainError::BadBackup { .. } => Trouble::new("bad_backup", error.to_string())
            .because("nothing was changed")
            .mend(ctx.command("db restore OTHER-BACKUP")),
        MaintainError::Io(_) | MaintainError::Store(_) => Trouble::new("store", error.to_string()),
    }
}

fn store_trouble(ctx: &Context, error: &StoreError) -> Trouble {
    Trouble::new("store", error.to_string()).mend(ctx.command("doctor"))
}

/// For work whose length is not known.
fn spinner(ctx: &Context, what: &'static str) -> ProgressBar {
    if !shows_progress(ctx) {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(std::time::Duration::from_millis(120));
    spinner
}

/// For work whose length is known.
fn bar(ctx: &Context) -> ProgressBar {
    if !shows_progress(ctx) {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {eta}");
    let bar = ProgressBar::new(0);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

fn shows_progress(ctx: &Context) -> bool {
    !ctx.out.is_json() && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Global;

    fn ctx(dir: &Path) -> Context {
        Context::new(Global { data_dir: Some(dir.to_owned()), json: true, agent: None })
    }

    #[tokio::test]
    async fn a_stopped_store_is_backed_up_verified_reset_and_restored() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = ctx(dir.path());
        Store::open(&store_dir(dir.path()), StoreConfig::default()).unwrap().close().await.unwrap();
        backup(&ctx, None).await.unwrap();
        verify(&ctx).await.unwrap();
        reset(&ctx, true).unwrap();
        assert!(!store_dir(dir.path()).exists());
        restore(&ctx, None, true).unwrap();
        assert!(store_dir(dir.path()).exists());
        verify(&ctx).await.unwrap();
    }

    #[test]
    fn a_program_has_to_say_that_it_means_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(store_dir(dir.path())).unwrap();
        let error = reset(&ctx(dir.path()), false).unwrap_err();
        let trouble = error.downcast_ref::<Trouble>().unwrap();
        assert!(trouble.usage);
        assert!(store_dir(dir.path()).exists());
    }

    #[tokio::test]
    async fn no_store_and_no_backup_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = ctx(dir.path());
        assert_eq!(verify(&ctx).await.unwrap_err().downcast_ref::<Trouble>().unwrap().code, "no_store");
        assert_eq!(newest(&ctx, dir.path()).unwrap_err().code, "no_backup");
    }
}
