//! Acceptance of what a link brings. Another node accepted it; here it must be whole and agree with itself, because only
//! the envelope's own words are signed.

use super::{Circumstances, Draft, Source, invalid};
use crate::agents::directory::{Directory, Resolution};
use crate::message::error::Refusal;
use crate::message::guards::{self, Guard};
use amesh_proto::address::Address;
use amesh_proto::attachment::list_in;
use amesh_proto::key::PublicKey;
use amesh_proto::limits;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;
use amesh_store::LaneStamp;
use std::sync::Arc;

/// Mail of somebody outside, which only the member that the owner named may bring (DESIGN §3, A carrier brings only its own).
pub(super) fn from_gateway(
    peer: NodeId,
    key: PublicKey,
    mail: &Mail,
    around: &Circumstances<'_>,
) -> Result<Source, Refusal> {
    let gateway = around.config.gateway.way_out(around.directory);
    if gateway.is_none_or(|(gateway, _)| gateway != peer) {
        return Err(Refusal::Forbidden("this member is not the gateway of this node".to_owned()));
    }
    if around.directory.naming().is_ours(&mail.from) {
        return Err(Refusal::Forbidden(format!("{} is an address of this mesh", mail.from)));
    }
    Ok(Source::Gateway(peer, Arc::new(key)))
}

/// Checks mail of a member of the mesh.
pub(super) fn from_peer(
    source: Source,
    mail: Mail,
    lane: LaneStamp,
    around: &Circumstances<'_>,
) -> Result<Draft, Refusal> {
    if mail.size() > CARRIED_BYTES {
        return Err(Refusal::TooLarge { size: mail.size(), limit: CARRIED_BYTES });
    }
    let envelope = mail.envelope().map_err(|error| invalid("envelope", error))?;
    if envelope.id != mail.id.as_str() || envelope.priority != mail.priority {
        return Err(invalid("envelope", "it disagrees with the frame that carries it"));
    }
    let sender = [mail.from.clone(), mail.from.short()];
    if !sender.iter().any(|address| address.as_str().eq_ignore_ascii_case(&envelope.from)) {
        return Err(invalid("from", "the signed sender is not the one in the frame"));
    }
    if !leads_to(&envelope.to, &mail, around.directory) && !guards::is_down(Guard::Agreement) {
        return Err(invalid("to", "the signed recipient is not the one in the frame"));
    }
    if mail.expires_at <= around.now {
        return Err(Refusal::Time {
            code: "message_expired",
            why: "the message expired on its way".to_owned(),
        });
    }
    // Nearly all mail has none, and need not be read for them.
    let some = mail.payload.windows(MEMBER.len()).any(|bytes| bytes == MEMBER);
    let attachments = if some { list_in(&mail.payload)? } else { Vec::new() };
    let expires_at = mail.expires_at.min(around.now.plus(around.config.longest_ttl()));
    let mail = Mail { expires_at, ..mail };
    Ok(Draft { source, mail, envelope, idempotency_key: None, lane: Some(lane), attachments })
}

/// Whether the spelling that was signed means the mailbox that the frame names.
fn leads_to(typed: &str, mail: &Mail, directory: &Directory) -> bool {
    let is_it = |address: &Address| *address == mail.to || *address == mail.to.short();
    let Ok(address) = directory.expand(typed, Some(&mail.from)) else { return false };
    is_it(&address)
        || matches!(directory.resolve(&address), Resolution::Local(agent) if agent.address == mail.to)
}

/// One who spells it otherwise sends a message without files.
const MEMBER: &[u8] = b"\"attachments\"";

/// What another node accepted within the limits, and its envelope.
const CARRIED_BYTES: usize = limits::TOTAL_BYTES + 64 * 1024;
