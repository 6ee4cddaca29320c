//! Where webhooks may lead (WHK-8, REG-7, DESIGN §6): what an agent may register, and what an attempt may connect to.
//!
//! A webhook makes this node connect to wherever an agent says, so an agent could reach what only this machine can.
//! Hence HTTPS to public addresses only, judged by the address that is connected to and never by the name; the owner
//! lists what else is meant, and no list opens a port of this node. Called by `registration`, and by the webhook carrier
//! before each attempt.

mod allowed;
mod reach;

pub use allowed::AllowedTarget;

use crate::tasks::Tasks;
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use url::{Host, Url};

/// Why a webhook's address is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookFault {
    /// The owner switched webhooks off.
    #[error("this node does not deliver to webhooks")]
    Off,
    /// It is no address at all.
    #[error(
        "webhook_url must be an https:// address of at most {URL_BYTES} bytes, without user name or password"
    )]
    Unreadable,
    /// Not HTTPS, and not allowed by the owner.
    #[error(
        "webhook_url must be an https:// address; http:// is for targets that this node's owner lists in webhook_allow"
    )]
    Plain,
    /// It leads to where webhooks must not reach.
    #[error(
        "the webhook leads to {ip}, which is {why}; the owner of this node can allow it in webhook_allow"
    )]
    OutOfReach {
        /// Where.
        ip: IpAddr,
        /// What that is.
        why: &'static str,
    },
    /// It leads to this node itself.
    #[error("the webhook leads to a port of this node itself")]
    OwnPort,
    /// There is no such name, or nobody answered who would know.
    #[error("the name of the webhook's host could not be resolved: {0}")]
    Unresolved(String),
}

/// How names become addresses.
pub trait Names: Send + Sync + std::fmt::Debug {
    /// The addresses of `host`, with `port`.
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> LookingUp<'a>;
}

/// What [`Names::look_up`] gives.
pub type LookingUp<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// The rules of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Webhooks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    on: bool,
    allow: Vec<AllowedTarget>,
    names: Arc<dyn Names>,
    own_ports: RwLock<BTreeSet<u16>>,
    /// Raised whenever an agent with a webhook registers or changes.
    changed: watch::Sender<()>,
}

impl Webhooks {
    /// Rules with this list of exceptions.
    #[must_use]
    pub fn new(on: bool, allow: Vec<AllowedTarget>, names: Arc<dyn Names>) -> Self {
        let (own_ports, changed) = (RwLock::default(), watch::Sender::new(()));
        Self { inner: Arc::new(Inner { on, allow, names, own_ports, changed }) }
    }

