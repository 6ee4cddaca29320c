//! A stand-in for other people's web servers: HTTPS under an authority of the test's own, with good and bad answers. Used by
//! tests of federation.

use crate::authority::Authority;
use amesh::authorities::AuthorityFile;
use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 200 and this text.
    Page(String),
    /// This status.
    Status(u16),
    /// This status, one more line of the head, and this text; the connection stays open.
    Says(u16, &'static str, String),
    /// 302 to there.
    Redirect(String),
    /// 200, and text without end.
    Endless,
    /// 200, and a space every tenth of a second, until the other end goes away.
    Drip,
    /// Nothing, until the other end goes away.
    Silence,
}

/// See the module.
#[derive(Debug)]
pub struct HttpsServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// PEM.
    authority: String,
    books: Arc<Mutex<Books>>,
    stopped: Arc<AtomicBool>,
}

/// Something that was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Where to.
    pub place: String,
    /// The lines of its head but the first, names in lower case.
    pub head: HashMap<String, String>,
    /// Its body.
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Books {
    pages: HashMap<String, Answer>,
    /// By place, for one time each, before what stands in `pages`.
    first: HashMap<String, VecDeque<Answer>>,
    asked: Vec<String>,
    posted: Vec<Posted>,
    connections: usize,
    /// Nobody who posts is answered.
    holds: bool,
}

impl HttpsServer {
    /// A server on this machine whose certificate is for these names.
    ///
    /// # Errors
    /// When its certificate or its socket cannot be made.
    pub fn start(names: &[&str]) -> Result<Self> {
        let authority = Authority::named("the test's authority")?;
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &authority, names)
    }

    /// A server at `address`, for which `authority` vouches.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn at(address: SocketAddr, authority: &Authority, names: &[&str]) -> Result<Self> {
        Self::showing(address, authority, &authority.vouches_for(names)?)
    }

    /// A server that shows this certificate, with its key; `authority` is whom others may believe.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn showing(address: SocketAddr, authority: &Authority, issued: &(String, String)) -> Result<Self> {
        let (tls, authority) = (certified(issued)?, authority.pem());
        let listener = TcpListener::bind(address)?;
        let (address, books) = (listener.local_addr()?, Arc::<Mutex<Books>>::default());
        let stopped = Arc::<AtomicBool>::default();
        let (known, stop) = (books.clone(), stopped.clone());
        std::thread::Builder::new().name("web server".to_owned()).spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (tls, books) = (tls.clone(), known.clone());
                std::thread::spawn(move || drop(serve(stream, tls, &books)));
            }
        })?;
        Ok(Self { address, authority, books, stopped })
    }

    /// Its authority, for those who are to believe it.
    ///
    /// # Errors
    /// When there is no room for the file.
    pub fn authority(&self) -> Result<AuthorityFile> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, &self.authority)?;
        Ok(AuthorityFile::try_from(path)?)
    }

    /// Writes its authority's certificate to a file.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn keep_authority(&self, path: &std::path::Path) -> Result<()> {
        Ok(std::fs::write(path, &self.authority)?)
    }

    /// The same, as text.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        &self.authority
    }

    /// Answers so from now on at `place`, a host with a path; with its port where it is not that of HTTPS.
    pub fn answers(&self, place: &str, answer: Answer) {
        self.books().pages.insert(place.to_owned(), answer);
    }

    /// Answers so at `place`, one request after the other, before it answers as it does otherwise.
    pub fn answers_first(&self, place: &str, answers: &[Answer]) {
        self.books().first.entry(place.to_owned()).or_default().extend(answers.iter().cloned());
    }

    /// Leaves those who post without an answer, or answers them all.
    pub fn holds(&self, holds: bool) {
        self.books().holds = holds;
    }

    /// What was posted, in order.
    #[must_use]
    pub fn posted(&self) -> Vec<Posted> {
        self.books().posted.clone()
    }

    /// Has nothing at `place` any more.
    pub fn forgets(&self, place: &str) {
        self.books().pages.remove(place);
    }

    /// Every place that it was asked for.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.books().asked.clone()
    }

    /// How often somebody connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.books().connections
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

fn certified((certificate, key): &(String, String)) -> Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Arc::new(config))
}

fn serve(stream: TcpStream, tls: Arc<ServerConfig>, books: &Mutex<Books>) -> Result<()> {
    books.lock().unwrap_or_else(PoisonError::into_inner).connections += 1;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(tls)?, stream));
    while one(&mut stream, books)? {}
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush()?;
    Ok(())
}

/// One request and its answer. Says whether the connection stays open.
fn one(
    stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>,
    books: &Mutex<Books>,
) -> Result<bool> {
    let books = || books.lock().unwrap_or_else(PoisonError::into_inner);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let path = head.first().and_then(|line| line.split(' ').nth(1)).context("no request")?.to_owned();
    let members = head.iter().filter_map(|line| line.split_once(": "));
    let head: HashMap<_, _> =
        members.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let host = head.get("host").context("no host")?;
    let place = format!("{host}{path}");
    books().asked.push(place.clone());
    if let Some(length) = head.get("content-length") {
        let mut body = vec![0; length.parse()?];
        stream.read_exact(&mut body)?;
        books().posted.push(Posted { place: place.clone(), head, body });
        while books().holds {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    let answer = {
        let mut books = books();
        let first = books.first.get_mut(&place).and_then(VecDeque::pop_front);
        first.or_else(|| books.pages.get(&place).cloned()).unwrap_or(Answer::Status(404))
    };
    let stays = matches!(answer, Answer::Says(..));
    say(stream.get_mut(), answer)?;
    stream.get_mut().flush()?;
    Ok(stays)
}

fn say(out: &mut StreamOwned<ServerConnection, TcpStream>, answer: Answer) -> io::Result<()> {
    match answer {
        Answer::Page(text) => {
            write!(
                out,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            )
        }
        Answer::Status(status) => {
            write!(out, "HTTP/1.1 {status} Said So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        Answer::Says(status, line, text) => {
            write!(out, "HTTP/1.1 {status} Said So\r\ncontent-length: {}\r\n{line}\r\n\r\n{text}", text.len())
        }
        Answer::Redirect(to) => {
            write!(
                out,
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        }
        Answer::Endless => {
            write!(out, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                out.write_all(&[b' '; 4096])?;
            }
        }
        Answer::Drip => {
            write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
            loop {
                out.write_all(b" ")?;
                out.flush()?;
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        Answer::Silence => out.read_to_end(&mut Vec::new()).map(drop),
    }
}
