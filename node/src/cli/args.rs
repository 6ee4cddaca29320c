//! What a user can type: the clap definitions and nothing else. Each command file says what the words mean;
//! completions and the manual page are generated from here (DESIGN §4).

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A local-first mesh node for agent messaging: signed mail between agents, on one machine or many.
#[derive(Debug, Parser)]
#[command(
    name = "amesh",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Options every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The node's data directory [default: the platform's data directory, `amesh` in it].
    #[arg(long, global = true, env = "AMESH_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print JSON with stable keys instead of text.
    #[arg(long, short = 'j', global = true)]
    pub json: bool,
    /// Act as this agent, where a machine has several [also: AMP_DIR, CLAUDE_AGENT_ID, CLAUDE_AGENT_NAME].
    #[arg(long, global = true, env = "AMESH_AGENT", value_name = "NAME")]
    pub agent: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the node.
    Up(Box<UpArgs>),
    /// Stop the node.
    Down(DownArgs),
    /// Print a one-time ticket that lets one other machine join this mesh.
    Invite(InviteArgs),
    /// Join the mesh of the machine that printed TICKET.
    Join(JoinArgs),
    /// Leave the mesh; this node goes on alone.
    Leave,
    /// List the machines of this mesh and neighbours that are not members, remove one, or let one invite others.
    Peers(PeersArgs),
    /// List hosts of the HTTP mesh and those that ask to be; accept, refuse or remove one.
    Hosts(HostsArgs),
    /// Look other providers up, test, allow, block or forget one, and show what to announce of this node.
    Federation(FederationArgs),
    /// List the agents that this node can reach; rename or remove one of this node, or accept the changed key of one.
    Agents(AgentsArgs),
    /// List those who may have agents of their own here by a user key; add, suspend or remove one.
    Owners(OwnersArgs),
    /// Show the state of the node and of the acting agent.
    Status,
    /// Say what is wrong with this machine, and how to mend it.
    Doctor,
    /// Print the log of a node that was started with `up --detach`.
    Logs(LogsArgs),
    /// Make an identity for an agent (keys, config.json, IDENTITY.md) and register it.
    Init(InitArgs),
    /// Show who the acting agent is; take its identity elsewhere.
    Identity(IdentityArgs),
    /// Register the acting agent with the node or with a provider.
    Register(RegisterArgs),
    /// Send a signed message.
    Send(Box<SendArgs>),
    /// Fetch new mail and list the inbox.
    Inbox(InboxArgs),
    /// Show one message and mark it read.
    Read(ReadArgs),
    /// Answer a message.
    Reply(ReplyArgs),
    /// Delete a message from this agent's files.
    Delete(DeleteArgs),
    /// Fetch new mail from every registration to disk, then acknowledge it.
    Fetch(FetchArgs),
    /// Fetch the files that go with a message.
    Download(DownloadArgs),
    /// Look at mail that waits to leave this node.
    Queue(QueueArgs),
    /// Back up, restore, verify or reset the node's store.
    Db(DbArgs),
    /// Make the protocol's own command names (amp-init, amp-send, …).
    Links(LinksArgs),
    /// Run the node as a service of this user.
    Service(ServiceArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Print the manual page, or write one page per command into DIR.
    Man(ManArgs),
}

