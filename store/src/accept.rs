//! Commits a message to a mailbox or to the outbox: repeats, conflicts, lanes and limits first, then the writes. Called
//! by the writer for `Store::commit_mail`; everything that needs no order was done by the caller's thread before.

use crate::attachments;
use crate::body::Body;
use crate::error::StoreError;
use crate::group::Group;
use crate::history::{self, Carried, Entry, IdempotencyHash, Known, Name, Parties, Question};
use crate::key::short_hash;
use crate::lanes_in::{self, Arrival, Position};
use crate::mail::{
    AgentNo, CommitOutcome, Destination, Holder, MessageState, NewMail, Origin, Place, Seq, Target,
};
use crate::tally::LaneId;
use crate::{lifetime, mailbox, outbox};
use amesh_proto::address::Address;
use amesh_proto::attachment::Attachment;
use amesh_proto::id::MessageId;
use amesh_proto::message::Priority;
use amesh_proto::time::UnixMillis;

/// A message with all that can be worked out without the store.
#[derive(Debug)]
pub(crate) struct Prepared {
    id: MessageId,
    to: Address,
    sender: Option<AgentNo>,
    carried: Option<Carried>,
    system: bool,
    target: Target,
    digest: [u8; 32],
    idempotency: Option<IdempotencyHash>,
    parties: Parties,
    lane: LaneId,
    class: Priority,
    arrival: Option<Arrival>,
    accepted_at: UnixMillis,
    expires_at: UnixMillis,
    now: UnixMillis,
    body: Body,
    attachments: Vec<Attachment>,
    /// Who must have brought them.
    brought_by: Holder,
    /// Its recipient can verify it anywhere.
    signed: bool,
    sender_key: Option<String>,
}

impl Prepared {
    pub(crate) fn new(new: NewMail, blobs: bool) -> Result<Self, StoreError> {
        let NewMail { mail, origin, target, idempotency_key, content_digest, lane: stamp, now, .. } = new;
        let lane = outbox::lane_of(&mail);
        let arrival = match (&origin, stamp) {
            (Origin::Node(node), Some(stamp)) => Some(Arrival { origin: *node, lane, stamp, now }),
            _ => None,
        };
        let brought_by = match &origin {
            Origin::Node(node) => Holder::Node(*node),
            Origin::Provider(domain) => Holder::Provider(domain.clone()),
            Origin::HttpHost(name) => Holder::HttpHost(name.clone()),
            Origin::Agent(agent) => Holder::Agent(*agent),
            // No agent has this number, and the node attaches nothing.
            Origin::System => Holder::Agent(AgentNo(0)),
        };
        Ok(Self {
            signed: mail.form.is_some(),
            brought_by,
            attachments: new.attachments,
            sender_key: new.sender_key,
            carried: match origin {
                Origin::Node(node) => Some(Carried { node, from: mail.from.clone() }),
                _ => None,
            },
            sender: if let Origin::Agent(agent) = origin { Some(agent) } else { None },
            system: origin == Origin::System,
            digest: content_digest,
            idempotency: idempotency_key.map(|key| short_hash(&[key.as_bytes()])),
            parties: history::parties_of(&mail),
            lane,
            class: mail.priority,
            arrival,
            accepted_at: mail.accepted_at,
            expires_at: lifetime::clamped(mail.expires_at, now),
            body: Body::new(&mail, blobs)?,
            id: mail.id,
            to: mail.to,
            target,
            now,
        })
    }

    /// Bytes that wait in the writer's queue.
    pub(crate) fn size(&self) -> usize {
        self.body.len()
    }

    /// Until nobody can repeat it any more.
    fn forget_at(&self) -> UnixMillis {
        lifetime::forget_at(self.expires_at, self.now)
    }
}

