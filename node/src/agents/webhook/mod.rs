//! Where webhooks may lead (WHK-8, REG-7, DESIGN §6): what an agent may register, and what an attempt may connect to.
//!
//! A webhook makes this node connect to wherever an agent says, so an agent could reach what only this machine can.
//! Hence HTTPS to public addresses only, judged by the address that is connected to and never by the name; the owner
//! lists what else is meant, and no list opens a port of this node. Called by `registration`, and by the webhook carrier
//! before each attempt.

use crate::reach::{Grounds, OutOfReach, OwnPorts, Reach};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;
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

/// The rules of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Webhooks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    on: bool,
    reach: Reach,
    /// Raised whenever an agent with a webhook registers or changes.
    changed: watch::Sender<()>,
}

impl Webhooks {
    /// Webhooks within `reach`.
    #[must_use]
    pub fn new(on: bool, reach: Reach) -> Self {
        Self { inner: Arc::new(Inner { on, reach, changed: watch::Sender::new(()) }) }
    }

    /// Whether webhooks are served at all (API-14).
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.inner.on
    }

    /// This node's ports: no webhook may ever reach one.
    #[must_use]
    pub fn own_ports(&self) -> &OwnPorts {
        self.inner.reach.own_ports()
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
        if is_plain(&url) && !self.inner.reach.lists_any() {
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
        let found = self.inner.reach.look_up(host, port).await?;
        found.iter().try_for_each(|(_, grounds)| encrypted(*grounds, plain))?;
        Ok(found.into_iter().map(|(target, _)| target).collect())
    }

    /// Whether an attempt may connect to `target`.
    fn judge(&self, target: SocketAddr, plain: bool) -> Result<(), WebhookFault> {
        encrypted(self.inner.reach.judge(target)?, plain)
    }
}

impl From<OutOfReach> for WebhookFault {
    fn from(fault: OutOfReach) -> Self {
        match fault {
            OutOfReach::NotPublic { ip, why } => Self::OutOfReach { ip, why },
            OutOfReach::OwnPort => Self::OwnPort,
            OutOfReach::Unresolved(why) => Self::Unresolved(why),
        }
    }
}

/// Without TLS only what the owner lists is reached.
fn encrypted(grounds: Grounds, plain: bool) -> Result<(), WebhookFault> {
    if plain && grounds == Grounds::Public { Err(WebhookFault::Plain) } else { Ok(()) }
}

/// Whether the address has no TLS.
#[must_use]
pub fn is_plain(url: &Url) -> bool {
    url.scheme() != "https"
}

const URL_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::tests::Answers;
    use crate::reach::{AllowedTarget, SystemNames};

    fn rules(allow: &[&str]) -> (Webhooks, Arc<Answers>) {
        let allow = allow.iter().map(|text| AllowedTarget::try_from((*text).to_owned()).unwrap()).collect();
        let answers = Arc::new(Answers::default());
        (Webhooks::new(true, Reach::new(allow, answers.clone(), OwnPorts::default())), answers)
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
        rules.own_ports().protect(23_000);
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
        let reach = Reach::new(Vec::new(), Arc::new(SystemNames::default()), OwnPorts::default());
        let off = Webhooks::new(false, reach);
        assert_eq!(off.read("https://example.org/hook"), Err(WebhookFault::Off));
    }
}
