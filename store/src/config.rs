//! The store's settings. Read by the node's configuration and by every limit in this crate.

use serde::{Deserialize, Serialize};

/// Settings of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Memory for sled's page cache, in MiB. It under-counts: 8 to 32 is sensible.
    pub cache_mib: u64,
    /// Mail per mailbox that was never handed out (RLY-2); beyond it the mailbox is full.
    pub mailbox_new: u32,
    /// Mail per mailbox that was handed out and not acknowledged, kept besides.
    pub mailbox_handed_out: u32,
    /// Messages waiting for one node or provider.
    pub outbox_messages: u32,
    /// MiB of messages waiting for one node or provider.
    pub outbox_mib: u32,
    /// Messages of one agent waiting for one node or provider.
    pub outbox_per_agent: u32,
    /// MiB of attached files in all; beyond it uploads are refused.
    pub attachments_mib: u32,
    /// MiB of attached files that one agent may have uploaded and that are still kept.
    pub attachments_per_agent_mib: u32,
    /// Free disk space, in MiB, below which new mail is refused. On a small disk a quarter of it, if that is less.
    pub min_free_mib: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_mib: 16,
            mailbox_new: 1_000,
            mailbox_handed_out: 10_000,
            outbox_messages: 10_000,
            outbox_mib: 256,
            outbox_per_agent: 1_000,
            attachments_mib: 4_096,
            attachments_per_agent_mib: 1_024,
            min_free_mib: 64,
        }
    }
}

/// Values above this many bytes live in blob files: sled rewrites up to 17 values at once, leaks large ones (PITFALLS), and
/// puts what exceeds a quarter of a segment into files of its own that it never syncs.
pub(crate) const INLINE_BYTES: usize = 8 * 1024;

/// Changes waiting for the writer; more is an error (DESIGN §1.8).
pub(crate) const QUEUE_CHANGES: usize = 8_192;

/// Bytes of messages waiting for the writer.
pub(crate) const QUEUE_BYTES: usize = 64 << 20;

/// Changes in one group commit.
pub(crate) const GROUP_CHANGES: usize = 512;

/// Bytes in one group commit.
pub(crate) const GROUP_BYTES: usize = 8 << 20;
