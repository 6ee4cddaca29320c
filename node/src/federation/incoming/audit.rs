//! One line for every delivery, taken or not (FED-17): fixed names, and of what a stranger wrote no more than an address is long.
//! `AMESH_LOG=amesh::federation::audit=info` shows only these.

use super::NotTaken;
use crate::federation::AUDIT;
use crate::message::{Accepted, Status};
use amesh_proto::api::route::RouteRequest;

/// What a delivery says of itself, as far as it was read.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    id: String,
    sender: String,
    recipient: String,
}

impl Facts {
    pub(super) fn read(&mut self, request: &RouteRequest) {
        self.id = clipped(request.id.as_deref().unwrap_or_default());
        self.sender = clipped(request.from.as_deref().unwrap_or_default());
        self.recipient = clipped(&request.to);
    }
}

pub(super) fn note(provider: &str, facts: &Facts, taken: &Result<Accepted, NotTaken>) {
    match taken {
        Ok(accepted) => {
            let delivered = accepted.status == Status::Delivered;
            let (provider, Facts { id, sender, recipient }) = (clipped(provider), facts);
            tracing::info!(
                target: AUDIT, event = "federation.received", from_provider = ?provider, message_id = ?id, ?sender,
                ?recipient, delivered, repeat = accepted.repeat
            );
        }
        Err(fault) => refused(provider, facts, fault.code()),
    }
}

/// A delivery was turned away before anything of it was read.
pub fn turned_away(provider: Option<&str>, code: &str) {
    refused(provider.unwrap_or_default(), &Facts::default(), code);
}

fn refused(provider: &str, facts: &Facts, error: &str) {
    let (provider, Facts { id, sender, recipient }) = (clipped(provider), facts);
    tracing::info!(
        target: AUDIT, event = "federation.refused", from_provider = ?provider, message_id = ?id, ?sender, ?recipient,
        delivered = false, error
    );
}

fn clipped(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

const LONGEST: usize = 254;
