//! What QUIC takes for a UDP socket: packets for a made-up address go into the tunnel of the node that it stands for,
//! and what comes out of tunnels is handed to QUIC. Full means lost, as at every router; QUIC sends again.

use super::address_of;
use amesh_proto::node_id::NodeId;
use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// A tunnel that is to be dug, and what is to go through it.
pub(super) type Wanted = (NodeId, mpsc::Receiver<Bytes>);

/// See the module.
pub(crate) struct RelaySocket {
    tunnels: Mutex<HashMap<SocketAddr, Tunnel>>,
    wanted: mpsc::Sender<Wanted>,
    diggers: Mutex<Option<mpsc::Receiver<Wanted>>>,
    deliver: mpsc::Sender<(SocketAddr, Bytes)>,
    arrived: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
}

struct Tunnel {
    node: NodeId,
    packets: Option<mpsc::Sender<Bytes>>,
}

impl RelaySocket {
    pub(super) fn new() -> Self {
        let (wanted, diggers) = mpsc::channel(WANTED);
        let (deliver, arrived) = mpsc::channel(ARRIVED);
        Self {
            tunnels: Mutex::default(),
            wanted,
            diggers: Mutex::new(Some(diggers)),
            deliver,
            arrived: Mutex::new(arrived),
        }
    }

    /// The made-up address of `node`, which can be sent to from now on.
    pub(super) fn name(&self, node: NodeId) -> SocketAddr {
        let address = address_of(&node);
        lock(&self.tunnels).entry(address).or_insert(Tunnel { node, packets: None });
        address
    }

    /// Forgets everybody for whom `keep` says no, with their tunnels.
    pub(super) fn retain(&self, keep: impl Fn(&NodeId) -> bool) {
        lock(&self.tunnels).retain(|_, tunnel| keep(&tunnel.node));
    }

    /// Tunnels that QUIC asks for. Handed out once.
    pub(super) fn diggers(&self) -> Option<mpsc::Receiver<Wanted>> {
        lock(&self.diggers).take()
    }

    /// Where packets that come out of tunnels go.
    pub(super) fn deliver(&self) -> mpsc::Sender<(SocketAddr, Bytes)> {
        self.deliver.clone()
    }

    fn send(&self, packet: &[u8], to: SocketAddr) {
        let mut tunnels = lock(&self.tunnels);
        let Some(tunnel) = tunnels.get_mut(&to) else { return };
        let packets = match tunnel.packets.take().filter(|packets| !packets.is_closed()) {
            Some(packets) => packets,
            None => {
                let (packets, through) = mpsc::channel(QUEUED);
                if self.wanted.try_send((tunnel.node, through)).is_err() {
                    return;
                }
                packets
            }
        };
        let _lost = packets.try_send(Bytes::copy_from_slice(packet)).is_err();
        tunnel.packets = Some(packets);
    }
}

impl AsyncUdpSocket for RelaySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Always)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for packet in transmit.contents.chunks(size) {
            self.send(packet, transmit.destination);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut arrived = lock(&self.arrived);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            match arrived.poll_recv(context) {
                Poll::Ready(Some((from, packet))) => {
                    // One that is too long cannot be what QUIC sent; an empty one is ignored there.
                    let length = if packet.len() <= buffer.len() { packet.len() } else { 0 };
                    buffer[..length].copy_from_slice(&packet[..length]);
                    *meta = RecvMeta::default();
                    (meta.addr, meta.len, meta.stride) = (from, length, length);
                    count += 1;
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if count > 0 { Poll::Ready(Ok(count)) } else { Poll::Pending }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, super::PORT)))
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl std::fmt::Debug for RelaySocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelaySocket").field("tunnels", &lock(&self.tunnels).len()).finish_non_exhaustive()
    }
}

/// There is always room: what does not fit is lost.
#[derive(Debug)]
struct Always;

impl UdpPoller for Always {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Packets that wait for one tunnel.
const QUEUED: usize = 128;
/// Packets that wait for QUIC.
const ARRIVED: usize = 256;
/// Tunnels that wait to be dug.
const WANTED: usize = 64;
