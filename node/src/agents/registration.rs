//! Registering an agent: what a request must hold, whose name it may take, and when a name is given out again
//! (REG-1…13, A-24, A-42). Called by `Agents::register`, which the register door calls.

use super::change::{admit, check_alias, checked_metadata, merged};
use super::error::RegisterError;
use super::tenants::{self, Mode};
use super::{Agent, Agents, api_key, suggest};
use amesh_proto::address::{self, Address};
use amesh_proto::api::fields::BadBody;
use amesh_proto::api::register::{RegisterRequest, Scope};
use amesh_proto::key::{KeyAlgorithm, PublicKey};
use amesh_proto::limits;
use amesh_store::{
    Admission, AgentRecord, Delivery, NewAgent, NotAdmitted, OwnerRecord, RegisterOutcome, StoreError,
};
use std::sync::Arc;

/// The name under which nodes write their own notices. Nobody may register it.
pub const SYSTEM_NAME: &str = "system";

/// Who asks to register, as far as the door knows.
#[derive(Debug, Clone, Copy)]
pub struct Registrant<'a> {
    /// The API key that came along, if any.
    pub api_key: Option<&'a str>,
    /// The user key that came along, if any.
    pub user_key: Option<&'a str>,
    /// The request came over a loopback listener: elsewhere no tenant is open (DESIGN §6).
    pub on_loopback: bool,
    /// The request came over a loopback socket whose other end belongs to the node's own user (DESIGN §6).
    pub own_user: bool,
}

/// A registered agent and its new API key.
#[derive(Debug)]
pub struct Registered {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its API key, told once (REG-11).
    pub api_key: String,
    /// It was registered before, with this key.
    pub again: bool,
    /// It was registered before, and nothing proved that this is the same agent: tell it
    /// (`Hallway::notify` with `Notice::Reregistered`).
    pub unproven: bool,
}

/// A request that holds what it must.
pub(super) struct Checked {
    pub(super) address: Address,
    tenant: String,
    pub(super) key: PublicKey,
    metadata: Option<String>,
}

impl Agents {
    /// Registers an agent, or gives a known one a new API key.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed.
    pub async fn register(
        &self,
        request: RegisterRequest,
        by: Registrant<'_>,
    ) -> Result<Registered, RegisterError> {
        let owner = match by.user_key {
            Some(key) => Some(self.owner_of_user_key(key).map_err(|_| RegisterError::UserKey)?),
            None => None,
        };
        let checked = self.check(&request, owner.as_ref())?;
        if let Some(known) = self.inner.directory.local_agent(&checked.address) {
            return self.register_again(&known, &request, &checked, by).await;
        }
        let home = self.moves_here(&checked, &request)?;
        if let Some(holder) =
            self.inner.directory.listed_elsewhere(&checked.address).filter(|_| home.is_none())
        {
            let suggestions = self.suggestions(&checked.address, Some(&self.inner.directory.naming().host));
            let address = checked.address.to_string();
            return Err(RegisterError::NameTaken { address, holder: Some(holder.host), suggestions });
        }
        let admission = self.admission(&checked, owner.as_ref(), &request, by)?;
        if self.is_full() {
            return Err(RegisterError::Full);
        }
        let api_key = api_key::mint(rand::random());
        let Some(api_key_hash) = api_key::hash(&api_key) else { return Err(impossible_key()) };
        // the socket first, unless the agent says otherwise.
        let usual = Delivery { prefer_websocket: true, ..Delivery::default() };
        let wanted = request.delivery.clone().unwrap_or_default();
        admit(&self.inner.webhooks, &wanted).await?;
        let delivery = merged(&usual, wanted);
        let address = checked.address.clone();
        let proven = self.proves(&checked.key, &request);
        let moved = home.is_some();
        let new = NewAgent {
            address: checked.address,
            name: request.name,
            tenant: checked.tenant,
            alias: request.alias.filter(|alias| !alias.is_empty()),
            key_algorithm: checked.key.algorithm(),
            public_key_der: checked.key.to_spki_der().to_vec(),
            delivery,
            metadata: checked.metadata,
            api_key_hash,
            may_return: proven || by.own_user || moved,
            admission,
            home,
            now: self.now(),
        };
        match self.inner.store.register_agent(new).await? {
            RegisterOutcome::Registered(record) => self.entered(record, api_key, false),
            RegisterOutcome::Returned(record) => self.entered(record, api_key, !proven && !moved),
            RegisterOutcome::NameTaken(_) => {
                let suggestions = self.suggestions(&address, None);
                Err(RegisterError::NameTaken { address: address.to_string(), holder: None, suggestions })
            }
            RegisterOutcome::NotAdmitted(why) => Err(match why {
                NotAdmitted::Code => RegisterError::InviteCode(
                    "the invite_code is unknown, used up, expired, or for another tenant".to_owned(),
                ),
                NotAdmitted::Owner => RegisterError::UserKey,
                NotAdmitted::Limit(limit) => RegisterError::AgentLimit(limit),
            }),
            RegisterOutcome::Withheld { until, same_key } => {
                let suggestions = self.suggestions(&address, None);
                Err(RegisterError::Withheld { address: address.to_string(), until, same_key, suggestions })
            }
        }
    }

