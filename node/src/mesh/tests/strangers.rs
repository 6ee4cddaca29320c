//! Who has no business here: strangers with valid certificates, reflected and replayed proofs, garbage.

use super::village::*;
use crate::mesh::Identity;
use crate::mesh::endpoint::{self, MeshEndpoint, Purpose, Tuning};
use crate::mesh::frames::{FrameReader, FrameWriter};
use crate::tasks::Tasks;
use amesh_proto::api::control::PeerState;
use amesh_proto::member::MeshId;
use amesh_proto::ticket::Token;
use amesh_proto::wire::{Frame, Hello, JoinRequest, Proof, VERSIONS};
use std::net::{Ipv4Addr, SocketAddr};

/// Somebody with a key and a port, and no membership.
pub(super) struct Stranger {
    pub(super) identity: Identity,
    pub(super) endpoint: MeshEndpoint,
    pub(super) tasks: Tasks,
}

impl Stranger {
    pub(super) fn new() -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::with_key_of(&Identity::from_seed(&rand::random()), at)
    }

    /// Whoever has that key, at that address: a member whose program is another.
    pub(super) fn with_key_of(identity: &Identity, listen: SocketAddr) -> Self {
        let identity = identity.clone();
        let endpoint = MeshEndpoint::bind(listen, &identity, &Tuning::default()).unwrap();
        Self { identity, endpoint, tasks: Tasks::new("stranger") }
    }

    pub(super) async fn dial(
        &self,
        node: &Node,
        purpose: Purpose,
    ) -> (quinn::Connection, FrameReader, FrameWriter) {
        let connection =
            self.endpoint.dial(node.mesh.listen_addr(), Some(node.mesh.node_id()), purpose).await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        (connection, FrameReader::new(recv), FrameWriter::new(send, &self.tasks))
    }
}

/// All that comes until the far end closes.
pub(super) async fn everything(mut reader: FrameReader) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Ok(frame) = reader.next().await {
        frames.push(frame);
    }
    frames
}

fn hello(mac: [u8; 32]) -> Frame {
    Frame::Hello(Hello { versions: VERSIONS, proofs: vec![Proof { epoch: 1, mac }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_a_valid_certificate_is_told_nothing_but_no() {
    let (a, _b) = pair().await;
    a.agent("alice").await;
    let stranger = Stranger::new();
    let (_connection, reader, writer) = stranger.dial(&a, Purpose::Link).await;
    writer.send(&[hello([0; 32])]).await.unwrap();
    let heard = everything(reader).await;
    assert!(heard.iter().all(|frame| matches!(frame, Frame::Refuse(_))), "{heard:?}");
    let node = stranger.identity.node_id().to_string();
    until("a neighbour", || {
        a.mesh.peers().iter().any(|peer| peer.node_id == node && peer.state == PeerState::Neighbour)
    })
    .await;
    assert_eq!(a.mesh.status().members, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_skips_the_proof_hears_nothing() {
    let (a, _b) = pair().await;
    let stranger = Stranger::new();
    for frame in [Frame::Ping(1), Frame::RosterAdvert(Default::default()), Frame::Members(Default::default())]
    {
        let (_connection, reader, writer) = stranger.dial(&a, Purpose::Link).await;
        writer.send(&[frame]).await.unwrap();
        assert_eq!(everything(reader).await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_reflected_to_its_maker_or_replayed_on_another_connection_is_refused() {
    // The stranger lets a member dial it, keeps the proof, and shows it to that member and to another.
    let (a, b) = pair().await;
    let stranger = Stranger::new();
    let binding = [5; 32];
    let Hello { proofs, .. } = a.mesh.shared.membership().hello(&stranger.identity.node_id(), &binding);
    for node in [&a, &b] {
        let (connection, reader, writer) = stranger.dial(node, Purpose::Link).await;
        assert_ne!(endpoint::channel_binding(&connection), Some(binding));
        writer.send(&[hello(proofs[0].mac)]).await.unwrap();
        let heard = everything(reader).await;
        assert!(heard.iter().all(|frame| matches!(frame, Frame::Refuse(_))), "{heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guessed_token_is_refused_and_learns_no_names() {
    let (a, _b) = pair().await;
    a.agent("alice").await;
    let stranger = Stranger::new();
    let (_connection, reader, writer) = stranger.dial(&a, Purpose::Join).await;
    let request = JoinRequest {
        versions: VERSIONS,
        mesh: MeshId([0; 16]),
        token: Token([3; 24]),
        host: "omega".to_owned(),
        agents: vec![address("alice")],
    };
    writer.send(&[Frame::JoinRequest(Box::new(request))]).await.unwrap();
    let heard = everything(reader).await;
    assert!(matches!(heard[..], [Frame::JoinRefused(_)]), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_and_in_frames_changes_nothing() {
    let (a, b) = pair().await;
    let (alice, bob) = (a.agent("alice").await, b.agent("bob").await);
    a.knows("bob").await;
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for number in 0..2000_u32 {
        let mut packet = vec![0_u8; 1 + (number as usize * 7) % 1400];
        packet.iter_mut().for_each(|byte| *byte = rand::random());
        socket.send_to(&packet, b.mesh.listen_addr()).await.unwrap();
    }
    let stranger = Stranger::new();
    for bytes in [vec![1, 255, 255, 255, 255], vec![1, 0, 0, 0, 4, 9, 9, 9, 9], vec![77; 4000], vec![1, 0]] {
        let connection = stranger
            .endpoint
            .dial(b.mesh.listen_addr(), Some(b.mesh.node_id()), Purpose::Link)
            .await
            .unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        assert_eq!(everything(FrameReader::new(recv)).await, []);
    }
    a.send(&alice, "bob", "still here").await.unwrap();
    b.receives(&bob, &["still here".to_owned()]).await;
}
