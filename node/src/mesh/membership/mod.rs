//! Who belongs to this node's mesh, and what it tells and believes about that: a state machine without I/O. Driven by
//! `accept`, `dial`, `join` and the control socket; [`greeting`] holds the part of it that opens a link.

mod greeting;
mod renewal;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use greeting::Proven;
pub(crate) use greeting::{About, Admitted, RefuseReason};

use amesh_proto::member::list::{MemberError, Statements};
use amesh_proto::member::{EpochSecret, Member, MemberList, MeshId, MeshState, Secrets, is_host_label};
use amesh_proto::node_id::{NodeId, NodeKey};
use amesh_proto::ticket::Ticket;
use amesh_proto::time::UnixMillis;
use amesh_proto::wire::{Frame, JoinGrant, JoinRefuseCode, JoinRequest, SecretFrame, VERSIONS};
use std::collections::BTreeSet;

/// This node's place in its mesh. Whoever changes it writes [`Membership::state`] to disk before telling anybody.
#[derive(Debug)]
pub(crate) struct Membership {
    key: NodeKey,
    host: String,
    list: MemberList,
    secrets: Secrets,
    blocked: BTreeSet<NodeId>,
}

/// What a change brought, for the shell to act on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Changed {
    /// Write the state to disk, then pass the news on.
    pub(crate) persist: bool,
    /// Members that are new here.
    pub(crate) added: Vec<NodeId>,
    /// Members that stand no more: close their links, drop their rosters.
    pub(crate) removed: Vec<NodeId>,
    /// This node itself was removed.
    pub(crate) out: bool,
    /// For every linked member, once it is on disk.
    pub(crate) tell: Vec<Frame>,
}

/// Why a grant is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrantError {
    #[error("the inviter let us into another mesh than the ticket says")]
    OtherMesh,
    #[error("the inviter sent a member list in which this node does not stand")]
    NotListed,
    #[error("the inviter sent a secret that its own member list contradicts")]
    WrongSecret,
}

/// Beginnings.
impl Membership {
    /// A mesh of one.
    pub(crate) fn found(key: NodeKey, host: &str, mesh: MeshId, secret: [u8; 32], now: UnixMillis) -> Self {
        let list = MemberList::found(mesh, &key, host, now);
        Self { key, host: host.to_owned(), list, secrets: Secrets::new(1, secret), blocked: BTreeSet::new() }
    }

    /// The mesh of everybody who knows `secret` (`AMESH_MESH_SECRET`).
    pub(crate) fn open(key: NodeKey, host: &str, secret: [u8; 32], now: UnixMillis) -> Self {
        let mut list = MemberList::empty(MeshId::of_open_secret(&secret), None);
        list.enter_open(&key, host, now);
        Self { key, host: host.to_owned(), list, secrets: Secrets::new(1, secret), blocked: BTreeSet::new() }
    }

    /// What was on disk. Statements that do not verify are dropped.
    pub(crate) fn restore(key: NodeKey, state: MeshState) -> Result<Self, MemberError> {
        let mut list = MemberList::empty(state.mesh, state.founder);
        list.merge(&Statements { entries: state.entries, removals: state.removals })?;
        let blocked = state.blocked.into_iter().collect();
        Ok(Self { key, host: state.host, list, secrets: state.secrets, blocked })
    }

    /// What the inviter of `ticket` granted.
    pub(crate) fn joined(
        key: NodeKey,
        host: &str,
        ticket: &Ticket,
        grant: JoinGrant,
    ) -> Result<Self, GrantError> {
        if grant.mesh != ticket.mesh {
            return Err(GrantError::OtherMesh);
        }
        let mut list = MemberList::empty(grant.mesh, grant.founder);
        list.merge(&grant.statements).map_err(|_| GrantError::NotListed)?;
        if list.member(&key.id()).is_none() || list.member(&ticket.inviter).is_none() {
            return Err(GrantError::NotListed);
        }
        let EpochSecret { epoch, secret } = &grant.secret;
        if list.epoch_check(*epoch).is_some_and(|check| check != Secrets::check(secret)) {
            return Err(GrantError::WrongSecret);
        }
        let secrets = Secrets::new(*epoch, *secret);
        Ok(Self { key, host: host.to_owned(), list, secrets, blocked: BTreeSet::new() })
    }

