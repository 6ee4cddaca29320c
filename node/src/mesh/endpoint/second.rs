//! The mesh port for IPv6, beside the one at `0.0.0.0`: a laptop gets into networks that know only the one or only the
//! other. Two sockets, so that an IPv4 address is never written in two ways. Called by [`super::MeshEndpoint::bind`].

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, bind as bind_socket, socket, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::Arc;

/// Listens on every IPv6 address at the port of `local`, if `local` is every IPv4 address.
pub(super) fn bind(server: quinn::ServerConfig, local: SocketAddr) -> Option<quinn::Endpoint> {
    if local.ip() != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        return None;
    }
    let listening = open(local.port()).and_then(|socket| {
        let runtime = Arc::new(quinn::TokioRuntime);
        quinn::Endpoint::new(quinn::EndpointConfig::default(), Some(server), socket, runtime)
    });
    listening
        .inspect_err(|error| tracing::warn!(%error, port = local.port(), "no IPv6 at the mesh port"))
        .ok()
}

fn open(port: u16) -> io::Result<UdpSocket> {
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    bind_socket(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    Ok(UdpSocket::from(socket))
}