/// `amesh up`. Every other setting is in the file of `--config`, or in a variable `AMESH_<SETTING>`.
#[derive(Debug, Clone, Default, Args)]
pub struct UpArgs {
    /// Read settings from this TOML file.
    #[arg(long, env = "AMESH_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// This machine's name in the mesh [default: the hostname].
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// The organization (tenant) of agents here [default: default].
    #[arg(long, value_name = "NAME")]
    pub org: Option<String>,
    /// The provider domain of agents here [default: aimaestro.local].
    #[arg(long, value_name = "DOMAIN")]
    pub provider: Option<String>,
    /// Where agents connect; may be given more than once [default: 127.0.0.1:23000 and [::1]:23000].
    #[arg(long, env = "AMESH_API", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub api: Vec<SocketAddr>,
    /// Where other nodes connect, UDP [default: 0.0.0.0:23001, and the same port for IPv6].
    #[arg(long, value_name = "ADDR:PORT")]
    pub mesh: Option<SocketAddr>,
    /// Where other nodes' libp2p connects, UDP [default: 0.0.0.0:23002].
    #[arg(long, value_name = "ADDR:PORT")]
    pub swarm: Option<SocketAddr>,
    /// Do without libp2p: reach members directly, or not at all.
    #[arg(long, conflicts_with = "swarm")]
    pub no_swarm: bool,
    /// Where HTTP mesh hosts connect, TCP [default: nowhere].
    #[arg(long, env = "AMESH_HTTP_MESH", value_name = "ADDR:PORT")]
    pub http_mesh: Option<SocketAddr>,
    /// Another node to look for; may be given more than once.
    #[arg(long, env = "AMESH_PEERS", value_name = "HOST:PORT", value_delimiter = ',')]
    pub peer: Vec<String>,
    /// Do not announce or look for nodes by multicast.
    #[arg(long)]
    pub no_mdns: bool,
    /// Join this mesh first, by a ticket of `amesh invite` (`-` reads it from standard input).
    #[arg(long, env = "AMESH_JOIN", value_name = "TICKET")]
    pub join: Option<String>,
    /// Run in the background; the log goes to `amesh.log` in the data directory.
    #[arg(long)]
    pub detach: bool,
    /// Set on the process that `--detach` starts.
    #[arg(long, hide = true)]
    pub in_background: bool,
}

/// `amesh down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// How long to wait for the node to finish.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// `amesh invite`.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// How long the ticket is good for, such as 90s, 15m or 1h.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub ttl: Duration,
    /// Let that machine invite and remove others too.
    #[arg(long)]
    pub introducer: bool,
    /// Draw the ticket as a QR code as well, for a machine whose camera reads more easily than its user types.
    #[arg(long)]
    pub qr: bool,
}

/// `amesh join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The ticket; `-` or nothing reads it from standard input.
    pub ticket: Option<String>,
    /// Read the ticket from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "ticket")]
    pub file: Option<PathBuf>,
    /// Leave the mesh this node is in now, if it has other members.
    #[arg(long)]
    pub leave: bool,
    /// Join even where both sides have agents of the same name.
    #[arg(long, short)]
    pub yes: bool,
}

impl JoinArgs {
    /// `amesh join TICKET`.
    pub(super) fn of(ticket: &str) -> Self {
        Self { ticket: Some(ticket.to_owned()), file: None, leave: false, yes: false }
    }
}

/// `amesh peers`.
#[derive(Debug, Args)]
pub struct PeersArgs {
    /// What to do with them; nothing lists them.
    #[command(subcommand)]
    pub action: Option<PeersAction>,
}

/// What `amesh peers` can do.
#[derive(Debug, Subcommand)]
pub enum PeersAction {
    /// List members and neighbours.
    List,
    /// Remove a node from the mesh (or, if this node may not, block it here).
    Remove {
        /// The node's id, its host name, or the end of its id.
        id: String,
    },
    /// Let a member invite and remove others (only the founder and introducers may).
    Promote {
        /// The node's id, its host name, or the end of its id.
        id: String,
    },
}

/// `amesh logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Keep printing as lines are added.
    #[arg(long, short)]
    pub follow: bool,
    /// How many of the last lines to print.
    #[arg(long, short = 'n', default_value_t = 100)]
    pub lines: usize,
}

/// `amesh init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Take the name from the environment, without asking.
    #[arg(long, short)]
    pub auto: bool,
    /// The agent's name.
    #[arg(long, short, value_name = "NAME")]
    pub name: Option<String>,
    /// The agent's organization [default: the node's].
    #[arg(long, short, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Make new keys although there is an identity.
    #[arg(long, short)]
    pub force: bool,
}

