//! A webhook's receiver: a real HTTP/1.1 server on loopback that answers as it is told and remembers what it was posted. It
//! speaks TLS once it has a certificate to show.

use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// How it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Status(u16),
    Acknowledged,
    Redirect(String),
    /// It takes the request and says nothing.
    Never,
    /// Success, and then an answer without end.
    Endless,
    /// Success, once it is told to.
    OnCommand,
}

/// What it was posted.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

pub(crate) struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    tls: Mutex<Option<TlsAcceptor>>,
    posts: Mutex<Vec<Post>>,
    connections: AtomicUsize,
    open: Mutex<Vec<String>>,
    most: AtomicUsize,
    most_by_path: Mutex<Vec<(String, usize)>>,
    go: Semaphore,
}

impl Post {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Receiver {
    pub(crate) async fn new(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            tls: Mutex::default(),
            posts: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            most: AtomicUsize::new(0),
            most_by_path: Mutex::default(),
            go: Semaphore::new(0),
        });
        let serving = shared.clone();
        #[expect(clippy::disallowed_methods, reason = "the receiver is no part of the node")]
        let accepting = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let serving = serving.clone();
                let tls = serving.tls.lock().unwrap().clone();
                open.spawn(async move {
                    match tls {
                        // Whoever does not like the certificate hangs up.
                        Some(tls) => drop(serving.serve(tls.accept(stream).await?).await),
                        None => drop(serving.serve(stream).await),
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Self { port, shared, accepting }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Shows this certificate to whoever connects from now on.
    pub(crate) fn shows(&self, tls: TlsAcceptor) {
        *self.shared.tls.lock().unwrap() = Some(tls);
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }

    /// The texts it was posted, in order.
    pub(crate) fn messages(&self) -> Vec<String> {
        let text = |post: &Post| {
            let body: Value = serde_json::from_slice(&post.body).unwrap();
            body["payload"]["message"].as_str().unwrap().to_owned()
        };
        self.posts().iter().map(text).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    pub(crate) fn most_of(&self, path: &str) -> usize {
        let most = self.shared.most_by_path.lock().unwrap();
        most.iter().filter(|(known, _)| known == path).map(|(_, count)| *count).max().unwrap_or_default()
    }

    pub(crate) fn let_one_go(&self) {
        self.shared.go.add_permits(1);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        while let Some(post) = read(&mut stream).await? {
            let path = post.path.clone();
            self.enter(&path);
            self.posts.lock().unwrap().push(post);
            let answer = self.answer.lock().unwrap().clone();
            let done = self.answer(&mut stream, answer).await;
            self.leave(&path);
            done?;
        }
        Ok(())
    }

    fn enter(&self, path: &str) {
        let mut open = self.open.lock().unwrap();
        open.push(path.to_owned());
        self.most.fetch_max(open.len(), Ordering::SeqCst);
        let same = open.iter().filter(|known| *known == path).count();
        self.most_by_path.lock().unwrap().push((path.to_owned(), same));
    }

    fn leave(&self, path: &str) {
        let mut open = self.open.lock().unwrap();
        let at = open.iter().position(|known| known == path).unwrap();
        open.remove(at);
    }

    async fn answer(&self, stream: &mut (impl AsyncWrite + Unpin), answer: Answer) -> std::io::Result<()> {
        let text = match answer {
            Answer::Status(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"),
            Answer::Acknowledged => {
                "HTTP/1.1 204 X\r\nX-AMP-Acknowledged: true\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
            Answer::Redirect(to) => {
                format!("HTTP/1.1 307 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            }
            Answer::Never => return std::future::pending().await,
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 1000000000000\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                }
            }
            Answer::OnCommand => {
                self.go.acquire().await.unwrap().forget();
                "HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
        };
        stream.write_all(text.as_bytes()).await
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Post>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap_or_default());
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let body = bytes[head_end..head_end + length].to_vec();
    Ok(Some(Post { path, headers, body }))
}
