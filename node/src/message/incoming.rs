//! What doors hand to the hallway, and what they get back.

use crate::agents::Agent;
use amesh_proto::address::Address;
use amesh_proto::api::http_mesh::Forward;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::id::MessageId;
use amesh_proto::key::PublicKey;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_store::LaneStamp;
use std::sync::Arc;

/// A message at a door.
#[derive(Debug)]
pub enum Incoming {
    /// An agent of this node sends (HTTP, WebSocket).
    FromAgent {
        /// Who proved itself by its API key.
        agent: Arc<Agent>,
        /// What it wants to send.
        request: Box<RouteRequest>,
        /// The `Idempotency-Key` header (DESIGN §1.2).
        idempotency_key: Option<String>,
    },
    /// A member of the mesh brings mail over its link.
    FromPeer {
        /// The member at the other end, proven (DESIGN §1.5).
        peer: NodeId,
        /// The mail; its times are already this node's (links carry what is left of a lifetime).
        mail: Box<Mail>,
        /// Its place in its lane.
        lane: LaneStamp,
        /// The sender's key, where he is outside the mesh and the member says that it is his gateway.
        outsider: Option<Box<PublicKey>>,
    },
    /// A host of the AMP 06a kind forwards a message of one of its agents.
    FromHttpHost(Box<Forwarded>),
    /// Another provider delivers a message of one of its agents.
    FromProvider(Box<Federated>),
    /// The node fetched it from a provider with which an agent of this node is registered.
    FromRegistration(Box<Pulled>),
}

/// A message that waited for an agent of this node at another provider, after `bridge` has held its sender against what is
/// known of him.
#[derive(Debug)]
pub struct Pulled {
    /// Whose it is, here.
    pub agent: Arc<Agent>,
    /// The provider's domain.
    pub provider: Arc<str>,
    /// The agent's address there.
    pub address: Address,
    /// The sender; nobody of this node's own domain.
    pub sender: Address,
    /// The key that is believed to be the sender's. Without one the mail is `untrusted`.
    pub key: Option<PublicKey>,
    /// The id under which the mailbox shows it.
    pub id: MessageId,
    /// The message.
    pub request: Box<RouteRequest>,
}

/// A message that another provider delivers, after `federation` has made sure of the provider and of whose agent the sender
/// is.
#[derive(Debug)]
pub struct Federated {
    /// The provider, whose signature was verified.
    pub provider: Arc<str>,
    /// The sender: that provider's own agent.
    pub sender: Address,
    /// The key known for it.
    pub key: PublicKey,
    /// When the provider took the message, as it says.
    pub queued_at: Option<UnixMillis>,
    /// The message.
    pub request: Box<RouteRequest>,
}

/// A message that an HTTP host brings, after `bridge` has made sure of the host and of whose agent the sender is.
#[derive(Debug)]
pub struct Forwarded {
    /// The host, by the name the owner gave it.
    pub host: Arc<str>,
    /// The owner takes unsigned mail from there; it is never `verified` (MSH-10).
    pub relaxed: bool,
    /// The sender: that host's own agent.
    pub sender: Address,
    /// The key known for it.
    pub key: Option<PublicKey>,
    /// The header's id, if it is one.
    pub id: Option<MessageId>,
    /// The message.
    pub forward: Box<Forward>,
}

impl Incoming {
    /// Bytes that will have to be read and hashed.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::FromAgent { request, .. } => {
                request.payload.as_ref().map_or(0, |payload| payload.get().len())
            }
            Self::FromPeer { mail, .. } => mail.size(),
            Self::FromHttpHost(forwarded) => {
                forwarded.forward.request.payload.as_ref().map_or(0, |payload| payload.get().len())
            }
            Self::FromProvider(federated) => {
                federated.request.payload.as_ref().map_or(0, |payload| payload.get().len())
            }
            Self::FromRegistration(pulled) => {
                pulled.request.payload.as_ref().map_or(0, |payload| payload.get().len())
            }
        }
    }
}

/// A message that is on disk, and what became of it so far (RTE-2, DESIGN §1.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The message's id.
    pub id: MessageId,
    /// Delivered, queued or failed; never more than is proven.
    pub status: Status,
    /// The way it took.
    pub method: Method,
    /// What the status rests on.
    pub basis: Basis,
    /// When it was committed.
    pub queued_at: UnixMillis,
    /// When it was delivered.
    pub delivered_at: Option<UnixMillis>,
    /// The host of the mesh that it goes to.
    pub remote_host: Option<String>,
    /// This is the first result again, for a message that was sent before.
    pub repeat: bool,
}

/// `status` of RTE-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Written to the recipient's open socket.
    Delivered,
    /// On disk, waiting.
    Queued,
    /// Refused further on, or expired.
    Failed,
}

/// `method` of RTE-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Pushed over an open socket.
    Websocket,
    /// Posted, or to be posted, to the recipient's webhook.
    Webhook,
    /// Waiting to be fetched or carried.
    Relay,
    /// Carried to another host of the mesh.
    Mesh,
}

/// What a status rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The recipient's socket took it.
    SocketWritten,
    /// The recipient's webhook answered 2xx.
    Webhook2xx,
    /// It is on disk in the recipient's mailbox.
    MailboxWritten,
    /// An HTTP host said that it has it.
    HostAccepted,
    /// The recipient's provider said that it has it.
    ProviderAccepted,
    /// The recipient's provider said that the recipient has it.
    ProviderDelivered,
    /// It is on disk in this node's outbox.
    OutboxWritten,
    /// The recipient's node said no.
    Refused,
}

impl Status {
    /// The word of RTE-2.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Queued => "queued",
            Self::Failed => "failed",
        }
    }
}

impl Method {
    /// The word of RTE-2.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Webhook => "webhook",
            Self::Relay => "relay",
            Self::Mesh => "mesh",
        }
    }
}

impl Basis {
    /// As it stands in responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SocketWritten => "socket_written",
            Self::Webhook2xx => "webhook_2xx",
            Self::MailboxWritten => "mailbox_written",
            Self::HostAccepted => "host_accepted",
            Self::ProviderAccepted => "provider_accepted",
            Self::ProviderDelivered => "provider_delivered",
            Self::OutboxWritten => "queued",
            Self::Refused => "refused",
        }
    }
}
