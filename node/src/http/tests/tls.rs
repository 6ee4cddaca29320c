//! Doors off loopback: encrypted, by a certificate of a real authority that the test makes, and renewed while they are open.

use super::*;
use crate::authorities::tests::{Authority, Issued};
use crate::http::{Tls, TlsConfig};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion, version};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

const NAME: &str = "node.example";

/// The two files, as an owner keeps them.
struct Files(tempfile::TempDir);

impl Files {
    fn with(issued: &Issued) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.hold(issued);
        files
    }

    fn hold(&self, issued: &Issued) {
        self.certificate(&issued.certificate);
        self.key(&issued.key, 0o600);
    }

    fn certificate(&self, text: impl AsRef<[u8]>) {
        std::fs::write(self.path("cert.pem"), text).unwrap();
    }

    fn key(&self, text: impl AsRef<[u8]>, mode: u32) {
        std::fs::write(self.path("key.pem"), text).unwrap();
        std::fs::set_permissions(self.path("key.pem"), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> TlsConfig {
        let (certificate, key) = (Some(self.path("cert.pem")), Some(self.path("key.pem")));
        TlsConfig { certificate, key, ..TlsConfig::default() }
    }
}

/// Doors on every address of this machine, and on loopback.
struct Scene {
    rig: Rig,
    tls: Tls,
    files: Files,
    authority: Authority,
    open: SocketAddr,
    near: SocketAddr,
}

impl Scene {
    async fn new() -> Self {
        Self::with(Config::default(), TlsConfig::default()).await
    }

    async fn with(config: Config, tls: TlsConfig) -> Self {
        let authority = Authority::named("one");
        let files = Files::with(&authority.vouches_for(&[NAME], 4000));
        let TlsConfig { certificate, key, .. } = files.config();
        let tls = Tls::load(&TlsConfig { certificate, key, ..tls }).unwrap().unwrap();
        let api = vec!["0.0.0.0:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
        let bound = bind(&Config { api, ..config.clone() }, Some(&tls)).await.unwrap();
        let [mut open, near] = bound.addresses().try_into().unwrap();
        open.set_ip("127.0.0.1".parse().unwrap());
        Self { rig: Rig::build(config, Some(bound)), tls, files, authority, open, near }
    }

    async fn client(&self) -> Secure {
        self.try_client(&version::TLS13).await.unwrap()
    }

    async fn try_client(&self, version: &'static SupportedProtocolVersion) -> std::io::Result<Secure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.authority.roots())
            .with_no_client_auth();
        let stream = TcpStream::connect(self.open).await?;
        let name = ServerName::try_from(NAME).unwrap();
        Ok(Secure(soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await?))
    }
}

/// An encrypted connection to a door.
struct Secure(TlsStream<TcpStream>);

impl Secure {
    async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = format!("GET {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            request += &format!("host: {NAME}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        self.0.write_all((request + "\r\n").as_bytes()).await.unwrap();
        soon(answer(&mut self.0)).await
    }

    fn shown(&self) -> CertificateDer<'static> {
        self.0.get_ref().1.peer_certificates().unwrap()[0].clone()
    }
}

async fn answer(stream: &mut (impl AsyncReadExt + Unpin)) -> (u16, Value) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn an_agent_is_served_over_tls_and_every_url_it_is_told_says_so() {
    let scene = Scene::new().await;
    let alice = scene.rig.register("alice").await;
    for (wanted, negotiated) in
        [(&version::TLS13, ProtocolVersion::TLSv1_3), (&version::TLS12, ProtocolVersion::TLSv1_2)]
    {
        let mut client = scene.try_client(wanted).await.unwrap();
        assert_eq!(client.0.get_ref().1.protocol_version(), Some(negotiated));
        let key = format!("Bearer {}", alice.api_key);
        let (status, me) = client.get("/v1/agents/me", &[("authorization", &key)]).await;
        assert_eq!((status, &me["address"]), (200, &json!(alice.address)));
    }
    let host = format!("{NAME}:{}", scene.open.port());
    let mut client = scene.client().await;
    let (_, document) = client.get("/.well-known/agent-messaging.json", &[("host", &host)]).await;
    assert_eq!(document["endpoint"], format!("https://{host}/api/v1"));
}

#[tokio::test]
async fn who_comes_over_tls_is_a_stranger_until_its_key_says_otherwise() {
    let scene = Scene::new().await;
    let (_, info) = scene.client().await.get("/v1/info", &[]).await;
    assert_eq!(info["rate_limits"]["profile"], "public");
    assert_eq!(info["registration_modes"], json!(["invite"]));
    let mut client = scene.client().await;
    let body = registration("mallory", &Rig::key_of("mallory")).to_string();
    let head = format!("POST /v1/register HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/json\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    client.0.write_all(request.as_bytes()).await.unwrap();
    let (status, refusal) = soon(answer(&mut client.0)).await;
    assert_eq!((status, &refusal["error"]), (403, &json!("tenant_access_denied")), "{refusal}");
}

#[tokio::test]
async fn mail_is_pushed_over_an_encrypted_socket() {
    let scene = Scene::new().await;
    let [alice, bob] = [scene.rig.register("alice").await, scene.rig.register("bob").await];
    let stream = scene.client().await.0;
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("wss://{NAME}/v1/ws"), stream).await.unwrap();
    let mut hear = async |say: Option<Value>| {
        if let Some(say) = say {
            socket.send(Message::text(say.to_string())).await.unwrap();
        }
        let frame = soon(socket.next()).await.unwrap().unwrap();
        serde_json::from_str::<Value>(frame.to_text().unwrap()).unwrap()
    };
    let connected = hear(Some(json!({"type": "auth", "token": bob.api_key}))).await;
    assert_eq!(connected["type"], "connected", "{connected}");
    let sending = scene.rig.post("/v1/route", &alice, alice.letter(&bob, "over tls"));
    let (pushed, _) = tokio::join!(hear(None), sending);
    assert_eq!(pushed["data"]["payload"]["message"], "over tls", "{pushed}");
}

#[tokio::test]
async fn a_host_header_must_name_what_the_certificate_names_and_an_origin_the_same() {
    let scene = Scene::new().await;
    let mut client = scene.client().await;
    for (host, status) in
        [("evil.example", 421), ("192.0.2.7", 421), ("localhost", 200), ("NODE.example.", 200)]
    {
        assert_eq!(client.get("/v1/health", &[("host", host)]).await.0, status, "{host}");
    }
    let here = format!("{NAME}:{}", scene.open.port());
    for (origin, status) in [
        (format!("https://{here}"), 200),
        (format!("http://{here}"), 403),
        ("https://evil.example".to_owned(), 403),
    ] {
        let headers = [("host", here.as_str()), ("origin", origin.as_str())];
        assert_eq!(client.get("/v1/health", &headers).await.0, status, "{origin}");
    }
}

#[tokio::test]
async fn plain_http_at_an_encrypted_door_is_told_where_it_is() {
    let scene = Scene::new().await;
    let mut plain = TcpStream::connect(scene.open).await.unwrap();
    plain.write_all(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    soon(plain.read_to_string(&mut text)).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 400") && head.ends_with(&format!("content-length: {}", body.len())),
        "{text}"
    );
    assert!(serde_json::from_str::<Value>(body).unwrap()["message"].as_str().unwrap().contains("HTTPS"));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_who_connects_next_and_open_connections_go_on() {
    let scene = Scene::new().await;
    let mut before = scene.client().await;
    let (old, until) = (before.shown(), scene.tls.facts().in_force_until);
    scene.files.hold(&scene.authority.vouches_for(&[NAME], 4001));
    assert_eq!(scene.client().await.shown(), old, "nobody has looked yet");
    scene.tls.look();
    let mut after = scene.client().await;
    assert_ne!(after.shown(), old);
    assert_eq!((before.get("/v1/health", &[]).await.0, after.get("/v1/health", &[]).await.0), (200, 200));
    assert_ne!(scene.tls.facts().in_force_until, until);
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_is_said_and_is_forgotten_when_it_is_mended() {
    let scene = Scene::new().await;
    let old = scene.client().await.shown();
    let next = scene.authority.vouches_for(&[NAME], 4001);
    scene.files.certificate(&next.certificate);
    scene.tls.look();
    let trouble = scene.tls.facts().trouble.unwrap();
    assert!(trouble.contains("is not that of the first certificate"), "{trouble}");
    assert_eq!(scene.client().await.shown(), old);
    std::fs::remove_file(scene.files.path("key.pem")).unwrap();
    scene.tls.look();
    assert!(scene.tls.facts().trouble.unwrap().contains("key.pem cannot be read"));
    assert_eq!(scene.client().await.shown(), old);
    scene.files.hold(&next);
    scene.tls.look();
    assert_eq!(scene.tls.facts().trouble, None);
    assert_ne!(scene.client().await.shown(), old);
}

#[test]
fn files_that_cannot_be_used_stop_the_start_and_are_named_with_their_setting() {
    let authority = Authority::named("one");
    let good = authority.vouches_for(&[NAME], 4000);
    let other = authority.vouches_for(&[NAME], 4000);
    let files = Files::with(&good);
    let error = || Tls::load(&files.config()).unwrap_err().to_string();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let torn = &good.certificate[..good.certificate.len() / 2];
    for (certificate, words) in [
        ("no certificate", "holds no certificate"),
        (good.key.as_str(), "holds no certificate"),
        (broken, "cannot be used"),
        (torn, "cannot be used"),
        (&"x".repeat(2 << 20), "is longer than"),
    ] {
        files.certificate(certificate);
        let error = error();
        let named = format!("tls.certificate: the file {} {words}", files.path("cert.pem").display());
        assert!(error.starts_with(&named), "{error}");
    }
    files.certificate(&good.certificate);
    let encrypted = good.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    for (key, mode, words) in [
        ("no key", 0o600, "holds no private key"),
        (&encrypted, 0o600, "holds no private key"),
        (&good.key, 0o604, "is open to others (mode 604)"),
        (&good.key, 0o620, "is open to others (mode 620)"),
        (&other.key, 0o600, "is not that of the first certificate"),
    ] {
        files.key(key, mode);
        let error = error();
        assert!(
            error.starts_with("tls.key: ") && error.contains("key.pem") && error.contains(words),
            "{error}"
        );
    }
    std::fs::remove_file(files.path("key.pem")).unwrap();
    assert!(error().contains("key.pem cannot be read"), "{}", error());
    std::fs::create_dir(files.path("key.pem")).unwrap();
    assert!(error().contains("key.pem cannot be read"), "{}", error());
    let half = Tls::load(&TlsConfig { key: None, ..files.config() }).unwrap_err().to_string();
    assert!(half.starts_with("tls.certificate is set and tls.key is not"), "{half}");
    std::fs::remove_dir(files.path("key.pem")).unwrap();
    files.key(&good.key, 0o640);
    assert!(Tls::load(&files.config()).unwrap().is_some(), "a group may read it");
    assert!(Tls::load(&TlsConfig::default()).unwrap().is_none());
}

#[tokio::test]
async fn who_does_not_finish_its_handshake_is_cut_off() {
    let scene =
        Scene::with(Config::default(), TlsConfig { handshake_timeout_s: 1, ..TlsConfig::default() }).await;
    for said in [b"".as_slice(), &[22, 3], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]] {
        let mut stream = TcpStream::connect(scene.open).await.unwrap();
        stream.write_all(said).await.unwrap();
        soon(stream.read_to_end(&mut Vec::new())).await.ok();
    }
    assert_eq!(scene.client().await.get("/v1/health", &[]).await.0, 200);
}

#[tokio::test]
async fn no_source_takes_all_handshakes_and_who_is_turned_away_gets_an_alert() {
    let tls = TlsConfig { handshakes: 1, handshake_timeout_s: 3600, ..TlsConfig::default() };
    let scene = Scene::with(Config::default(), tls).await;
    let silent = TcpStream::connect(scene.open).await.unwrap();
    soon(async {
        while scene.try_client(&version::TLS13).await.is_ok() {}
        let mut second = TcpStream::connect(scene.open).await.unwrap();
        let mut alert = Vec::new();
        second.read_to_end(&mut alert).await.unwrap();
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 80]);
        drop(silent);
        while scene.try_client(&version::TLS13).await.is_err() {}
    })
    .await;
}

