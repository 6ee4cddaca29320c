//! Frames over a QUIC stream: reading in batches, writing through one task per stream. Called by `accept`, `dial`
//! and `join` for the greeting, then by `session`.

use super::endpoint::CloseCode;
use crate::tasks::Tasks;
use amesh_proto::wire::{Frame, FrameDecoder, FrameError};
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::mpsc;

/// Why a stream of frames ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the other node closed the link")]
    Finished,
    #[error("{0}")]
    Read(#[from] quinn::ReadError),
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the link is not being written any more")]
    WriterGone,
    #[error("it sent something that is not expected here")]
    Unexpected,
    #[error("nothing came in time")]
    TimedOut,
}

impl StreamError {
    /// With which code the other node closed the connection, if it did.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Read(quinn::ReadError::ConnectionLost(error)) | Self::Connection(error) => {
                CloseCode::of(error)
            }
            _ => None,
        }
    }

    /// Whether nothing came from the other node for too long.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Read(quinn::ReadError::ConnectionLost(lost)) | Self::Connection(lost) => {
                matches!(lost, quinn::ConnectionError::TimedOut)
            }
            _ => matches!(self, Self::TimedOut),
        }
    }
}

/// The reading half of a link.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: quinn::RecvStream,
    decoder: FrameDecoder,
    /// A frame that [`Self::wait`] took out and nobody has asked for yet.
    ahead: Option<Frame>,
}

impl FrameReader {
    pub(crate) fn new(stream: quinn::RecvStream) -> Self {
        Self { stream, decoder: FrameDecoder::default(), ahead: None }
    }

    /// The next frame. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Frame, StreamError> {
        self.wait().await?;
        self.ahead.take().ok_or(StreamError::Finished)
    }

    /// The next frame, if it comes in time.
    pub(crate) async fn next_within(&mut self, deadline: Duration) -> Result<Frame, StreamError> {
        tokio::time::timeout(deadline, self.next()).await.unwrap_or(Err(StreamError::TimedOut))
    }

    /// Waits for one frame at least and appends what has come, up to `limit` frames. Safe to cancel.
    pub(crate) async fn batch(&mut self, limit: usize, into: &mut Vec<Frame>) -> Result<(), StreamError> {
        let first = self.next().await?;
        into.push(first);
        while into.len() < limit {
            match self.decoder.next_frame()? {
                Some(frame) => into.push(frame),
                None => break,
            }
        }
        Ok(())
    }

    /// Waits until a whole frame is there, without taking it. Safe to cancel.
    pub(crate) async fn wait(&mut self) -> Result<(), StreamError> {
        while self.ahead.is_none() {
            self.ahead = self.decoder.next_frame()?;
            if self.ahead.is_none() {
                let chunk = self.stream.read_chunk(CHUNK, true).await?.ok_or(StreamError::Finished)?;
                self.decoder.push(&chunk.bytes);
            }
        }
        Ok(())
    }
}

/// The writing half of a link. What is handed in is written in order by a task of its own, so that nobody who
/// waits for something else can leave half a frame behind.
#[derive(Debug, Clone)]
pub(crate) struct FrameWriter {
    queue: mpsc::Sender<Bytes>,
}

impl FrameWriter {
    pub(crate) fn new(stream: quinn::SendStream, tasks: &Tasks) -> Self {
        let (queue, chunks) = mpsc::channel(QUEUED_CHUNKS);
        tasks.spawn(write_all(stream, chunks));
        Self { queue }
    }

    /// Queues `frames` for writing; waits while the link is not taking more.
    pub(crate) async fn send(&self, frames: &[Frame]) -> Result<(), StreamError> {
        let chunk = encode(frames)?;
        if chunk.is_empty() {
            return Ok(());
        }
        self.queue.send(chunk).await.map_err(|_| StreamError::WriterGone)
    }

    /// Waits until there is room for one more chunk. Safe to cancel.
    pub(crate) async fn room(&self) -> Result<Room, StreamError> {
        self.queue.clone().reserve_owned().await.map(Room).map_err(|_| StreamError::WriterGone)
    }

    /// Writes what was handed in, ends the stream, and waits until the other node has it all.
    pub(crate) async fn finish(self, deadline: Duration) {
        let Self { queue } = self;
        let done = queue.clone();
        drop(queue);
        // The task holds the receiver until everything is acknowledged.
        let closing = async {
            let flush = done.send(Bytes::new()).await;
            if flush.is_ok() {
                done.closed().await;
            }
        };
        if tokio::time::timeout(deadline, closing).await.is_err() {
            tracing::debug!("the other node did not take the last frames in time");
        }
    }
}

/// A place in the write queue.
#[derive(Debug)]
pub(crate) struct Room(mpsc::OwnedPermit<Bytes>);

impl Room {
    pub(crate) fn send(self, frames: &[Frame]) -> Result<(), StreamError> {
        let chunk = encode(frames)?;
        if !chunk.is_empty() {
            self.0.send(chunk);
        }
        Ok(())
    }
}

fn encode(frames: &[Frame]) -> Result<Bytes, FrameError> {
    let mut chunk = Vec::new();
    for frame in frames {
        frame.encode(&mut chunk)?;
    }
    Ok(chunk.into())
}

/// An empty chunk is the order to end the stream.
async fn write_all(mut stream: quinn::SendStream, mut chunks: mpsc::Receiver<Bytes>) {
    while let Some(chunk) = chunks.recv().await {
        if chunk.is_empty() {
            break;
        }
        if stream.write_chunk(chunk).await.is_err() {
            return;
        }
    }
    if stream.finish().is_ok() {
        // Ends with the connection at the latest, whose idle time is bounded.
        let _acknowledged = stream.stopped().await.is_ok();
    }
}

/// Most bytes taken from QUIC at once.
const CHUNK: usize = 256 << 10;
/// Batches in the hands of the writer; QUIC's own send window comes on top.
const QUEUED_CHUNKS: usize = 4;
