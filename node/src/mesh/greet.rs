//! The greeting over a fresh connection, both ends: hello, answer, greeting, each within a deadline, judged by
//! `membership`. What comes out is a [`Link`] for the peer's task. Called by `accept`, `dial` and `seeds`.
//!
//! Of two nodes the one with the lower id picks which of several links is used, by speaking first on it; the other
//! hands a link on only when that first frame is there. That costs no round trip and makes both pick the same one.

use super::endpoint::{self, CloseCode};
use super::frames::{FrameReader, FrameWriter, StreamError};
use super::keeper::picks_link;
use super::membership::{Admitted, RefuseReason};
use super::shared::Shared;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::{Frame, Greeting, Refuse, RefuseCode};
use std::sync::Arc;
use std::time::Duration;

/// A connection whose both ends proved that they belong to this mesh.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) connection: quinn::Connection,
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
    /// What the other end told of itself.
    pub(crate) greeting: Greeting,
    /// The protocol version that is spoken.
    pub(crate) version: u16,
    /// To be sent before anything else.
    pub(crate) first: Vec<Frame>,
    /// Whether this end dialled.
    pub(crate) dialed: bool,
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    #[error("{0}")]
    Stream(#[from] StreamError),
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("{0}")]
    NotAdmitted(RefuseReason),
    #[error("refused: {}", explain(*.0))]
    Refused(RefuseCode),
    #[error("unexpected frame in the greeting")]
    Unexpected,
    #[error("the TLS library gave no keying material")]
    NoBinding,
    #[error("the greeting took too long")]
    TimedOut,
    #[error("this node's own mesh file could not be written")]
    NotSaved,
}

impl GreetError {
    /// How the connection is closed for it.
    pub(crate) fn close_code(&self) -> CloseCode {
        match self {
            Self::NotAdmitted(_) | Self::Refused(_) => CloseCode::Refused,
            Self::TimedOut => CloseCode::Timeout,
            Self::NotSaved => CloseCode::Busy,
            _ => CloseCode::Protocol,
        }
    }

    pub(crate) fn is_twin(&self) -> bool {
        matches!(self, Self::Refused(RefuseCode::TwoMachines))
            || matches!(self, Self::Stream(error) if error.close_code() == Some(CloseCode::TwoMachines))
    }

    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotAdmitted(_))
            || matches!(self, Self::Stream(error) if error.close_code() == Some(CloseCode::Refused))
    }
}

/// What a refusal means, for the owner.
pub(crate) fn explain(code: RefuseCode) -> &'static str {
    match code {
        RefuseCode::Refused => "it does not take this node for a member of its mesh",
        RefuseCode::Version => "it speaks no link protocol that this amesh knows; upgrade the older one",
        RefuseCode::Removed => "this node was removed from the mesh; to come back: amesh join TICKET",
        RefuseCode::Unlisted => "it knows the secret but does not find this node in the member list",
        RefuseCode::TwoMachines => {
            "another machine with this node's key is linked; one of them needs a new key"
        }
        RefuseCode::Busy => "it has too many connections",
    }
}

/// The dialer's end.
pub(crate) async fn dial(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    node: NodeId,
) -> Result<Link, GreetError> {
    within(DEADLINE, async {
        let binding = endpoint::channel_binding(connection).ok_or(GreetError::NoBinding)?;
        let (send, recv) = connection.open_bi().await?;
        let (mut reader, writer) = (FrameReader::new(recv), FrameWriter::new(send, &shared.tasks));
        let hello = shared.membership().hello(&node, &binding);
        writer.send(&[Frame::Hello(hello)]).await?;
        let ack = match reader.next().await? {
            Frame::HelloAck(ack) => *ack,
            Frame::Refuse(Refuse { code }) => return Err(GreetError::Refused(code)),
            _ => return Err(GreetError::Unexpected),
        };
        let (about, version) = (shared.about(), ack.version);
        let admitted = shared.membership().on_hello_ack(ack, &node, &binding, about);
        let mut admitted = admitted.map_err(GreetError::NotAdmitted)?;
        // The greeting completes the proof; what follows it waits until the link is picked.
        let rest = admitted.send.split_off(admitted.send.len().min(1));
        writer.send(&admitted.send).await?;
        admitted.send = rest;
        finish(shared, connection, (reader, writer), node, admitted, (version, true)).await
    })
    .await
}

/// The listener's end.
pub(crate) async fn listen(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    node: NodeId,
) -> Result<Link, GreetError> {
    within(DEADLINE, async {
        let binding = endpoint::channel_binding(connection).ok_or(GreetError::NoBinding)?;
        let (send, recv) = connection.accept_bi().await?;
        let (mut reader, writer) = (FrameReader::new(recv), FrameWriter::new(send, &shared.tasks));
        let Frame::Hello(hello) = reader.next().await? else { return Err(GreetError::Unexpected) };
        let about = shared.about();
        let judged = shared.membership().on_hello(&hello, &node, &binding, about);
        let (ack, proven) = match judged {
            Ok(answer) => answer,
            Err(reason) => {
                if reason == RefuseReason::OwnKey {
                    shared.twin_noticed();
                }
                return Err(refuse(writer, reason).await);
            }
        };
        let version = ack.version;
        writer.send(&[Frame::HelloAck(Box::new(ack))]).await?;
        let greeting = match reader.next().await? {
            Frame::Greeting(greeting) => *greeting,
            Frame::Refuse(Refuse { code }) => return Err(GreetError::Refused(code)),
            _ => return Err(GreetError::Unexpected),
        };
        let admitted = shared.membership().on_greeting(greeting, &node, proven);
        match admitted {
            Ok(admitted) => {
                finish(shared, connection, (reader, writer), node, admitted, (version, false)).await
            }
            Err(reason) => Err(refuse(writer, reason).await),
        }
    })
    .await
}

async fn finish(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    (mut reader, writer): (FrameReader, FrameWriter),
    node: NodeId,
    admitted: Admitted,
    (version, dialed): (u16, bool),
) -> Result<Link, GreetError> {
    let Admitted { greeting, changed, send } = admitted;
    shared.apply(changed).await.map_err(|_| GreetError::NotSaved)?;
    if !picks_link(&shared.identity.node_id(), &node) {
        reader.wait().await?;
    }
    let connection = connection.clone();
    Ok(Link { node, connection, reader, writer, greeting, version, first: send, dialed })
}

/// Says no, and waits until that has been heard.
async fn refuse(writer: FrameWriter, reason: RefuseReason) -> GreetError {
    if writer.send(&[Frame::Refuse(Refuse { code: reason.code() })]).await.is_ok() {
        writer.finish(FAREWELL).await;
    }
    GreetError::NotAdmitted(reason)
}

async fn within<T>(
    deadline: Duration,
    greeting: impl Future<Output = Result<T, GreetError>>,
) -> Result<T, GreetError> {
    tokio::time::timeout(deadline, greeting).await.unwrap_or(Err(GreetError::TimedOut))
}

/// From the end of TLS to a link: what a stranger can hold a place for.
const DEADLINE: Duration = Duration::from_secs(5);
/// For a refusal to arrive.
const FAREWELL: Duration = Duration::from_millis(500);
