//! One entry of the owner's list of targets that are not public: `127.0.0.1:8080`, `192.168.1.0/24`, `[::1]`,
//! `[fd00::/8]:9000`. Read from the configuration; asked by [`super::Reach`].

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Addresses, and perhaps one port of them, that may be reached although they are not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowedTarget {
    network: IpAddr,
    prefix: u8,
    port: Option<u16>,
}

/// An entry that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an IP address or range with an optional port, as in 127.0.0.1:8080, 192.168.1.0/24 or [::1]:9000"
)]
pub struct NotATarget(String);

impl AllowedTarget {
    /// Whether `target` is one of them.
    pub(super) fn covers(&self, target: SocketAddr) -> bool {
        let same_port = self.port.is_none_or(|port| port == target.port());
        same_port
            && match (self.network, target.ip().to_canonical()) {
                (IpAddr::V4(network), IpAddr::V4(ip)) => {
                    same(u128::from(network.to_bits()), u128::from(ip.to_bits()), 32 - u32::from(self.prefix))
                }
                (IpAddr::V6(network), IpAddr::V6(ip)) => {
                    same(network.to_bits(), ip.to_bits(), 128 - u32::from(self.prefix))
                }
                _ => false,
            }
    }
}

/// Whether two addresses differ only in their last `free` bits.
fn same(network: u128, ip: u128, free: u32) -> bool {
    (network ^ ip).checked_shr(free).unwrap_or(0) == 0
}

impl TryFrom<String> for AllowedTarget {
    type Error = NotATarget;

    fn try_from(text: String) -> Result<Self, NotATarget> {
        read(&text).ok_or(NotATarget(text))
    }
}

fn read(text: &str) -> Option<AllowedTarget> {
    let (range, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (range, port) = rest.split_once(']')?;
            (range, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
        }
        // Without brackets a second colon belongs to an IPv6 address.
        None if text.matches(':').count() == 1 => {
            text.split_once(':').map(|(range, port)| (range, Some(port)))?
        }
        None => (text, Some("")),
    };
    let port = match port? {
        "" => None,
        port => Some(port.parse().ok()?),
    };
    let (ip, prefix) = match range.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix.parse::<u8>().ok()?)),
        None => (range, None),
    };
    let network = ip.parse::<IpAddr>().ok()?;
    let longest = if network.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(longest);
    (prefix <= longest).then_some(AllowedTarget { network, prefix, port })
}

impl From<AllowedTarget> for String {
    fn from(target: AllowedTarget) -> Self {
        target.to_string()
    }
}

impl fmt::Display for AllowedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.network.is_ipv4() { 32 } else { 128 };
        let range = if self.prefix == longest { String::new() } else { format!("/{}", self.prefix) };
        match (self.network, self.port) {
            (IpAddr::V6(ip), Some(port)) => write!(f, "[{ip}{range}]:{port}"),
            (ip, Some(port)) => write!(f, "{ip}{range}:{port}"),
            (ip, None) => write!(f, "{ip}{range}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> AllowedTarget {
        AllowedTarget::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn an_entry_covers_its_range_and_its_port_and_nothing_else() {
        for (text, target, covered) in [
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
            ("127.0.0.1:8080", "127.0.0.1:8081", false),
            ("127.0.0.1", "127.0.0.1:1", true),
            ("127.0.0.1", "127.0.0.2:1", false),
            ("127.0.0.1", "[::ffff:127.0.0.1]:1", true),
            ("192.168.1.0/24", "192.168.1.77:443", true),
            ("192.168.1.0/24", "192.168.2.77:443", false),
            ("0.0.0.0/0", "10.1.2.3:443", true),
            ("0.0.0.0/0", "[::1]:443", false),
            ("::1", "[::1]:443", true),
            ("[::1]:9000", "[::1]:9001", false),
            ("[fd00::/8]:9000", "[fdff::1]:9000", true),
            ("fd00::/8", "[fe80::1]:9000", false),
        ] {
            assert_eq!(entry(text).covers(target.parse().unwrap()), covered, "{text} {target}");
        }
    }

    #[test]
    fn entries_read_back_as_written_and_others_are_refused() {
        for text in ["127.0.0.1:8080", "10.0.0.0/8", "[fd00::/8]:9000", "::1", "192.168.1.0/24:443"] {
            assert_eq!(entry(text).to_string(), text);
        }
        for text in
            ["", "localhost", "127.1", "127.0.0.1/33", "127.0.0.1:x", "[::1", "::1/129", "1.2.3.4:70000"]
        {
            assert!(AllowedTarget::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
