//! Everything that must survive a crash; the only crate that names sled (DESIGN §5).
//!
//! Changes are handed to one writer, which commits what has gathered as one record of a journal, syncs once and then
//! answers (`commit`, `engine/journal`). What the journal holds is moved to sled in the background
//! (`engine/journaled`). Reads see both, from any thread (`store/lookup`). Each tree has one file that owns it (`trees`).
#![warn(missing_docs)]

mod accept;
mod agents;
mod api_keys;
mod attachments;
mod backup;
mod backup_files;
mod blob;
mod body;
mod change;
mod classes;
mod codec;
mod commit;
mod config;
mod correspondents;
mod endings;
mod engine;
mod error;
mod expire;
mod files;
mod group;
mod handed;
mod history;
mod key;
mod lanes_in;
mod lifetime;
mod load;
mod mail;
mod mailbox;
mod maintain;
mod meta;
mod moving;
mod notice;
mod outbox;
mod own_roster;
mod owners;
mod peers;
mod pins;
mod postings;
mod receipt;
mod receipts;
mod rosters;
mod shared;
mod space;
mod status;
mod steady;
mod store;
mod tally;
#[cfg(test)]
mod tests;
mod tickets;
mod trees;
mod txn;
mod verify;
mod walk;

pub use agents::{
    AgentChange, AgentRecord, Delivery, Deregistered, NewAgent, NewKey, RegisterOutcome, RenameOutcome,
};
pub use api_keys::KeyHash;
pub use attachments::{Share, Stage, UPLOAD_LIFE, Upload, UploadOutcome};
pub use backup::BackupReport;
pub use change::Durable;
pub use config::Config;
pub use endings::{Expired, Expiring};
pub use engine::memory::{Fault, MemoryDisk};
pub use error::{OpenError, StoreError};
pub use files::{FilePart, FileWriter};
pub use mail::{
    AgentNo, AttachmentFault, CommitOutcome, CommitReceipt, Destination, Holder, LaneKey, LaneMark, LanePart,
    LaneStamp, MailboxEntry, MessageState, MessageStatus, NewMail, Origin, OutboxEntry, Place, Seq,
    Settlement, Target,
};
pub use maintain::{MaintainError, Restored, backup_name, finish_restore, reset, restore, rotate_backups};
pub use own_roster::OwnRoster;
pub use owners::{Admission, InviteCode, NotAdmitted, OwnerId, OwnerRecord};
pub use peers::PeerRecord;
pub use postings::Posting;
pub use receipt::{BroughtReceipt, Given, Receipt, ReceiptKind, ReceiptOwner};
pub use rosters::{RosterDelta, StoredRoster};
pub use space::{Space, SpaceProbe};
pub use store::{QueueSummary, Stats, Store};
pub use tickets::{SpendOutcome, TokenHash};
pub use verify::Report;
