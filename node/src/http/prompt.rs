//! A stream whose peer must say something soon. hyper's own time limits begin only after the first bytes told it which
//! version of HTTP they are; before that, this one holds. Called by `serve`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The HTTP/2 preface has 24 bytes; after as many, hyper knows.
const DECIDED: usize = 24;

/// See the module.
#[derive(Debug)]
pub(super) struct Prompt<S> {
    inner: S,
    read: usize,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Prompt<S> {
    pub(super) fn new(inner: S, patience: Duration) -> Self {
        Self { inner, read: 0, deadline: Some(Box::pin(tokio::time::sleep(patience))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(deadline) = &mut this.deadline else { return Pin::new(&mut this.inner).poll_read(cx, buf) };
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, buf) {
            this.read += buf.filled().len() - before;
            if this.read >= DECIDED {
                this.deadline = None;
            }
            return Poll::Ready(read);
        }
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_silent_peer_is_dropped_and_a_talking_one_is_not() {
        let (_silent, theirs) = tokio::io::duplex(64);
        let mut stream = Prompt::new(theirs, Duration::from_millis(5));
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (mut talking, theirs) = tokio::io::duplex(64);
        talking.write_all(&[b'x'; DECIDED]).await.unwrap();
        let mut stream = Prompt::new(theirs, Duration::ZERO);
        let mut all = [0; DECIDED];
        stream.read_exact(&mut all).await.unwrap();
        assert!(stream.deadline.is_none());
    }
}
