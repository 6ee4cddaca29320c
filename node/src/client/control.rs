//! The owner's requests to the running node: HTTP over the Unix socket `<data-dir>/control.sock` (DESIGN §6).
//! Called by the commands that manage the node.

use amesh_proto::api::control::{
    BackupDone, BackupRequest, Done, ForgetOutsider, HttpHostNamed, HttpHosts, Invitation, InviteRequest,
    JoinRequest, Joined, NodeFacts, OwnedAgents, PeerList, PeerPromoted, PeerRemoved, PromotePeer, QueuePage,
    RemovePeer, Status, VerifyReport,
};
use amesh_proto::api::error::ErrorBody;
use amesh_proto::api::federation::{
    FederationStatus, NameProvider, ResolveProvider, ResolvedProvider, TestProvider, TestedProvider,
};
use amesh_proto::api::owner::{
    AddOwner, AgentForgotten, AgentRenamed, ForgetAgent, MadeInviteCode, NewInviteCode, Owner, OwnerAdded,
    OwnerList, RenameAgent, SetOwner,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Longest wait for what the node has at hand.
const SOON: Duration = Duration::from_secs(15);
/// Longest wait for what involves another machine or ends the node.
const LATER: Duration = Duration::from_secs(60);
/// Longest wait for reading or copying a whole store.
const LONG: Duration = Duration::from_secs(6 * 3600);
/// No answer is read beyond this.
const LARGEST: usize = 64 << 20;

/// The owner's door to one node.
#[derive(Debug, Clone)]
pub struct Control {
    socket: PathBuf,
}

/// Why an owner's request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no node answers at {0}")]
    NotRunning(PathBuf),
    /// Another user's node.
    #[error("{0} belongs to another user")]
    Denied(PathBuf),
    /// The connection broke.
    #[error("the connection to the node broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The node took too long.
    #[error("the node did not answer within {} seconds", .0.as_secs())]
    TooLate(Duration),
    /// The node said no.
    #[error("{} ({})", .0.message, .0.error)]
    Refused(Box<ErrorBody>),
    /// The node's answer made no sense; another version perhaps.
    #[error("the node's answer cannot be understood; is it of another version?")]
    Nonsense(#[source] serde_json::Error),
}

impl Control {
    /// The socket in `data_dir`.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Self { socket: data_dir.join("control.sock") }
    }

    /// What the node is doing.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.get("/status").await
    }

    /// Makes a ticket.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn invite(&self, request: &InviteRequest) -> Result<Invitation, ControlError> {
        self.post("/invite", request, SOON).await
    }

    /// Joins a mesh.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn join(&self, request: &JoinRequest) -> Result<Joined, ControlError> {
        self.post("/join", request, LATER).await
    }

    /// Leaves the mesh.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn leave(&self) -> Result<Done, ControlError> {
        self.post("/leave", &Nothing {}, LATER).await
    }

    /// Members and neighbours.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn peers(&self) -> Result<PeerList, ControlError> {
        self.get("/peers").await
    }

    /// The HTTP mesh.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn http_hosts(&self) -> Result<HttpHosts, ControlError> {
        self.get("/hosts").await
    }

    /// Does `what` (`accept`, `refuse` or `remove`) with a host of the HTTP mesh.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn http_host(&self, what: &str, name: &str) -> Result<Done, ControlError> {
        self.post(&format!("/hosts/{what}"), &HttpHostNamed { name: name.to_owned() }, SOON).await
    }

    /// Forgets an agent of an HTTP mesh host.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn forget_outsider(&self, address: &str) -> Result<Done, ControlError> {
        self.post("/hosts/forget", &ForgetOutsider { address: address.to_owned() }, SOON).await
    }

    /// This node as a provider.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn federation(&self) -> Result<FederationStatus, ControlError> {
        self.get("/federation").await
    }

    /// Looks a provider up.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn resolve_provider(
        &self,
        request: &ResolveProvider,
    ) -> Result<ResolvedProvider, ControlError> {
        self.post("/federation/resolve", request, LATER).await
    }

    /// Does `what` (`allow`, `block` or `forget`) with a provider, or forgets an agent of one.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn provider(&self, what: &str, name: &str, compromised: bool) -> Result<Done, ControlError> {
        let request = NameProvider { name: name.to_owned(), compromised };
        self.post(&format!("/federation/{what}"), &request, SOON).await
    }

    /// Finds out whether mail can be exchanged with a provider.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn test_provider(&self, domain: &str) -> Result<TestedProvider, ControlError> {
        self.post("/federation/test", &TestProvider { domain: domain.to_owned() }, LATER).await
    }

    /// Removes a member.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn remove_peer(&self, id: &str) -> Result<PeerRemoved, ControlError> {
        self.post("/peers/remove", &RemovePeer { id: id.to_owned() }, LATER).await
    }

    /// Makes a member an introducer.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn promote_peer(&self, id: &str) -> Result<PeerPromoted, ControlError> {
        self.post("/peers/promote", &PromotePeer { id: id.to_owned() }, LATER).await
    }

    /// Mail that waits for other hosts.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn queue(&self) -> Result<QueuePage, ControlError> {
        self.get("/queue").await
    }

    /// Copies the store.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn backup(&self, dest: Option<&Path>) -> Result<BackupDone, ControlError> {
        let path = dest.map(|dest| dest.to_string_lossy().into_owned());
        self.post("/db/backup", &BackupRequest { path }, LONG).await
    }

    /// Checks the store.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn verify(&self) -> Result<VerifyReport, ControlError> {
        self.post("/db/verify", &Nothing {}, LONG).await
    }

    /// What only the node knows about this machine's health.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn facts(&self) -> Result<NodeFacts, ControlError> {
        self.get("/doctor").await
    }

    /// Every agent the node knows.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn agents(&self) -> Result<OwnedAgents, ControlError> {
        self.get("/agents").await
    }

    /// Gives an agent of the node another name.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn rename_agent(&self, request: &RenameAgent) -> Result<AgentRenamed, ControlError> {
        self.post("/agents/rename", request, SOON).await
    }

    /// Removes an agent of the node.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn forget_agent(&self, address: &str) -> Result<AgentForgotten, ControlError> {
        self.post("/agents/forget", &ForgetAgent { address: address.to_owned() }, SOON).await
    }

    /// Makes a code that lets agents in.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn invite_code(&self, request: &NewInviteCode) -> Result<MadeInviteCode, ControlError> {
        self.post("/agents/code", request, SOON).await
    }

    /// Those who have agents of their own.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn owners(&self) -> Result<OwnerList, ControlError> {
        self.get("/owners").await
    }

    /// Adds one.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn add_owner(&self, request: &AddOwner) -> Result<OwnerAdded, ControlError> {
        self.post("/owners/add", request, SOON).await
    }

    /// Suspends one, or lets them go on.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn set_owner(&self, request: &SetOwner) -> Result<Owner, ControlError> {
        self.post("/owners/set", request, SOON).await
    }

    /// Removes one.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn remove_owner(&self, id: &str) -> Result<Done, ControlError> {
        self.post("/owners/remove", &SetOwner { owner_id: id.to_owned(), active: false }, SOON).await
    }

    /// Stops the node; it answers before it goes.
    ///
    /// # Errors
    /// As any owner's request.
    pub async fn down(&self) -> Result<Done, ControlError> {
        self.post("/down", &Nothing {}, LATER).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        let request = hyper::Request::get(path).header("host", "amesh");
        self.ask(request.body(Full::new(Bytes::new())), SOON).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        wait: Duration,
    ) -> Result<T, ControlError> {
        let body = serde_json::to_vec(body).map_err(ControlError::Nonsense)?;
        let request =
            hyper::Request::post(path).header("host", "amesh").header("content-type", "application/json");
        self.ask(request.body(Full::new(body.into())), wait).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: Result<hyper::Request<Full<Bytes>>, hyper::http::Error>,
        wait: Duration,
    ) -> Result<T, ControlError> {
        let request = request.map_err(|error| ControlError::Broken(error.into()))?;
        let (ok, body) = match tokio::time::timeout(wait, self.exchange(request)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(ControlError::TooLate(wait)),
        };
        if ok {
            return serde_json::from_slice(&body).map_err(ControlError::Nonsense);
        }
        Err(ControlError::Refused(serde_json::from_slice(&body).map_err(ControlError::Nonsense)?))
    }

    /// One request on one connection, which nobody else drives: no task is spawned for it.
    async fn exchange(&self, request: hyper::Request<Full<Bytes>>) -> Result<(bool, Bytes), ControlError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_connection(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ControlError::Broken(error.into()))?;
        let talk = async {
            let response =
                sender.send_request(request).await.map_err(|error| ControlError::Broken(error.into()))?;
            let ok = response.status().is_success();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            Ok((ok, body.map_err(ControlError::Broken)?.to_bytes()))
        };
        let mut talk = std::pin::pin!(talk);
        tokio::select! {
            answer = &mut talk => answer,
            // The connection may end as soon as the answer is read off it.
            _ = connection => talk.await,
        }
    }

    fn no_connection(&self, error: io::Error) -> ControlError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ControlError::NotRunning(self.socket.clone())
            }
            io::ErrorKind::PermissionDenied => ControlError::Denied(self.socket.clone()),
            _ => ControlError::Broken(error.into()),
        }
    }
}

