//! Shell scripts as a user would type them, with the tools a machine has.

use anyhow::{Context, Result, bail, ensure};
use std::process::{Command, Stdio};

/// Runs `script` in a directory of its own with `settings` as variables; what it printed, one item a line.
///
/// # Errors
/// When it fails; what it complained about is in the message.
pub fn run(script: &str, settings: &[(&str, &str)]) -> Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script]).current_dir(dir.path()).stdin(Stdio::null());
    let output = bash.envs(settings.iter().copied()).output().context("starting bash")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}\n{said}{complaint}", output.status);
    Ok(said.lines().map(str::to_owned).collect())
}

/// Whether this machine has `tools`.
///
/// # Errors
/// Naming the first that is missing.
pub fn has(tools: &[&str]) -> Result<()> {
    for tool in tools {
        let found =
            Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status()?;
        if !found.success() {
            bail!("{tool} is not installed");
        }
    }
    Ok(())
}
