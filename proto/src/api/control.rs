//! The owner's socket `<data-dir>/control.sock` (DESIGN §6): HTTP and JSON over a Unix socket, never over TCP.
//!
//! | request | body | reply |
//! |---|---|---|
//! | `GET /status` | | [`Status`] |
//! | `POST /invite` | [`InviteRequest`] | [`Invitation`] |
//! | `POST /join` | [`JoinRequest`] | [`Joined`] |
//! | `POST /leave` | | [`Done`] |
//! | `GET /peers` | | [`PeerList`] |
//! | `POST /peers/remove` | [`RemovePeer`] | [`PeerRemoved`] |
//! | `POST /peers/promote` | [`PromotePeer`] | [`PeerPromoted`] |
//! | `GET /hosts` | | [`HttpHosts`] |
//! | `POST /hosts/accept`, `/hosts/refuse`, `/hosts/remove` | [`HttpHostNamed`] | [`Done`] |
//! | `POST /hosts/forget` | [`ForgetOutsider`] | [`Done`] |
//! | `POST /federation/resolve` | [`ResolveProvider`](super::federation::ResolveProvider) | [`ResolvedProvider`](super::federation::ResolvedProvider) |
//! | `POST /federation/test` | [`TestProvider`](super::federation::TestProvider) | [`TestedProvider`](super::federation::TestedProvider) |
//! | `GET /queue` | | [`QueuePage`] |
//! | `POST /db/backup` | [`BackupRequest`] | [`BackupDone`] |
//! | `POST /db/verify` | | [`VerifyReport`] |
//! | `GET /doctor` | | [`NodeFacts`] |
//! | `GET /agents` | | [`OwnedAgents`] |
//! | `POST /down` | | [`Done`] |

use serde::{Deserialize, Serialize};

/// What the node is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node's process.
    pub pid: u32,
    /// The software's version.
    pub version: String,
    /// `healthy` or `degraded`.
    pub health: String,
    /// This node's host label.
    pub host: String,
    /// The organization of its agents.
    pub org: String,
    /// The provider domain.
    pub provider: String,
    /// This node's id.
    pub node_id: String,
    /// The mesh, where it is a member of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshStatus>,
    /// Where agents reach it.
    pub api: Vec<String>,
    /// Where nodes reach it.
    pub mesh_listen: Vec<String>,
    /// Since start.
    pub uptime_seconds: u64,
    /// Agents registered here.
    pub agents: usize,
    /// Those with an open WebSocket.
    pub agents_online: usize,
    /// Messages waiting for other hosts.
    pub queued: u64,
    /// Where its data lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
}

/// The mesh in a [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshStatus {
    /// The mesh's id.
    pub id: String,
    /// Number of the secret in force.
    pub epoch: u64,
    /// Members, oneself included.
    pub members: usize,
    /// Other members with an open link.
    pub connected: usize,
}

/// Make a ticket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteRequest {
    /// How long it holds; 15 minutes unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<u64>,
    /// Whoever uses it may let others in, and remove them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub introducer: bool,
}

/// A ticket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// To be given to `amesh join`.
    pub ticket: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// Join a mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// As printed by `amesh invite`.
    pub ticket: String,
    /// Leave the present mesh, should it have other members.
    #[serde(default)]
    pub leave: bool,
    /// Join in spite of name clashes.
    #[serde(default)]
    pub confirm: bool,
}

/// The mesh that was joined; or, while `joined` is false, the clashes that want `confirm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Whether this node is a member now.
    pub joined: bool,
    /// The mesh's id.
    pub mesh: String,
    /// Host labels of its members, oneself included.
    pub members: Vec<String>,
    /// Names held by both sides.
    #[serde(default)]
    pub clashes: Vec<Clash>,
}

/// One address, two keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clash {
    /// The address.
    pub address: String,
    /// The host that holds it, being the older member.
    pub holder: String,
    /// The host that does not.
    pub loser: String,
    /// The command that mends it.
    #[serde(default)]
    pub mend: String,
}

/// Nothing to tell but that it was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Always true.
    pub done: bool,
}

/// Everyone seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerList {
    /// Members first, then neighbours.
    pub peers: Vec<Peer>,
    /// Hosts of the HTTP mesh (AMP 06a), which are no members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_hosts: Vec<HttpHost>,
}

/// The HTTP mesh, as its owner sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHosts {
    /// Where hosts reach this node, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Those that are peers.
    pub hosts: Vec<HttpHost>,
    /// Those that ask to be.
    pub requests: Vec<HttpHostRequest>,
}

/// A host of the HTTP mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHost {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// `strict`, `trusted` or `open`.
    pub mode: String,
    /// `reachable`, `unreachable` or `untried`.
    pub state: String,
    /// Its request was accepted; it stands in no configuration file.
    #[serde(default)]
    pub accepted: bool,
    /// Messages that wait for it.
    #[serde(default)]
    pub queued: u32,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Why it is not reached, or what it does not take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A host that asks to be a peer. All but `from` and `at` is only what was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHostRequest {
    /// Its name.
    pub name: String,
    /// Where it says it is reached.
    pub url: String,
    /// The address that the request came from.
    pub from: String,
    /// The host that spoke of it, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_by: Option<String>,
    /// Its organization, which this node does not adopt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// RFC 3339.
    pub at: String,
}

/// Accept, refuse or remove a host of the HTTP mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHostNamed {
    /// Its name.
    pub name: String,
}

/// Forget the key and the place of an agent at such a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetOutsider {
    /// The agent's address.
    pub address: String,
}

