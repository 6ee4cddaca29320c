//! The command line: one file per command. Everything but `up` and the offline `db` work is a client of the
//! running node (DESIGN §2). Called by `bin/amesh.rs`.

pub mod args;
mod generate;
pub mod output;

use args::{Cli, Command};
use output::Output;

/// Runs what was typed.
///
/// # Errors
/// Whatever the user is to be told; see [`output::Trouble`].
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let out = Output::new(cli.global.json);
    match cli.command {
        Command::Completions(args) => generate::completions(&args, out),
        Command::Man(args) => generate::man(&args, out),
        other => Err(output::Trouble::new("not_built", format!("{other:?} is not connected yet")).into()),
    }
}