/// `amesh register`.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    /// A provider's domain, or the URL of a node [default: the running node].
    #[arg(long, short, value_name = "DOMAIN|URL")]
    pub provider: Option<String>,
    /// The provider's API, if it is not `https://api.<provider>`.
    #[arg(long, short = 'a', value_name = "URL")]
    pub api_url: Option<String>,
    /// A user key of the provider.
    #[arg(long, short = 'k', env = "AMESH_USER_KEY", hide_env_values = true, value_name = "KEY")]
    pub user_key: Option<String>,
    /// An invitation token of the provider or node, or a user key (it begins with uk_).
    #[arg(long, env = "AMESH_REGISTER_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The organization there.
    #[arg(long, short, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The name there [default: the agent's name].
    #[arg(long, short, value_name = "NAME")]
    pub name: Option<String>,
    /// Let the running node fetch the mail that waits there, from now on.
    #[arg(long)]
    pub fetch: bool,
    /// Register again.
    #[arg(long, short)]
    pub force: bool,
}

/// `amesh send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// To whom: a name, or a full address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The text; `-` reads it from standard input.
    pub message: String,
    /// urgent, high, normal or low.
    #[arg(long, short, default_value = "normal", value_parser = priority)]
    pub priority: String,
    /// What kind of message it is, or a namespaced kind such as `github:pull_request`.
    #[arg(long = "type", short = 't', default_value = "notification", value_name = "TYPE", value_parser = message_type)]
    pub kind: String,
    /// The id of the message this answers.
    #[arg(long, short, value_name = "ID", value_parser = message_id)]
    pub reply_to: Option<String>,
    /// The id of the first message of the thread.
    #[arg(long, value_name = "ID", value_parser = message_id)]
    pub thread_id: Option<String>,
    /// Structured data to go with it, as a JSON object.
    #[arg(long, short, value_name = "JSON", value_parser = json_object)]
    pub context: Option<String>,
    /// A file to go with it; may be given more than once.
    #[arg(long, short = 'a', value_name = "FILE")]
    pub attach: Vec<PathBuf>,
}

/// `amesh inbox`.
#[derive(Debug, Args)]
pub struct InboxArgs {
    /// The spellings of the protocol's provider chapter.
    #[command(subcommand)]
    pub action: Option<InboxAction>,
    /// All messages, archived ones too.
    #[arg(long, short, conflicts_with_all = ["unread", "read"])]
    pub all: bool,
    /// Only unread messages (this is the default).
    #[arg(long, short)]
    pub unread: bool,
    /// Only read messages.
    #[arg(long, short, conflicts_with = "unread")]
    pub read: bool,
    /// Print only how many there are.
    #[arg(long, short)]
    pub count: bool,
    /// At most this many, newest first.
    #[arg(long, short, default_value_t = 20)]
    pub limit: usize,
    /// Do not ask the node for new mail first.
    #[arg(long)]
    pub no_fetch: bool,
    /// Stay connected and print mail as it comes.
    #[arg(long, conflicts_with_all = ["count", "no_fetch"])]
    pub follow: bool,
}

/// `amesh inbox list|read|ack`.
#[derive(Debug, Subcommand)]
pub enum InboxAction {
    /// List the inbox.
    List,
    /// Show one message.
    Read {
        /// Its id.
        #[arg(value_parser = message_id)]
        id: String,
    },
    /// Acknowledge one message to the node, saving it first.
    Ack {
        /// Its id.
        #[arg(value_parser = message_id)]
        id: String,
    },
}

/// `amesh read`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The message's id.
    #[arg(value_parser = message_id)]
    pub id: String,
    /// Leave it unread.
    #[arg(long, short)]
    pub no_mark_read: bool,
    /// A message this agent sent.
    #[arg(long, short)]
    pub sent: bool,
    /// Fetch the files that go with it, too, as `download` does.
    #[arg(long)]
    pub download: bool,
}

