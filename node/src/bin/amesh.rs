//! The `amesh` binary: parse, log, run, exit code.

use amesh::cli::args::{Cli, Command};
use amesh::cli::links;
use amesh::cli::output::{EXIT_OK, Output, Trouble};
use clap::Parser as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse_from(links::as_amesh(std::env::args_os()));
    let out = Output::new(cli.global.json);
    match run(cli) {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(error) => ExitCode::from(out.fail(&error)),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    // One rustls provider for the whole process, before anything can ask for another (PITFALLS).
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider is already installed");
    }
    let is_node = matches!(&cli.command, Command::Up(up) if !up.detach);
    // What a command has to say it says itself; sled and libp2p complain on their own about what we report better.
    log_to_stderr(if is_node { "info,libp2p_kad=error,libp2p_swarm=warn" } else { "error,sled=off" })?;
    runtime(is_node)?.block_on(amesh::cli::run(cli))
}

/// A node uses every core; a command that asks it something starts faster with one thread.
fn runtime(is_node: bool) -> std::io::Result<Runtime> {
    let mut builder = if is_node { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().build()
}

/// `AMESH_LOG` is a filter such as `amesh=debug`; `AMESH_LOG_FORMAT=json` makes one JSON object a line.
fn log_to_stderr(default: &str) -> Result<(), Trouble> {
    let asked = std::env::var("AMESH_LOG").unwrap_or_else(|_| default.to_owned());
    let filter = EnvFilter::try_new(&asked).map_err(|error| {
        Trouble::usage(format!("AMESH_LOG={asked} is no log filter"))
            .because(error)
            .mend("AMESH_LOG=amesh=debug amesh …")
    })?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal());
    let builder = builder.with_writer(std::io::stderr);
    if std::env::var("AMESH_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
    Ok(())
}
