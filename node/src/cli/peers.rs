//! What `amesh peers` prints for people: a line for each machine, and below it whatever keeps one from being reached or
//! is odd about it. Called by `mesh`.

use super::table::{shown, table};
use amesh_proto::api::control::{LabelConflict, Peer, PeerList};

/// The list, for people.
pub(super) fn told(list: &PeerList) -> String {
    let http_hosts = super::hosts::table_of(&list.http_hosts);
    if list.peers.is_empty() {
        return format!("no other node has been seen{http_hosts}");
    }
    let rows: Vec<_> = list.peers.iter().map(row).collect();
    let notes: String = list.peers.iter().flat_map(notes).map(|note| format!("\n{note}")).collect();
    table(["HOST", "STATE", "ROLE", "PATH", "RTT", "ADDRESS", "VERSION", "LAST SEEN", "NODE"], &rows)
        + &notes
        + &http_hosts
}

fn row(peer: &Peer) -> [String; 9] {
    let blank = || "-".to_owned();
    let version = match (&peer.version, peer.protocol) {
        (Some(version), Some(protocol)) => format!("{version} (protocol {protocol})"),
        (None, Some(protocol)) => format!("protocol {protocol}"),
        _ => blank(),
    };
    [
        if peer.host.is_empty() { blank() } else { peer.host.clone() },
        peer.state.as_str().to_owned(),
        peer.role.map_or_else(blank, |role| role.as_str().to_owned()),
        peer.path.clone().unwrap_or_else(blank),
        peer.rtt_ms.map_or_else(blank, |ms| format!("{ms:.1} ms")),
        peer.address.clone().unwrap_or_else(blank),
        version,
        peer.last_seen.clone().unwrap_or_else(blank),
        peer.node_id.clone(),
    ]
}

/// Why it is not connected, what is wrong with its clock and its label, and what it did.
fn notes(peer: &Peer) -> Vec<String> {
    let name = shown(if peer.host.is_empty() { &peer.node_id } else { &peer.host });
    let mut notes = Vec::new();
    if let Some(reason) = &peer.reason {
        let again = peer.next_dial.as_ref().map(|at| format!(" (tried again {at})")).unwrap_or_default();
        notes.push(format!("{name}: {}{again}", shown(reason)));
    }
    if let Some(clock) = peer.clock_ahead_ms.and_then(clock) {
        notes.push(format!("{name}: {clock}"));
    }
    notes.extend(peer.label_conflict.as_ref().map(conflict));
    for fault in &peer.faults {
        notes.push(format!("{name}: {} ({} times, last {})", shown(&fault.what), fault.count, fault.last));
    }
    notes
}

/// A clock that is far enough off to matter to people.
fn clock(ahead_ms: i64) -> Option<String> {
    let seconds = ahead_ms.unsigned_abs() / 1000;
    let amount = match seconds {
        0..60 => return None,
        60..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    Some(format!("its clock is {amount} {} this machine's", if ahead_ms > 0 { "ahead of" } else { "behind" }))
}

fn conflict(conflict: &LabelConflict) -> String {
    let LabelConflict { host, holder, loser, mend } = conflict;
    format!("{loser}: its host label {} is that of {holder}, an older member; {mend}", shown(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use amesh_proto::api::control::{PeerFault, PeerState};

    #[test]
    fn every_machine_has_a_line_with_its_path_and_versions_and_below_is_why_one_is_not_reached() {
        let there = Peer {
            host: "ann".to_owned(),
            state: PeerState::Connected,
            path: Some("relayed via kit".to_owned()),
            rtt_ms: Some(1.25),
            version: Some("0.1.0".to_owned()),
            protocol: Some(1),
            clock_ahead_ms: Some(-7_300_000),
            ..Peer::default()
        };
        let fault = PeerFault {
            what: "it brought mail that is not its own".to_owned(),
            count: 3,
            ..PeerFault::default()
        };
        let away = Peer {
            host: "bob".to_owned(),
            reason: Some("no answer from 10.0.0.9:23001\u{1b}[2J".to_owned()),
            next_dial: Some("2026-11-22T21:00:00Z".to_owned()),
            faults: vec![fault],
            ..Peer::default()
        };
        let text = told(&PeerList { peers: vec![there, away], http_hosts: Vec::new() });
        for line in [
            "relayed via kit",
            "1.2 ms",
            "0.1.0 (protocol 1)",
            "ann: its clock is 2 hours behind this machine's",
            "bob: no answer from 10.0.0.9:23001 [2J (tried again 2026-11-22T21:00:00Z)",
            "bob: it brought mail that is not its own (3 times, last )",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
