//! Finds the `amesh` binary under test, building it once when it is missing.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names the binary, where none is to be looked for.
pub const GIVEN: &str = "AMESH_BIN";

/// The binary: `AMESH_BIN`, or that of the profile this test was built with.
///
/// # Errors
/// When there is none and it cannot be built.
pub fn amesh() -> Result<PathBuf> {
    static FOUND: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

/// A program of the examples' crate, built if it is not there.
///
/// # Errors
/// When it cannot be built.
pub fn example(name: &str) -> Result<PathBuf> {
    let profile_dir = profile_dir()?;
    build(&profile_dir, "amesh-examples", name)?;
    Ok(profile_dir.join(name))
}

fn find() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(GIVEN) {
        return Ok(named.into());
    }
    let profile_dir = profile_dir()?;
    let binary = profile_dir.join("amesh");
    build(&profile_dir, "amesh", "amesh")?;
    ensure!(binary.exists(), "{} is missing; build it with `cargo build -p amesh`", binary.display());
    Ok(binary)
}

fn profile_dir() -> Result<PathBuf> {
    let test = std::env::current_exe().context("where this test lies")?;
    // target/<profile>/deps/<test>, or target/<profile>/<program>
    let beside = test.ancestors().skip(1).find(|dir| !dir.ends_with("deps") && !dir.ends_with("examples"));
    Ok(beside.context("the target directory")?.to_owned())
}

/// `cargo test` builds the binaries of the tested package only; cargo itself knows best whether ours is fresh.
fn build(profile_dir: &Path, package: &str, program: &str) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", package, "--bin", program]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells a test of its package is no setting: build scripts that look at it would run anew inside and outside.
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        command.env_remove(name);
    }
    if profile_dir.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = profile_dir.parent() {
        command.env("CARGO_TARGET_DIR", target);
    }
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "cargo build -p {package} failed");
    Ok(())
}