    /// What belongs on disk.
    pub(crate) fn state(&self) -> MeshState {
        let Statements { entries, removals } = self.list.statements();
        MeshState {
            version: 1,
            mesh: self.list.mesh(),
            founder: self.list.founder(),
            host: self.host.clone(),
            secrets: self.secrets.clone(),
            entries,
            removals,
            blocked: self.blocked.iter().copied().collect(),
        }
    }
}

/// Questions.
impl Membership {
    pub(crate) fn id(&self) -> NodeId {
        self.key.id()
    }

    pub(crate) fn mesh(&self) -> MeshId {
        self.list.mesh()
    }

    pub(crate) fn list(&self) -> &MemberList {
        &self.list
    }

    /// Whether mail may flow to and from `node`.
    pub(crate) fn admits(&self, node: &NodeId) -> bool {
        self.list.member(node).is_some() && !self.blocked.contains(node)
    }

    /// Every other member.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Member> {
        let me = self.id();
        self.list.members().filter(move |member| member.node != me)
    }

    /// This host's label.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether this node may let others in.
    pub(crate) fn may_introduce(&self) -> bool {
        self.list.member(&self.id()).is_some_and(|me| me.may_introduce)
    }

    /// Host labels of those who may let others in, the founder's first.
    pub(crate) fn introducers(&self) -> Vec<String> {
        let mut entitled: Vec<&Member> = self.list.members().filter(|member| member.may_introduce).collect();
        entitled.sort_by_key(|member| member.seniority());
        entitled.into_iter().map(|member| member.host.clone()).collect()
    }

    /// The secret in force.
    fn current(&self) -> Option<&EpochSecret> {
        self.secrets.iter().find(|held| {
            self.list.epoch_check(held.epoch).is_none_or(|check| check == Secrets::check(&held.secret))
        })
    }
}

/// Changes by this machine's owner.
impl Membership {
    /// Whether a newcomer's request can be granted at all; asked before its ticket is spent.
    pub(crate) fn judge_request(
        &self,
        request: &JoinRequest,
        newcomer: &NodeId,
    ) -> Result<(), JoinRefuseCode> {
        if request.versions.0 > VERSIONS.1 || request.versions.1 < VERSIONS.0 {
            return Err(JoinRefuseCode::Version);
        }
        if request.mesh != self.mesh() {
            return Err(JoinRefuseCode::OtherMesh);
        }
        if !self.may_introduce() {
            return Err(JoinRefuseCode::NotAllowed);
        }
        if !is_host_label(&request.host) {
            return Err(JoinRefuseCode::BadLabel);
        }
        if self.list.members().any(|member| member.host == request.host && member.node != *newcomer) {
            return Err(JoinRefuseCode::LabelTaken);
        }
        Ok(())
    }

    /// Lets `newcomer` in, after its ticket's spending is durable. Again for one who is in already; a right that it has
    /// stays.
    pub(crate) fn admit(
        &mut self,
        newcomer: NodeId,
        host: &str,
        may_introduce: bool,
        now: UnixMillis,
    ) -> Result<(JoinGrant, Changed), JoinRefuseCode> {
        let before = self.standing();
        let known = self
            .list
            .member(&newcomer)
            .is_some_and(|member| member.host == host && (member.may_introduce || !may_introduce));
        if !known {
            self.list.introduce(&self.key, newcomer, host, may_introduce, now).map_err(
                |error| match error {
                    MemberError::NotAllowed | MemberError::NoSuchMember => JoinRefuseCode::NotAllowed,
                    MemberError::LabelTaken => JoinRefuseCode::LabelTaken,
                    MemberError::BadLabel => JoinRefuseCode::BadLabel,
                    MemberError::Full => JoinRefuseCode::Busy,
                },
            )?;
        }
        let secret = self.current().cloned().ok_or(JoinRefuseCode::NotAllowed)?;
        let grant = JoinGrant {
            mesh: self.mesh(),
            founder: self.list.founder(),
            secret,
            statements: self.list.statements(),
        };
        let changed = if known { Changed::default() } else { self.changed(&before, true) };
        Ok((grant, changed))
    }

