//! The line that a node prints when it is ready (DESIGN §4). Read by `node`.

use anyhow::{Context, Result};
use std::net::SocketAddr;

/// What a node says when it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Where agents connect.
    pub api: SocketAddr,
    /// Where nodes connect.
    pub mesh: SocketAddr,
    /// Where HTTP mesh hosts connect, if they may.
    pub http_mesh: Option<SocketAddr>,
    /// Where agents connect over TLS, if they may.
    pub secure: Option<SocketAddr>,
    /// Its id.
    pub node: String,
}

impl Ready {
    pub(super) fn parse(line: &str) -> Result<Self> {
        let field = |name: &str| {
            let prefix = format!("{name}=");
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(&prefix));
            value.with_context(|| format!("no {name} in {line:?}"))
        };
        // Several API addresses are separated by commas; the first serves.
        let secure = field("api")?.split(',').find_map(|url| url.strip_prefix("https://"));
        let secure = secure.map(str::parse).transpose()?;
        let api = field("api")?.split(',').next().unwrap_or_default();
        let api = api.trim_start_matches("http://").trim_end_matches('/');
        let http_mesh = field("http_mesh").ok().map(str::parse).transpose()?;
        Ok(Self {
            api: api.parse()?,
            mesh: field("mesh")?.parse()?,
            http_mesh,
            secure,
            node: field("node")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read() {
        let line = "amesh ready api=http://127.0.0.1:1,https://[::]:3 mesh=0.0.0.0:2 host=ann node=12D3";
        let ready = Ready::parse(line).unwrap();
        assert_eq!((ready.api.port(), ready.mesh.port(), ready.node.as_str()), (1, 2, "12D3"));
        assert_eq!(ready.secure.map(|address| address.port()), Some(3));
    }
}
