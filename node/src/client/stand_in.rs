//! A provider of a few lines, for tests of what talks to one: records requests and answers as told.

use std::io;
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One recorded request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Such as `GET /v1/messages/pending`, without the query.
    pub(crate) what: String,
    /// The `Authorization` header.
    pub(crate) bearer: String,
    /// The body.
    pub(crate) body: String,
}

/// The stand-in; dropped with the test.
pub(crate) struct StandIn {
    listener: TcpListener,
    asked: Mutex<Vec<Asked>>,
}

impl StandIn {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, asked: Mutex::default() }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers with status and body until `work` is done; status 0 hangs up instead.
    pub(crate) async fn while_doing<T>(
        &self,
        answer: impl Fn(&Asked) -> (u16, String),
        work: impl Future<Output = T>,
    ) -> T {
        let serving = async {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                // A client that hangs up is the client's affair.
                self.serve(stream, &answer).await.unwrap_or_default();
            }
        };
        tokio::select! {
            done = work => done,
            never = serving => never,
        }
    }

    async fn serve(&self, mut stream: TcpStream, answer: impl Fn(&Asked) -> (u16, String)) -> io::Result<()> {
        let mut bytes = Vec::new();
        let (head, body) = loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            bytes.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = header(head, "content-length").parse().unwrap_or(0);
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        };
        let mut words = head.split([' ', '?']);
        let what = format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let asked = Asked { what, bearer: header(&head, "authorization"), body };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let (status, body) = answer(&asked);
        if status == 0 {
            return Ok(());
        }
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}

fn header(head: &str, name: &str) -> String {
    let value = head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    value.unwrap_or_default()
}
