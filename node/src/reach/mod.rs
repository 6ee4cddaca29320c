//! Where others may lead this node (WHK-8, DESIGN §6): agents with their webhooks, other providers with what they say about
//! themselves. What is judged is the address that is connected to, never the name: it must be public or in the owner's
//! list, and no list opens a port of this node. Used by `agents::webhook` and `federation`.

mod allowed;
mod names;
mod public;

pub use allowed::{AllowedTarget, NotATarget};
pub use names::{LookingUp, Names, SystemNames};

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Why nothing is connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfReach {
    /// It is not public, and not in the owner's list.
    #[error("{ip} is {why}")]
    NotPublic {
        /// Where.
        ip: IpAddr,
        /// What that is.
        why: &'static str,
    },
    /// It is this node itself.
    #[error("it is a port of this node itself")]
    OwnPort,
    /// There is no such name, or nobody answered who would know.
    #[error("the name could not be resolved: {0}")]
    Unresolved(String),
}

/// Why an address may be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// The owner lists it.
    Listed,
    /// It is somebody's public one.
    Public,
}

/// The ports this node listens on, which nobody may lead it to. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OwnPorts(Arc<RwLock<BTreeSet<u16>>>);

impl OwnPorts {
    /// This node listens on `port`.
    pub fn protect(&self, port: u16) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    fn holds(&self, target: SocketAddr) -> bool {
        let own = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if !own.contains(&target.port()) {
            return false;
        }
        drop(own);
        let ip = target.ip().to_canonical();
        let inner = match ip {
            IpAddr::V6(ip) => public::embedded(ip).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        // Only an address of this machine can be bound.
        let is_here = |ip: IpAddr| {
            ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
        };
        is_here(ip) || inner.is_some_and(is_here)
    }
}

/// The rules of one part of the node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reach {
    allow: Arc<[AllowedTarget]>,
    names: Arc<dyn Names>,
    own: OwnPorts,
}

impl Reach {
    /// Public addresses and those in `allow`, but for the ports in `own`.
    #[must_use]
    pub fn new(allow: Vec<AllowedTarget>, names: Arc<dyn Names>, own: OwnPorts) -> Self {
        Self { allow: allow.into(), names, own }
    }

    /// The ports of this node.
    #[must_use]
    pub fn own_ports(&self) -> &OwnPorts {
        &self.own
    }

    /// Whether the owner lists anything at all.
    #[must_use]
    pub fn lists_any(&self) -> bool {
        !self.allow.is_empty()
    }

    /// Whether `target` may be connected to.
    ///
    /// # Errors
    /// [`OutOfReach`].
    pub fn judge(&self, target: SocketAddr) -> Result<Grounds, OutOfReach> {
        if self.own.holds(target) {
            return Err(OutOfReach::OwnPort);
        }
        if self.allow.iter().any(|allowed| allowed.covers(target)) {
            return Ok(Grounds::Listed);
        }
        match public::why_not(target.ip()) {
            Some(why) => Err(OutOfReach::NotPublic { ip: target.ip(), why }),
            None => Ok(Grounds::Public),
        }
    }

    /// The addresses of `host`, if every one of them may be connected to: one bad answer among good ones is an attack.
    ///
    /// # Errors
    /// [`OutOfReach`].
    pub async fn look_up(&self, host: &str, port: u16) -> Result<Vec<(SocketAddr, Grounds)>, OutOfReach> {
        let unresolved = |why: &dyn std::fmt::Display| OutOfReach::Unresolved(why.to_string());
        let found = tokio::time::timeout(LOOK_UP, self.names.look_up(host, port)).await;
        let found = found.map_err(|late| unresolved(&late))?.map_err(|error| unresolved(&error))?;
        if found.is_empty() {
            return Err(unresolved(&"it has no address"));
        }
        found.into_iter().map(|target| Ok((target, self.judge(target)?))).collect()
    }
}

const LOOK_UP: Duration = Duration::from_secs(3);

/// Names whose answers a test sets.
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// See the module.
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
}
