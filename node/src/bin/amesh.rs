//! The `amesh` binary: parse, log, run, exit code.

use amesh::cli::args::{Cli, Command};
use amesh::cli::output::{EXIT_OK, Output};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // One rustls provider for the whole process, before anything can ask for another (PITFALLS).
    let first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    let out = Output::new(cli.global.json);
    if first.is_err() {
        return ExitCode::from(out.fail(&anyhow::anyhow!("another TLS provider is already installed")));
    }
    log_to_stderr(if matches!(cli.command, Command::Up(_)) { "info" } else { "error" });
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(amesh::cli::run(cli)));
    match done {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(error) => ExitCode::from(out.fail(&error)),
    }
}

/// `AMESH_LOG` is a filter such as `amesh=debug`; `AMESH_LOG_FORMAT=json` makes one JSON object a line.
fn log_to_stderr(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("AMESH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("AMESH_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}
