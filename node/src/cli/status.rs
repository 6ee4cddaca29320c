//! `amesh status`: how the node is, and how the acting agent stands (CLI-6).

use super::context::Context;
use super::output::Trouble;
use super::table::shown;
use crate::client::control::Control;
use crate::client::identity::Identity;
use crate::client::mailbox::{Folder, Mailbox};
use crate::client::registration::Registration;
use amesh_proto::api::control::Status as NodeStatus;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Serialize)]
struct Status {
    running: bool,
    node: Option<NodeStatus>,
    /// Why the node did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    initialized: bool,
    agent: Option<Agent>,
    messages: Option<Messages>,
    registrations: Vec<Registered>,
    #[serde(rename = "configFile")]
    config_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Agent {
    name: String,
    tenant: String,
    address: String,
    fingerprint: String,
}

#[derive(Serialize)]
struct Messages {
    inbox: usize,
    unread: usize,
    sent: usize,
}

#[derive(Serialize)]
struct Registered {
    provider: String,
    address: String,
    #[serde(rename = "registeredAt")]
    registered_at: String,
}

pub(super) async fn status(ctx: &Context) -> anyhow::Result<()> {
    let asked = match ctx.node() {
        Ok(_) => Control::of(&ctx.data_dir()?).status().await.map_err(Trouble::from),
        Err(trouble) => Err(trouble),
    };
    let (node, trouble) = match asked {
        Ok(node) => (Some(node), None),
        Err(trouble) => (None, Some(trouble)),
    };
    let identity = ctx.identity().await.ok();
    let registrations = match &identity {
        Some(identity) => Registration::all(&identity.home).map_err(Trouble::from)?,
        None => Vec::new(),
    };
    let status = Status {
        running: node.is_some(),
        node,
        problem: trouble.as_ref().map(|trouble| trouble.what.clone()),
        initialized: identity.is_some(),
        messages: identity.as_ref().map(messages),
        config_file: identity.as_ref().map(|identity| identity.home.config()),
        agent: identity.map(|identity| Agent {
            name: identity.name,
            tenant: identity.tenant,
            address: identity.address,
            fingerprint: identity.fingerprint,
        }),
        registrations: registrations
            .into_iter()
            .map(|one| Registered {
                provider: one.provider,
                address: one.address,
                registered_at: one.registered_at,
            })
            .collect(),
    };
    ctx.out.show(&status, || status.text())?;
    // As `systemctl status` does: a script can ask whether there is a node.
    trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
}

fn messages(identity: &Identity) -> Messages {
    let mailbox = Mailbox::of(&identity.home);
    let (inbox, _) = mailbox.list(Folder::Inbox);
    let unread = inbox.iter().filter(|one| one.status() == "unread").count();
    Messages { inbox: inbox.len(), unread, sent: mailbox.list(Folder::Sent).0.len() }
}

impl Status {
    fn text(&self) -> String {
        let mut lines = match &self.node {
            Some(node) => node_lines(node),
            None => vec!["node      not running".to_owned()],
        };
        if let (Some(agent), Some(messages)) = (&self.agent, &self.messages) {
            lines.push(format!("agent     {}", agent.address));
            lines.push(format!(
                "mail      {} in the inbox, {} unread, {} sent",
                messages.inbox, messages.unread, messages.sent
            ));
            for one in &self.registrations {
                lines.push(format!("known to  {} as {}", one.provider, one.address));
            }
        }
        lines.join("\n")
    }
}

fn node_lines(node: &NodeStatus) -> Vec<String> {
    let mut lines = vec![
        format!(
            "node      {} {} (process {}, version {})",
            shown(&node.host),
            node.health,
            node.pid,
            node.version
        ),
        format!("id        {}", node.node_id),
        format!("serves    {}.{}", node.org, node.provider),
        format!("agents'   {}", node.api.join(", ")),
        format!("mesh      {}", node.mesh_listen.join(", ")),
        format!("running   {}", duration(node.uptime_seconds)),
        format!("agents    {}, {} online", node.agents, node.agents_online),
        format!("queue     {} waiting for other hosts", node.queued),
    ];
    if let Some(mesh) = &node.mesh {
        lines.insert(
            5,
            format!("members   {} in mesh {}, {} connected", mesh.members, mesh.id, mesh.connected),
        );
    }
    lines
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_that_programs_know() {
        let status = Status {
            running: false,
            node: None,
            problem: None,
            initialized: false,
            agent: None,
            messages: None,
            registrations: Vec::new(),
            config_file: None,
        };
        let json = serde_json::to_value(&status).unwrap();
        for key in ["running", "node", "initialized", "agent", "messages", "registrations", "configFile"] {
            assert!(json.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn durations_are_as_coarse_as_people_want_them() {
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3_700), "1 h 1 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
