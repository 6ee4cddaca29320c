//! `amesh federation`: other providers, and how this node finds them (docs/federation.md).

use super::args::{FederationAction, FederationArgs};
use super::context::Context;
use super::output::Trouble;
use super::table::{shown, table};
use amesh_proto::api::federation::{FederationStatus, ResolveProvider, ResolvedProvider};

pub(super) async fn federation(ctx: &Context, args: &FederationArgs) -> anyhow::Result<()> {
    match &args.action {
        FederationAction::Status => status(ctx).await,
        FederationAction::Resolve { domain, anew } => resolve(ctx, domain, *anew).await,
    }
}

async fn status(ctx: &Context) -> anyhow::Result<()> {
    let status = ctx.control()?.federation().await.map_err(Trouble::from)?;
    ctx.out.show(&status, || standing(&status))
}

fn standing(status: &FederationStatus) -> String {
    let Some(own) = status.provider.as_ref() else {
        let how = match status.on {
            true => {
                "This node looks other providers up and is none itself; `domain` under [federation] makes it one."
            }
            false => "Federation is off; `on = true` under [federation] in the configuration file opens it.",
        };
        return how.to_owned();
    };
    let records = own.dns_records.join("\n");
    let (domain, endpoint, print) = (&own.domain, &own.endpoint, &own.fingerprint);
    format!(
        "{domain}\n  endpoint  {endpoint}\n  key       {print}\n\nDNS records that announce it:\n\n{records}\n\n{}",
        own.public_key.trim_end()
    )
}

async fn resolve(ctx: &Context, domain: &str, anew: bool) -> anyhow::Result<()> {
    let request = ResolveProvider { domain: domain.to_owned(), anew };
    let resolved = ctx.control()?.resolve_provider(&request).await.map_err(Trouble::from)?;
    ctx.out.show(&resolved, || text(&resolved))?;
    match &resolved.refused {
        None => Ok(()),
        Some(why) => Err(Trouble::new("provider_refused", format!("{} cannot be used", shown(domain)))
            .because(shown(why))
            .into()),
    }
}

fn text(resolved: &ResolvedProvider) -> String {
    let mut lines = Vec::new();
    if let Some(provider) = &resolved.provider {
        let unproven = if provider.public_key.is_some() { "" } else { " (not proven)" };
        let key = provider
            .fingerprint
            .as_deref()
            .map_or_else(|| "none".to_owned(), |print| format!("{print}{unproven}"));
        let pinned = if resolved.pinned { ", pinned by you" } else { "" };
        lines.push(format!("{} found by {}", resolved.domain, provider.step));
        lines.push(format!("  endpoint      {}", provider.endpoint));
        lines.push(format!("  key           {key}{pinned}"));
        if !provider.capabilities.is_empty() {
            lines.push(format!("  capabilities  {}", provider.capabilities.join(", ")));
        }
        if provider.registered {
            lines.push("  registry      has checked it".to_owned());
        }
        lines.push(format!(
            "  found         {} s ago; asked again in {} s",
            resolved.age_s, resolved.fresh_for_s
        ));
        lines.push(String::new());
    }
    let lines: Vec<String> = lines.iter().map(|line| shown(line)).collect();
    let rows: Vec<_> = resolved
        .steps
        .iter()
        .map(|step| [step.step.clone(), step.outcome.clone(), step.why.clone().unwrap_or_default()])
        .collect();
    [lines, vec![table(["STEP", "OUTCOME", "WHY"], &rows)]].concat().join("\n")
}
