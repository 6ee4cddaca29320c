//! Names of hosts by the owner's name servers, so that what they say of a provider and of its hosts is of one view. Used by
//! [`super::Federation`].

use crate::reach::{LookingUp, Names};
use amesh_discovery::providers::Dns;
use std::io;
use std::net::SocketAddr;

#[derive(Debug)]
pub(super) struct DnsNames(pub(super) Dns);

impl Names for DnsNames {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> LookingUp<'a> {
        Box::pin(async move {
            let found = self.0.addresses(host).await.map_err(io::Error::other)?;
            Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
        })
    }
}