    /// Gives `node`, a member, the right to let others in and to remove them.
    pub(crate) fn promote(&mut self, node: NodeId, now: UnixMillis) -> Result<Changed, MemberError> {
        let before = self.standing();
        let member = self.list.member(&node).ok_or(MemberError::NoSuchMember)?;
        if !self.may_introduce() {
            return Err(MemberError::NotAllowed);
        }
        if member.may_introduce {
            return Ok(Changed::default());
        }
        let host = member.host.clone();
        self.list.introduce(&self.key, node, &host, true, now)?;
        Ok(self.changed(&before, true))
    }

    /// This host has another label from now on. Only the founder can give itself one: nobody else's word about
    /// itself counts.
    pub(crate) fn rename(&mut self, host: &str, now: UnixMillis) -> Result<(), MemberError> {
        if self.list.founder().is_some_and(|founder| founder != self.id()) {
            return Err(MemberError::NotAllowed);
        }
        let may_introduce = self.may_introduce();
        self.list.introduce(&self.key, self.id(), host, may_introduce, now)?;
        host.clone_into(&mut self.host);
        Ok(())
    }

    /// Removes `node` for the whole mesh and begins an epoch with `secret`.
    pub(crate) fn remove(
        &mut self,
        node: NodeId,
        keep_introduced: bool,
        secret: [u8; 32],
        now: UnixMillis,
    ) -> Result<Changed, MemberError> {
        let before = self.standing();
        let removal = self.list.remove(&self.key, node, keep_introduced, &secret, now)?;
        self.secrets.add(removal.says.epoch, secret);
        let mut changed = self.changed(&before, true);
        changed.tell.extend(self.secret_frame());
        Ok(changed)
    }

    /// This node's farewell: tell it to every linked member, then forget the mesh.
    pub(crate) fn leave(&mut self, now: UnixMillis) -> Result<Changed, MemberError> {
        let before = self.standing();
        self.list.leave(&self.key, now)?;
        Ok(self.changed(&before, true))
    }

    /// Blocks `node` on this machine alone, or lets it be again.
    pub(crate) fn block(&mut self, node: NodeId, blocked: bool) -> bool {
        if blocked { self.blocked.insert(node) } else { self.blocked.remove(&node) }
    }
}

/// News from linked members.
impl Membership {
    /// Statements from a proven member. New ones are passed on; that ends, since everyone ends up with the same set.
    pub(crate) fn on_members(&mut self, statements: &Statements) -> Result<Changed, MemberError> {
        let before = self.standing();
        let new = self.list.merge(statements)?;
        Ok(if new { self.changed(&before, true) } else { Changed::default() })
    }

    /// A secret from a proven member. Believed only if the removal that began its epoch commits to it.
    pub(crate) fn on_secret(&mut self, frame: &SecretFrame) -> Changed {
        let SecretFrame(EpochSecret { epoch, secret }) = frame;
        let committed = self.list.epoch_check(*epoch) == Some(Secrets::check(secret));
        if !committed || !self.secrets.add(*epoch, *secret) {
            return Changed::default();
        }
        Changed { persist: true, tell: self.secret_frame().into_iter().collect(), ..Changed::default() }
    }

    /// The secret in force, for a member.
    pub(crate) fn secret_frame(&self) -> Option<Frame> {
        self.current().map(|secret| Frame::Secret(SecretFrame(secret.clone())))
    }

    fn standing(&self) -> BTreeSet<NodeId> {
        self.list.members().map(|member| member.node).collect()
    }

    fn changed(&self, before: &BTreeSet<NodeId>, persist: bool) -> Changed {
        let after = self.standing();
        let me = self.id();
        Changed {
            persist,
            added: after.difference(before).copied().collect(),
            removed: before.difference(&after).copied().filter(|node| *node != me).collect(),
            out: !after.contains(&me),
            tell: vec![Frame::Members(self.list.statements())],
        }
    }
}
