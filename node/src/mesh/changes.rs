//! The one place where a change of membership takes effect: on disk first, then on tasks, directory, rosters and the
//! queues, then at the other members. Called by whoever changed it: `greet`, `join`, `session`, `control`.

use super::membership::Changed;
use super::peer::Peer;
use super::peers::{PeerHandle, Stop};
use super::shared::Shared;
use crate::agents::directory::Member;
use crate::message::Settled;
use crate::private::FileError;
use amesh_discovery::finder::Announcement;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::Frame;
use amesh_store::{Destination, Seq};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Changes of membership.
impl Shared {
    /// Makes a change durable, then lets it take effect, then passes it on.
    pub(crate) async fn apply(self: &Arc<Self>, changed: Changed) -> Result<(), FileError> {
        if !changed.persist {
            return Ok(());
        }
        self.take_effect(changed).await?;
        self.renew_epoch().await
    }

    /// Begins another epoch where two were begun with one number, and that is for this node to mend.
    pub(crate) async fn renew_epoch(self: &Arc<Self>) -> Result<(), FileError> {
        let renewed = self.membership().renew(rand::random(), self.clock.now());
        match renewed {
            Some(changed) => self.take_effect(changed).await,
            None => Ok(()),
        }
    }

    async fn take_effect(self: &Arc<Self>, changed: Changed) -> Result<(), FileError> {
        self.save().await?;
        self.settle_peers();
        if changed.out {
            tracing::error!(
                "this node was removed from its mesh; to be in one again: amesh join TICKET, or amesh leave"
            );
        }
        for frame in changed.tell {
            let frame = Arc::new(frame);
            self.peers.tell_all(|news| match &*frame {
                // Each link sends the list as it is then, if it has not told it.
                Frame::Members(_) => news.members = true,
                Frame::Secret(_) => news.secret = Some(frame.clone()),
                _ => {}
            });
        }
        Ok(())
    }

    /// The same, for a link that must not wait.
    pub(crate) fn apply_soon(self: &Arc<Self>, changed: Changed) {
        if !changed.persist {
            return;
        }
        let shared = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = shared.apply(changed).await {
                tracing::error!(%error, "a change of membership could not be written");
            }
        });
    }

    /// Writes the membership to disk.
    pub(crate) async fn save(&self) -> Result<(), FileError> {
        self.persist.save(&self.tasks, || self.membership().state()).await
    }

    /// Makes the tasks, the directory and the rosters follow the member list.
    pub(crate) fn settle_peers(self: &Arc<Self>) {
        let (members, me, out) = {
            let membership = self.membership();
            let member = |member: &amesh_proto::member::Member| Member {
                node: member.node,
                host: member.host.clone(),
                order: member.order,
            };
            let me = membership.list().member(&membership.id()).map(member);
            let others: Vec<Member> =
                membership.others().filter(|other| membership.admits(&other.node)).map(member).collect();
            let out = me.is_none();
            (others, me, out)
        };
        self.directory().set_mesh(self.mesh_id());
        if let Some(me) = me {
            self.directory().set_me(me);
        }
        let wanted: BTreeSet<NodeId> =
            if out { BTreeSet::new() } else { members.iter().map(|member| member.node).collect() };
        for (node, handle) in self.peers.handles() {
            if !wanted.contains(&node) {
                handle.tell(|news| news.stop = Some(Stop::Removed));
                self.part_from(node);
            }
        }
        self.wanted.set_members(wanted.clone());
        self.choose_neighbours();
        self.steer_swarm();
        for member in members.into_iter().filter(|member| wanted.contains(&member.node)) {
            self.rosters.place(self, &member);
            if self.peers.handle(&member.node).is_none() {
                self.start_peer(member.node);
            }
        }
    }

    fn start_peer(self: &Arc<Self>, node: NodeId) {
        let (handle, links) = PeerHandle::new();
        self.peers.update(&node, |entry| entry.handle = Some(handle.clone()));
        self.tasks.spawn(Peer::new(self.clone(), node, handle, links).run());
    }

    /// Ends every link in good order and waits for the tasks, within `deadline`. They are forgotten.
    pub(crate) async fn end_links(&self, stop: Stop, deadline: Duration) {
        let tasks = self.peers.clear();
        for (_, handle) in &tasks {
            handle.tell(|news| news.stop = Some(stop));
        }
        let all = futures_util::future::join_all(tasks.iter().map(|(_, handle)| handle.ended()));
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!("some links did not end in time");
        }
    }

    /// Forgets everybody of the mesh that was left: rosters, and mail that cannot go anywhere now.
    pub(crate) fn forget_everybody(self: &Arc<Self>) {
        for node in self.rosters.nodes() {
            self.part_from(node);
        }
        self.return_stray_mail();
    }

    /// Bounces what waits for nodes that are no members.
    pub(crate) fn return_stray_mail(self: &Arc<Self>) {
        for queue in self.store.outbox_destinations() {
            if let Destination::Node(node) = queue.destination
                && self.membership().list().member(&node).is_none()
            {
                self.part_from(node);
            }
        }
    }

    /// Forgets a node that is a member no more, and bounces what waits for it.
    fn part_from(self: &Arc<Self>, node: NodeId) {
        self.peers.forget(&node);
        self.rosters.forget(self, node);
        let shared = self.clone();
        self.tasks.spawn(async move { shared.bounce_all(Destination::Node(node)).await });
    }

    async fn bounce_all(&self, destination: Destination) {
        while let Ok(page) = self.store.outbox(&destination, None, BOUNCE_PAGE) {
            if page.is_empty() {
                return;
            }
            let gone = |seq: Seq| {
                let detail = "the recipient's host is no longer a member of this mesh".to_owned();
                (seq, Settled::Refused { code: "not_found".to_owned(), detail })
            };
            let verdicts = page.into_iter().map(|entry| gone(entry.seq)).collect();
            if let Err(error) = self.hallway.settle(&destination, verdicts).await {
                tracing::error!(%error, "mail for a removed host could not be returned");
                return;
            }
        }
    }

    /// Tells the network where this node is, and in which mesh.
    pub(crate) fn announce(&self) {
        if let Some(lookout) = &self.lookout {
            lookout.announce(&Announcement {
                host: self.host().to_owned(),
                node_id: self.identity.node_id(),
                mesh_hash: Some(self.mesh_id().short_hash()),
                port: self.endpoint.local_addr().port(),
            });
        }
    }
}

const BOUNCE_PAGE: usize = 256;
