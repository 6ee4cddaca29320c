//! The opening of a link: who must prove what, in which order, and what is said next (DESIGN §3).
//!
//! Dialer: [`Membership::hello`]. Listener: [`Membership::on_hello`]. Dialer: [`Membership::on_hello_ack`].
//! Listener: [`Membership::on_greeting`]. Both then send [`Admitted::send`] before any mail.

use super::{Changed, Membership};
use crate::mesh::proof::{Channel, Role};
use amesh_proto::member::list::Statements;
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::{Frame, Greeting, Hello, HelloAck, Proof, RefuseCode, VERSIONS};

/// What this node says of itself besides its membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) roster_version: u64,
    pub(crate) generation: u64,
    pub(crate) boot: u64,
    pub(crate) clock: UnixMillis,
}

/// The dialer proved a secret; it has not been admitted yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proven {
    epoch: u64,
}

/// The other end is a member.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// What it told of itself.
    pub(crate) greeting: Greeting,
    /// What its evidence changed here.
    pub(crate) changed: Changed,
    /// To be sent to it before anything else.
    pub(crate) send: Vec<Frame>,
}

/// Why a link is not opened. What the other end is told of it is [`RefuseReason::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum RefuseReason {
    #[error("no common protocol version")]
    Version,
    #[error("it does not know a secret of this mesh")]
    NoProof,
    #[error("it was removed from the mesh")]
    Removed,
    #[error("it knows the secret but is not in the member list")]
    Unlisted,
    #[error("it is blocked on this machine")]
    Blocked,
    #[error("it has this node's own key: another machine runs with a copy")]
    OwnKey,
}

impl RefuseReason {
    pub(crate) fn code(self) -> RefuseCode {
        match self {
            Self::Version => RefuseCode::Version,
            Self::NoProof | Self::Blocked => RefuseCode::Refused,
            Self::Removed => RefuseCode::Removed,
            Self::Unlisted => RefuseCode::Unlisted,
            Self::OwnKey => RefuseCode::TwoMachines,
        }
    }
}

impl Membership {
    /// The dialer's first frame.
    pub(crate) fn hello(&self, listener: &NodeId, exporter: &[u8; 32]) -> Hello {
        let (mesh, dialer) = (self.mesh(), self.id());
        let channel = Channel { mesh: &mesh, dialer: &dialer, listener, exporter };
        let prove = |held: &amesh_proto::member::EpochSecret| Proof {
            epoch: held.epoch,
            mac: channel.prove(Role::Dialer, &held.secret),
        };
        Hello {
            versions: VERSIONS,
            proofs: self.secrets.iter().take(Hello::PROOF_LIMIT).map(prove).collect(),
        }
    }

    /// The listener's judgment of it. A removed node is refused before it learns anything.
    pub(crate) fn on_hello(
        &self,
        hello: &Hello,
        dialer: &NodeId,
        exporter: &[u8; 32],
        about: About,
    ) -> Result<(HelloAck, Proven), RefuseReason> {
        let (mesh, listener) = (self.mesh(), self.id());
        if *dialer == listener {
            return Err(RefuseReason::OwnKey);
        }
        let version = common_version(hello.versions)?;
        let channel = Channel { mesh: &mesh, dialer, listener: &listener, exporter };
        let shown = hello.proofs.iter().take(Hello::PROOF_LIMIT);
        let held = shown
            .flat_map(|proof| self.secrets.iter().map(move |held| (proof, held)))
            .find(|(proof, held)| {
                proof.epoch == held.epoch && channel.holds(Role::Dialer, &held.secret, &proof.mac)
            })
            .map(|(_, held)| held)
            .ok_or(RefuseReason::NoProof)?;
        if self.blocked.contains(dialer) {
            return Err(RefuseReason::Blocked);
        }
        // One that was let in anew knows the secret in force; its greeting brings the evidence.
        if self.list.is_removed(dialer) && held.epoch < self.list.epoch() {
            return Err(RefuseReason::Removed);
        }
        let proof = Proof { epoch: held.epoch, mac: channel.prove(Role::Listener, &held.secret) };
        Ok((HelloAck { version, proof, greeting: self.greeting(about) }, Proven { epoch: held.epoch }))
    }

    /// The dialer's judgment of the answer, and its own greeting to send.
    pub(crate) fn on_hello_ack(
        &mut self,
        ack: HelloAck,
        listener: &NodeId,
        exporter: &[u8; 32],
        about: About,
    ) -> Result<Admitted, RefuseReason> {
        let (mesh, dialer) = (self.mesh(), self.id());
        if ack.version < VERSIONS.0 || ack.version > VERSIONS.1 {
            return Err(RefuseReason::Version);
        }
        let channel = Channel { mesh: &mesh, dialer: &dialer, listener, exporter };
        let proven = self
            .secrets
            .iter()
            .filter(|held| held.epoch == ack.proof.epoch)
            .any(|held| channel.holds(Role::Listener, &held.secret, &ack.proof.mac));
        if !proven {
            return Err(RefuseReason::NoProof);
        }
        let greeting = Frame::Greeting(Box::new(self.greeting(about)));
        let mut admitted = self.admit_peer(listener, Proven { epoch: ack.proof.epoch }, ack.greeting)?;
        admitted.send.insert(0, greeting);
        Ok(admitted)
    }

    /// The listener's judgment of a proven dialer's greeting.
    pub(crate) fn on_greeting(
        &mut self,
        greeting: Greeting,
        dialer: &NodeId,
        proven: Proven,
    ) -> Result<Admitted, RefuseReason> {
        self.admit_peer(dialer, proven, greeting)
    }

    fn admit_peer(
        &mut self,
        peer: &NodeId,
        proven: Proven,
        greeting: Greeting,
    ) -> Result<Admitted, RefuseReason> {
        let mut changed = Changed::default();
        if self.blocked.contains(peer) {
            return Err(RefuseReason::Blocked);
        }
        if self.list.member(peer).is_none() {
            let evidence = Statements { entries: greeting.evidence.clone(), removals: Vec::new() };
            // A peer of an open mesh vouches for itself, which only the secret in force makes good.
            let good = self.list.founder().is_some() || proven.epoch == self.secrets.newest();
            if good {
                changed = self.on_members(&evidence).map_err(|_| RefuseReason::Unlisted)?;
            }
        }
        if self.list.member(peer).is_none() {
            let removed = self.list.is_removed(peer);
            return Err(if removed { RefuseReason::Removed } else { RefuseReason::Unlisted });
        }
        let mut send = Vec::new();
        if greeting.members != self.list.digest() {
            send.push(Frame::Members(self.list.statements()));
        }
        if proven.epoch < self.secrets.newest() {
            send.extend(self.secret_frame());
        }
        Ok(Admitted { greeting, changed, send })
    }

    fn greeting(&self, about: About) -> Greeting {
        Greeting {
            host: self.host.clone(),
            roster_version: about.roster_version,
            members: self.list.digest(),
            generation: about.generation,
            boot: about.boot,
            clock: about.clock,
            evidence: self.list.evidence(&self.id()),
        }
    }
}

fn common_version(theirs: (u16, u16)) -> Result<u16, RefuseReason> {
    let version = theirs.1.min(VERSIONS.1);
    if version < theirs.0 || version < VERSIONS.0 { Err(RefuseReason::Version) } else { Ok(version) }
}
