//! Which IP addresses are somebody else's public ones (WHK-8): everything that is not known to be public is refused, and
//! an IPv4 address inside an IPv6 one is judged as what it is. Pure; called by [`super::Reach`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is out of reach; nothing for public ones.
pub(super) fn why_not(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => why_not_v4(ip),
        IpAddr::V6(ip) => why_not_v6(ip),
    }
}

/// The IPv4 address that a packet to `ip` would reach in the end, where there is one.
pub(super) fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let last = || v4(g, h);
    match [a, b, c, d, e, f] {
        // Mapped, and the older compatible form; `::` and `::1` are no IPv4 addresses.
        [0, 0, 0, 0, 0, 0xffff] => Some(last()),
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => Some(last()),
        // NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(last()),
        // Translated (RFC 2765).
        [0, 0, 0, 0, 0xffff, 0] => Some(last()),
        // 6to4.
        [0x2002, high, low, ..] => Some(v4(high, low)),
        // ISATAP, under any prefix.
        [_, _, _, _, 0 | 0x0200, 0x5efe] => Some(last()),
        _ => None,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

fn why_not_v4(ip: Ipv4Addr) -> Option<&'static str> {
    match ip.octets() {
        [0, ..] => Some("this machine"),
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("a private network"),
        // Clouds answer with credentials at 169.254.169.254, 100.100.100.200, 192.0.0.192 and 168.63.129.16.
        [169, 254, ..] => Some("link-local"),
        [100, 64..=127, ..] => Some("a carrier's private network"),
        [168, 63, 129, 16] => Some("a cloud's metadata service"),
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] => Some("reserved"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("for documentation only"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved or broadcast"),
        _ => None,
    }
}

fn why_not_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_loopback() || ip.is_unspecified() {
        return Some("this machine");
    }
    if let Some(inner) = embedded(ip) {
        return why_not_v4(inner);
    }
    match ip.segments() {
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some("a private network"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        // Teredo and other protocol assignments, whose packets end who knows where.
        [0x2001, 0x0000..=0x01ff, ..] => Some("reserved"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("for documentation only"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        why_not(text.parse().unwrap()).is_some()
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.251",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::fb",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(refused(text), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_what_it_is() {
        for text in [
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::ffff:0:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2a00::5efe:127.0.0.1",
            "2a00::200:5efe:192.168.0.1",
        ] {
            assert!(refused(text), "{text}");
        }
        for text in ["::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::1"] {
            assert!(!refused(text), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_not() {
        for text in
            ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450::1"]
        {
            assert!(!refused(text), "{text}");
        }
    }
}
