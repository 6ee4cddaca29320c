//! Whose a fetched message is, and by which key it is judged. A provider vouches, over TLS at its own domain, for its own
//! agents, and for nobody else: the first key of such an agent is remembered, and another one later is a conflict for the
//! owner. Senders of further providers are verified only with a key that this node knows from elsewhere; else their mail is
//! `untrusted`. Called by `puller`.

use super::Shared;
use super::client::AskError;
use super::kept::Kept;
use crate::agents::Agent;
use crate::agents::directory::{Directory, Foreigner};
use crate::message::Pulled;
use amesh_proto::address::Address;
use amesh_proto::api::fields::Fields;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::delivery::Delivery;
use amesh_proto::id::MessageId;
use amesh_proto::key::PublicKey;
use amesh_proto::time::UnixMillis;
use amesh_proto::trust;
use amesh_store::{Store, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Why a message is not put into the mailbox; for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotTaken(pub(super) String);

/// A message as the provider offers it, before anything in it is believed.
#[derive(Debug)]
pub(super) struct Entry {
    /// By which it is acknowledged.
    pub(super) id: String,
    /// Who is said to have sent it.
    pub(super) from: String,
    /// `{envelope, payload, sender_public_key}`, as JSON text.
    body: String,
}

/// Ready for the hallway.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) pulled: Pulled,
    /// To be remembered, once the message is on disk.
    pub(super) first: Option<FirstKey>,
}

/// A sender whose key was not known.
#[derive(Debug)]
pub(super) struct FirstKey {
    address: Address,
    provider: Arc<str>,
    key: PublicKey,
}

impl Entry {
    /// Nothing where it has no envelope, no payload or no id.
    pub(super) fn read(entry: &RawValue) -> Option<Self> {
        let mut fields = Fields::parse(entry.get().as_bytes()).ok()?;
        let outer = fields.optional_text("id").ok()?;
        let envelope = fields.raw("envelope")?;
        let wrapped = fields.raw("payload")?;
        // A provider fences what it does not trust; what was signed is without it.
        let original =
            fields.object("local").ok().flatten().and_then(|mut local| local.raw("original_payload"));
        let payload = match original {
            Some(original) => original.get().to_owned(),
            None => trust::unwrap(wrapped.get().as_bytes())
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .unwrap_or_else(|| wrapped.get().to_owned()),
        };
        let key = fields.raw("sender_public_key");
        let key = key.map_or_else(String::new, |key| format!(",\"sender_public_key\":{}", key.get()));
        let mut face = Fields::parse(envelope.get().as_bytes()).ok()?;
        let inner = face.optional_text("id").ok().flatten();
        let from = face.optional_text("from").ok().flatten().unwrap_or_default();
        let id = outer.or(inner).filter(|id| !id.is_empty() && id.len() <= ID_BYTES)?;
        let body = format!("{{\"envelope\":{},\"payload\":{payload}{key}}}", envelope.get());
        Some(Self { id, from, body })
    }
}

/// The message and its sender's key, or why nobody gets it.
///
/// # Errors
/// When the provider cannot be asked for a key just now.
pub(super) async fn judge(
    shared: &Shared,
    kept: &Kept,
    agent: &Arc<Agent>,
    entry: &Entry,
) -> Result<Result<Judged, NotTaken>, AskError> {
    let Delivery { request, sender_key, .. } = match Delivery::parse(entry.body.as_bytes()) {
        Ok(delivery) => delivery,
        Err(error) => return Ok(Err(NotTaken(error.to_string()))),
    };
    let sender = match sender_of(&request, kept, shared.directory()) {
        Ok(sender) => sender,
        Err(why) => return Ok(Err(why)),
    };
    let known = match known(&sender, sender_key.as_ref(), shared) {
        Ok(known) => known,
        Err(why) => return Ok(Err(why)),
    };
    let is_signed = request.signature.as_ref().is_some_and(|text| !text.is_empty());
    let vouched_for = match (&known, sender_key) {
        (None, _) if !is_signed || sender.provider() != &*kept.provider => None,
        (None, None) => shared.client.key_of(kept, &sender).await?,
        (None, claimed) => claimed,
        (Some(_), _) => None,
    };
    let first = vouched_for.clone().map(|key| FirstKey {
        address: sender.clone(),
        provider: kept.provider.clone(),
        key,
    });
    let id = MessageId::parse(&entry.id).unwrap_or_else(|_| id_for(&kept.provider, &entry.id));
    let pulled = Pulled {
        agent: agent.clone(),
        provider: kept.provider.clone(),
        address: kept.address.clone(),
        sender,
        key: known.or(vouched_for),
        id,
        request: Box::new(request),
    };
    Ok(Ok(Judged { pulled, first }))
}

