//! Packets over streams of the swarm, each with its length before it. A node writes on streams that it opened and reads
//! from streams that others opened, so the two ends agree on nothing. A stream that breaks, with its circuit or since a
//! better way was found, is followed by the next; what was lost with it QUIC sends again. Run by `mod` as one task.

use super::address_of;
use super::socket::{RelaySocket, Wanted};
use crate::tasks::Tasks;
use amesh_discovery::hosts::libp2p::{Stream, Swarm};
use amesh_proto::node_id::NodeId;
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Digs what QUIC asks for and takes in what others dug.
pub(super) async fn run(swarm: Arc<Swarm>, socket: Arc<RelaySocket>, tasks: Tasks) {
    let (Some(mut wanted), Some(mut guests)) = (socket.diggers(), swarm.guests()) else { return };
    let mut reading: HashMap<NodeId, CancellationToken> = HashMap::new();
    loop {
        tokio::select! {
            Some((node, packets)) = wanted.recv() => {
                tasks.spawn_until_stopped(carry_out(swarm.clone(), (node, packets)));
            }
            Some((node, stream)) = guests.recv() => {
                reading.retain(|_, over| !over.is_cancelled());
                if reading.len() >= READING && !reading.contains_key(&node) {
                    continue;
                }
                // One a node: the newest is the one in use.
                let over = CancellationToken::new();
                if let Some(before) = reading.insert(node, over.clone()) {
                    before.cancel();
                }
                let from = socket.name(node);
                debug_assert_eq!(from, address_of(&node));
                let deliver = socket.deliver();
                tasks.spawn_until_stopped(async move {
                    let ended = over.run_until_cancelled(carry_in(stream, from, deliver)).await;
                    tracing::debug!(%node, ?ended, "a tunnel from it ended");
                    over.cancel();
                });
            }
            else => return,
        }
    }
}

/// Writes what QUIC sends to one node, until it has sent nothing for a while.
async fn carry_out(swarm: Arc<Swarm>, (node, mut packets): Wanted) {
    while let Ok(Some(first)) = tokio::time::timeout(IDLE, packets.recv()).await {
        let opened = tokio::time::timeout(OPENING, swarm.open(&node)).await;
        let written = match opened {
            Ok(Ok(stream)) => write(stream, first, &mut packets).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match written {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(%node, %error, "a tunnel to it broke");
                tokio::time::sleep(PAUSE).await;
                // What waited is too old by now.
                while packets.try_recv().is_ok() {}
            }
        }
    }
}

async fn write(mut stream: Stream, first: Bytes, packets: &mut mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut next = Some(first);
    let mut batch = Vec::new();
    while let Some(packet) = next {
        append(&mut batch, &packet);
        while batch.len() < BATCH
            && let Ok(packet) = packets.try_recv()
        {
            append(&mut batch, &packet);
        }
        let writing = async {
            stream.write_all(&batch).await?;
            stream.flush().await
        };
        tokio::time::timeout(STALL, writing)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        batch.clear();
        next = tokio::time::timeout(IDLE, packets.recv()).await.ok().flatten();
    }
    Ok(())
}

fn append(batch: &mut Vec<u8>, packet: &[u8]) {
    if let Ok(length) = u16::try_from(packet.len()) {
        batch.extend_from_slice(&length.to_be_bytes());
        batch.extend_from_slice(packet);
    }
}

/// Hands what comes out of a tunnel to QUIC, which holds the tunnel back where it is slower.
async fn carry_in(
    mut stream: Stream,
    from: SocketAddr,
    deliver: mpsc::Sender<(SocketAddr, Bytes)>,
) -> io::Result<()> {
    loop {
        let length = usize::from(stream.read_u16().await?);
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any packet"));
        }
        let mut packet = vec![0; length];
        stream.read_exact(&mut packet).await?;
        if deliver.send((from, packet.into())).await.is_err() {
            return Ok(());
        }
    }
}

/// A tunnel without packets is closed: longer than QUIC keeps a silent link.
const IDLE: Duration = Duration::from_secs(60);
const OPENING: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes gathered for one write.
const BATCH: usize = 32 << 10;
/// No packet of QUIC's is longer here (`endpoint`).
const LONGEST: usize = 8 << 10;
/// Nodes from which tunnels are read at a time.
const READING: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_come_out_as_they_went_in() {
        let (near, far) = tokio::io::duplex(300);
        let (send, mut packets) = mpsc::channel(8);
        let (deliver, mut arrived) = mpsc::channel(8);
        let from = address_of(&NodeId::from_bytes([1; 32]));
        for packet in [&b"two"[..], &[7; 1200], b""] {
            send.send(Bytes::copy_from_slice(packet)).await.unwrap();
        }
        drop(send);
        let writing = write(Box::new(near), Bytes::from_static(b"one"), &mut packets);
        let (written, read) = tokio::join!(writing, carry_in(Box::new(far), from, deliver));
        written.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "the stream's end");
        let mut came = Vec::new();
        while let Some((at, packet)) = arrived.recv().await {
            assert_eq!(at, from);
            came.push(packet);
        }
        assert_eq!(came, [&b"one"[..], b"two", &[7; 1200], b""]);
    }

    #[tokio::test]
    async fn a_length_that_no_packet_has_ends_the_tunnel() {
        let (mut near, far) = tokio::io::duplex(300);
        near.write_all(&[0xff, 0xff, 1, 2]).await.unwrap();
        let (deliver, _arrived) = mpsc::channel(1);
        let error = carry_in(Box::new(far), address_of(&NodeId::from_bytes([1; 32])), deliver).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