/// `amesh reply`.
#[derive(Debug, Args)]
pub struct ReplyArgs {
    /// The id of the message to answer.
    #[arg(value_parser = message_id)]
    pub id: String,
    /// The text; `-` reads it from standard input.
    pub message: String,
    /// Another priority than the original's.
    #[arg(long, short, value_parser = priority)]
    pub priority: Option<String>,
    /// Another type than `response`.
    #[arg(long = "type", short = 't', default_value = "response", value_name = "TYPE", value_parser = message_type)]
    pub kind: String,
    /// Structured data to go with it, as a JSON object.
    #[arg(long, short, value_name = "JSON", value_parser = json_object)]
    pub context: Option<String>,
    /// A file to go with it; may be given more than once.
    #[arg(long, short = 'a', value_name = "FILE")]
    pub attach: Vec<PathBuf>,
}

/// `amesh delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The message's id.
    #[arg(value_parser = message_id)]
    pub id: String,
    /// A message this agent sent.
    #[arg(long, short)]
    pub sent: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub force: bool,
}

/// `amesh download`.
#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// The message's id.
    #[arg(value_parser = message_id)]
    pub id: String,
    /// Only this file [default: all].
    #[arg(value_name = "ATTACHMENT-ID")]
    pub attachment: Option<String>,
    /// All of them; this is the default.
    #[arg(long, conflicts_with = "attachment")]
    pub all: bool,
    /// Where to put them [default: `attachments/<message id>` in the agent's files].
    #[arg(long, short, value_name = "DIR")]
    pub dest: Option<PathBuf>,
    /// Of a message this agent sent.
    #[arg(long, short)]
    pub sent: bool,
    /// Files that are not what they claim to be, too.
    #[arg(long)]
    pub suspicious: bool,
}

/// `amesh fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Only from this registration.
    #[arg(long, short, value_name = "DOMAIN")]
    pub provider: Option<String>,
    /// Say what was done with each message.
    #[arg(long, short)]
    pub verbose: bool,
    /// Save, but do not acknowledge.
    #[arg(long)]
    pub no_mark: bool,
}

/// `amesh queue`.
#[derive(Debug, Args)]
pub struct QueueArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: QueueAction,
}

/// What `amesh queue` can do.
#[derive(Debug, Subcommand)]
pub enum QueueAction {
    /// List the mail that waits, by destination.
    List,
}

/// `amesh db`.
#[derive(Debug, Args)]
pub struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: DbAction,
}

/// What `amesh db` can do.
#[derive(Debug, Subcommand)]
pub enum DbAction {
    /// Copy the store into one file, node running or not.
    Backup {
        /// The file to write [default: a new one in `backups` in the data directory].
        dest: Option<PathBuf>,
    },
    /// Replace the store by a backup; the present one is moved aside, not deleted. The node must be stopped.
    Restore {
        /// The backup [default: the newest in `backups` in the data directory].
        from: Option<PathBuf>,
        /// Do not ask.
        #[arg(long, short)]
        force: bool,
    },
    /// Start with an empty store; the present one is moved aside, not deleted. The node must be stopped.
    Reset {
        /// Do not ask.
        #[arg(long, short)]
        force: bool,
    },
    /// Read every record and check every reference, node running or not.
    Verify,
}

/// `amesh completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `amesh man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page per command here instead of printing one.
    pub dir: Option<PathBuf>,
}

mod agents;
mod outside;
mod setup;
mod values;
pub use agents::{AgentsAction, AgentsArgs, OwnersAction, OwnersArgs};
pub use outside::{FederationAction, FederationArgs, HostsAction, HostsArgs};
pub use setup::*;
use values::{duration, json_object, message_id, message_type, priority};

#[cfg(test)]
mod tests;
