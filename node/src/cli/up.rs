//! `amesh up`: settings → a running node in this process, or the same in the background. The only command that sees the
//! node itself; every other is its client.

use super::args::{JoinArgs, UpArgs};
use super::context::Context;
use super::detach;
use super::mesh;
use super::output::Trouble;
use crate::config::Config;
use crate::node::{App, BuildError};
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
    let ticket = match &args.join {
        Some(given) => Some(mesh::ticket(ctx, &JoinArgs::of(given), &mut std::io::stdin().lock())?),
        None => None,
    };
    let config = config(ctx, args)?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // A hang-up must not end a node that runs in the background; caught, it does nothing.
    let _hang_up = signal(SignalKind::hangup())?;
    let app = App::build(config).await.map_err(|error| trouble(ctx, &error))?;
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
        }
    })
    .await?;
    Ok(())
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
        _ => told.mend(ctx.command("doctor")),
    }
}
