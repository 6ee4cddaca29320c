//! `amesh service install`: the node as a service of this user, started at login and restarted when it dies. What is
//! written is made in `service/unit.rs`; systemd's and launchd's own commands do the rest.

mod unit;

use super::args::{Cli, Command, ServiceAction, ServiceArgs, ServiceInstallArgs, System};
use super::context::Context;
use super::output::Trouble;
use crate::client::disk::{self, PUBLIC};
use anyhow::Context as _;
use clap::Parser as _;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was done, or would be.
#[derive(Serialize)]
struct Report {
    system: &'static str,
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    commands: Vec<String>,
    done: bool,
}

/// The service managers answer at once or not at all.
const MANAGER: Duration = Duration::from_secs(60);

pub(super) async fn service(ctx: &Context, args: &ServiceArgs) -> anyhow::Result<()> {
    match &args.action {
        ServiceAction::Install(args) => install(ctx, args).await,
        ServiceAction::Uninstall { dry_run } => uninstall(ctx, *dry_run).await,
    }
}

async fn install(ctx: &Context, args: &ServiceInstallArgs) -> anyhow::Result<()> {
    if args.system.is_some_and(|system| system != System::here()) && !args.dry_run && !args.print {
        return Err(Trouble::usage("a service can be installed only where it is to run")
            .mend("amesh service install --print --for SYSTEM")
            .into());
    }
    let system = args.system.unwrap_or_else(System::here);
    let data_dir = ctx.data_dir()?;
    check(&args.up)?;
    let node = unit::Node {
        program: std::env::current_exe()
            .and_then(std::fs::canonicalize)
            .context("cannot find this program")?,
        log: data_dir.join("amesh.log"),
        data_dir: data_dir.clone(),
        options: args.up.clone(),
    };
    let content = system.unit(&node)?;
    if args.print {
        return ctx.out.line(&content);
    }
    let file = system.file()?;
    let commands = system.start(&file);
    warn_of_variables(ctx);
    if args.dry_run {
        return report(ctx, system, file, Some(content), &commands, false);
    }
    if let Ok(node) = ctx.node() {
        return Err(Trouble::new("node_running", format!("a node is running as process {}", node.pid))
            .because("two cannot share a data directory")
            .mend(ctx.command("down"))
            .into());
    }
    disk::make_dir(&data_dir).map_err(Trouble::from)?;
    disk::make_dir(file.parent().unwrap_or_else(|| Path::new("/"))).map_err(Trouble::from)?;
    disk::write_whole(&file, content.as_bytes(), PUBLIC).map_err(Trouble::from)?;
    for command in &commands {
        run(command).await?;
    }
    if system == System::Systemd {
        ctx.out.note("it stops when you log out; `loginctl enable-linger` keeps it running");
    }
    report(ctx, system, file, None, &commands, true)
}

async fn uninstall(ctx: &Context, dry_run: bool) -> anyhow::Result<()> {
    let system = System::here();
    let file = system.file()?;
    let commands = system.stop(&file);
    if dry_run {
        return report(ctx, system, file, None, &commands, false);
    }
    if !file.exists() {
        return Err(
            Trouble::new("not_found", format!("there is no service: {} is missing", file.display())).into()
        );
    }
    for command in &commands {
        run(command).await?;
    }
    disk::remove(&file).map_err(Trouble::from)?;
    report(ctx, system, file, None, &commands, true)
}

fn report(
    ctx: &Context,
    system: System,
    file: PathBuf,
    content: Option<String>,
    commands: &[Vec<String>],
    done: bool,
) -> anyhow::Result<()> {
    let commands = commands.iter().map(|words| words.join(" ")).collect();
    let report = Report { system: system.name(), file, content, commands, done };
    ctx.out.show(&report, || {
        let (wrote, ran) = if report.done { ("changed", "ran") } else { ("would change", "would run") };
        let mut lines = vec![format!("{wrote} {}", report.file.display())];
        lines.extend(report.content.iter().flat_map(|text| text.lines()).map(|line| format!("    {line}")));
        lines.extend(report.commands.iter().map(|command| format!("{ran} {command}")));
        lines.join("\n")
    })
}

