//! Joining by ticket, both ends: request, name clashes, confirmation, grant (DESIGN §3). The spending of the ticket
//! and the new entry are durable before the secret leaves this machine. `host` is called by `accept`, `ask` by
//! `control`.

use super::endpoint::{CloseCode, Purpose};
use super::error::MeshError;
use super::frames::{FrameReader, FrameWriter, StreamError};
use super::shared::Shared;
use amesh_proto::address::Address;
use amesh_proto::node_id::NodeId;
use amesh_proto::ticket::Ticket;
use amesh_proto::wire::{
    Frame, JoinClashes, JoinConfirm, JoinGrant, JoinRefuseCode, JoinRefused, JoinRequest, VERSIONS,
};
use amesh_store::SpendOutcome;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;

/// Lets a newcomer in, or tells it why not.
pub(crate) async fn host(shared: &Arc<Shared>, connection: quinn::Connection, newcomer: NodeId) {
    let served = tokio::time::timeout(HOSTING, serve(shared, &connection, newcomer)).await;
    match served {
        Ok(Ok(())) => tracing::info!(%newcomer, "joined with a ticket of this node"),
        Ok(Err(NotJoined::Refused(code))) => tracing::info!(%newcomer, code = code.as_str(), "not let in"),
        Ok(Err(NotJoined::Stream(error))) => tracing::info!(%newcomer, %error, "did not complete joining"),
        Err(_) => tracing::info!(%newcomer, "took too long to join"),
    }
    connection.close(CloseCode::Done.into(), b"");
}

enum NotJoined {
    Refused(JoinRefuseCode),
    Stream(StreamError),
}

impl<E: Into<StreamError>> From<E> for NotJoined {
    fn from(error: E) -> Self {
        Self::Stream(error.into())
    }
}

async fn serve(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    newcomer: NodeId,
) -> Result<(), NotJoined> {
    let (send, recv) = connection.accept_bi().await?;
    let (mut reader, writer) = (FrameReader::new(recv), FrameWriter::new(send, &shared.tasks));
    let Frame::JoinRequest(request) = reader.next_within(STEP).await? else {
        return Err(StreamError::Unexpected.into());
    };
    let introducer = match judge(shared, &request, newcomer).await {
        Ok(introducer) => introducer,
        Err(code) => {
            writer.send(&[Frame::JoinRefused(JoinRefused { code })]).await?;
            writer.finish(FAREWELL).await;
            return Err(NotJoined::Refused(code));
        }
    };
    writer.send(&[Frame::JoinClashes(JoinClashes { names: clashes(shared, &request.agents) })]).await?;
    let Frame::JoinConfirm(JoinConfirm) = reader.next_within(STEP).await? else {
        return Err(StreamError::Unexpected.into());
    };
    let answer = match admit(shared, &request, newcomer, introducer).await {
        Ok(grant) => Frame::JoinGrant(Box::new(grant)),
        Err(code) => Frame::JoinRefused(JoinRefused { code }),
    };
    let refused = match &answer {
        Frame::JoinRefused(JoinRefused { code }) => Err(NotJoined::Refused(*code)),
        _ => Ok(()),
    };
    // Its mesh port is where it dialled from.
    shared.reached(&newcomer, connection.remote_address());
    writer.send(&[answer]).await?;
    writer.finish(FAREWELL).await;
    refused
}

/// Whether the newcomer may come in; spends its ticket. Says whether the ticket makes it an introducer.
async fn judge(shared: &Shared, request: &JoinRequest, newcomer: NodeId) -> Result<bool, JoinRefuseCode> {
    if shared.stopping() {
        return Err(JoinRefuseCode::Busy);
    }
    // The token first: who has none learns nothing about the mesh.
    let spent = shared.store.spend_ticket(request.token.hash(), newcomer, shared.clock.now()).await;
    let introducer = match spent.map_err(|_| JoinRefuseCode::Busy)? {
        SpendOutcome::Spent { introducer } | SpendOutcome::Again { introducer } => introducer,
        SpendOutcome::ByAnother => return Err(JoinRefuseCode::Spent),
        SpendOutcome::Expired => return Err(JoinRefuseCode::Expired),
        SpendOutcome::Unknown => return Err(JoinRefuseCode::Unknown),
    };
    if request.host == shared.directory().naming().org {
        return Err(JoinRefuseCode::BadLabel);
    }
    shared.membership().judge_request(request, &newcomer)?;
    Ok(introducer)
}

async fn admit(
    shared: &Arc<Shared>,
    request: &JoinRequest,
    newcomer: NodeId,
    introducer: bool,
) -> Result<JoinGrant, JoinRefuseCode> {
    let now = shared.clock.now();
    let admitted = shared.membership().admit(newcomer, &request.host, introducer, now);
    let (grant, changed) = admitted?;
    shared.apply(changed).await.map_err(|_| JoinRefuseCode::Busy)?;
    Ok(grant)
}

/// Which of the newcomer's names the mesh has already.
fn clashes(shared: &Shared, agents: &[String]) -> Vec<String> {
    let directory = shared.directory();
    let taken = |name: &&String| {
        let Ok(address) = Address::parse(name, &[&directory.naming().provider]) else { return false };
        directory.local_agent(&address).is_some() || directory.listed_elsewhere(&address).is_some()
    };
    agents.iter().filter(taken).cloned().collect()
}

