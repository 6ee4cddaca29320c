//! What a node's own names are, and what a short form means there (ADR-10, ADR-13, ADR-14).
//!
//! Called by registration, by the hallway before routing, and by the client.

use super::{Address, AddressError, check_label, check_name, is_suffix_of};
use crate::limits;

/// The names of one node: its organization (the tenant), provider domain and host label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// The tenant of every agent here.
    pub org: String,
    /// The provider domain, two labels or more.
    pub provider: String,
    /// This machine's label.
    pub host: String,
}

impl Naming {
    /// Names in lower case, each checked.
    ///
    /// # Errors
    /// When one is no label or the provider has fewer than two.
    pub fn new(org: &str, provider: &str, host: &str) -> Result<Self, AddressError> {
        check_label(org)?;
        check_label(host)?;
        provider.split('.').try_for_each(check_label)?;
        if !provider.contains('.') {
            return Err(AddressError::TooFewLabels);
        }
        let [org, provider, host] = [org, provider, host].map(str::to_ascii_lowercase);
        Ok(Self { org, provider, host })
    }

    /// The full address that `typed` means for `sender`, knowing no host but this one.
    ///
    /// # Errors
    /// When `typed` is no address, short or full.
    pub fn expand(&self, typed: &str, sender: Option<&Address>) -> Result<Address, AddressError> {
        self.expand_with(typed, sender, |_| false)
    }

    /// The full address that `typed` means for `sender`; `is_host` knows the labels of other hosts.
    ///
    /// | typed | means |
    /// |---|---|
    /// | `name` | the sender's tenant here, else ours (ADR-10, A-54) |
    /// | `name@host` | `name@host.org.provider`, for a host (ADR-14) |
    /// | `name@tenant` | `name@tenant.provider` (ADR-10) |
    /// | `name@host.provider` | `name@host.org.provider`, for a host (ADR-13, A-35) |
    /// | `name@team.local`, `name@x.default.local` | that tenant here, if our network is a local one (ICL-12) |
    ///
    /// # Errors
    /// When `typed` is no address, short or full.
    pub fn expand_with(
        &self,
        typed: &str,
        sender: Option<&Address>,
        is_host: impl Fn(&str) -> bool,
    ) -> Result<Address, AddressError> {
        if typed.len() > limits::ADDRESS_LEN {
            return Err(AddressError::TooLong);
        }
        let typed = typed.to_ascii_lowercase();
        let Some((name, domain)) = typed.split_once('@') else {
            check_name(&typed)?;
            let home = sender.filter(|sender| sender.provider() == self.provider);
            return self.full(&typed, home.map_or(&*self.org, Address::tenant));
        };
        check_name(name)?;
        if domain.contains('@') {
            return Err(AddressError::NotOneAt);
        }
        domain.split('.').try_for_each(check_label)?;
        let Some(scope) = self.scope_of(domain) else {
            return Address::parse(&typed, &[&self.provider]);
        };
        let is_org = scope == self.org;
        if !is_org && !scope.contains('.') && (scope == self.host || is_host(scope)) {
            return self.full(name, &format!("{scope}.{}", self.org));
        }
        self.full(name, scope)
    }

    /// `name@org.provider`: what an agent registered here is called.
    ///
    /// # Errors
    /// When the name is none.
    pub fn address_of(&self, name: &str) -> Result<Address, AddressError> {
        self.full(name, &self.org)
    }

    /// `name@host.org.provider`: never ambiguous in the mesh (DESIGN §3).
    ///
    /// # Errors
    /// When the name is none.
    pub fn host_address_of(&self, name: &str) -> Result<Address, AddressError> {
        self.full(name, &format!("{}.{}", self.host, self.org))
    }

    /// The host label of an address of the form `name@host.org.provider`.
    #[must_use]
    pub fn host_in<'a>(&self, address: &'a Address) -> Option<&'a str> {
        let host = address.scope().strip_suffix(&*self.org)?.strip_suffix('.')?;
        (address.provider() == self.provider && !host.contains('.')).then_some(host)
    }

    /// Whether the address is of this provider.
    #[must_use]
    pub fn is_ours(&self, address: &Address) -> bool {
        is_suffix_of(&self.provider, address.domain())
    }

    /// Parses a full address with this node's provider domain known.
    ///
    /// # Errors
    /// When the text is no full address.
    pub fn parse(&self, text: &str) -> Result<Address, AddressError> {
        Address::parse(text, &[&self.provider])
    }

    /// What stands left of our provider in `domain`; `None` for somebody else's domain.
    fn scope_of<'a>(&self, domain: &'a str) -> Option<&'a str> {
        if !domain.contains('.') {
            return Some(domain);
        }
        if domain == self.provider {
            return None;
        }
        if let Some(scope) = domain.strip_suffix(&*self.provider).and_then(|s| s.strip_suffix('.')) {
            return Some(scope);
        }
        // What the reference client counts as local besides the provider itself (ICL-12).
        let local = self.provider.ends_with(".local");
        let scope = domain.strip_suffix(".default.local").filter(|scope| !scope.contains('.'));
        let team = || domain.strip_suffix(".local").filter(|team| !team.contains('.'));
        scope.or_else(team).filter(|_| local)
    }

    fn full(&self, name: &str, scope: &str) -> Result<Address, AddressError> {
        Address::parse(&format!("{name}@{scope}.{}", self.provider), &[&self.provider])
    }
}