/// Somebody outside: agents of this mesh do not write by way of a provider.
fn sender_of(request: &RouteRequest, kept: &Kept, directory: &Directory) -> Result<Address, NotTaken> {
    let text = request.from.as_deref().unwrap_or_default();
    let own = &directory.naming().provider;
    let sender = Address::parse(text, &[&kept.provider])
        .map_err(|error| NotTaken(format!("{text:?} is no sender: {error}")))?;
    if directory.naming().is_ours(&sender.with_own_domains(&[own])) {
        return Err(NotTaken(format!("{sender} is an agent of this mesh, and did not send this from there")));
    }
    Ok(sender)
}

/// The key that the sender is known by, held against the one that came.
fn known(
    sender: &Address,
    claimed: Option<&PublicKey>,
    shared: &Shared,
) -> Result<Option<PublicKey>, NotTaken> {
    let Some(known) = shared.directory().foreigner(sender) else { return Ok(None) };
    let judging = claimed.or(known.key.as_ref());
    if known.revoked.iter().any(|(key, _)| Some(key) == judging) {
        return Err(NotTaken(format!("the key of {sender} is in other hands")));
    }
    match (known.key, claimed) {
        (Some(key), Some(other)) if key != *other => Err(NotTaken(format!(
            "{sender} came with the key {} first, and now with {}",
            key.fingerprint(),
            other.fingerprint()
        ))),
        (key, _) => Ok(key),
    }
}

/// Remembers the key that verified the first message of a sender, if there is room; the next one is the first else.
pub(super) async fn remember(shared: &Shared, first: FirstKey) -> Result<(), StoreError> {
    let _one_at_a_time = shared.changing.lock().await;
    let FirstKey { address, provider, key } = first;
    let known = shared.directory().foreigner(&address).unwrap_or_default();
    let count = shared.store.pins(PREFIX)?.len();
    if known.key.is_some() || count >= SENDERS {
        return Ok(());
    }
    let value = format!("{provider} {}", BASE64.encode(key.to_spki_der()));
    shared.store.set_pin(&format!("{PREFIX}{address}"), Some(value)).await?;
    shared.directory().put_foreigner(address, Foreigner { provider, key: Some(key), ..known });
    Ok(())
}

/// Shows the directory whom this node has had mail from.
pub(super) fn load(store: &Store, directory: &Directory) -> Result<(), StoreError> {
    for (name, value) in store.pins(PREFIX)? {
        let read = || {
            let (provider, key) = value.split_once(' ')?;
            let key = PublicKey::from_spki_der(&BASE64.decode(key).ok()?).ok()?;
            let address = Address::parse(name.strip_prefix(PREFIX)?, &[provider]).ok()?;
            Some((address, Foreigner { provider: provider.into(), key: Some(key), ..Foreigner::default() }))
        };
        match read() {
            Some((address, known)) => directory.put_foreigner(address, known),
            None => tracing::error!(pin = name, "what is remembered of a sender cannot be read"),
        }
    }
    Ok(())
}

/// An id of the protocol's form for one that is not, the same every time: a repeat is known by it.
fn id_for(provider: &str, id: &str) -> MessageId {
    let digest = Sha256::digest(format!("{provider}\n{id}").as_bytes());
    let mut random = [0; 8];
    random.copy_from_slice(&digest[..8]);
    MessageId::mint(UnixMillis(0), random)
}

const PREFIX: &str = "registered-sender/";
const SENDERS: usize = 20_000;
const ID_BYTES: usize = 256;
