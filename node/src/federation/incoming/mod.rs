//! Mail that other providers bring (AMP 06 §Forward Endpoint; FED-9…15, FED-20). Called by `http/v1/federation.rs`: first
//! [`Deliveries::admit`], which costs nothing, then [`Deliveries::take`] with the body.
//!
//! Whose a key is: the delivery is signed by the sender's home provider over a body that names the sender's key, so that the
//! delivery is itself the confirmation that FED-11 asks for. Asking that provider again would ask the same mouth, at a door
//! (`agents/resolve`) for which strangers have no key. What was told first stays: another key is a conflict for the owner.

mod audit;
mod limits;
mod not_taken;
mod senders;

pub use audit::{Facts, turned_away};
pub use limits::Caller;
pub use not_taken::NotTaken;

use super::budget::Source;
use super::config::Config;
use super::trust::{Tier, canonical};
use super::{Federation, Trusted};
use crate::agents::directory::{Directory, Resolution};
use crate::clock::SharedClock;
use crate::message::{Accepted, Federated, Hallway, Incoming, Prepared, Refusal};
use crate::tasks::Tasks;
use amesh_proto::address::Address;
use amesh_proto::delivery::{self, Delivery};
use amesh_proto::key::PublicKey;
use amesh_store::{Store, StoreError};
use bytes::Bytes;
use limits::Limits;
use senders::Senders;
use std::sync::Arc;

/// What incoming mail stands on.
#[derive(Debug, Clone)]
pub struct DeliveryParts {
    /// Who is trusted, and found how.
    pub federation: Federation,
    /// Where messages go in.
    pub hallway: Hallway,
    /// Where the keys of senders are remembered.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// Runs what takes an async worker too long.
    pub tasks: Tasks,
}

/// The headers of a delivery.
#[derive(Debug, Clone)]
pub struct Head {
    /// `X-AMP-Provider`.
    pub provider: String,
    /// `X-AMP-Timestamp`.
    pub timestamp: String,
    /// `X-AMP-Signature`.
    pub signature: String,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Deliveries {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    parts: DeliveryParts,
    own: String,
    behind_proxy: bool,
    limits: Limits,
    senders: Senders,
}

impl Deliveries {
    /// Reads whom the senders were; nothing where this node is no provider.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn start(config: &Config, parts: DeliveryParts) -> Result<Option<Self>, StoreError> {
        let Some(own) = parts.federation.own().map(|own| own.domain().to_owned()) else { return Ok(None) };
        let directory = parts.hallway.agents().directory().clone();
        let senders = Senders::load(parts.store.clone(), directory)?;
        let (limits, behind_proxy) = (Limits::new(config.limits), config.behind_proxy);
        Ok(Some(Self { shared: Arc::new(Shared { parts, own, behind_proxy, limits, senders }) }))
    }

    /// Whether deliveries are taken over plain HTTP on loopback, where the owner's proxy has taken the TLS off.
    #[must_use]
    pub fn behind_proxy(&self) -> bool {
        self.shared.behind_proxy
    }

