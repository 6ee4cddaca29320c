//! What a sender who asks is told of a message: its history, and what the mailbox shows of it yet. Called by
//! `Store::message_status`.

use crate::engine::Read;
use crate::error::StoreError;
use crate::history;
use crate::mail::{AgentNo, MessageState, MessageStatus, Place};
use crate::mailbox::{self, Standing};
use crate::postings::{self, Posting};
use amesh_proto::id::MessageId;

/// The answer to a sender who asks. What the mailbox itself tells is not written down a second time.
pub(crate) fn of(
    read: &dyn Read,
    sender: AgentNo,
    id: &MessageId,
) -> Result<Option<MessageStatus>, StoreError> {
    let Some((_, entry)) = history::sent_by(read, sender, id)? else { return Ok(None) };
    let receipt = entry.receipt(id);
    let (mut state, mut changed_at) = (entry.state, entry.changed_at);
    if let (MessageState::Queued, Place::Mailbox(agent)) = (&state, &entry.place) {
        match mailbox::standing(read, *agent, entry.seq)? {
            Standing::New => {}
            Standing::HandedOut => match postings::of(read, *agent, entry.seq)? {
                Some(Posting::Taken { at }) => {
                    state = MessageState::Delivered { basis: "webhook_2xx".into() };
                    changed_at = at;
                }
                _ => state = MessageState::Delivered { basis: "handed_out".into() },
            },
            Standing::Gone => state = MessageState::Delivered { basis: "acknowledged".into() },
        }
    }
    Ok(Some(MessageStatus {
        receipt,
        to: entry.to,
        place: entry.place,
        state,
        changed_at,
        expires_at: entry.expires_at,
        delivered_at: entry.delivered_at,
        read_at: entry.read_at,
    }))
}
