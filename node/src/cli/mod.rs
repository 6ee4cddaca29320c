//! The command line: one file per command. Everything but `up` and the offline `db` work is a client of the
//! running node (DESIGN §2). Called by `bin/amesh.rs`.

pub mod args;
mod ask;
mod card;
mod context;
mod db;
mod detach;
mod doctor;
mod down;
mod download;
mod export;
mod federation;
mod fetch;
mod follow;
mod generate;
mod hosts;
mod identity;
mod inbox;
mod init;
pub mod links;
mod logs;
mod look;
mod mesh;
pub mod output;
mod owners;
mod peers;
mod qr;
mod rename;
mod rotate;
mod send;
mod service;
mod session;
mod status;
mod table;
mod trouble;
mod up;
mod view;

use args::{Cli, Command};
use context::Context;

/// Runs what was typed.
///
/// # Errors
/// Whatever the user is to be told; see [`output::Trouble`].
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let ctx = Context::new(cli.global);
    match cli.command {
        Command::Down(args) => down::down(&ctx, &args).await,
        Command::Invite(args) => mesh::invite(&ctx, &args).await,
        Command::Join(args) => mesh::join(&ctx, &args).await,
        Command::Leave => mesh::leave(&ctx).await,
        Command::Peers(args) => mesh::peers(&ctx, &args).await,
        Command::Hosts(args) => hosts::hosts(&ctx, &args).await,
        Command::Federation(args) => federation::federation(&ctx, &args).await,
        Command::Agents(args) => look::agents(&ctx, &args).await,
        Command::Owners(args) => owners::owners(&ctx, &args).await,
        Command::Queue(args) => look::queue(&ctx, &args).await,
        Command::Status => status::status(&ctx).await,
        Command::Doctor => doctor::doctor(&ctx).await,
        Command::Db(args) => db::db(&ctx, &args).await,
        Command::Init(args) => init::init(&ctx, &args).await,
        Command::Identity(args) => identity::identity(&ctx, &args).await,
        Command::Links(args) => links::links(&ctx, &args),
        Command::Service(args) => service::service(&ctx, &args).await,
        Command::Register(args) => init::register(&ctx, &args).await,
        Command::Send(args) => send::send(&ctx, &args).await,
        Command::Reply(args) => send::reply(&ctx, &args).await,
        Command::Inbox(args) => inbox::inbox(&ctx, &args).await,
        Command::Read(args) => inbox::read(&ctx, &args).await,
        Command::Delete(args) => inbox::delete(&ctx, &args).await,
        Command::Download(args) => download::download(&ctx, &args).await,
        Command::Fetch(args) => fetch::fetch(&ctx, &args).await,
        Command::Logs(args) => logs::logs(&ctx, &args).await,
        Command::Completions(args) => generate::completions(&args, ctx.out),
        Command::Man(args) => generate::man(&args, ctx.out),
        Command::Up(args) => up::up(&ctx, *args).await,
    }
}
