//! Mail from one link into the hallway: groups are prepared in parallel, committed in the order in which they came,
//! and answered once they are on disk (DESIGN §1.1, §1.7). Owned by `session`.

use super::faults::Fault;
use super::link::{Arrival, LinkReceiver, Outcome, ReceiveAction};
use super::pull::Puller;
use super::shared::Shared;
use crate::message::{self, Full, Prepared, Refusal};
use amesh_proto::id::MessageId;
use amesh_proto::key::PublicKey;
use amesh_proto::message::Mail;
use amesh_proto::node_id::NodeId;
use amesh_proto::wire::{LaterReason, MailFrame, OutsideMail, Verdict, Verdicts};
use amesh_store::{LaneKey, LaneStamp};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The receiving side of one link.
pub(super) struct Incoming {
    shared: Arc<Shared>,
    peer: NodeId,
    receiver: LinkReceiver<LaneKey, Brought>,
    /// Passed by the receiver, not yet on their way.
    group: Vec<Arrival<LaneKey, Brought>>,
    preparing: FuturesOrdered<JoinHandle<Vec<Judged>>>,
    /// Passed, but for files that are still on their way.
    pulling: FuturesUnordered<BoxFuture<'static, Judged>>,
    puller: Puller,
    committing: FuturesOrdered<BoxFuture<'static, Vec<(u64, Outcome)>>>,
    verdicts: Vec<(u64, Verdict)>,
    /// What is being judged, by the sender's name for it; only where verdicts are logged.
    names: HashMap<u64, MessageId>,
    /// The peer's roster is needed at this version.
    pub(super) wants_roster: Option<u64>,
}

/// A message, and its sender's key where a gateway brings it.
#[derive(Debug)]
struct Brought {
    mail: Mail,
    outsider: Option<Box<PublicKey>>,
}

/// One message after the steps that need no disk.
type Judged = (u64, Result<Prepared, Refusal>);

impl Incoming {
    pub(super) fn new(shared: Arc<Shared>, peer: NodeId, roster_version: u64, puller: Puller) -> Self {
        Self {
            shared,
            peer,
            receiver: LinkReceiver::new(roster_version),
            group: Vec::new(),
            preparing: FuturesOrdered::new(),
            pulling: FuturesUnordered::new(),
            puller,
            committing: FuturesOrdered::new(),
            verdicts: Vec::new(),
            names: HashMap::new(),
            wants_roster: None,
        }
    }

    /// A message of somebody outside the mesh came. As [`Self::arrived`].
    pub(super) fn arrived_from_outside(&mut self, frame: OutsideMail, now: Duration) {
        match PublicKey::from_spki_der(&frame.sender_key) {
            Ok(key) => self.arrived(frame.mail, Some(Box::new(key)), now),
            Err(error) => self.refuse(frame.mail.outbox_seq, &error),
        }
    }

    /// A message came. Call [`Self::launch`] after the last of a batch.
    pub(super) fn arrived(&mut self, frame: MailFrame, outsider: Option<Box<PublicKey>>, now: Duration) {
        let (seq, stamp, roster_version, size) =
            (frame.outbox_seq, frame.lane, frame.roster_version, frame.size());
        let mail =
            match frame.into_mail(&[&self.shared.directory().naming().provider], self.shared.clock.now()) {
                Ok(mail) => mail,
                Err(error) => return self.refuse(seq, &error),
            };
        if self.shared.config.log_verdicts {
            self.names.insert(seq, mail.id.clone());
        }
        let lane = LaneKey { sender: mail.from.clone(), recipient: mail.to.clone(), class: mail.priority };
        let mail = Brought { mail, outsider };
        let arrival = Arrival { seq, lane, stamp, roster_version, size, mail };
        if !self.receiver.has_room_for(&arrival) {
            self.shared.fault(&self.peer, Fault::Flood("mail"));
        }
        let actions = self.receiver.on_mail(arrival, now);
        self.act(actions);
    }

    fn refuse(&mut self, seq: u64, error: &dyn std::fmt::Display) {
        tracing::info!(peer = %self.peer, %error, "refused");
        self.shared.fault(&self.peer, Fault::Mail("invalid_field"));
        self.verdicts.push((seq, Verdict::Refused("invalid_field".to_owned())));
    }

    /// The peer's roster is held at `version` now.
    pub(super) fn on_roster(&mut self, version: u64, now: Duration) {
        let actions = self.receiver.on_roster(version, now);
        self.act(actions);
        self.launch();
    }

    /// Time has passed.
    pub(super) fn on_tick(&mut self, now: Duration) {
        let actions = self.receiver.on_tick(now);
        self.act(actions);
        self.launch();
    }

