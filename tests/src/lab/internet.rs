//! The internet of the lab: the first wire, on which the test itself sits as a host with a name server (dnsmasq, from Debian) and
//! a web server that stands in for the registry of providers and for one provider's API. Used by stories about several organizations.

use super::lan::{Lan, shell};
use crate::authority::{Authority, CertificateFiles};
use crate::https::{Answer, HttpsServer};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub struct Internet {
    /// Vouches for everybody.
    pub authority: Authority,
    web: HttpsServer,
    names: Option<NameServer>,
    records: Vec<String>,
}

/// dnsmasq; ends with this.
#[derive(Debug)]
struct NameServer(Child);

impl Drop for NameServer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Lan {
    /// Makes the first wire an internet in which nobody is known by name yet.
    ///
    /// # Errors
    /// When dnsmasq is not there or does not start.
    pub fn internet(&self) -> Result<Internet> {
        // A bridge without an address of its own takes one of its ports', and another when that one is unplugged.
        shell(&format!("ip link set br0 address 02:00:00:00:00:fa && ip addr add {HERE}/24 dev br0"))?;
        let authority = Authority::named("the lab's authority")?;
        let web = HttpsServer::at(SocketAddr::from((HERE, 443)), &authority, &["registry.test", STAND_IN])?;
        let records =
            vec![format!("host-record=registry.test,{HERE}"), format!("host-record={STAND_IN},{HERE}")];
        // Everybody in the lab asks the lab's name server, as they would that of their network.
        let resolver = tempfile::NamedTempFile::new()?.into_temp_path().keep()?;
        std::fs::write(&resolver, format!("nameserver {HERE}\n"))?;
        shell(&format!("mount --bind {} /etc/resolv.conf", resolver.display()))?;
        std::fs::remove_file(&resolver)?;
        Ok(Internet { names: Some(NameServer::with(&records)?), authority, web, records })
    }
}

impl Internet {
    /// `name` is at `ip` from now on.
    ///
    /// # Errors
    /// When the name server does not start anew.
    pub fn is_at(&mut self, name: &str, ip: Ipv4Addr) -> Result<()> {
        self.says(format!("host-record={name},{ip}"))
    }

    /// Takes a record as it stands in zone files: `NAME TTL IN TXT "…"…`.
    ///
    /// # Errors
    /// When it is none, or the name server does not start anew.
    pub fn publish(&mut self, record: &str) -> Result<()> {
        let (head, strings) = record.split_once(" IN TXT ").context("no TXT record")?;
        let name = head.split(' ').next().unwrap_or_default().trim_end_matches('.');
        let mut line = format!("txt-record={name}");
        for string in strings.split('"').skip(1).step_by(2) {
            write!(line, ",\"{string}\"")?;
        }
        self.says(line)
    }

    /// Nobody is called `name` any more, and nothing is announced of it.
    pub fn is_not(&mut self, name: &str) {
        let of_host = format!("host-record={name},");
        let of_provider = format!("txt-record=_amp._tcp.{name},");
        self.records.retain(|record| !record.starts_with(&of_host) && !record.starts_with(&of_provider));
    }

    /// What the registry says of `domain`.
    pub fn registers(&self, domain: &str, entry: String) {
        self.web.answers(&format!("registry.test/providers/{domain}"), Answer::Page(entry));
    }

    /// What the stand-in at `api.polls.test` says at `path` from now on.
    pub fn stand_in_says(&self, path: &str, answer: Answer) {
        self.web.answers(&format!("{STAND_IN}{path}"), answer);
    }

    /// What was posted to the stand-in at `path`, in order.
    ///
    /// # Errors
    /// When something is no JSON.
    pub fn told_stand_in(&self, path: &str) -> Result<Vec<Value>> {
        let place = format!("{STAND_IN}{path}");
        let posted = self.web.posted().into_iter().filter(|post| post.place == place);
        posted.map(|post| Ok(serde_json::from_slice(&post.body)?)).collect()
    }

    /// Which pages of the registry were asked for.
    #[must_use]
    pub fn asked_of_registry(&self) -> Vec<String> {
        self.web.asked()
    }

    /// A certificate for a host of these names, in a folder that has the authority's as well (`ca.pem`).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn certificate(&self, names: &[&str]) -> Result<CertificateFiles> {
        let files = CertificateFiles::with(&self.authority.vouches_for(names)?)?;
        std::fs::write(files.path("ca.pem"), self.authority.pem())?;
        Ok(files)
    }

    /// Settings of a node that lives in this internet: whom it asks for names and for providers, and where those may be.
    /// They come first in the `[federation]` table of its file.
    #[must_use]
    pub fn settings(&self) -> String {
        format!(
            "resolvers = [\"{HERE}:53\"]\nregistry = \"https://registry.test/providers\"\n\
             allow_addresses = [\"10.77.0.0/24:443\"]\n"
        )
    }

    fn says(&mut self, record: String) -> Result<()> {
        self.records.push(record);
        // The one before must have let go of its port.
        self.names = None;
        self.names = Some(NameServer::with(&self.records)?);
        Ok(())
    }
}

impl NameServer {
    /// Nobody but whom `records` name is known; nobody else is asked.
    fn with(records: &[String]) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        let settings = format!(
            "no-resolv\nno-hosts\nno-daemon\nkeep-in-foreground\nbind-interfaces\nlisten-address={HERE}\nlocal=/#/\n\
             pid-file=\nlog-facility=-\n{}\n",
            records.join("\n")
        );
        std::fs::write(file.path(), settings)?;
        // The one before may hold the port for a moment longer.
        let begun = Instant::now();
        loop {
            let mut command = Command::new(DNSMASQ);
            command.arg(format!("--conf-file={}", file.path().display())).stdin(Stdio::null());
            let child = command.stderr(Stdio::null()).spawn().context("starting dnsmasq (dnsmasq-base)")?;
            let mut server = Self(child);
            while server.0.try_wait()?.is_none() {
                if answers() {
                    return Ok(server);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            ensure!(
                begun.elapsed() < Duration::from_secs(60),
                "dnsmasq does not start: {:?}",
                server.0.wait()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Whether the name server takes connections.
fn answers() -> bool {
    let address = SocketAddr::from((HERE, 53));
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// The name of a provider's API that the test itself plays.
const STAND_IN: &str = "api.polls.test";
/// Where the test itself is on the first wire.
const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 250);
/// Not everybody has it in the path.
const DNSMASQ: &str = "/usr/sbin/dnsmasq";
