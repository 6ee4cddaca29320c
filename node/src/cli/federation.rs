//! `amesh federation`: other providers, and how this node finds them (docs/federation.md).

use super::args::{FederationAction, FederationArgs};
use super::context::Context;
use super::output::Trouble;
use super::table::{shown, table};
use amesh_proto::api::federation::{
    FederationStatus, KnownProvider, ProviderQueue, ResolveProvider, ResolvedProvider, StepTaken,
};

pub(super) async fn federation(ctx: &Context, args: &FederationArgs) -> anyhow::Result<()> {
    match &args.action {
        FederationAction::Status => status(ctx).await,
        FederationAction::Resolve { domain, anew } => resolve(ctx, domain, *anew).await,
        FederationAction::Test { domain } => test(ctx, domain).await,
        FederationAction::Allow { domain } => name(ctx, "allow", domain, false, "is allowed").await,
        FederationAction::Block { domain } => {
            name(ctx, "block", domain, false, "is blocked; nothing is exchanged with it").await
        }
        FederationAction::Forget { name: whom, compromised } => {
            name(ctx, "forget", whom, *compromised, "is forgotten").await
        }
    }
}

async fn status(ctx: &Context) -> anyhow::Result<()> {
    let status = ctx.control()?.federation().await.map_err(Trouble::from)?;
    ctx.out.show(&status, || standing(&status))
}

async fn name(ctx: &Context, what: &str, name: &str, compromised: bool, said: &str) -> anyhow::Result<()> {
    let done = ctx.control()?.provider(what, name, compromised).await.map_err(Trouble::from)?;
    ctx.out.show(&done, || format!("{} {said}", shown(name)))
}

fn standing(status: &FederationStatus) -> String {
    let own = own(status);
    if !status.on {
        return own;
    }
    let mode = match status.mode.as_str() {
        "open" => "Mail is exchanged with every provider that shows a key, unless it is blocked.",
        "registry" => {
            "Mail is exchanged with providers that the registry has checked, and with those allowed."
        }
        "allowlist" => "Mail is exchanged with the providers that are allowed.",
        _ => "Mail is exchanged with nobody; `mode` under [federation] opens that.",
    };
    format!("{own}\n\n{mode}{}{}", table_of(&status.providers), waiting(&status.queues))
}

fn waiting(queues: &[ProviderQueue]) -> String {
    if queues.is_empty() {
        return String::new();
    }
    let row = |queue: &ProviderQueue| {
        let next = queue.next_attempt.clone().unwrap_or_default();
        let reason = queue.reason.as_deref().map(shown).unwrap_or_default();
        [queue.domain.clone(), queue.waiting.to_string(), queue.state.clone(), next, reason]
    };
    let rows: Vec<_> = queues.iter().map(row).collect();
    format!("\n\n{}", table(["MAIL FOR", "WAITING", "STATE", "NEXT ATTEMPT", "WHY"], &rows))
}

fn table_of(providers: &[KnownProvider]) -> String {
    if providers.is_empty() {
        return String::new();
    }
    let or_blank = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |known: &KnownProvider| {
        let (verdict, key) = (or_blank(&known.verdict), or_blank(&known.fingerprint));
        [known.domain.clone(), verdict, key, or_blank(&known.since)]
    };
    let rows: Vec<_> = providers.iter().map(row).collect();
    format!("\n\n{}", table(["PROVIDER", "YOU SAID", "KEY", "SINCE"], &rows))
}

fn own(status: &FederationStatus) -> String {
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

async fn test(ctx: &Context, domain: &str) -> anyhow::Result<()> {
    let tested = ctx.control()?.test_provider(domain).await.map_err(Trouble::from)?;
    ctx.out.show(&tested, || format!("{}\n\n{}", text(&tested.resolved), steps("CHECK", &tested.checks)))?;
    match &tested.refused {
        None => Ok(()),
        Some(why) => {
            Err(Trouble::new("provider_refused", format!("no mail is exchanged with {}", shown(domain)))
                .because(shown(why))
                .into())
        }
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
    [lines, vec![steps("STEP", &resolved.steps)]].concat().join("\n")
}

fn steps(head: &str, steps: &[StepTaken]) -> String {
    let rows: Vec<_> = steps
        .iter()
        .map(|step| [step.step.clone(), step.outcome.clone(), step.why.clone().unwrap_or_default()])
        .collect();
    table([head, "OUTCOME", "WHY"], &rows)
}