/// A node, as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub node_id: String,
    /// Its host label; empty while unknown.
    #[serde(default)]
    pub host: String,
    /// What it is to us.
    pub state: PeerState,
    /// Whether it is a member of our mesh.
    pub member: bool,
    /// What a member may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<PeerRole>,
    /// Another member, of longer standing, has its host label: that one's host label is it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_conflict: Option<LabelConflict>,
    /// Where it was last reached or seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How it is reached: `direct`, `relayed` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Round trip of the open link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Why it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// RFC 3339: when it is dialled again, while it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_dial: Option<String>,
    /// Whether a link to it is kept all the time: in a mesh of up to 17 hosts to every member, in a larger one to about 16.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// The newest roster we hold of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster_version: Option<u64>,
    /// The amesh that it said it runs, when it was last linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The link protocol spoken with it, when it was last linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u16>,
    /// By how many milliseconds its clock was ahead of this node's when the link came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
    /// What it did that it should not have done, since this node started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<PeerFault>,
}

/// Something that a peer did and this node refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerFault {
    /// In words.
    pub what: String,
    /// How often.
    pub count: u64,
    /// RFC 3339.
    pub last: String,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerRole {
    /// Let others in and remove them; it founded the mesh.
    Founder,
    /// Let others in and remove them.
    Introducer,
    /// Neither.
    Member,
}

impl PeerRole {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Founder => "founder",
            Self::Introducer => "introducer",
            Self::Member => "member",
        }
    }
}

/// Two members with one host label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelConflict {
    /// The label.
    pub host: String,
    /// The id of the older member: `name@label` leads there.
    pub holder: String,
    /// The id of the other.
    pub loser: String,
    /// What to run there.
    pub mend: String,
}

/// What a node is to us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// This node itself.
    #[serde(rename = "self")]
    Own,
    /// A member with an open link.
    Connected,
    /// A member being dialled.
    Connecting,
    /// A member without a link, and with nothing to say to it: it is dialled when there is.
    Resting,
    /// A member without a link.
    #[default]
    Offline,
    /// Seen, but not a member.
    Neighbour,
    /// A member no more.
    Removed,
}

impl PeerState {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Resting => "resting",
            Self::Offline => "offline",
            Self::Neighbour => "neighbour",
            Self::Removed => "removed",
        }
    }
}

/// Remove a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovePeer {
    /// Its node id, the last eight characters of it, or its host label.
    pub id: String,
}

/// Make a member an introducer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotePeer {
    /// Its node id, the last eight characters of it, or its host label.
    pub id: String,
}

/// The member is an introducer now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPromoted {
    /// The node.
    pub node_id: String,
}

/// What removing did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRemoved {
    /// The node.
    pub node_id: String,
    /// `mesh` where this node may remove for all, else `local`.
    pub scope: String,
}

/// Messages waiting for other hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePage {
    /// By destination, oldest first.
    pub messages: Vec<Queued>,
    /// How many there are in all.
    pub total: u64,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The node id or provider domain it waits for.
    pub destination: String,
    /// The destination's host label.
    #[serde(default)]
    pub host: String,
    /// The message.
    pub id: String,
    /// Its sender.
    pub from: String,
    /// Its recipient.
    pub to: String,
    /// RFC 3339.
    pub queued_at: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// RFC 3339, where a retry is timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
    /// What was wrong at the last attempt, where it is for another provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Make a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRequest {
    /// Where to; the node's backup directory unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A backup that is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDone {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Attached files, in the directory beside it that has its name and `.files`.
    #[serde(default)]
    pub files: u64,
    /// Attached files that messages name and that the store has lost.
    #[serde(default)]
    pub missing_files: u64,
}

/// What `db verify` found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Nothing is wrong.
    pub ok: bool,
    /// What is, a line each.
    pub problems: Vec<String>,
    /// Entries looked at.
    pub checked: u64,
}

/// What only the running node can know about this machine's health (`amesh doctor`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Names held by two keys.
    pub clashes: Vec<Clash>,
    /// Host labels that two members have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_conflicts: Vec<LabelConflict>,
    /// Another machine proves our node key.
    pub duplicate_node_key: bool,
    /// Free bytes where the data lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// New mail is refused because the disk is nearly full.
    pub disk_full: bool,
    /// The wall clock jumped; nothing expires until it has been steady for an hour.
    pub clock_jumped: bool,
    /// By how many seconds the clock of a linked member is ahead; of the one that differs most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_secs: Option<i64>,
    /// That member's host label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_host: Option<String>,
    /// Multicast is on (`--no-mdns` turns it off).
    pub multicast_enabled: bool,
    /// Any announcement of another node was heard.
    pub multicast_heard: bool,
    /// The store answered a read and is accepting changes.
    pub store_ok: bool,
    /// What the doors off loopback show, where there is a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFacts>,
    /// More, a line each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The certificate of a node's doors, in [`NodeFacts`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// RFC 3339; clients believe it until then.
    pub in_force_until: String,
    /// Why what its files hold by now is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The agents registered here, for their owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedAgents {
    /// By address.
    pub agents: Vec<OwnedAgent>,
}

/// One of them; no key of any kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedAgent {
    /// The full address.
    pub address: String,
    /// The host it lives on.
    pub host: String,
    /// Registered at this node.
    pub local: bool,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Of its key.
    pub fingerprint: String,
    /// Whether it is connected; false where this node cannot know.
    pub online: bool,
    /// Mail waiting for it here.
    #[serde(default)]
    pub pending: u64,
    /// RFC 3339; empty for agents elsewhere.
    #[serde(default)]
    pub registered_at: String,
}
