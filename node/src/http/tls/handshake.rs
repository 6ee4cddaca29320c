//! From a connection to an encrypted one, in time or not at all. Called by every door that speaks TLS.

use super::{Shown, Tls};
use crate::http::limit::network;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

impl Tls {
    /// Shakes hands with `remote`, who is shown what is shown now. Nothing if that fails, takes too long, or too many are at it.
    pub(in crate::http) async fn shake(
        &self,
        stream: TcpStream,
        remote: IpAddr,
    ) -> Option<(TlsStream<TcpStream>, Arc<Shown>)> {
        let Some(_place) = self.0.handshakes.take(network(remote)) else {
            turn_away(stream);
            return None;
        };
        let shown = self.shown();
        let shaking = shake(TlsAcceptor::from(shown.config()), stream);
        match tokio::time::timeout(self.0.patience, shaking).await {
            Ok(Ok(stream)) => Some((stream, shown)),
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "no TLS with this client");
                None
            }
            Err(_) => {
                tracing::debug!(%remote, "a handshake was not finished in time");
                None
            }
        }
    }
}

async fn shake(acceptor: TlsAcceptor, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first[0].is_ascii_uppercase() {
        tell_plain(&mut stream).await?;
        return Err(io::Error::other("it speaks plain HTTP"));
    }
    acceptor.accept(stream).await
}

/// The beginning of an HTTP method: whoever asks so is told, in words that it understands.
async fn tell_plain(stream: &mut TcpStream) -> io::Result<()> {
    const HTTPS_ONLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\
        content-length: 82\r\n\r\n{\"error\":\"invalid_request\",\"message\":\"this address speaks HTTPS, not plain HTTP\"}\n";
    stream.write_all(HTTPS_ONLY).await?;
    stream.shutdown().await?;
    // What was sent and not read would take the answer with it when the connection is closed.
    let mut rest = [0; 4096];
    for _ in 0..16 {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Full is an answer (DESIGN §1.8): the alert `internal_error`, which a client can tell from a broken network.
pub(in crate::http) fn turn_away(stream: TcpStream) {
    const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 80];
    if let Ok(mut stream) = stream.into_std() {
        // Whoever does not get it sees a closed connection, which says the same.
        io::Write::write(&mut stream, ALERT).ok();
    }
}