    /// When to call [`Self::on_tick`].
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.receiver.next_wake()
    }

    /// Whether verdicts are ready to be sent.
    pub(super) fn has_verdicts(&self) -> bool {
        !self.verdicts.is_empty()
    }

    /// How many verdicts wait to be sent.
    pub(super) fn verdict_count(&self) -> usize {
        self.verdicts.len()
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.preparing.is_empty() && self.committing.is_empty() && self.pulling.is_empty()
    }

    /// Verdicts to send now: all of them on what is on disk, or will never be.
    pub(super) fn take_verdicts(&mut self) -> Verdicts {
        let count = self.verdicts.len().min(Verdicts::LIMIT);
        let verdicts = Verdicts(self.verdicts.drain(..count).collect());
        if self.shared.config.log_verdicts {
            self.log(&verdicts);
        }
        verdicts
    }

    /// The power-loss test reads these lines: QUIC hides the verdicts themselves (DESIGN §7).
    fn log(&mut self, verdicts: &Verdicts) {
        let mut line = String::new();
        for (seq, verdict) in &verdicts.0 {
            let name = self.names.remove(seq);
            if let (Some(id), Verdict::Committed | Verdict::Duplicate) = (name, verdict) {
                line.push(' ');
                line.push_str(id.as_str());
            }
        }
        if !line.is_empty() {
            tracing::info!(target: "amesh::mesh", "link verdict committed{line}");
        }
    }

    /// Sends what has gathered through the steps that need no disk, in a task of its own.
    pub(super) fn launch(&mut self) {
        while !self.group.is_empty() {
            let count = self.group.len().min(GROUP);
            let group: Vec<_> = self.group.drain(..count).collect();
            let (hallway, peer) = (self.shared.hallway.clone(), self.peer);
            self.preparing.push_back(self.shared.tasks.spawn(async move {
                group.into_iter().map(|arrival| prepare(&hallway, peer, arrival)).collect()
            }));
        }
    }

    /// Waits until some of the work under way is done and takes its result in. Safe to cancel.
    pub(super) async fn progress(&mut self) {
        tokio::select! {
            Some(prepared) = self.preparing.next(), if !self.preparing.is_empty() => match prepared {
                Ok(group) => self.commit_or_pull(group),
                // A task that fails takes its group along: unanswered, it comes again over the next link.
                Err(error) => tracing::error!(%error, "a group of messages could not be judged"),
            },
            Some(judged) = self.pulling.next(), if !self.pulling.is_empty() => self.commit(vec![judged]),
            Some(outcomes) = self.committing.next(), if !self.committing.is_empty() => {
                for (seq, outcome) in outcomes {
                    self.verdicts.extend(self.receiver.on_outcome(seq, outcome));
                }
            }
            else => std::future::pending().await,
        }
    }

    /// Mail with files is committed once these are here; what came behind it does not wait, but for its own lane.
    fn commit_or_pull(&mut self, group: Vec<Judged>) {
        let has_files =
            |(_, judged): &Judged| judged.as_ref().is_ok_and(|mail| !mail.attachments().is_empty());
        let (with_files, without): (Vec<_>, Vec<_>) = group.into_iter().partition(has_files);
        for (seq, judged) in with_files {
            let puller = self.puller.clone();
            self.pulling.push(Box::pin(async move {
                let Ok(prepared) = judged else { return (seq, judged) };
                let brought = puller.bring(prepared.attachments()).await;
                (seq, brought.map(|()| prepared))
            }));
        }
        if !without.is_empty() {
            self.commit(without);
        }
    }

    /// Hands the group to the store in order, and waits for it elsewhere.
    fn commit(&mut self, group: Vec<Judged>) {
        let (hallway, shared, peer) = (&self.shared.hallway, self.shared.clone(), self.peer);
        let commits: Vec<_> = group
            .into_iter()
            .map(|(seq, judged)| (seq, judged.map(|prepared| hallway.commit(prepared))))
            .collect();
        self.committing.push_back(Box::pin(async move {
            let mut outcomes = Vec::with_capacity(commits.len());
            for (seq, commit) in commits {
                let written = match commit {
                    Ok(commit) => commit.await,
                    Err(refusal) => Err(refusal),
                };
                let refused = written.as_ref().err().map(Refusal::code);
                let outcome = outcome(written.map(|written| written.repeat));
                if let (Outcome::Refused { .. }, Some(fault)) = (&outcome, refused.and_then(Fault::of_mail)) {
                    shared.fault(&peer, fault);
                }
                outcomes.push((seq, outcome));
            }
            outcomes
        }));
    }

    fn act(&mut self, actions: Vec<ReceiveAction<LaneKey, Brought>>) {
        for action in actions {
            match action {
                ReceiveAction::Judge(arrival) => self.group.push(arrival),
                ReceiveAction::Answer(seq, verdict) => self.verdicts.push((seq, verdict)),
                ReceiveAction::PullRoster { version } => self.wants_roster = Some(version),
            }
        }
    }
}

fn prepare(hallway: &message::Hallway, peer: NodeId, arrival: Arrival<LaneKey, Brought>) -> Judged {
    let amesh_proto::wire::mail::LaneStamp { generation, number, floor } = arrival.stamp;
    let lane = LaneStamp { generation, number, floor };
    let Brought { mail, outsider } = arrival.mail;
    let incoming = message::Incoming::FromPeer { peer, mail: Box::new(mail), lane, outsider };
    (arrival.seq, hallway.prepare(incoming))
}

/// What the link is told. Only what can change by waiting is put off.
fn outcome(written: Result<bool, Refusal>) -> Outcome {
    let refusal = match written {
        Ok(true) => return Outcome::Duplicate,
        Ok(false) => return Outcome::Committed,
        Err(refusal) => refusal,
    };
    match refusal {
        Refusal::Full(Full::Mailbox) => Outcome::Later(LaterReason::MailboxFull),
        Refusal::Full(Full::Disk) => Outcome::Later(LaterReason::DiskFull),
        Refusal::Full(Full::Outbox) | Refusal::Limited { .. } => Outcome::Later(LaterReason::Limit),
        // Of a recipient that moves, the same is true: what comes before has not arrived (DESIGN §3, Moving).
        Refusal::LaneGap { .. } | Refusal::Moving(_) => Outcome::Later(LaterReason::LaneGap),
        Refusal::Store(_) => Outcome::Later(LaterReason::Unavailable),
        refused => {
            tracing::info!(code = refused.code(), reason = %refused, "mail from a link refused");
            Outcome::Refused { code: refused.code().to_owned() }
        }
    }
}

/// Messages judged by one task.
const GROUP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_beyond_the_recipients_limit_is_put_off_and_not_refused() {
        assert_eq!(outcome(Err(Refusal::Limited { retry_after: 9 })), Outcome::Later(LaterReason::Limit));
    }
}
