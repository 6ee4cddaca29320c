//! `amesh agents rename` and `amesh agents forget`: what the owner decides about an agent of this node (DESIGN §3, Names).

use super::context::Context;
use super::output::Trouble;
use crate::client::find::NodeFile;
use crate::client::home::{self, AgentHome};
use crate::client::identity::Identity;
use crate::client::identity_md;
use crate::client::registration::Registration;
use amesh_proto::api::owner::{AgentRenamed, RenameAgent};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    renamed: AgentRenamed,
    /// The agent's files, where they are on this machine and this user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<PathBuf>,
}

pub(super) async fn rename(ctx: &Context, address: &str, name: &str) -> anyhow::Result<()> {
    let request = RenameAgent { address: address.to_owned(), name: name.to_owned() };
    let renamed = ctx.control()?.rename_agent(&request).await.map_err(Trouble::from)?;
    let files = follow(ctx, &renamed, name).await?;
    let shown = Shown { files, renamed };
    ctx.out.show(&shown, || {
        let files = match &shown.files {
            Some(dir) => format!("its files in {} say so too", dir.display()),
            None => "its files are not here: it must sign as its new address from now on".to_owned(),
        };
        format!("{} is called {} now; {files}", shown.renamed.was, shown.renamed.address)
    })
}

pub(super) async fn forget(ctx: &Context, address: &str, force: bool) -> anyhow::Result<()> {
    let control = ctx.control()?;
    let question = format!("Remove {address}, its API keys and the mail that waits for it?");
    if !force && !super::ask::agreed(ctx, &question)? {
        return Err(Trouble::usage("nothing was removed")
            .mend(ctx.command(&format!("agents forget {address} --force")))
            .into());
    }
    let gone = control.forget_agent(address).await.map_err(Trouble::from)?;
    ctx.out.show(&gone, || {
        format!(
            "{} is removed, with {} message(s) that waited for it. The name is withheld from others for 30 days; the \
             agent's own files are untouched",
            gone.address, gone.mail
        )
    })
}

/// Writes the new name into the files of the agent, if they are this user's.
async fn follow(ctx: &Context, renamed: &AgentRenamed, name: &str) -> Result<Option<PathBuf>, Trouble> {
    let node = ctx.node()?;
    let around = ctx.surroundings().await;
    for place in AgentHome::all(&around) {
        let Ok(mut identity) = Identity::load(&place) else { continue };
        let registered = is_registered_here(&place, &node, &renamed.was);
        if !registered && !identity.address.eq_ignore_ascii_case(&renamed.was) {
            continue;
        }
        name.clone_into(&mut identity.name);
        identity.address.clone_from(&renamed.address);
        identity.save()?;
        if let Some(mut registration) = Registration::with(&place, &node.provider)? {
            name.clone_into(&mut registration.agent_name);
            registration.address.clone_from(&renamed.address);
            registration.short_address.clone_from(&renamed.short_address);
            registration.save(&place)?;
        }
        identity_md::write(&identity, &Registration::all(&place)?, ctx.now())?;
        home::index(&around, name, &place)?;
        return Ok(Some(place.dir().to_owned()));
    }
    Ok(None)
}

fn is_registered_here(place: &AgentHome, node: &NodeFile, address: &str) -> bool {
    let registration = Registration::with(place, &node.provider).ok().flatten();
    registration.is_some_and(|known| known.address.eq_ignore_ascii_case(address))
}