/// Commits the message, or says why not; anything but `Committed` writes nothing of it.
pub(crate) fn commit(group: &mut Group<'_>, mail: &Prepared) -> Result<CommitOutcome, StoreError> {
    let known = look_up(group, mail)?;
    let position =
        mail.arrival.as_ref().map(|arrival| lanes_in::position(&group.txn, arrival)).transpose()?;
    if let Known::Answered(answer) = known {
        // A repeat that is next in its lane was committed before a restore: the lane still moves on.
        advance(group, mail, position)?;
        return Ok(answer);
    }
    if let Some(Position::Gap { expected }) = position {
        return Ok(CommitOutcome::LaneGap { expected });
    }
    if !group.room {
        return Ok(CommitOutcome::DiskFull);
    }
    if let Some((index, fault)) = attachments::check(group, &mail.brought_by, &mail.attachments)? {
        return Ok(CommitOutcome::Attachment { index, fault });
    }
    let Some(target) = present(group, mail) else { return Ok(CommitOutcome::Departed) };
    let taken = match (&known, &target) {
        (Known::Returns(_), Target::Mailbox { agent, .. }) => {
            history::is_shown(&group.txn, *agent, &mail.id)?
        }
        _ => known == Known::Taken,
    };
    let outcome = match &target {
        Target::Mailbox { agent, trust } => to_mailbox(group, mail, *agent, *trust, taken)?,
        Target::Outbox { destination } => to_outbox(group, mail, &outbox::key_of(destination))?,
    };
    if let CommitOutcome::Committed { seq, shown_id, .. } = &outcome {
        let before = if let Known::Returns(entry) = known { Some(*entry) } else { None };
        if let Some(Entry { seq, place: Place::Outbox(gone_to), .. }) = &before {
            // The word that it had arrived there may still be on its way: it is in one place, and that is here.
            outbox::take(group, &outbox::key_of(gone_to), *seq)?;
        }
        remember(group, (mail, &target), *seq, shown_id, before)?;
        share_files(group, (mail, &target), *seq)?;
        advance(group, mail, position)?;
    }
    Ok(outcome)
}

/// Where it goes, unless its recipient has moved since that was decided (DESIGN §3, Moving). What another node brings for
/// an agent that departed goes nowhere from here: everybody has been told that nothing more follows, and that node has a
/// way of its own to the agent.
fn present(group: &Group<'_>, mail: &Prepared) -> Option<Target> {
    let target = Some(mail.target.clone());
    let Target::Mailbox { agent, .. } = &mail.target else { return target };
    match group.tally().departed(*agent).filter(|_| mail.signed) {
        Some(_) if mail.carried.is_some() => None,
        Some(home) => Some(Target::Outbox { destination: Destination::Node(home) }),
        None => target,
    }
}

/// Whoever the message goes to may have its files.
fn share_files(
    group: &mut Group<'_>,
    (mail, target): (&Prepared, &Target),
    seq: Seq,
) -> Result<(), StoreError> {
    let recipient = match target {
        Target::Mailbox { agent, .. } => Holder::Agent(*agent),
        Target::Outbox { destination: Destination::Node(node) } => Holder::Node(*node),
        Target::Outbox { destination: Destination::Provider(domain) } => Holder::Provider(domain.clone()),
        Target::Outbox { destination: Destination::HttpHost(name) } => Holder::HttpHost(name.clone()),
    };
    let parties = (&mail.brought_by, &recipient);
    attachments::share(group, parties, seq, &mail.attachments, (mail.expires_at, mail.now))
}

fn look_up(group: &Group<'_>, mail: &Prepared) -> Result<Known, StoreError> {
    let mailbox = if let Target::Mailbox { agent, .. } = mail.target { Some(agent) } else { None };
    let question = Question {
        id: &mail.id,
        parties: &mail.parties,
        sender: mail.sender,
        mailbox,
        idempotency: mail.idempotency.as_ref(),
        digest: &mail.digest,
    };
    history::look_up(&group.txn, &question)
}

