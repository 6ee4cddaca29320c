//! Receipts for the agent of a WebSocket: `message.delivered` and `message.read` (WS-11, RCP-1, RCP-2), also what was kept
//! while it was away (RCP-5). The protocol knows no acknowledgement of them: what all open sockets have written is forgotten.

use super::framed;
use super::session::{End, Session};
use crate::http::error::Problem;
use amesh_proto::api::ws::{MessageDelivered, MessageRead};
use amesh_store::{Receipt, ReceiptKind};

impl Session {
    /// Writes all receipts that are not written yet, oldest first.
    pub(super) async fn tell(&mut self) -> Result<(), End> {
        loop {
            let kept = self.state.parts.hallway.receipts(self.agent(), self.told, PAGE);
            let kept = match kept {
                Ok(kept) => kept,
                Err(error) => return Err(self.fail_with(&Problem::from(error), 1011).await),
            };
            let Some((last, _)) = kept.last() else { return Ok(()) };
            let last = *last;
            self.write_all(kept.into_iter().filter_map(|(_, receipt)| frame(receipt)).collect()).await?;
            self.told = Some(last);
            let until = self.signal.told(last);
            let (hallway, agent) = (self.state.parts.hallway.clone(), self.agent().clone());
            self.state.parts.tasks.spawn(async move {
                if let Err(error) = hallway.told(&agent, until).await {
                    tracing::warn!(%error, "receipts were told, but that could not be noted");
                }
            });
        }
    }
}

fn frame(receipt: Receipt) -> Option<String> {
    let (id, to, at) = (receipt.id.to_string(), receipt.to.to_string(), receipt.at.to_rfc3339());
    Some(match receipt.kind {
        ReceiptKind::Delivered { method } => {
            framed("message.delivered", MessageDelivered { id, to, delivered_at: at, method }, None)
        }
        // Of those the agent is told by mail; the store keeps none for an agent.
        ReceiptKind::Failed { .. } => return None,
        ReceiptKind::Read => framed("message.read", MessageRead { id, to, read_at: at }, None),
    })
}

const PAGE: usize = 64;
