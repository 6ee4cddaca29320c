//! Other providers, as the node's owner sees them (`amesh federation`), over the socket of [`super::control`].

use serde::{Deserialize, Serialize};

/// This node as a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationStatus {
    /// Whether the owner has opened federation.
    pub on: bool,
    /// What others are told of this node, where it is a provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<OwnProviderStatus>,
    /// With whom mail is exchanged: `open`, `registry`, `allowlist` or `closed`.
    #[serde(default)]
    pub mode: String,
    /// Every provider that the owner has named or that has come with a key.
    #[serde(default)]
    pub providers: Vec<KnownProvider>,
    /// Every provider for which mail waits.
    #[serde(default)]
    pub queues: Vec<ProviderQueue>,
}

/// Mail that waits for one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderQueue {
    /// Its domain.
    pub domain: String,
    /// Messages.
    pub waiting: u32,
    /// `reachable`, `unreachable` or `untried`.
    pub state: String,
    /// RFC 3339, where a retry is timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<String>,
    /// RFC 3339, when it last answered or came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// What was wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Find out whether mail can be exchanged with a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestProvider {
    /// Its domain.
    pub domain: String,
}

/// What that came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestedProvider {
    /// How it was found.
    pub resolved: ResolvedProvider,
    /// Whether mail would be exchanged.
    pub usable: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What was looked at, in order: `provider` (this node is one), `policy`, `found`, `key`, `health`, `info`.
    pub checks: Vec<StepTaken>,
}

/// A provider as this node knows it without asking anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProvider {
    /// Its domain.
    pub domain: String,
    /// `allowed` or `blocked`, by the owner; otherwise the mode decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Why nothing is exchanged with it, if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Of the key that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// When it came with it first, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Allow, block or forget a provider, or forget an agent of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameProvider {
    /// Its domain; where something is forgotten, or an agent's address.
    pub name: String,
    /// The key of that agent is in other hands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compromised: bool,
}

/// What others are told of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnProviderStatus {
    /// Its domain.
    pub domain: String,
    /// The base of its API.
    pub endpoint: String,
    /// Of its key.
    pub fingerprint: String,
    /// Its key, as PEM.
    pub public_key: String,
    /// DNS records in the notation of zone files.
    pub dns_records: Vec<String>,
}

/// Look a provider up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveProvider {
    /// Its domain.
    pub domain: String,
    /// Ask, whatever is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
}

/// A provider, and how it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedProvider {
    /// The domain that was asked for.
    pub domain: String,
    /// Whether anything may be exchanged with it.
    pub usable: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<FoundProvider>,
    /// Whether the owner pinned its key.
    pub pinned: bool,
    /// Seconds since this was found out.
    pub age_s: u64,
    /// Seconds for which nobody is asked again.
    pub fresh_for_s: u64,
    /// Every step that was tried, in order.
    pub steps: Vec<StepTaken>,
}

/// What a provider says of itself, as far as it is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundProvider {
    /// The step that found it: `dns_txt`, `well_known`, `registry` or `stale_cache`.
    pub step: String,
    /// The base of its API.
    pub endpoint: String,
    /// Of its key; only announced where there is no `public_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Its proven key, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// What it says it can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Whether the registry has checked it.
    #[serde(default)]
    pub registered: bool,
}

/// One step of discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTaken {
    /// Which.
    pub step: String,
    /// `found`, `unproven`, `nothing`, `refused`, `failed` or `off`.
    pub outcome: String,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