fn to_mailbox(
    group: &mut Group<'_>,
    mail: &Prepared,
    agent: AgentNo,
    trust: amesh_proto::trust::Trust,
    id_taken: bool,
) -> Result<CommitOutcome, StoreError> {
    if !group.tally().has_agent(agent) {
        return Ok(CommitOutcome::NoSuchAgent);
    }
    if !mailbox::has_room(group, agent, mail.system) {
        return Ok(CommitOutcome::MailboxFull);
    }
    let renamed = if id_taken {
        Some(history::fresh_id(&group.txn, agent, &mail.id, &mail.parties, mail.accepted_at)?)
    } else {
        None
    };
    let head = mailbox::Head {
        id: mail.id.clone(),
        renamed,
        trust,
        sender_key: mail.sender_key.clone(),
        queued_at: mail.now,
        expires_at: mail.expires_at,
        sender: mail.sender,
        class: mail.class,
        body: mail.body.place(),
    };
    let seq = group.next_seq();
    mailbox::put(group, agent, seq, &head, &mail.body)?;
    Ok(committed(seq, head.shown_id().clone(), mail.now))
}

fn to_outbox(
    group: &mut Group<'_>,
    mail: &Prepared,
    destination: &[u8],
) -> Result<CommitOutcome, StoreError> {
    if !outbox::has_room(group, destination, mail.sender, mail.size()) {
        return Ok(CommitOutcome::QueueFull);
    }
    let seq = group.next_seq();
    let head = outbox::Head {
        id: mail.id.clone(),
        sender: mail.sender,
        system: mail.system,
        lane: mail.lane,
        class: mail.class,
        number: outbox::next_number(group, destination, &mail.lane, seq),
        size: u32::try_from(mail.size()).unwrap_or(u32::MAX),
        queued_at: mail.now,
        expires_at: mail.expires_at,
        body: mail.body.place(),
    };
    outbox::put(group, destination, seq, &head, &mail.body)?;
    Ok(committed(seq, mail.id.clone(), mail.now))
}

/// Remembers the message for repeats, and for the sender who may ask.
fn remember(
    group: &mut Group<'_>,
    (mail, target): (&Prepared, &Target),
    seq: Seq,
    shown_id: &MessageId,
    before: Option<Entry>,
) -> Result<(), StoreError> {
    let forget_at = mail.forget_at();
    let place = match target {
        Target::Mailbox { agent, .. } => Place::Mailbox(*agent),
        Target::Outbox { destination } => Place::Outbox(destination.clone()),
    };
    let entry = Entry {
        seq,
        queued_at: mail.now,
        name: if *shown_id == mail.id { Name::Own } else { Name::ShownAs(shown_id.clone()) },
        digest: mail.digest,
        // What was sent or brought here before goes on to be told of to whom it was told then.
        sender: before.as_ref().map_or(mail.sender, |before| before.sender),
        carried: before.as_ref().map_or_else(|| mail.carried.clone(), |before| before.carried.clone()),
        to: mail.to.clone(),
        place,
        body: mail.body.place(),
        state: MessageState::Queued,
        changed_at: mail.now,
        expires_at: mail.expires_at,
        delivered_at: before.as_ref().and_then(|before| before.delivered_at),
        read_at: before.and_then(|before| before.read_at),
    };
    history::record(group, &mail.id, &mail.parties, entry, forget_at)?;
    match (mail.sender, &mail.idempotency) {
        (Some(sender), Some(hash)) => history::record_idempotency(group, sender, hash, &mail.id, forget_at),
        _ => Ok(()),
    }
}

fn advance(group: &mut Group<'_>, mail: &Prepared, position: Option<Position>) -> Result<(), StoreError> {
    match (&mail.arrival, position) {
        (Some(arrival), Some(Position::Next { first })) => lanes_in::advance(group, arrival, first),
        _ => Ok(()),
    }
}

fn committed(seq: Seq, shown_id: MessageId, queued_at: UnixMillis) -> CommitOutcome {
    CommitOutcome::Committed { seq, shown_id, queued_at }
}
