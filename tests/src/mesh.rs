//! Several nodes that are one mesh.

use crate::lab::Lan;
use crate::node::Node;
use anyhow::{Context, Result};
use std::ops::{Index, IndexMut};

/// The nodes, the founder first.
#[derive(Debug)]
pub struct Mesh(pub Vec<Node>);

impl Mesh {
    /// `hosts` on this machine's loopback, joined and linked.
    ///
    /// # Errors
    /// When one does not start or join.
    pub async fn on_loopback(hosts: &[&str]) -> Result<Self> {
        let nodes = hosts.iter().map(|host| Node::on_loopback(host)).collect::<Result<_>>()?;
        Self::of(nodes).await
    }

    /// One node per host of the lab, with its defaults, joined and linked.
    ///
    /// # Errors
    /// When one does not start or join.
    pub async fn on_lan(lan: &Lan) -> Result<Self> {
        let nodes = lan.hosts().iter().map(|host| host.node(&[])).collect::<Result<_>>()?;
        Self::of(nodes).await
    }

    /// Starts `nodes`, joins each to the first by one line, and waits until every pair is linked.
    ///
    /// # Errors
    /// When one does not start or join.
    pub async fn of(mut nodes: Vec<Node>) -> Result<Self> {
        for node in &mut nodes {
            node.start().await?;
        }
        let mesh = Self(nodes);
        let (founder, others) = mesh.0.split_first().context("an empty mesh")?;
        for node in others {
            node.amesh(&["join", &founder.invite().await?]).await?;
        }
        mesh.linked().await?;
        Ok(mesh)
    }

    /// Waits until every pair is linked.
    ///
    /// # Errors
    /// When one pair is not.
    pub async fn linked(&self) -> Result<()> {
        for node in &self.0 {
            let others: Vec<&str> =
                self.0.iter().map(|n| n.host.as_str()).filter(|h| *h != node.host).collect();
            node.connected_to(&others).await?;
        }
        Ok(())
    }
}

impl Index<usize> for Mesh {
    type Output = Node;

    fn index(&self, at: usize) -> &Node {
        &self.0[at]
    }
}

impl IndexMut<usize> for Mesh {
    fn index_mut(&mut self, at: usize) -> &mut Node {
        &mut self.0[at]
    }
}
