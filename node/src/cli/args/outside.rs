//! `amesh hosts` and `amesh federation`: what can be typed about those outside the mesh. Part of [`super`].

use clap::{Args, Subcommand};

/// `amesh hosts`.
#[derive(Debug, Args)]
pub struct HostsArgs {
    /// What to do with them; nothing lists them.
    #[command(subcommand)]
    pub action: Option<HostsAction>,
}

/// What `amesh hosts` can do.
#[derive(Debug, Subcommand)]
pub enum HostsAction {
    /// List hosts and requests.
    List,
    /// Take a host that asks; its agents and those here can write to each other then.
    Accept {
        /// Its name.
        name: String,
    },
    /// Do not take a host that asks.
    Refuse {
        /// Its name.
        name: String,
    },
    /// Remove a host that was accepted; those in the configuration file are taken out there.
    Remove {
        /// Its name.
        name: String,
    },
    /// Forget the key of an agent at such a host: the next one it signs with is taken as its first.
    Forget {
        /// The agent's address.
        address: String,
    },
}

/// `amesh federation`.
#[derive(Debug, Args)]
pub struct FederationArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: FederationAction,
}

/// What `amesh federation` can do.
#[derive(Debug, Subcommand)]
pub enum FederationAction {
    /// Say what this node is to other providers, with the DNS records that announce it.
    Status,
    /// Find the provider of DOMAIN anew, connect to it, and say why no mail would be exchanged. Nothing is delivered.
    Test {
        /// The provider's domain.
        domain: String,
    },
    /// Find the provider of DOMAIN and say by which step, with which key, and why it is refused.
    Resolve {
        /// The provider's domain.
        domain: String,
        /// Ask, whatever is known from before.
        #[arg(long)]
        anew: bool,
    },
    /// Exchange mail with DOMAIN, whoever else is let in; kept until it is blocked or forgotten.
    Allow {
        /// The provider's domain.
        domain: String,
    },
    /// Exchange nothing with DOMAIN any more, whatever the mode.
    Block {
        /// The provider's domain.
        domain: String,
    },
    /// Forget what was said of a provider and the key it came with, or the key of one of its agents: the next is taken as the
    /// first.
    Forget {
        /// The provider's domain, or the agent's address.
        name: String,
        /// The agent's key is in other hands: nothing signed with it is believed for 90 days.
        #[arg(long)]
        compromised: bool,
    },
}
