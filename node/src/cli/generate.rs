//! `amesh completions` and `amesh man`: what can be made from the clap definitions.

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::output::Output;
use anyhow::Context as _;
use clap::CommandFactory as _;

/// Prints a completion script.
pub(super) fn completions(args: &CompletionsArgs, out: Output) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "amesh", &mut script);
    out.line(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, or writes one per command.
pub(super) fn man(args: &ManArgs, out: Output) -> anyhow::Result<()> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return out.line(&String::from_utf8_lossy(&page));
    };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    out.note(&format!("manual pages written to {}", dir.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_gets_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        man(&ManArgs { dir: Some(dir.path().to_owned()) }, Output::new(true)).unwrap();
        for name in ["amesh.1", "amesh-up.1", "amesh-send.1", "amesh-db-restore.1"] {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }
}