#[derive(Serialize)]
struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    /// Answers one request with `answer` and gives what was asked.
    async fn stand_in(dir: &Path, answer: &str) -> String {
        let listener = UnixListener::bind(dir.join("control.sock")).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let read = stream.read(&mut asked).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8_lossy(&asked[..read]).into_owned()
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_request_is_answered_over_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let answer = http("200 OK", r#"{"ticket":"amesh-x","expires_at":"2026-01-01T00:00:00Z"}"#);
        let control = Control::of(dir.path());
        let request = InviteRequest { ttl_secs: Some(900), introducer: false };
        let asking = async {
            loop {
                match control.invite(&request).await {
                    Err(ControlError::NotRunning(_)) => tokio::task::yield_now().await,
                    other => break other,
                }
            }
        };
        let (asked, ticket) = tokio::join!(stand_in(dir.path(), &answer), asking);
        assert_eq!(ticket.unwrap().ticket, "amesh-x");
        assert!(asked.starts_with("POST /invite "), "{asked}");
        assert!(asked.ends_with(r#"{"ttl_secs":900}"#), "{asked}");
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let answer = http("409 Conflict", r#"{"error":"in_a_mesh","message":"this node is in a mesh"}"#);
        let control = Control::of(dir.path());
        let asking = async {
            loop {
                match control.leave().await {
                    Err(ControlError::NotRunning(_)) => tokio::task::yield_now().await,
                    other => break other,
                }
            }
        };
        let (_, refused) = tokio::join!(stand_in(dir.path(), &answer), asking);
        match refused {
            Err(ControlError::Refused(body)) => assert_eq!(body.error, "in_a_mesh"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn no_socket_means_no_node() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Control::of(dir.path()).status().await, Err(ControlError::NotRunning(_))));
    }
}
