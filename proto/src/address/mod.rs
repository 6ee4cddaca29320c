//! Agent addresses: reading, comparing, taking apart (AMP 02 §Agent Address Format). Used everywhere.

mod naming;
mod serial;
#[cfg(test)]
mod tests;

pub use naming::Naming;

use crate::limits;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A full address, `name@scope.provider`, valid and in lower case (ADR-1…5). Cheap to clone.
///
/// Two addresses are equal when their texts are: where the provider begins is knowledge about the
/// address, not part of it.
#[derive(Clone)]
pub struct Address {
    text: Arc<str>,
    /// Where `@` stands.
    at: u8,
    /// Where the provider domain begins.
    provider: u8,
}

/// Why a text is no address. The protocol answers 400 `invalid_field` (ADR-4, ADR-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// More than 254 characters (ADR-4).
    #[error("address is longer than {} characters", limits::ADDRESS_LEN)]
    TooLong,
    /// No `@` where a full address is needed, or more than one (ADR-15).
    #[error("address must have the form name@scope.provider, with one @")]
    NotOneAt,
    /// The part before `@` (ADR-2).
    #[error("agent name must be 1 to 63 letters, digits, '-' or '_'")]
    BadName,
    /// A part between dots after `@` (ADR-3).
    #[error("every part after @ must be 1 to 63 letters, digits or '-'")]
    BadLabel,
    /// Fewer than three labels after `@` (ADR-1).
    #[error("address needs a scope and a provider of at least two parts: name@scope.provider.tld")]
    TooFewLabels,
    /// A registered name may not look like a command-line option.
    #[error("agent name must not begin with '-'")]
    LeadingHyphen,
}

impl Address {
    /// Reads a full address. The provider is the longest of `own_domains` that ends it, else its last two
    /// labels (ADR-7, A-55).
    ///
    /// # Errors
    /// When the text is no full address.
    pub fn parse(text: &str, own_domains: &[&str]) -> Result<Self, AddressError> {
        if text.len() > limits::ADDRESS_LEN {
            return Err(AddressError::TooLong);
        }
        let (name, domain) = text.split_once('@').ok_or(AddressError::NotOneAt)?;
        if domain.contains('@') {
            return Err(AddressError::NotOneAt);
        }
        check_name(name)?;
        let mut labels = 0;
        for label in domain.split('.') {
            check_label(label)?;
            labels += 1;
        }
        if labels < 3 {
            return Err(AddressError::TooFewLabels);
        }
        let text: Arc<str> = text.to_ascii_lowercase().into();
        let provider = provider_start(&text, name.len() + 1, own_domains);
        Ok(Self { text, at: small(name.len()), provider: small(provider) })
    }

    /// The same address, taken apart by another list of own domains.
    #[must_use]
    pub fn with_own_domains(&self, own_domains: &[&str]) -> Self {
        let provider = provider_start(&self.text, usize::from(self.at) + 1, own_domains);
        Self { text: Arc::clone(&self.text), at: self.at, provider: small(provider) }
    }

    /// The whole address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The agent's name, left of `@`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// Everything right of `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// Everything between `@` and the provider: `repo.platform.tenant`, `host.tenant` or `tenant` (ADR-6).
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.text[usize::from(self.at) + 1..usize::from(self.provider) - 1]
    }

    /// The label directly left of the provider (ADR-6).
    #[must_use]
    pub fn tenant(&self) -> &str {
        let scope = self.scope();
        scope.rsplit('.').next().unwrap_or(scope)
    }

    /// The provider domain.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.text[usize::from(self.provider)..]
    }

    /// The longest domain that may be the provider's, where none is known: one label at least is the tenant's.
    #[must_use]
    pub fn longest_provider(&self) -> &str {
        self.domain().split_once('.').map_or("", |(_, rest)| rest)
    }

    /// `name@tenant.provider`: the address without platform, repository or host (ADR-11, REG-12).
    #[must_use]
    pub fn short(&self) -> Self {
        let (name, tenant, provider) = (self.name(), self.tenant(), self.provider());
        let text: Arc<str> = format!("{name}@{tenant}.{provider}").into();
        let provider = text.len() - provider.len();
        Self { text, at: self.at, provider: small(provider) }
    }

    /// Whether `other` is of the same tenant of the same provider (TRU-2), judged by how *this* address is
    /// taken apart: it is ours, so the other cannot pretend where its provider begins.
    #[must_use]
    pub fn same_tenant(&self, other: &Self) -> bool {
        let tenant_domain = &self.text[usize::from(self.provider) - 1 - self.tenant().len()..];
        is_suffix_of(tenant_domain, other.domain())
    }

    /// Whether the domain marks a local network, which is never looked up or federated (ADR-12).
    #[must_use]
    pub fn is_local_network(&self) -> bool {
        let last = self.text.rsplit('.').next().unwrap_or_default();
        matches!(last, "local" | "internal" | "localhost")
    }
}

/// What a name must be to be registered here: ADR-2, and no leading `-`.
///
/// # Errors
/// When the name may not be registered.
pub fn validate_agent_name(name: &str) -> Result<(), AddressError> {
    check_name(name)?;
    if name.starts_with('-') { Err(AddressError::LeadingHyphen) } else { Ok(()) }
}

/// One scope segment or provider label: tenant, host label, platform (ADR-3).
///
/// # Errors
/// When the text is no label.
pub fn validate_label(label: &str) -> Result<(), AddressError> {
    check_label(label)
}

fn check_name(name: &str) -> Result<(), AddressError> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=limits::LABEL_LEN).contains(&name.len()) && name.bytes().all(ok) {
        Ok(())
    } else {
        Err(AddressError::BadName)
    }
}

fn check_label(label: &str) -> Result<(), AddressError> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if (1..=limits::LABEL_LEN).contains(&label.len()) && label.bytes().all(ok) {
        Ok(())
    } else {
        Err(AddressError::BadLabel)
    }
}

/// Offset of the provider in `text`, whose domain begins at `domain` and has at least three labels.
fn provider_start(text: &str, domain: usize, own_domains: &[&str]) -> usize {
    let whole = &text[domain..];
    own_domains
        .iter()
        .filter(|own| own.contains('.') && own.len() < whole.len() && is_suffix_of(own, whole))
        .map(|own| text.len() - own.len())
        .min()
        .unwrap_or_else(|| {
            let second_dot = whole.rmatch_indices('.').nth(1).map_or(0, |(dot, _)| dot);
            domain + second_dot + 1
        })
}

/// Whether `domain` is `suffix` or ends in `.suffix`. `domain` is lower case already.
fn is_suffix_of(suffix: &str, domain: &str) -> bool {
    let (suffix, domain) = (suffix.as_bytes(), domain.as_bytes());
    let Some(start) = domain.len().checked_sub(suffix.len()) else { return false };
    domain[start..].eq_ignore_ascii_case(suffix) && (start == 0 || domain[start - 1] == b'.')
}

/// Offsets fit: an address has at most 254 bytes.
fn small(offset: usize) -> u8 {
    u8::try_from(offset).unwrap_or(u8::MAX)
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl std::borrow::Borrow<str> for Address {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl AsRef<str> for Address {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}|{})", &self.text[..usize::from(self.provider)], self.provider())
    }
}
