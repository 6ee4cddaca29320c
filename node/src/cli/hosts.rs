//! `amesh hosts`: hosts of the HTTP mesh (AMP 06a), and those that ask to be (docs/http-mesh.md).

use super::args::{HostsAction, HostsArgs};
use super::context::Context;
use super::output::Trouble;
use super::table::{shown, table};
use amesh_proto::api::control::{HttpHost, HttpHostRequest, HttpHosts};

pub(super) async fn hosts(ctx: &Context, args: &HostsArgs) -> anyhow::Result<()> {
    let control = ctx.control()?;
    let (what, name, said) = match &args.action {
        None | Some(HostsAction::List) => {
            let hosts = control.http_hosts().await.map_err(Trouble::from)?;
            return ctx.out.show(&hosts, || text(ctx, &hosts));
        }
        Some(HostsAction::Forget { address }) => {
            let done = control.forget_outsider(address).await.map_err(Trouble::from)?;
            return ctx.out.show(&done, || format!("{address} is forgotten; its next message is its first"));
        }
        Some(HostsAction::Accept { name }) => ("accept", name, "is a host of the HTTP mesh now"),
        Some(HostsAction::Refuse { name }) => ("refuse", name, "is refused"),
        Some(HostsAction::Remove { name }) => {
            ("remove", name, "is removed; mail for it waits until it expires")
        }
    };
    let done = control.http_host(what, name).await.map_err(Trouble::from)?;
    ctx.out.show(&done, || format!("{name} {said}"))
}

fn text(ctx: &Context, hosts: &HttpHosts) -> String {
    let listen = match &hosts.listen {
        Some(address) => format!("hosts reach this node at {address}"),
        None => format!("hosts do not reach this node; try: {}", ctx.command("up --http-mesh ADDR:PORT")),
    };
    let mut text = listen + &table_of(&hosts.hosts);
    if !hosts.requests.is_empty() {
        let rows: Vec<_> = hosts.requests.iter().map(request).collect();
        text.push_str("\n\nthese ask to be hosts; what they say is not verified\n");
        text.push_str(&table(["NAME", "URL", "ASKED FROM", "TOLD BY", "ORGANIZATION", "AT"], &rows));
        text.push_str(&format!("\ntake one: {}", ctx.command("hosts accept NAME")));
    }
    text
}

/// The hosts as a table under whatever stands before; nothing where there are none.
pub(super) fn table_of(hosts: &[HttpHost]) -> String {
    if hosts.is_empty() {
        return String::new();
    }
    let reasons = hosts
        .iter()
        .filter_map(|host| Some(format!("\n{}: {}", shown(&host.name), shown(host.reason.as_deref()?))));
    let rows: Vec<_> = hosts.iter().map(row).collect();
    let columns = ["HTTP HOST", "STATE", "MODE", "URL", "QUEUED", "LAST SEEN"];
    format!("\n\n{}{}", table(columns, &rows), reasons.collect::<String>())
}

fn row(host: &HttpHost) -> [String; 6] {
    [
        host.name.clone(),
        host.state.clone(),
        host.mode.clone(),
        host.url.clone(),
        host.queued.to_string(),
        host.last_seen.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

fn request(request: &HttpHostRequest) -> [String; 6] {
    let or_blank = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        request.name.clone(),
        request.url.clone(),
        request.from.clone(),
        or_blank(&request.told_by),
        or_blank(&request.organization),
        request.at.clone(),
    ]
}
