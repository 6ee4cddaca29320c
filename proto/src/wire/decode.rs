//! From bytes as they arrive to frames, within a bounded buffer. Called by whoever reads a link.

use super::{Frame, HEADER_LENGTH, body_limit};

/// Cuts a stream of bytes into frames. Feed it, then take frames until it gives none.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` begins.
    start: usize,
    /// How much of an unknown frame is still to be thrown away.
    skip: usize,
}

/// A stream that cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than frames of its kind may be.
    #[error("frame of kind {kind} is {length} bytes long; the limit is {limit}")]
    TooLong {
        /// The frame's kind.
        kind: u8,
        /// The announced length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The body is not what its kind says.
    #[error("frame of kind {kind} is malformed")]
    Malformed {
        /// The frame's kind.
        kind: u8,
    },
    /// The body is of a version that is not spoken here.
    #[error("frame of kind {kind} has the unknown version {version}")]
    Version {
        /// The frame's kind.
        kind: u8,
        /// The body's version.
        version: u8,
    },
}

impl FrameDecoder {
    /// Takes in what was read. What is kept is less than one frame and one chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        let skipped = self.skip.min(chunk.len());
        self.skip -= skipped;
        if self.start > 0 && self.start >= self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(&chunk[skipped..]);
    }

    /// The next whole frame of a known kind. After an error the stream is beyond repair.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let unread = &self.buffer[self.start..];
            let Some((&[kind, a, b, c, d], rest)) = unread.split_first_chunk::<HEADER_LENGTH>() else {
                return Ok(None);
            };
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let limit = body_limit(kind);
            if length > limit {
                return Err(FrameError::TooLong { kind, length, limit });
            }
            let Some(body) = rest.get(..length) else {
                self.reserve_or_skip(kind, length);
                return Ok(None);
            };
            let frame = Frame::decode(kind, body)?;
            self.start += HEADER_LENGTH + length;
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// An incomplete frame is waited for; an unknown one need not be kept while it arrives.
    fn reserve_or_skip(&mut self, kind: u8, length: usize) {
        if !matches!(Frame::decode(kind, &[]), Ok(None)) {
            return;
        }
        let have = self.buffer.len() - self.start - HEADER_LENGTH;
        self.skip = length - have;
        self.buffer.clear();
        self.start = 0;
    }

    /// Bytes held for a frame that is not complete.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }
}