    /// What can be judged without the body, without asking anybody and without any arithmetic; changes nothing.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn admit(&self, head: &Head, caller: Caller) -> Result<(), NotTaken> {
        let Shared { parts, own, limits, .. } = &*self.shared;
        let now = parts.clock.monotonic();
        limits.source(caller, now)?;
        let domain = canonical(&head.provider);
        let admitted = || {
            if domain == *own {
                return Err(NotTaken::Oneself);
            }
            let tier =
                parts.federation.may_talk(&domain).map_err(|error| NotTaken::Untrusted(error.into()))?;
            limits.has_time_for(&domain, tier == Tier::Listed, now)?;
            Ok(delivery::check_time(&head.timestamp, parts.clock.now().as_secs())?)
        };
        admitted().inspect_err(|fault| self.charge(caller, fault))
    }

    /// Takes a delivery, or says why not; then nothing of it is kept. Whatever comes of it is written down (FED-17).
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn take(&self, head: Head, body: Bytes, caller: Caller) -> Result<Accepted, NotTaken> {
        let mut facts = Facts::default();
        let taken = match self.vouched_for(&head, &body, caller).await {
            Ok(provider) => self.commit(&provider, &body, &mut facts).await,
            Err(fault) => {
                self.charge(caller, &fault);
                Err(fault)
            }
        };
        audit::note(&head.provider, &facts, &taken);
        taken
    }

    /// The owner forgets the key of another provider's agent; with `compromised` it is not believed again. False where
    /// none is remembered.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_sender(&self, address: &Address, compromised: bool) -> Result<bool, StoreError> {
        self.shared.senders.forget(address, compromised, self.shared.parts.clock.now()).await
    }

    /// What a source brings that no provider has signed is charged to it.
    fn charge(&self, caller: Caller, fault: &NotTaken) {
        if !fault.is_passing() {
            self.shared.limits.failed(caller, self.shared.parts.clock.monotonic());
        }
    }

    /// The provider whose signature the body bears.
    async fn vouched_for(&self, head: &Head, body: &Bytes, caller: Caller) -> Result<Trusted, NotTaken> {
        let Shared { parts, limits, .. } = &*self.shared;
        let source = Source::Stranger(caller.network);
        let provider = parts.federation.trusted(&head.provider, source).await?;
        let (key, head, signed) = (provider.key.clone(), head.clone(), body.clone());
        let verify = move || delivery::verify(&key, &head.timestamp, &head.signature, &signed);
        match body.len() < LARGE {
            true => verify()?,
            false => parts.tasks.spawn_blocking(verify).await.map_err(|_| NotTaken::Stopping)??,
        }
        limits.count(&provider.domain, provider.listed, parts.clock.monotonic())?;
        parts.federation.sign_of_life(&provider.domain);
        Ok(provider)
    }

    async fn commit(&self, provider: &Trusted, body: &[u8], facts: &mut Facts) -> Result<Accepted, NotTaken> {
        let Shared { parts, limits, senders, .. } = &*self.shared;
        let delivery = Delivery::parse(body)?;
        facts.read(&delivery.request);
        let directory = parts.hallway.agents().directory();
        let sender = sender_of(&delivery, &provider.domain, directory)?;
        senders.is_of(&sender, &provider.domain)?;
        let recipient = recipient_of(&delivery, directory)?;
        let claimed = delivery.sender_key.clone();
        let now = parts.clock.now();
        if let Some(key) = senders.known(&sender, claimed.as_ref(), now)? {
            limits.recipient(recipient.as_str(), parts.clock.monotonic())?;
            let prepared = self.judge(provider, sender, key, delivery).await?;
            return Ok(parts.hallway.finish(prepared).await?);
        }
        // The first message of a sender: nobody else's first may come in between.
        let turn = senders.first.lock().await;
        let known = senders.known(&sender, claimed.as_ref(), now)?;
        let Some(key) = known.clone().or(claimed) else { return Err(NotTaken::KeyUnknown) };
        if known.is_none() {
            senders.has_room(&provider.domain, provider.listed)?;
        }
        limits.recipient(recipient.as_str(), parts.clock.monotonic())?;
        let prepared = self.judge(provider, sender.clone(), key.clone(), delivery).await?;
        // Whoever carries the message on to another host of the mesh needs the key as soon as the message is on disk.
        senders.pin(&sender, &provider.domain, key).await?;
        let written = match parts.hallway.commit(prepared).await {
            Ok(written) => written,
            Err(refusal) => {
                senders.unpin(&sender).await?;
                return Err(refusal.into());
            }
        };
        drop(turn);
        if let Err(error) = parts.federation.met(provider).await {
            // The message is on disk already; the provider's next one is its first.
            tracing::warn!(%error, provider = %provider.domain, "the key of a provider is not remembered");
        }
        Ok(parts.hallway.answer(written).await)
    }

    async fn judge(
        &self,
        provider: &Trusted,
        sender: Address,
        key: PublicKey,
        delivery: Delivery,
    ) -> Result<Prepared, Refusal> {
        let federated = Federated {
            provider: provider.domain.as_str().into(),
            sender,
            key,
            queued_at: delivery.queued_at,
            request: Box::new(delivery.request),
        };
        self.shared.parts.hallway.judge(Incoming::FromProvider(Box::new(federated))).await
    }
}

/// The sender, which must be of the provider that brings it, and of nobody else (FED-10, A-55).
fn sender_of(delivery: &Delivery, provider: &str, directory: &Directory) -> Result<Address, NotTaken> {
    let from = delivery.request.from.as_deref().filter(|text| !text.is_empty());
    let from = from.ok_or(NotTaken::Missing("from"))?;
    let invalid = |why: String| NotTaken::Invalid { field: "from", why };
    let sender = Address::parse(from, &[provider]).map_err(|error| invalid(error.to_string()))?;
    let ours = directory.naming().is_ours(&sender.with_own_domains(&[&directory.naming().provider]));
    if ours || sender.provider() != provider {
        return Err(NotTaken::ForeignSender { sender: sender.to_string(), provider: provider.to_owned() });
    }
    Ok(sender)
}

/// The mailbox that is meant, in this domain only: this node relays for nobody.
fn recipient_of(delivery: &Delivery, directory: &Directory) -> Result<Address, NotTaken> {
    let typed = &delivery.request.to;
    let invalid = |why: String| NotTaken::Invalid { field: "to", why };
    let to = directory.naming().parse(typed).map_err(|error| invalid(error.to_string()))?;
    let nobody = || NotTaken::NoRecipient(to.to_string());
    if !directory.naming().is_ours(&to) {
        return Err(nobody());
    }
    match directory.resolve(&to) {
        Resolution::Local(agent) => Ok(agent.address.clone()),
        Resolution::Remote { address, .. } => Ok(address),
        Resolution::Unknown => Err(nobody()),
    }
}

/// Bytes from which a signature is checked off the async workers (PITFALLS, quinn).
const LARGE: usize = 32 * 1024;
