//! Browsers are strangers (DESIGN §6). Called before any route: refuses requests that a web page made the browser send,
//! whether across sites or through a name that was rebound to loopback.

use crate::http::error::{MISDIRECTED, Problem};
use crate::http::state::Peer;
use amesh_proto::api::error::code;
use axum::http::{HeaderMap, Uri, Version, header};
use std::net::IpAddr;

/// Judges one request of `peer`. `extra` are names that the owner allows besides those of loopback and of the certificate shown.
///
/// # Errors
/// 421 for a `Host` that is not this machine, 403 for a foreign `Origin`.
pub(crate) fn check(
    peer: &Peer,
    extra: &[String],
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let host = authority(version, uri, headers)?;
    if let Some(host) = host
        && !is_ours(host, extra, peer)
    {
        return Err(Problem::new(
            MISDIRECTED,
            match peer.shown {
                Some(_) => "the Host header names something that the certificate here does not",
                None => "this node answers to localhost only; the Host header names something else",
            },
        ));
    }
    if super::well_known::is_public(uri.path()) {
        return Ok(());
    }
    let same_site = |site: &[u8]| matches!(site, b"same-origin" | b"none");
    let foreign_fetch = headers.get("sec-fetch-site").is_some_and(|site| !same_site(site.as_bytes()));
    let foreign_origin = headers
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !origin.to_str().is_ok_and(|origin| is_same_origin(origin, host, peer)));
    if foreign_fetch || foreign_origin {
        return Err(Problem::new(code::FORBIDDEN, "web pages of other origins may not use this node"));
    }
    Ok(())
}

/// `Host`, or what stands for it; HTTP/1.1 must send exactly one.
fn authority<'a>(version: Version, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
    let bad = || Problem::new(code::INVALID_REQUEST, "expected exactly one Host header");
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad());
    }
    match (host, uri.authority()) {
        (Some(host), _) => host.to_str().map(Some).map_err(|_| bad()),
        (None, Some(authority)) => Ok(Some(authority.as_str())),
        (None, None) if version == Version::HTTP_11 => Err(bad()),
        (None, None) => Ok(None),
    }
}

fn is_ours(authority: &str, extra: &[String], peer: &Peer) -> bool {
    let name = host_of(authority);
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        || extra.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
        || peer.shown.as_ref().is_some_and(|shown| shown.stands_for(name))
}

/// The host without port and brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _)| host);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// A page served by this very listener; there is none today, but `Origin` alone is not a crime.
fn is_same_origin(origin: &str, host: Option<&str>, peer: &Peer) -> bool {
    let (scheme, usual) = if peer.shown.is_some() { ("https://", 443) } else { ("http://", 80) };
    let Some(authority) = origin.strip_prefix(scheme) else { return false };
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(usual);
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) && port == peer.local.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(path: &str, headers: &[(&'static str, &str)]) -> Result<(), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let peer = Peer {
            remote: "127.0.0.1:50000".parse().unwrap(),
            local: "127.0.0.1:23000".parse().unwrap(),
            shown: None,
            _place: None,
        };
        let uri: Uri = path.parse().unwrap();
        check(&peer, &["amesh.test".to_owned()], Version::HTTP_11, &uri, &map).map_err(|p| p.code())
    }

    #[test]
    fn loopback_names_are_ours_and_rebound_names_are_not() {
        for ours in
            ["localhost:23000", "LOCALHOST", "127.0.0.1:23000", "127.9.9.9", "[::1]:23000", "amesh.test:1"]
        {
            assert_eq!(judge("/v1/health", &[("host", ours)]), Ok(()), "{ours}");
        }
        let strange =
            ["evil.example:23000", "localhost.evil.example", "192.168.1.2:23000", "127.0.0.1.nip.io", ""];
        for host in strange {
            assert_eq!(judge("/v1/health", &[("host", host)]), Err(MISDIRECTED), "{host}");
        }
        assert_eq!(judge("/v1/health", &[]), Err("invalid_request"));
        assert_eq!(judge("/v1/health", &[("host", "localhost"), ("host", "evil")]), Err("invalid_request"));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = ("host", "localhost:23000");
        for origin in ["https://evil.example", "null", "http://localhost:3000", "https://localhost:23000"] {
            assert_eq!(judge("/v1/route", &[host, ("origin", origin)]), Err("forbidden"), "{origin}");
        }
        assert_eq!(judge("/v1/route", &[host, ("origin", "http://localhost:23000")]), Ok(()));
        assert_eq!(judge("/v1/health", &[host, ("sec-fetch-site", "cross-site")]), Err("forbidden"));
        assert_eq!(judge("/v1/health", &[host, ("sec-fetch-site", "none")]), Ok(()));
    }

    #[test]
    fn the_public_document_may_be_read_from_any_page() {
        let headers = [("host", "localhost:23000"), ("origin", "https://any.example")];
        assert_eq!(judge("/.well-known/agent-messaging.json", &headers), Ok(()));
    }
}
