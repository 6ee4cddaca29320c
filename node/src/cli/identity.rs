//! `amesh identity`: who the acting agent is, and what can be done with that as a whole. Called by the command line.

use super::args::{IdentityAction, IdentityArgs};
use super::context::Context;
use super::{card, export, init, rotate};

pub(super) async fn identity(ctx: &Context, args: &IdentityArgs) -> anyhow::Result<()> {
    match &args.action {
        None => init::identity(ctx, args.brief).await,
        Some(IdentityAction::Export { file, force }) => export::export(ctx, file, *force).await,
        Some(IdentityAction::Import { file, name, tenant, force }) => {
            let given = export::Given { name: name.as_deref(), tenant: tenant.as_deref(), force: *force };
            export::import(ctx, file, &given).await
        }
        Some(IdentityAction::Rotate { compromised, force }) => {
            rotate::rotate(ctx, *compromised, *force).await
        }
        Some(IdentityAction::Card { check: None }) => card::card(ctx).await,
        Some(IdentityAction::Card { check: Some(file) }) => card::check(ctx, file),
        Some(IdentityAction::ApiKey { action }) => rotate::api_key(ctx, action).await,
    }
}
