//! `amesh up`: settings → a running node in this process, or the same in the background. The only command that sees the
//! node itself; every other is its client.

use super::args::{JoinArgs, UpArgs};
use super::context::Context;
use super::detach;
use super::mesh;
use super::output::Trouble;
use crate::config::Config;
use crate::node::{App, BuildError};
use amesh_store::OpenError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Starts a node and serves until it is told to stop.
pub(super) async fn up(ctx: &Context, args: UpArgs) -> anyhow::Result<()> {
    if args.detach {
        return detach::start(ctx).await;
    }
    if args.in_background {
        // The terminal that started this node may close.
        rustix::process::setsid()?;
    }
    raise_open_files();
    let ticket = match &args.join {
        Some(given) => Some(mesh::ticket(ctx, &JoinArgs::of(given), &mut std::io::stdin().lock())?),
        None => None,
    };
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let in_terminal = !args.in_background;
    let app = App::build(config(ctx, args)?).await.map_err(|error| trouble(ctx, &error))?;
    if let Some(ticket) = ticket
        && let Err(error) = app.join(&ticket).await
    {
        app.close().await?;
        return Err(Trouble::new("not_joined", "the node did not join the mesh and was stopped again")
            .because(error)
            .mend("ask for a fresh ticket with `amesh invite`")
            .into());
    }
    ctx.out.stream(app.ready(), || app.ready().line())?;
    app.run(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            // The terminal of a node in the foreground was closed; one in the background has none.
            _ = hang_up.recv(), if in_terminal => {}
        }
    })
    .await?;
    Ok(())
}

/// A shell's soft limit, often 1,024, would turn callers away long before `max_connections` does.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, allowed = limit.current, "the limit of open files stays as it is");
    }
}

/// Defaults, file and environment, then what was typed.
fn config(ctx: &Context, args: UpArgs) -> anyhow::Result<Config> {
    let mut config = Config::load(args.config.as_deref()).map_err(|error| {
        Trouble::usage(error.to_string()).mend("see amesh.example.toml for every setting")
    })?;
    if ctx.global.data_dir.is_some() || config.data_dir.is_none() {
        config.data_dir = Some(ctx.data_dir()?);
    }
    config.host = args.host.or(config.host);
    config.org = args.org.unwrap_or(config.org);
    config.provider = args.provider.unwrap_or(config.provider);
    if !args.api.is_empty() {
        config.api = args.api;
    }
    config.mesh = args.mesh.unwrap_or(config.mesh);
    config.swarm = args.swarm.unwrap_or(config.swarm);
    config.no_swarm = args.no_swarm || (config.no_swarm && args.swarm.is_none());
    config.http_mesh.listen = args.http_mesh.or(config.http_mesh.listen);
    if !args.peer.is_empty() {
        config.peers = args.peer;
    }
    config.mdns &= !args.no_mdns;
    Ok(config)
}

/// The parts' own words say what mends them; `doctor` looks at the rest.
fn trouble(ctx: &Context, error: &BuildError) -> Trouble {
    let told = Trouble::new("not_started", "the node does not start").because(error);
    match error {
        BuildError::Name { setting, .. } => told.mend(ctx.command(&format!("up --{setting} NAME"))),
        BuildError::Store { cause: OpenError::Damaged { .. }, .. } => {
            let (restore, reset) = (ctx.command("db restore"), ctx.command("db reset"));
            Trouble { code: "store_damaged".into(), ..told }
                .mend(format!("{restore}  (or begin empty: {reset})"))
        }
        BuildError::Store { cause: OpenError::InUse { .. }, .. } => {
            Trouble { code: "node_running".into(), ..told }.mend(ctx.command("down"))
        }
        _ => told.mend(ctx.command("doctor")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Global;
    use amesh_store::{Config as StoreConfig, Store};

    fn ctx(data_dir: &std::path::Path) -> Context {
        Context::new(Global { data_dir: Some(data_dir.to_owned()), json: true, agent: None })
    }

    #[test]
    fn what_was_typed_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("amesh.toml");
        std::fs::write(&file, "org = \"file\"\nprovider = \"file.example\"\n").unwrap();
        let args = UpArgs {
            config: Some(file),
            org: Some("typed".to_owned()),
            api: vec!["127.0.0.1:0".parse().unwrap()],
            no_mdns: true,
            no_swarm: true,
            ..UpArgs::default()
        };
        let config = config(&ctx(dir.path()), args).unwrap();
        assert_eq!((config.org.as_str(), config.provider.as_str()), ("typed", "file.example"));
        assert_eq!((config.api.len(), config.mdns), (1, false));
        assert_eq!(config.data_dir.as_deref(), Some(dir.path()));
    }

    #[tokio::test]
    async fn a_damaged_store_is_left_alone_and_both_ways_on_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::cli::db::store_dir(dir.path());
        Store::open(&store, StoreConfig::default()).unwrap().close().await.unwrap();
        std::fs::write(store.join("db"), "no database").unwrap();
        let args = UpArgs {
            api: vec!["127.0.0.1:0".parse().unwrap()],
            mesh: Some("127.0.0.1:0".parse().unwrap()),
            no_mdns: true,
            no_swarm: true,
            ..UpArgs::default()
        };
        let started =
            tokio::time::timeout(std::time::Duration::from_secs(60), up(&ctx(dir.path()), args)).await;
        let error = started.expect("a node runs on a damaged store").unwrap_err();
        let trouble = error.downcast_ref::<Trouble>().unwrap();
        assert_eq!(trouble.code, "store_damaged", "{trouble:?}");
        let mend = trouble.mend.as_deref().unwrap();
        assert!(mend.contains("db restore") && mend.contains("db reset"), "{mend}");
    }
}
