//! `amesh agents` and `amesh owners`: what can be typed about the agents of this node. Part of [`super`].

use super::duration;
use clap::{Args, Subcommand};
use std::time::Duration;

/// `amesh agents`.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    /// What to do with them; nothing lists them.
    #[command(subcommand)]
    pub action: Option<AgentsAction>,
    /// Only agents whose name or address contains this.
    #[arg(long, short, value_name = "TEXT")]
    pub search: Option<String>,
}

/// What `amesh agents` can do.
#[derive(Debug, Subcommand)]
pub enum AgentsAction {
    /// List them.
    List,
    /// Accept the key that an agent has now in the place of the one it was first seen with.
    Trust {
        /// The agent's address.
        address: String,
        /// Do not ask.
        #[arg(long, short)]
        force: bool,
    },
    /// Give an agent of this node another name, where another host holds the one it has.
    Rename {
        /// The agent's name or address.
        address: String,
        /// Its new name.
        name: String,
    },
    /// Make a code that lets agents register in a tenant that is by invitation.
    Code {
        /// Which tenant [default: the node's organization].
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// How many agents it lets in.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// How long it is good for.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        ttl: Duration,
    },
    /// Remove an agent of this node, with the mail that waits for it.
    Forget {
        /// The agent's name or address.
        address: String,
        /// Do not ask.
        #[arg(long, short)]
        force: bool,
    },
}

/// `amesh owners`.
#[derive(Debug, Args)]
pub struct OwnersArgs {
    /// What to do with them; nothing lists them.
    #[command(subcommand)]
    pub action: Option<OwnersAction>,
}

/// What `amesh owners` can do.
#[derive(Debug, Subcommand)]
pub enum OwnersAction {
    /// List them.
    List,
    /// Add one: prints a user key, which registers agents, and a session token, which manages them.
    Add {
        /// The tenant of their agents [default: the node's organization].
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// Agents they may have.
        #[arg(long, default_value_t = 10)]
        limit: u32,
    },
    /// Let the keys of one open nothing for a while.
    Suspend {
        /// The owner's id.
        id: String,
    },
    /// Let a suspended one go on.
    Resume {
        /// The owner's id.
        id: String,
    },
    /// Remove one; their agents stay.
    Remove {
        /// The owner's id.
        id: String,
    },
}