    fn entered(
        &self,
        record: AgentRecord,
        api_key: String,
        unproven: bool,
    ) -> Result<Registered, RegisterError> {
        let agent =
            Agent::from_record(record).map_err(|error| RegisterError::invalid("public_key", error))?;
        self.put(agent.clone());
        Ok(Registered { agent, api_key, again: false, unproven })
    }

    fn admission(
        &self,
        checked: &Checked,
        owner: Option<&OwnerRecord>,
        request: &RegisterRequest,
        by: Registrant<'_>,
    ) -> Result<Admission, RegisterError> {
        let mode = self.inner.config.mode_of(&checked.tenant, &self.inner.directory.naming().org);
        let mode = if by.on_loopback { mode } else { mode.max(Mode::Invite) };
        tenants::admission(mode, &checked.tenant, owner, request.invite_code.as_deref())
    }

    fn check(
        &self,
        request: &RegisterRequest,
        owner: Option<&OwnerRecord>,
    ) -> Result<Checked, RegisterError> {
        let directory = &self.inner.directory;
        let naming = directory.naming();
        address::validate_agent_name(&request.name).map_err(|error| RegisterError::invalid("name", error))?;
        if request.name.eq_ignore_ascii_case(SYSTEM_NAME) {
            return Err(RegisterError::invalid("name", "this name is reserved for the node's own notices"));
        }
        let tenant = request.tenant.as_deref().filter(|tenant| !tenant.is_empty());
        // REG-17: an owner's key says which tenant.
        let tenant = tenant.or_else(|| owner.map(|owner| owner.tenant.as_str()));
        let tenant = tenant.ok_or(BadBody::Missing("tenant"))?.to_ascii_lowercase();
        address::validate_label(&tenant).map_err(|error| RegisterError::invalid("tenant", error))?;
        // `name@host.provider` means a host: a tenant of that name would be unreachable.
        if tenant != naming.org && directory.is_host(&tenant) {
            return Err(RegisterError::Tenant(format!(
                "{tenant} is the name of a host of this mesh, not of a tenant"
            )));
        }
        let algorithm = KeyAlgorithm::parse(&request.key_algorithm)
            .map_err(|error| RegisterError::invalid("key_algorithm", error))?;
        if request.public_key.len() > limits::PUBLIC_KEY_TEXT {
            return Err(RegisterError::invalid("public_key", "it is longer than any key"));
        }
        let key = PublicKey::parse(&request.public_key, algorithm)
            .map_err(|error| RegisterError::invalid("public_key", error))?;
        check_alias(request.alias.as_deref())?;
        let address = self.address(request, &tenant)?;
        let metadata = checked_metadata(request.metadata.as_ref())?;
        Ok(Checked { address, tenant, key, metadata })
    }

    /// REG-12: `name@repo.platform.tenant.provider`.
    fn address(&self, request: &RegisterRequest, tenant: &str) -> Result<Address, RegisterError> {
        let naming = self.inner.directory.naming();
        let Scope { platform, repo } = request.scope.clone().unwrap_or_default();
        let (platform, repo) =
            (platform.filter(|label| !label.is_empty()), repo.filter(|label| !label.is_empty()));
        let mut domain = format!("{tenant}.{}", naming.provider);
        if let Some(platform) = &platform {
            address::validate_label(platform).map_err(|error| RegisterError::invalid("scope", error))?;
            domain = format!("{platform}.{domain}");
        } else if repo.is_some() {
            return Err(RegisterError::invalid("scope", "a repo needs a platform"));
        }
        if let Some(repo) = &repo {
            address::validate_label(repo).map_err(|error| RegisterError::invalid("scope", error))?;
            domain = format!("{repo}.{domain}");
        }
        let address = naming
            .parse(&format!("{}@{domain}", request.name))
            .map_err(|error| RegisterError::invalid("name", error))?;
        // `name@host.org.provider` must stay the host's (DESIGN §3).
        if naming.host_in(&address).is_some_and(|label| self.inner.directory.is_host(label)) {
            return Err(RegisterError::invalid("scope", "this platform is the name of a host of this mesh"));
        }
        Ok(address)
    }

    pub(super) fn suggestions(&self, taken: &Address, host: Option<&str>) -> Vec<String> {
        let domain = taken.domain();
        suggest::suggestions(taken.name(), host, rand::random(), |name| {
            let Ok(address) = self.inner.directory.naming().parse(&format!("{name}@{domain}")) else {
                return false;
            };
            self.inner.directory.local_agent(&address).is_none()
                && self.inner.directory.listed_elsewhere(&address).is_none()
        })
    }
}

/// `api_key::hash` knows what `api_key::mint` makes.
pub(super) fn impossible_key() -> RegisterError {
    StoreError::Failed { reason: "an API key could not be made".to_owned() }.into()
}
