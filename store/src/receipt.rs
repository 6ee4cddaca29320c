//! Word of what became of a message, for its sender. Used by the hallway and the mesh; kept by `receipts`.

use crate::mail::AgentNo;
use amesh_proto::address::Address;
use amesh_proto::id::MessageId;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// For whom receipts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiptOwner {
    /// A sender who lives here.
    Agent(AgentNo),
    /// The node of a sender who does not.
    Node(NodeId),
}

/// What happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiptKind {
    /// Its recipient was given it.
    Delivered {
        /// How: `websocket`, `webhook`, `relay`.
        method: String,
    },
    /// Its recipient says that it was read.
    Read,
    /// It will not arrive, though this node had taken it to carry it on (DESIGN §1.9).
    Failed {
        /// `expired`, `dropped`, or the code of the refusing side.
        code: String,
        /// The reason in words.
        detail: String,
    },
}

/// Word for a sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The message, as its sender knows it.
    pub id: MessageId,
    /// Who sent it, where that is an agent of another node.
    pub sender: Option<Address>,
    /// Its recipient.
    pub to: Address,
    /// What happened.
    pub kind: ReceiptKind,
    /// When.
    pub at: UnixMillis,
}

/// Word that another node brings of a message it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroughtReceipt {
    /// The message, as its sender knows it.
    pub id: MessageId,
    /// Who sent it.
    pub sender: Address,
    /// What happened.
    pub kind: ReceiptKind,
    /// When, by this node's clock.
    pub at: UnixMillis,
    /// The `system` message for the sender, where it is about mail that will not arrive.
    pub notice: Option<Mail>,
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// No such message was ever in this mailbox.
    Unknown,
    /// It is kept for the sender, or was told already.
    Kept {
        /// When it was first given.
        at: UnixMillis,
        /// For whom.
        owner: ReceiptOwner,
        /// It had been given before.
        again: bool,
    },
    /// The sender will not hear of it: it is the node itself, it is gone, or too much is kept for it.
    Lost,
}