#[tokio::test]
async fn strangers_take_no_place_from_this_machines_agents() {
    let scene = Scene::with(Config { max_connections: 1, ..Config::default() }, TlsConfig::default()).await;
    let mut held = scene.client().await;
    assert_eq!(held.get("/v1/health", &[]).await.0, 200);
    assert!(scene.try_client(&version::TLS13).await.is_err(), "the only place is taken");
    let mut near = TcpStream::connect(scene.near).await.unwrap();
    near.write_all(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(soon(answer(&mut near)).await.0, 200);
}

#[tokio::test]
async fn a_handshake_that_nobody_finishes_does_not_hold_up_the_stop() {
    let scene =
        Scene::with(Config::default(), TlsConfig { handshake_timeout_s: 3600, ..TlsConfig::default() }).await;
    let _silent = TcpStream::connect(scene.open).await.unwrap();
    let mut busy = scene.client().await;
    assert_eq!(busy.get("/v1/health", &[]).await.0, 200);
    soon(scene.rig.state.parts.tasks.shutdown(Duration::from_secs(15))).await.unwrap();
}

#[tokio::test]
async fn hosts_get_tls_only_where_there_is_a_certificate() {
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let config = crate::bridge::http_mesh::Config { listen, tls: true, ..Default::default() };
    let error = crate::http::http_mesh::bind(&config, None).await.unwrap_err().to_string();
    assert!(error.contains("http_mesh.tls") && error.contains("tls.certificate"), "{error}");
}
