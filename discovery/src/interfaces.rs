//! Notices when this machine's addresses or link state change. Run by `manager`, with or without multicast.
//!
//! Asked twice a second (tens of microseconds each): a plug that is pulled clears `IFF_RUNNING` and keeps the address,
//! so both are compared.

use crate::finder::Event;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Which interfaces discovery looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Interfaces {
    /// Interfaces whose names begin with one of these are left alone: containers, bridges and tunnels lead to no LAN.
    pub skip: Vec<String>,
    /// When not empty, only interfaces with one of these names are used.
    pub only: Vec<String>,
}

impl Default for Interfaces {
    fn default() -> Self {
        let skip = ["docker", "veth", "br-", "virbr", "utun"];
        Self { skip: skip.map(String::from).to_vec(), only: Vec::new() }
    }
}

impl Interfaces {
    /// Whether the interface called `name` is used.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        let skipped = self.skip.iter().any(|prefix| name.starts_with(prefix.as_str()));
        !skipped && (self.only.is_empty() || self.only.iter().any(|only| only == name))
    }

    /// Addresses of this machine that others on the LAN can use: what a ticket carries.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        // An IPv6 link-local address means nothing without the reader's own interface.
        let portable = |ip: &IpAddr| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        usable(self).unwrap_or_default().into_iter().map(|(_, ip)| ip).filter(portable).collect()
    }
}

/// Reports every change of the used interfaces into `sink` until `stop` is raised.
pub(crate) async fn watch(interfaces: Interfaces, sink: mpsc::Sender<Event>, stop: CancellationToken) {
    let mut turns = tokio::time::interval(LOOK_EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turns.tick() => {}
        }
        // Not knowing is no change: the next look tells.
        let Some(now) = usable(&interfaces) else { continue };
        if before.as_ref().is_some_and(|before| *before != now)
            && sink.send(Event::InterfacesChanged).await.is_err()
        {
            return;
        }
        before = Some(now);
    }
}

fn usable(interfaces: &Interfaces) -> Option<BTreeSet<(String, IpAddr)>> {
    let all = if_addrs::get_if_addrs().ok()?;
    let usable = all
        .into_iter()
        .filter(|each| each.is_oper_up() && !each.is_loopback() && interfaces.uses(&each.name));
    Some(usable.map(|each| (each.name.clone(), each.ip())).collect())
}

const LOOK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_bridges_and_tunnels_are_skipped_by_default() {
        let interfaces = Interfaces::default();
        for name in ["docker0", "veth12ab", "br-5f1c", "utun3"] {
            assert!(!interfaces.uses(name), "{name}");
        }
        for name in ["eth0", "wlan0", "br0", "en0", "lo"] {
            assert!(interfaces.uses(name), "{name}");
        }
    }

    #[test]
    fn the_owner_can_name_the_interfaces_to_use() {
        let interfaces = Interfaces { skip: Vec::new(), only: vec!["veth1".into()] };
        assert!(interfaces.uses("veth1"));
        assert!(!interfaces.uses("eth0"));
    }

    #[test]
    fn the_interfaces_of_this_machine_can_be_read() {
        assert!(usable(&Interfaces::default()).is_some());
    }
}