    /// Whether webhooks are served at all (API-14).
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.inner.on
    }

    /// This node listens on `port`: no webhook may ever reach it.
    pub fn protect(&self, port: u16) {
        self.inner.own_ports.write().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    /// Follows who has a webhook.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<()> {
        self.inner.changed.subscribe()
    }

    /// Makes everybody who follows look again.
    pub(crate) fn have_changed(&self) {
        self.inner.changed.send_replace(());
    }

    /// Reads an address and judges what it says by itself. Numbers in any spelling (decimal, octal, hex) are addresses.
    ///
    /// # Errors
    /// [`WebhookFault`].
    pub fn read(&self, text: &str) -> Result<Url, WebhookFault> {
        if !self.inner.on {
            return Err(WebhookFault::Off);
        }
        // The parser would pass over blanks and line ends that are in the middle of an address.
        if text.len() > URL_BYTES || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(WebhookFault::Unreadable);
        }
        let url = Url::parse(text).map_err(|_| WebhookFault::Unreadable)?;
        let named = url.host().is_some() && url.username().is_empty() && url.password().is_none();
        if !named || !matches!(url.scheme(), "https" | "http") {
            return Err(WebhookFault::Unreadable);
        }
        if is_plain(&url) && self.inner.allow.is_empty() {
            return Err(WebhookFault::Plain);
        }
        let Some(port) = url.port_or_known_default() else { return Err(WebhookFault::Unreadable) };
        match url.host() {
            Some(Host::Ipv4(ip)) => self.judge(SocketAddr::new(ip.into(), port), is_plain(&url))?,
            Some(Host::Ipv6(ip)) => self.judge(SocketAddr::new(ip.into(), port), is_plain(&url))?,
            _ => {}
        }
        Ok(url)
    }

    /// Judges what an agent registers, DNS answers included. A name that nobody knows now may be known later, and the
    /// node must work without the internet: over HTTPS it is taken, and judged again before each attempt.
    ///
    /// # Errors
    /// [`WebhookFault`].
    pub async fn admit(&self, text: &str) -> Result<(), WebhookFault> {
        let url = self.read(text)?;
        let Some(Host::Domain(host)) = url.host() else { return Ok(()) };
        let port = url.port_or_known_default().unwrap_or_default();
        match self.look_up(host, port, is_plain(&url)).await {
            Err(WebhookFault::Unresolved(_)) if !is_plain(&url) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The addresses of `host`, if every one of them may be reached: one bad answer among good ones is an attack.
    ///
    /// # Errors
    /// [`WebhookFault`].
    pub async fn look_up(&self, host: &str, port: u16, plain: bool) -> Result<Vec<SocketAddr>, WebhookFault> {
        let unresolved = |why: &dyn std::fmt::Display| WebhookFault::Unresolved(why.to_string());
        let found = tokio::time::timeout(LOOK_UP, self.inner.names.look_up(host, port)).await;
        let found = found.map_err(|late| unresolved(&late))?.map_err(|error| unresolved(&error))?;
        if found.is_empty() {
            return Err(unresolved(&"it has no address"));
        }
        found.iter().try_for_each(|target| self.judge(*target, plain))?;
        Ok(found)
    }

    /// Whether an attempt may connect to `target`.
    fn judge(&self, target: SocketAddr, plain: bool) -> Result<(), WebhookFault> {
        if self.is_own(target) {
            return Err(WebhookFault::OwnPort);
        }
        if self.inner.allow.iter().any(|allowed| allowed.covers(target)) {
            return Ok(());
        }
        if let Some(why) = reach::why_not(target.ip()) {
            return Err(WebhookFault::OutOfReach { ip: target.ip(), why });
        }
        if plain { Err(WebhookFault::Plain) } else { Ok(()) }
    }

    fn is_own(&self, target: SocketAddr) -> bool {
        let own = self.inner.own_ports.read().unwrap_or_else(PoisonError::into_inner);
        if !own.contains(&target.port()) {
            return false;
        }
        drop(own);
        let ip = target.ip().to_canonical();
        let inner = match ip {
            IpAddr::V6(ip) => reach::embedded(ip).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        // Only an address of this machine can be bound.
        let is_here = |ip: IpAddr| {
            ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
        };
        is_here(ip) || inner.is_some_and(is_here)
    }
}

/// Whether the address has no TLS.
#[must_use]
pub fn is_plain(url: &Url) -> bool {
    url.scheme() != "https"
}

/// The machine's own way of looking names up. It blocks a thread until it has an answer, however long ago the asker went,
/// and agents choose the names: hence few at a time.
#[derive(Debug, Clone)]
pub struct SystemNames {
    tasks: Tasks,
    places: Arc<Semaphore>,
}

impl Default for SystemNames {
    fn default() -> Self {
        // Not among the groups that a stop waits for: nothing depends on an answer.
        Self { tasks: Tasks::new("names"), places: Arc::new(Semaphore::new(LOOK_UPS)) }
    }
}

impl Names for SystemNames {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> LookingUp<'a> {
        Box::pin(async move {
            let place = self.places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let host = host.to_owned();
            let asking = self.tasks.spawn_blocking(move || {
                let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
                drop(place);
                found
            });
            asking.await.map_err(io::Error::other)?
        })
    }
}

const URL_BYTES: usize = 2048;
const LOOK_UP: Duration = Duration::from_secs(3);
const LOOK_UPS: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Names whose answers a test sets.
    #[derive(Debug, Default)]
    pub(crate) struct Answers(pub(crate) RwLock<Vec<IpAddr>>);

    impl Answers {
        pub(crate) fn are(&self, answers: &[&str]) {
            *self.0.write().unwrap() = answers.iter().map(|ip| ip.parse().unwrap()).collect();
        }
    }

    impl Names for Answers {
        fn look_up<'a>(&'a self, _: &'a str, port: u16) -> LookingUp<'a> {
            let answers = self.0.read().unwrap().iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            Box::pin(async move { Ok(answers) })
        }
    }

    fn rules(allow: &[&str]) -> (Webhooks, Arc<Answers>) {
        let allow = allow.iter().map(|text| AllowedTarget::try_from((*text).to_owned()).unwrap()).collect();
        let answers = Arc::new(Answers::default());
        (Webhooks::new(true, allow, answers.clone()), answers)
    }

    #[test]
    fn numbers_in_any_spelling_are_seen_through() {
        let (rules, _) = rules(&[]);
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0x7f.1",
            "127.1",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "169.254.169.254",
            "0xa9fea9fe",
            "[fd00:ec2::254]",
            "%31%32%37.0.0.1",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
        ] {
            let fault = rules.read(&format!("https://{host}/hook")).unwrap_err();
            assert!(matches!(fault, WebhookFault::OutOfReach { .. }), "{host}: {fault}");
        }
    }

    #[test]
    fn what_is_no_plain_web_address_is_refused() {
        let (rules, _) = rules(&["127.0.0.1"]);
        for text in [
            "",
            "hook",
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://",
            "https://a b/",
            "https://a\n.org/",
            "https://user@example.org/",
            "https://user:pw@example.org/",
            "https://example.org:99999/",
            "gopher://example.org/",
            "unix:/run/x.sock",
        ] {
            assert_eq!(rules.read(text), Err(WebhookFault::Unreadable), "{text}");
        }
        let long = format!("https://example.org/{}", "a".repeat(URL_BYTES));
        assert_eq!(rules.read(&long), Err(WebhookFault::Unreadable));
    }

    #[tokio::test]
    async fn plain_http_is_for_what_the_owner_lists() {
        let (none, _) = rules(&[]);
        assert_eq!(none.admit("http://example.org/").await, Err(WebhookFault::Plain));
        let (some, answers) = rules(&["127.0.0.1:8080"]);
        assert_eq!(some.admit("http://127.0.0.1:8080/hook").await, Ok(()));
        answers.are(&["93.184.216.34"]);
        assert_eq!(some.admit("http://example.org/").await, Err(WebhookFault::Plain));
        assert_eq!(some.admit("https://example.org/").await, Ok(()));
        answers.are(&[]);
        assert!(matches!(some.admit("http://example.org/").await, Err(WebhookFault::Unresolved(_))));
        assert_eq!(some.admit("https://example.org/").await, Ok(()), "there may be no internet just now");
    }

    #[tokio::test]
    async fn one_private_answer_among_public_ones_spoils_a_name() {
        let (rules, answers) = rules(&[]);
        for private in ["10.0.0.1", "127.0.0.1", "::1", "169.254.169.254", "::ffff:192.168.0.1"] {
            answers.are(&["93.184.216.34", private]);
            let fault = rules.admit("https://example.org/hook").await.unwrap_err();
            assert!(matches!(fault, WebhookFault::OutOfReach { .. }), "{private}: {fault}");
        }
    }

    #[tokio::test]
    async fn no_list_opens_a_port_of_this_node() {
        let (rules, answers) = rules(&["0.0.0.0/0", "::/0"]);
        rules.protect(23_000);
        for host in
            ["127.0.0.1", "127.0.0.9", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"]
        {
            let fault = rules.admit(&format!("http://{host}:23000/v1/route")).await;
            assert_eq!(fault, Err(WebhookFault::OwnPort), "{host}");
        }
        answers.are(&["127.0.0.1"]);
        assert_eq!(rules.admit("http://localhost:23000/").await, Err(WebhookFault::OwnPort));
        assert_eq!(rules.admit("http://localhost:23001/").await, Ok(()));
        assert_eq!(rules.admit("http://10.255.255.1:23000/").await, Ok(()), "another machine's port");
    }

    #[test]
    fn an_owner_can_switch_webhooks_off() {
        let off = Webhooks::new(false, Vec::new(), Arc::new(SystemNames::default()));
        assert_eq!(off.read("https://example.org/hook"), Err(WebhookFault::Off));
    }
}
