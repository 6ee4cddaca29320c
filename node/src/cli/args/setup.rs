//! What can be typed about an agent's identity as a whole, the `amp-*` names, and running the node as a service.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `amesh identity`.
#[derive(Debug, Args)]
pub struct IdentityArgs {
    /// What to do with it; nothing shows it.
    #[command(subcommand)]
    pub action: Option<IdentityAction>,
    /// One line.
    #[arg(long, short)]
    pub brief: bool,
}

/// What `amesh identity` can do.
#[derive(Debug, Subcommand)]
pub enum IdentityAction {
    /// Write keys, addresses and registrations into one file. It holds the private key: keep it to yourself.
    Export {
        /// The file; `-` prints it.
        file: PathBuf,
        /// Replace a file that is there.
        #[arg(long, short)]
        force: bool,
    },
    /// Take over an identity from a file of `identity export`, or a bare Ed25519 private key in PEM.
    Import {
        /// The file; `-` reads standard input.
        file: PathBuf,
        /// The agent's name; needed for a bare key.
        #[arg(long, short, value_name = "NAME")]
        name: Option<String>,
        /// The agent's organization, for a bare key [default: the node's].
        #[arg(long, short, value_name = "NAME")]
        tenant: Option<String>,
        /// Take the place of an identity that is there; its keys are moved aside, not deleted.
        #[arg(long, short)]
        force: bool,
    },
    /// Replace the key pair, here and at every provider; the old private key is moved aside. Run it again if it was
    /// interrupted.
    Rotate {
        /// Somebody else has the old private key: mail that it signed is believed no more, and who got some is told.
        #[arg(long)]
        compromised: bool,
        /// Leave out providers that do not answer; they will refuse the new key.
        #[arg(long, short)]
        force: bool,
    },
    /// Print a card with the agent's address and key, signed by it, for others to keep; or check somebody's.
    Card {
        /// A card to check instead; `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
    /// Replace or revoke the API key of a registration.
    ApiKey {
        /// What to do with it.
        #[command(subcommand)]
        action: ApiKeyAction,
    },
}

/// What `amesh identity api-key` can do.
#[derive(Debug, Subcommand)]
pub enum ApiKeyAction {
    /// Get a new one; the old one works for 24 hours more.
    Rotate {
        /// The registration [default: the one with this machine's node].
        #[arg(long, short, value_name = "DOMAIN")]
        provider: Option<String>,
    },
    /// End all of them at once; `amesh register --force` gets a new one.
    Revoke {
        /// The registration [default: the one with this machine's node].
        #[arg(long, short, value_name = "DOMAIN")]
        provider: Option<String>,
        /// Do not ask.
        #[arg(long, short)]
        force: bool,
    },
}

/// `amesh links`.
#[derive(Debug, Args)]
pub struct LinksArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: LinksAction,
}

/// What `amesh links` can do.
#[derive(Debug, Subcommand)]
pub enum LinksAction {
    /// Make `amp-init`, `amp-send`, `amp-inbox` and the protocol's other names in DIR, as links to this program.
    Install {
        /// A directory on your PATH, such as ~/.local/bin.
        dir: PathBuf,
        /// Replace other programs of these names.
        #[arg(long, short)]
        force: bool,
    },
    /// Remove them again.
    Remove {
        /// The directory.
        dir: PathBuf,
    },
}

/// `amesh service`.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ServiceAction,
}

/// What `amesh service` can do.
#[derive(Debug, Subcommand)]
pub enum ServiceAction {
    /// Start the node at every login, and now: a systemd user unit, or a launchd agent on macOS.
    Install(ServiceInstallArgs),
    /// Stop the service and remove it. The node's data stays.
    Uninstall {
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `amesh service install`.
#[derive(Debug, Args)]
pub struct ServiceInstallArgs {
    /// Only say what would be written and run.
    #[arg(long)]
    pub dry_run: bool,
    /// Only print the unit or property list.
    #[arg(long, conflicts_with = "dry_run")]
    pub print: bool,
    /// For another kind of system than this one; with --print or --dry-run.
    #[arg(long = "for", value_enum, value_name = "SYSTEM")]
    pub system: Option<System>,
    /// Options for `amesh up`, behind `--`, such as `-- --host den --no-mdns`.
    #[arg(last = true, value_name = "UP OPTIONS")]
    pub up: Vec<String>,
}

/// What starts services for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum System {
    /// Linux.
    Systemd,
    /// macOS.
    Launchd,
}
