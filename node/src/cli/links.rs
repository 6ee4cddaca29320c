//! The protocol's own command names (DESIGN §4): `amp-send …` is `amesh send …`. `amesh links` makes and removes the
//! links; `bin/amesh.rs` asks what was meant when it was started by one of them.

use super::args::{LinksAction, LinksArgs};
use super::context::Context;
use super::output::Trouble;
use anyhow::Context as _;
use serde::Serialize;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The protocol README's commands, and the reference client's.
const COMMANDS: [&str; 11] = [
    "init", "send", "inbox", "read", "reply", "status", "register", "fetch", "download", "delete", "identity",
];

#[derive(Serialize)]
struct Links {
    dir: PathBuf,
    program: PathBuf,
    links: Vec<String>,
    /// Whether the shell will find them.
    on_path: bool,
}

/// The command line as if `amesh` had been typed. `amp-inbox.sh`, as AMP 09 spells it, means the same as `amp-inbox`.
pub fn as_amesh(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let name = args.first().and_then(|program| Path::new(program).file_name()).map(|name| name.to_owned());
    let name = name.and_then(|name| name.into_string().ok()).unwrap_or_default();
    let command = name.strip_suffix(".sh").unwrap_or(&name).strip_prefix("amp-");
    if let Some(command) = command.filter(|command| COMMANDS.contains(command)) {
        args.splice(..1, [OsString::from("amesh"), OsString::from(command)]);
    }
    args
}

pub(super) fn links(ctx: &Context, args: &LinksArgs) -> anyhow::Result<()> {
    let program = std::env::current_exe().and_then(fs::canonicalize).context("cannot find this program")?;
    let (dir, made) = match &args.action {
        LinksAction::Install { dir, force } => (dir, install(dir, &program, *force)?),
        LinksAction::Remove { dir } => (dir, remove(dir, &program)?),
    };
    let dir = std::path::absolute(dir)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).any(|one| one == dir);
    let links = Links { dir, program, links: made, on_path };
    if matches!(args.action, LinksAction::Install { .. }) && !on_path {
        ctx.out.note(&format!("{} is not on your PATH", links.dir.display()));
    }
    ctx.out.show(&links, || links.links.join("\n"))
}

/// Nothing is changed unless every link can be made.
fn install(dir: &Path, program: &Path, force: bool) -> anyhow::Result<Vec<String>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let places = COMMANDS.map(|command| dir.join(format!("amp-{command}")));
    let foreign = places.iter().find(|place| place.symlink_metadata().is_ok() && !is_ours(place, program));
    if let (Some(place), false) = (foreign, force) {
        let trouble = Trouble::new("in_the_way", format!("{} is something else", place.display()));
        let dir = dir.display();
        return Err(trouble
            .because("it may be the reference client's, which `amesh` does not replace by itself")
            .mend(format!("amesh links install {dir} --force"))
            .into());
    }
    for place in &places {
        // Made beside it and renamed: a running shell finds the old or the new, never nothing.
        let beside = place.with_extension(format!("{}.tmp", std::process::id()));
        std::os::unix::fs::symlink(program, &beside)
            .and_then(|()| fs::rename(&beside, place))
            .with_context(|| format!("cannot make {}", place.display()))?;
    }
    Ok(places.iter().map(|place| place.display().to_string()).collect())
}

fn remove(dir: &Path, program: &Path) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    for place in COMMANDS.map(|command| dir.join(format!("amp-{command}"))) {
        if is_ours(&place, program) {
            fs::remove_file(&place).with_context(|| format!("cannot remove {}", place.display()))?;
            removed.push(place.display().to_string());
        }
    }
    Ok(removed)
}

/// A link to this program, or to an `amesh` that is gone or elsewhere.
fn is_ours(place: &Path, program: &Path) -> bool {
    fs::read_link(place).is_ok_and(|to| to == program || to.file_name().is_some_and(|name| name == "amesh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(words: &[&str]) -> Vec<String> {
        as_amesh(words.iter().map(OsString::from))
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_link_means_its_command() {
        assert_eq!(meant(&["/x/bin/amp-send", "bob", "-p", "low"]), ["amesh", "send", "bob", "-p", "low"]);
        assert_eq!(meant(&["amp-inbox.sh", "list"]), ["amesh", "inbox", "list"]);
        assert_eq!(meant(&["./amesh", "send"]), ["./amesh", "send"]);
        assert_eq!(meant(&["amp-up"]), ["amp-up"], "no command of the protocol");
        assert!(meant(&[]).is_empty());
    }

    #[test]
    fn another_program_of_that_name_is_replaced_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let program = Path::new("/opt/amesh");
        let taken = dir.path().join("amp-send");
        fs::write(&taken, "#!/bin/sh").unwrap();
        assert!(install(dir.path(), program, false).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was changed");
        assert_eq!(install(dir.path(), program, true).unwrap().len(), COMMANDS.len());
        assert_eq!(fs::read_link(&taken).unwrap(), program);
        install(dir.path(), Path::new("/usr/bin/amesh"), false).unwrap();
        assert_eq!(remove(dir.path(), program).unwrap().len(), COMMANDS.len());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