/// What asking an inviter came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// These names are taken; nothing was joined.
    Clashes(Vec<String>),
    /// This node is in.
    Granted {
        grant: Box<JoinGrant>,
        clashes: Vec<String>,
        /// Where the inviter was reached.
        inviter_at: std::net::SocketAddr,
    },
}

/// Asks the inviter of `ticket` to let this node in. Repeatable until the ticket expires: by the inviter's clock, since
/// that of a newcomer may be years off.
pub(crate) async fn ask(shared: &Arc<Shared>, ticket: &Ticket, confirm: bool) -> Result<Answer, MeshError> {
    let connection = reach(shared, ticket).await.map_err(|error| match error {
        MeshError::Unreachable(_) if ticket.expires_at <= shared.clock.now() => MeshError::Expired,
        other => other,
    })?;
    let asked = tokio::time::timeout(ASKING, converse(shared, &connection, ticket, confirm)).await;
    connection.close(CloseCode::Done.into(), b"");
    asked.unwrap_or_else(|_| Err(MeshError::Unreachable("it did not answer in time".to_owned())))
}

async fn converse(
    shared: &Arc<Shared>,
    connection: &quinn::Connection,
    ticket: &Ticket,
    confirm: bool,
) -> Result<Answer, MeshError> {
    let lost = |error: StreamError| MeshError::Unreachable(error.to_string());
    let (send, recv) = connection.open_bi().await.map_err(|error| lost(error.into()))?;
    let (mut reader, writer) = (FrameReader::new(recv), FrameWriter::new(send, &shared.tasks));
    let request = JoinRequest {
        versions: VERSIONS,
        mesh: ticket.mesh,
        token: ticket.token.clone(),
        host: shared.host().to_owned(),
        agents: shared.own_agents(),
    };
    writer.send(&[Frame::JoinRequest(Box::new(request))]).await.map_err(lost)?;
    let clashes = match reader.next().await.map_err(lost)? {
        Frame::JoinClashes(clashes) => clashes.names,
        Frame::JoinRefused(JoinRefused { code }) => return Err(refused(code)),
        _ => return Err(lost(StreamError::Unexpected)),
    };
    if !clashes.is_empty() && !confirm {
        return Ok(Answer::Clashes(clashes));
    }
    writer.send(&[Frame::JoinConfirm(JoinConfirm)]).await.map_err(lost)?;
    match reader.next().await.map_err(lost)? {
        Frame::JoinGrant(grant) => {
            Ok(Answer::Granted { grant, clashes, inviter_at: connection.remote_address() })
        }
        Frame::JoinRefused(JoinRefused { code }) => Err(refused(code)),
        _ => Err(lost(StreamError::Unexpected)),
    }
}

/// Connects to the inviter, and to nobody else, at any of its addresses.
async fn reach(shared: &Arc<Shared>, ticket: &Ticket) -> Result<quinn::Connection, MeshError> {
    let mut addresses = ticket.addresses.clone();
    if let Some(lookout) = &shared.lookout {
        addresses.extend(lookout.addresses(&ticket.inviter));
    }
    addresses.retain(|address| shared.endpoint.can_reach(address));
    let mut racers: FuturesUnordered<_> = addresses
        .iter()
        .map(|address| shared.endpoint.dial(*address, Some(ticket.inviter), Purpose::Join))
        .collect();
    let mut why = "none of the ticket's addresses can be used from here".to_owned();
    let first = async {
        while let Some(outcome) = racers.next().await {
            match outcome {
                Ok(connection) => return Some(connection),
                Err(error) => why = error.to_string(),
            }
        }
        None
    };
    match tokio::time::timeout(REACHING, first).await {
        Ok(Some(connection)) => Ok(connection),
        Ok(None) => Err(MeshError::Unreachable(why)),
        Err(_) => Err(MeshError::Unreachable("no answer at any of the ticket's addresses".to_owned())),
    }
}

fn refused(code: JoinRefuseCode) -> MeshError {
    let why = match code {
        JoinRefuseCode::Unknown => {
            "the inviting node does not know this ticket; ask for a new one: amesh invite"
        }
        JoinRefuseCode::Spent => "another machine has used this ticket; ask for a new one: amesh invite",
        JoinRefuseCode::Expired => "the ticket has expired; ask for a new one: amesh invite",
        JoinRefuseCode::OtherMesh => {
            "the inviting node is in another mesh by now; ask for a new ticket: amesh invite"
        }
        JoinRefuseCode::LabelTaken => {
            "another member has this machine's host label; start with another: amesh up --host NAME"
        }
        JoinRefuseCode::BadLabel => {
            "this machine's host label cannot be used in that mesh; start with another: amesh up --host NAME"
        }
        JoinRefuseCode::NotAllowed => {
            "the inviting node may not let others in any more; ask the founder or an introducer for a ticket"
        }
        JoinRefuseCode::Version => {
            "the inviting node speaks another protocol version; upgrade the older amesh"
        }
        JoinRefuseCode::Busy => "the inviting node is busy or stopping; try again",
    };
    MeshError::Refused { code: code.as_str(), why: why.to_owned() }
}

/// For the whole conversation at the inviter's end.
const HOSTING: Duration = Duration::from_secs(20);
/// For each answer of the newcomer.
const STEP: Duration = Duration::from_secs(5);
/// For the last frame to arrive.
const FAREWELL: Duration = Duration::from_secs(2);
/// For TLS at any address.
const REACHING: Duration = Duration::from_secs(10);
/// For the conversation at the newcomer's end.
const ASKING: Duration = Duration::from_secs(15);
