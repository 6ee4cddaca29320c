//! Word of what became of messages, on its way back to the node that sent them. Written and read by the node's
//! `mesh/receipts`.

use serde::{Deserialize, Serialize};

/// Some receipts, oldest first. Answered with the last one's number once they are durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Receipts(pub Vec<ReceiptFrame>);

impl Receipts {
    /// Receipts in one frame.
    pub const LIMIT: usize = 256;
}

/// Word of one message. Only the node to which the message went is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptFrame {
    /// Its place among the receipts kept for the other node.
    pub seq: u64,
    /// The message, as its sender knows it.
    pub id: String,
    /// Its sender's full address.
    pub from: String,
    /// What happened.
    pub word: Word,
    /// How long ago.
    pub age_ms: u64,
}

/// What happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// Its recipient was given it, in this way (`websocket`, `webhook`, `relay`).
    Delivered(String),
    /// Its recipient says that it was read.
    Read,
    /// It will not arrive: the code and the words of whoever refused it, where this node had taken it to carry it on.
    Failed(String, String),
}
