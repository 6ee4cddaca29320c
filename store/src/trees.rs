//! The one catalogue of trees. A fixed set: sled slows down with many trees (PITFALLS). Called by the engines.

/// One tree of the store. Each has exactly one file that reads and writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tree {
    /// Format, generation, counters, clock. `meta.rs`.
    Meta,
    /// Agent number → agent. `agents.rs`.
    Agents,
    /// Address → agent number. `agents.rs`.
    AgentNames,
    /// Hash of an API key → agent number. `api_keys.rs`.
    ApiKeys,
    /// Address → public face of an agent of ours, tombstones too. `own_roster.rs`.
    OwnRoster,
    /// Agent number, sequence number → message. `mailbox.rs`.
    Mailbox,
    /// How full each mailbox is, and how far it was handed out. `handed.rs`.
    Boxes,
    /// Id, sender, recipient → what was answered and what became of it. `history.rs`.
    History,
    /// Sending agent, idempotency key → id. `history.rs`.
    Idempotency,
    /// Destination, sequence number → message. `outbox.rs`.
    Outbox,
    /// Lane → last number, only where the open numbers do not tell. `outbox.rs`.
    LanesOut,
    /// Origin node, lane → last committed number. `lanes_in.rs`.
    LanesIn,
    /// Time, kind → what ends then. `expire.rs`.
    Expire,
    /// Digest → number of messages that name the blob. `blob.rs`.
    Blobs,
    /// Node → what we know of the peer. `peers.rs`.
    Peers,
    /// Name → something the owner pinned. `pins.rs`.
    Pins,
    /// Node, address → entry of another node's roster. `rosters.rs`.
    Rosters,
    /// Hash of a ticket's token → ticket. `tickets.rs`.
    Tickets,
    /// Digest → number of records that name an attached file. `files.rs`.
    Files,
    /// Attachment id, who brings it → upload. `attachments.rs`.
    Uploads,
    /// Attachment id, who may have it, message → file. `attachments.rs`.
    Shares,
    /// Agent number, sequence number → how far the posting to a webhook came. `postings.rs`.
    Postings,
    /// Sender or its node, sequence number → word of a message's delivery. `receipts.rs`.
    Receipts,
    /// Owner id → somebody with agents of their own. `owners.rs`.
    Owners,
    /// Hash of an invite code → code. `owners.rs`.
    InviteCodes,
    /// Agent number, class, sequence number → nothing; for mail that is not of the class `normal`. `classes.rs`.
    Classes,
}

impl Tree {
    /// Every tree, in the order of their numbers.
    pub(crate) const ALL: [Self; 26] = [
        Self::Meta,
        Self::Agents,
        Self::AgentNames,
        Self::ApiKeys,
        Self::OwnRoster,
        Self::Mailbox,
        Self::Boxes,
        Self::History,
        Self::Idempotency,
        Self::Outbox,
        Self::LanesOut,
        Self::LanesIn,
        Self::Expire,
        Self::Blobs,
        Self::Peers,
        Self::Pins,
        Self::Rosters,
        Self::Tickets,
        Self::Files,
        Self::Uploads,
        Self::Shares,
        Self::Postings,
        Self::Receipts,
        Self::Owners,
        Self::InviteCodes,
        Self::Classes,
    ];

    /// Position in [`Tree::ALL`]; also the tree's number in a backup, so never reorder.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The name on disk and in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Agents => "agents",
            Self::AgentNames => "agent_names",
            Self::ApiKeys => "api_keys",
            Self::OwnRoster => "own_roster",
            Self::Mailbox => "mailbox",
            Self::Boxes => "boxes",
            Self::History => "history",
            Self::Idempotency => "idempotency",
            Self::Outbox => "outbox",
            Self::LanesOut => "lanes_out",
            Self::LanesIn => "lanes_in",
            Self::Expire => "expire",
            Self::Blobs => "blobs",
            Self::Peers => "peers",
            Self::Pins => "pins",
            Self::Rosters => "rosters",
            Self::Tickets => "tickets",
            Self::Files => "files",
            Self::Uploads => "uploads",
            Self::Shares => "shares",
            Self::Postings => "postings",
            Self::Receipts => "receipts",
            Self::Owners => "owners",
            Self::InviteCodes => "invite_codes",
            Self::Classes => "classes",
        }
    }
}

/// Opens every tree, in the order of [`Tree::ALL`].
pub(crate) fn open_all(db: &sled::Db) -> sled::Result<Vec<sled::Tree>> {
    Tree::ALL.iter().map(|tree| db.open_tree(tree.name())).collect()
}
