//! Whose agent the sender of a forwarded message is, and by which key its signature is judged (DESIGN §3: a carrier brings
//! only its own). The host itself is asked by name; the key is pinned on first use, and another one is a conflict until the
//! owner forgets the first (`amesh hosts forget`).

use super::config::Mode;
use super::host::Host;
use super::{HttpMesh, Shared, places};
use crate::agents::directory::{Outsider, Resolution};
use crate::message::{Accepted, Forwarded, Incoming, Refusal};
use amesh_proto::address::Address;
use amesh_proto::api::fields::BadBody;
use amesh_proto::api::http_mesh::{Forward, Trail};
use amesh_proto::id::MessageId;
use amesh_proto::key::PublicKey;
use std::sync::Arc;

impl HttpMesh {
    /// Takes a message that `host`, which is known by its address, forwards.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of the message is stored, and nothing of its sender remembered.
    pub async fn take(
        &self,
        host: Arc<Host>,
        forward: Forward,
        id: Option<MessageId>,
        key: Option<PublicKey>,
    ) -> Result<Accepted, Refusal> {
        let shared = &*self.shared;
        by_that_host(&host, &forward.trail)?;
        let sender = named(shared, &host, forward.request.from.as_deref())?;
        let key = identify(shared, &host, &sender, key).await?;
        let forwarded = Forwarded {
            host: host.name.clone(),
            relaxed: host.mode.is_relaxed(),
            sender: sender.clone(),
            key: key.clone(),
            id,
            forward: Box::new(forward),
        };
        let prepared = shared.hallway.judge(Incoming::FromHttpHost(Box::new(forwarded))).await?;
        if let Some(key) = key.filter(|_| prepared.is_signed()) {
            shared.pin(&sender, &host, key).await?;
        }
        let accepted = shared.hallway.finish(prepared).await?;
        tracing::info!(host = %host.name, from = %sender, id = %accepted.id, "taken from an HTTP mesh host");
        host.came(shared.clock.now());
        Ok(accepted)
    }
}

/// MSH-13: what was forwarded before is not forwarded again, and a host does not speak for another.
fn by_that_host(host: &Host, trail: &Trail) -> Result<(), Refusal> {
    match trail.forwarded_by.as_deref() {
        Some(other) if !host.is_named(other) => Err(Refusal::Forbidden(format!(
            "{} brings a message that {other:?} forwarded; a host brings only its own",
            host.name
        ))),
        _ => Ok(()),
    }
}

/// The sender as a full address that may be that host's.
fn named(shared: &Shared, host: &Host, from: Option<&str>) -> Result<Address, Refusal> {
    let directory = shared.directory();
    let invalid = |why: String| Refusal::Invalid { field: "from", why };
    let typed = from.filter(|text| !text.is_empty()).ok_or(Refusal::Body(BadBody::Missing("from")))?;
    if !typed.contains('@') {
        return Err(invalid(
            "expected a full address; a bare name says nothing of whose agent it is".to_owned(),
        ));
    }
    let address = directory.expand(typed, None).map_err(|error| invalid(error.to_string()))?;
    if !directory.naming().is_ours(&address) {
        return Err(Refusal::Forbidden(format!("{address} is not an address of this network")));
    }
    let labelled = directory.naming().host_in(&address).filter(|label| directory.is_host(label));
    if labelled.is_some_and(|label| !host.is_named(label)) {
        return Err(Refusal::Forbidden(format!("{address} is an agent of another host than {}", host.name)));
    }
    match directory.resolve(&address) {
        Resolution::Unknown => Ok(address),
        Resolution::Local(_) | Resolution::Remote { .. } => {
            let why = format!("{address} is an agent of this mesh, and not of the HTTP host {}", host.name);
            Err(Refusal::KeyConflict { address: address.to_string(), why })
        }
    }
}

/// The key that judges mail of `sender`: the pinned one, else what the host says, else what the header says.
async fn identify(
    shared: &Shared,
    host: &Host,
    sender: &Address,
    header: Option<PublicKey>,
) -> Result<Option<PublicKey>, Refusal> {
    let known = shared.directory().outsider(sender);
    if let Some(known) = &known {
        not_elsewhere(shared, host, sender, known)?;
        if let Some(pinned) = &known.key {
            return same(sender, pinned, header).map(Some);
        }
    }
    if host.mode == Mode::Open {
        return Ok(header);
    }
    if header.is_none() && host.mode == Mode::Trusted && places::is_believed_at(shared, sender, host) {
        return Ok(None);
    }
    let described = match places::ask(shared, host, sender.name()).await {
        Ok(Some(described)) => described,
        Ok(None) => {
            let why = format!("{} does not list {sender} as its agent", host.name);
            return Err(Refusal::Forbidden(why));
        }
        Err(reason) => {
            let why = format!("{} cannot be asked whether {sender} is its agent: {reason}", host.name);
            return Err(Refusal::Unsure(why));
        }
    };
    let address = described.address.as_deref().map(|text| shared.directory().expand(text, None));
    if address.is_some_and(|address| address.as_ref() != Ok(sender) && address != Ok(sender.short())) {
        return Err(Refusal::Forbidden(format!("{} lists its agent under another address", host.name)));
    }
    places::believe(shared, sender, Some(host.name.clone()));
    match described.public_key.as_deref().map(PublicKey::parse_any) {
        None => Ok(header),
        Some(Ok(listed)) => same(sender, &listed, header).map(Some),
        Some(Err(error)) => {
            let why = format!("the key that {} lists for {sender} cannot be used: {error}", host.name);
            Err(Refusal::Forbidden(why))
        }
    }
}

fn not_elsewhere(shared: &Shared, host: &Host, sender: &Address, known: &Outsider) -> Result<(), Refusal> {
    let Some(at) = known.host.as_ref().filter(|at| **at != host.name) else { return Ok(()) };
    // An agent of a host that the owner has removed is nobody's, unless it has signed.
    if shared.hosts.named(at).is_none() && known.key.is_none() {
        return Ok(());
    }
    Err(conflict(sender, &format!("{sender} is known as an agent of {at}, not of {}", host.name)))
}

fn same(sender: &Address, known: &PublicKey, header: Option<PublicKey>) -> Result<PublicKey, Refusal> {
    match header {
        Some(other) if other != *known => {
            Err(conflict(sender, &format!("{sender} has another key than the one it came with")))
        }
        _ => Ok(known.clone()),
    }
}

pub(super) fn conflict(sender: &Address, what: &str) -> Refusal {
    let why = format!("{what}; if that is right, the owner of this node runs: amesh hosts forget {sender}");
    Refusal::KeyConflict { address: sender.to_string(), why }
}
