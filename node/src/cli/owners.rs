//! `amesh owners` and `amesh agents code`: who may register agents where that is not open to everybody (REG-15…19).

use super::args::{OwnersAction, OwnersArgs};
use super::context::Context;
use super::output::Trouble;
use super::table::table;
use amesh_proto::api::owner::{AddOwner, NewInviteCode, Owner, SetOwner};
use std::time::Duration;

pub(super) async fn owners(ctx: &Context, args: &OwnersArgs) -> anyhow::Result<()> {
    let control = ctx.control()?;
    match &args.action {
        None | Some(OwnersAction::List) => {
            let list = control.owners().await.map_err(Trouble::from)?;
            ctx.out.show(&list, || {
                if list.owners.is_empty() {
                    return format!("no owners; try: {}", ctx.command("owners add"));
                }
                table(
                    ["OWNER", "TENANT", "AGENTS", "LIMIT", "STATE"],
                    &list.owners.iter().map(row).collect::<Vec<_>>(),
                )
            })
        }
        Some(OwnersAction::Add { tenant, limit }) => {
            let request = AddOwner { tenant: tenant.clone(), limit: Some(*limit) };
            let added = control.add_owner(&request).await.map_err(Trouble::from)?;
            ctx.out.show(&added, || {
                format!(
                    "owner {} of {}, up to {} agents\nuser key (registers agents): {}\nsession token (lists and removes \
                     them): {}\nNeither is shown by this command again.",
                    added.owner.owner_id, added.owner.tenant, added.owner.limit, added.user_key, added.session_token
                )
            })
        }
        Some(OwnersAction::Suspend { id }) => set(ctx, id, false).await,
        Some(OwnersAction::Resume { id }) => set(ctx, id, true).await,
        Some(OwnersAction::Remove { id }) => {
            let done = control.remove_owner(id).await.map_err(Trouble::from)?;
            ctx.out.show(&done, || format!("{id} is removed; their agents stay"))
        }
    }
}

pub(super) async fn code(
    ctx: &Context,
    tenant: Option<&str>,
    uses: u32,
    ttl: Duration,
) -> anyhow::Result<()> {
    let request =
        NewInviteCode { tenant: tenant.map(str::to_owned), uses: Some(uses), ttl_secs: Some(ttl.as_secs()) };
    let made = ctx.control()?.invite_code(&request).await.map_err(Trouble::from)?;
    ctx.out.show(&made, || made.invite_code.clone())
}

async fn set(ctx: &Context, id: &str, active: bool) -> anyhow::Result<()> {
    let request = SetOwner { owner_id: id.to_owned(), active };
    let owner = ctx.control()?.set_owner(&request).await.map_err(Trouble::from)?;
    ctx.out.show(&owner, || format!("{} is {}", owner.owner_id, state(&owner)))
}

fn row(owner: &Owner) -> [String; 5] {
    let (agents, limit) = (owner.agents.to_string(), owner.limit.to_string());
    [owner.owner_id.clone(), owner.tenant.clone(), agents, limit, state(owner).to_owned()]
}

fn state(owner: &Owner) -> &'static str {
    if owner.active { "active" } else { "suspended" }
}
