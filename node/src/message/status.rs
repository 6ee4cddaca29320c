//! What became of a message, for the agent that sent it (`GET /messages/{id}`, DESIGN §1.9).

use super::Hallway;
use super::incoming::{Basis, Method, Status};
use crate::agents::Agent;
use amesh_proto::api::messages::{Failure, MessageState};
use amesh_proto::id::MessageId;
use amesh_store::{Destination, MessageStatus, Place, StoreError};

impl Hallway {
    /// The state of a message that `sender` sent; nothing for ids it never used.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn status(&self, sender: &Agent, id: &MessageId) -> Result<Option<MessageState>, StoreError> {
        Ok(self.inner.store.message_status(sender.no, id)?.map(|status| self.shown(status)))
    }

    fn shown(&self, status: MessageStatus) -> MessageState {
        let remote_host = match &status.place {
            Place::Outbox(Destination::Node(node)) => self.inner.agents.directory().host_of(*node),
            Place::Outbox(Destination::HttpHost(host) | Destination::Provider(host)) => Some(host.clone()),
            Place::Mailbox(_) => None,
        };
        let mut shown = MessageState {
            id: status.receipt.id.to_string(),
            to: status.to.to_string(),
            queued_at: Some(status.receipt.queued_at.to_rfc3339()),
            remote_host,
            delivered_at: status.delivered_at.map(|at| at.to_rfc3339()),
            read_at: status.read_at.map(|at| at.to_rfc3339()),
            ..MessageState::default()
        };
        let local = matches!(status.place, Place::Mailbox(_));
        let to_provider = matches!(status.place, Place::Outbox(Destination::Provider(_)));
        let told = status.delivered_at.or(status.read_at).is_some();
        let method_of_place = if local || to_provider { Method::Relay } else { Method::Mesh };
        let (word, method, basis) = match status.state {
            // Its recipient's node said so.
            amesh_store::MessageState::Queued | amesh_store::MessageState::Delivered { .. }
                if told && !local =>
            {
                (Status::Delivered, Method::Mesh, "handed_out".to_owned())
            }
            amesh_store::MessageState::Queued if local => {
                (Status::Queued, Method::Relay, "mailbox_written".to_owned())
            }
            amesh_store::MessageState::Queued => (Status::Queued, Method::Relay, "queued".to_owned()),
            // As its provider says.
            amesh_store::MessageState::Delivered { basis } if basis == Basis::ProviderDelivered.as_str() => {
                shown.delivered_at = Some(status.changed_at.to_rfc3339());
                (Status::Delivered, Method::Relay, basis)
            }
            amesh_store::MessageState::Taken { remote_id } if to_provider => {
                shown.remote_id = remote_id;
                (Status::Queued, Method::Relay, Basis::ProviderAccepted.as_str().to_owned())
            }
            // Another host's mailbox has it; whether the recipient has it, nobody here can know.
            amesh_store::MessageState::Delivered { basis } if !local => (Status::Queued, Method::Mesh, basis),
            amesh_store::MessageState::Taken { remote_id } => {
                shown.remote_id = remote_id;
                (Status::Queued, Method::Mesh, Basis::HostAccepted.as_str().to_owned())
            }
            // When, is known only where the sender asked for a receipt.
            amesh_store::MessageState::Delivered { basis } => (Status::Delivered, Method::Relay, basis),
            amesh_store::MessageState::Failed { code, detail } => {
                shown.failed_at = Some(status.changed_at.to_rfc3339());
                let basis = code.clone();
                shown.error = Some(Failure { code, message: detail });
                (Status::Failed, method_of_place, basis)
            }
        };
        shown.status = word.as_str().to_owned();
        shown.method = method.as_str().to_owned();
        shown.basis = Some(basis);
        shown
    }
}
