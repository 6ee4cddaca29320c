//! A stand-in name server: A and TXT records over UDP, written from RFC 1035. Used by tests of federation.

use anyhow::Result;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module. It knows what it was told, and that there is nothing else.
#[derive(Debug)]
pub struct NameServer {
    /// Where it answers.
    pub address: SocketAddr,
    books: Arc<Mutex<Books>>,
}

#[derive(Debug, Default)]
struct Books {
    records: HashMap<(String, u16), Vec<Vec<u8>>>,
    asked: Vec<String>,
}

impl NameServer {
    /// A server on this machine.
    ///
    /// # Errors
    /// When there is no socket for it.
    pub fn start() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, books) = (socket.local_addr()?, Arc::<Mutex<Books>>::default());
        let known = books.clone();
        std::thread::Builder::new().name("name server".to_owned()).spawn(move || serve(&socket, &known))?;
        Ok(Self { address, books })
    }

    /// `name` is at these addresses.
    pub fn is_at(&self, name: &str, ips: &[Ipv4Addr]) {
        self.set(name, A, ips.iter().map(|ip| ip.octets().to_vec()).collect());
    }

    /// `name` has these texts, each in pieces of at most 255 bytes.
    pub fn says(&self, name: &str, texts: &[&str]) {
        let piece = |piece: &[u8]| [&[u8::try_from(piece.len()).unwrap_or(u8::MAX)], piece].concat();
        let text = |text: &&str| text.as_bytes().chunks(255).flat_map(piece).collect();
        self.set(name, TXT, texts.iter().map(text).collect());
    }

    /// Every name that it was asked for.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).asked.clone()
    }

    fn set(&self, name: &str, kind: u16, records: Vec<Vec<u8>>) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.records.insert((name.to_owned(), kind), records);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // An empty packet ends the thread.
        let told =
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(&[], self.address));
        told.map(drop).unwrap_or_default();
    }
}

fn serve(socket: &UdpSocket, books: &Mutex<Books>) {
    let mut packet = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut packet) {
        if length == 0 {
            return;
        }
        let Some(answer) = answer(&packet[..length], books) else { continue };
        drop(socket.send_to(&answer, from));
    }
}

fn answer(packet: &[u8], books: &Mutex<Books>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    let (name, question) = (labels.join("."), packet.get(HEADER..at + 4)?);
    let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
    books.asked.push(name.clone());
    let exists = books.records.keys().any(|(known, _)| *known == name);
    let records = books.records.get(&(name, kind)).cloned().unwrap_or_default();
    let count = u16::try_from(records.len()).ok()?;
    let flags: u16 = if exists { 0x8580 } else { 0x8583 };
    let mut reply = packet.get(..2)?.to_vec();
    for word in [flags, 1, count, 0, 0] {
        reply.extend(word.to_be_bytes());
    }
    reply.extend(question);
    for record in records {
        // The name is that of the question.
        reply.extend([0xc0, 12]);
        for word in [kind, 1, 0, TTL, u16::try_from(record.len()).ok()?] {
            reply.extend(word.to_be_bytes());
        }
        reply.extend(record);
    }
    Some(reply)
}

const HEADER: usize = 12;
const A: u16 = 1;
const TXT: u16 = 16;
const TTL: u16 = 60;