/// The options are those of `amesh up`, and make sense in a service, which starts in `/` and has no terminal.
fn check(options: &[String]) -> Result<(), Trouble> {
    let words = ["amesh", "up"].into_iter().chain(options.iter().map(String::as_str));
    let parsed = Cli::try_parse_from(words).map_err(|error| {
        let first = error.to_string();
        Trouble::usage("`amesh up` does not take these options")
            .because(first.lines().next().unwrap_or_default())
    })?;
    let Command::Up(up) = parsed.command else {
        return Err(Trouble::usage("these are no options of `amesh up`"));
    };
    if up.detach || up.in_background || up.join.is_some() {
        return Err(Trouble::usage("a service is neither detached nor given a ticket")
            .because("the service manager watches the process, and a ticket is good once")
            .mend("amesh join TICKET (once it runs)"));
    }
    match up.config {
        Some(file) if file.is_relative() => {
            Err(Trouble::usage(format!("{} is no full path", file.display()))
                .because("a service does not start in this directory"))
        }
        _ => Ok(()),
    }
}

/// A service has its own environment.
fn warn_of_variables(ctx: &Context) {
    let ours = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours =
        ours.filter(|name| name.starts_with("AMESH_") && name != "AMESH_DATA_DIR" && name != "AMESH_AGENT");
    let names: Vec<String> = ours.collect();
    if !names.is_empty() {
        ctx.out.note(&format!(
            "{} set here will not be there in the service; use options behind `--`, or --config FILE",
            names.join(", ")
        ));
    }
}

async fn run(words: &[String]) -> anyhow::Result<()> {
    let typed = words.join(" ");
    let Some((program, rest)) = words.split_first() else { return Ok(()) };
    let mut command = tokio::process::Command::new(program);
    command.args(rest).kill_on_drop(true);
    let failed = |why: String| {
        Trouble::new("service_manager", format!("`{typed}` failed")).because(why).mend("amesh up --detach")
    };
    let output = match tokio::time::timeout(MANAGER, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(error.to_string()).into()),
        Err(_) => return Err(failed("it does not end".to_owned()).into()),
    };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()).into());
    }
    Ok(())
}

impl System {
    fn here() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
        }
    }

    fn unit(self, node: &unit::Node) -> Result<String, Trouble> {
        let text = match self {
            Self::Systemd => unit::systemd(node),
            Self::Launchd => unit::launchd(node),
        };
        text.ok_or_else(|| {
            Trouble::usage("a path or option that is no text, or has a line break, fits no service file")
        })
    }

    fn file(self) -> Result<PathBuf, Trouble> {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let home =
            home.ok_or_else(|| Trouble::new("no_home", "the home directory is not known: HOME is not set"))?;
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        Ok(match self {
            Self::Systemd => {
                config.unwrap_or_else(|| home.join(".config")).join("systemd/user").join(unit::SYSTEMD_NAME)
            }
            Self::Launchd => home.join("Library/LaunchAgents").join(format!("{}.plist", unit::LAUNCHD_LABEL)),
        })
    }

    fn start(self, file: &Path) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => vec![
                words(&["systemctl", "--user", "daemon-reload"]),
                words(&["systemctl", "--user", "enable", "--now", unit::SYSTEMD_NAME]),
            ],
            Self::Launchd => {
                vec![words(&["launchctl", "bootstrap", &gui(), &file.to_string_lossy()])]
            }
        }
    }

    fn stop(self, file: &Path) -> Vec<Vec<String>> {
        match self {
            Self::Systemd => vec![words(&["systemctl", "--user", "disable", "--now", unit::SYSTEMD_NAME])],
            Self::Launchd => vec![words(&["launchctl", "bootout", &gui(), &file.to_string_lossy()])],
        }
    }
}

/// launchd's name for this user's session.
fn gui() -> String {
    format!("gui/{}", rustix::process::getuid().as_raw())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_that_a_service_can_have_are_taken() {
        let check = |options: &[&str]| check(&words(options));
        check(&[]).unwrap();
        check(&["--host", "den", "--no-mdns", "--config", "/etc/amesh.toml"]).unwrap();
        for bad in
            [&["--detach"][..], &["--join", "amesh1-x"], &["--config", "here.toml"], &["--what"], &["--host"]]
        {
            assert!(check(bad).unwrap_err().usage, "{bad:?}");
        }
    }
}
