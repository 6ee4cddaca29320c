//! Files for the node at the other end of a link: those that mail for it names, and no others. Each over a stream of its
//! own beside the link's, one at a time, behind the mail. Run beside every session.

use super::shared::Shared;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::file::{FileAnswer, FileRequest, LONGEST, decode, encode};
use amesh_store::Holder;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

/// Serves until the link is over.
pub(crate) async fn run(shared: Arc<Shared>, peer: NodeId, connection: quinn::Connection) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        // Mail goes first.
        send.set_priority(-1).ok();
        let lent = async {
            let request = tokio::time::timeout(STALL, read(&mut receive)).await.ok().flatten()?;
            lend(&shared, peer, &request, &mut send).await
        };
        if lent.await.is_none() {
            tracing::debug!(%peer, "a file was asked for and not sent whole");
            send.reset(quinn::VarInt::from_u32(0)).ok();
        }
    }
}

/// Answers one request; none where that came to nothing.
async fn lend(
    shared: &Shared,
    peer: NodeId,
    request: &FileRequest,
    send: &mut quinn::SendStream,
) -> Option<()> {
    let found = open(shared, peer, request).await;
    let (answer, file) = match found {
        Ok((file, size)) => (FileAnswer::Follows { size }, Some(file)),
        Err(answer) => (answer, None),
    };
    put(send, &encode(&answer)?).await?;
    if let (Some(mut file), FileAnswer::Follows { size }) = (file, answer) {
        let mut left = size;
        let mut piece = vec![0; PIECE];
        while left > 0 {
            let count = file.read(&mut piece).await.ok().filter(|count| *count > 0)?;
            put(send, &piece[..count]).await?;
            left = left.checked_sub(count as u64)?;
        }
    }
    send.finish().ok()
}

/// The file, if mail for the peer names it.
async fn open(shared: &Shared, peer: NodeId, request: &FileRequest) -> Result<(File, u64), FileAnswer> {
    let shares = shared.store.shares_with(&request.id, &Holder::Node(peer)).map_err(|_| FileAnswer::Busy)?;
    if !shares.iter().any(|share| share.digest == request.digest) {
        return Err(FileAnswer::Unknown);
    }
    let path = shared.store.file_path(&request.digest).ok_or(FileAnswer::Gone)?;
    let opened = async {
        let file = File::open(path).await?;
        let size = file.metadata().await?.len();
        Ok::<_, io::Error>((file, size))
    };
    opened.await.map_err(|error| {
        let gone = error.kind() == io::ErrorKind::NotFound;
        if gone { FileAnswer::Gone } else { FileAnswer::Busy }
    })
}

async fn read(receive: &mut quinn::RecvStream) -> Option<FileRequest> {
    let mut length = [0; 2];
    receive.read_exact(&mut length).await.ok()?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > LONGEST {
        return None;
    }
    let mut body = vec![0; length];
    receive.read_exact(&mut body).await.ok()?;
    decode(&body)
}

async fn put(send: &mut quinn::SendStream, bytes: &[u8]) -> Option<()> {
    tokio::time::timeout(STALL, send.write_all(bytes)).await.ok()?.ok()
}

/// Without progress for so long, a transfer is given up.
const STALL: Duration = Duration::from_secs(30);
const PIECE: usize = 64 * 1024;
