//! Mail that follows its recipient to another node (DESIGN §3, Moving): out of a mailbox or a queue and into another, a
//! message at a time, so that each is always in exactly one place. Called through `Store::hand_on` and `Store::redirect`.

use crate::attachments;
use crate::body::Body;
use crate::error::StoreError;
use crate::group::Group;
use crate::history::{self, Name, Parties};
use crate::mail::{AgentNo, Destination, Holder, MailboxEntry, OutboxEntry, Place, Seq, Target};
use crate::tally::LaneId;
use crate::{lifetime, mailbox, outbox};
use amesh_proto::attachment::{Attachment, list_in};
use amesh_proto::id::MessageId;
use amesh_proto::message::{Mail, Priority};
use amesh_proto::node_id::NodeId;
use amesh_proto::time::UnixMillis;
use amesh_proto::trust::Trust;

/// A message with all that can be worked out without the writer.
#[derive(Debug)]
pub(crate) struct Onward {
    /// Where it is now.
    seq: Seq,
    id: MessageId,
    parties: Parties,
    lane: LaneId,
    class: Priority,
    body: Body,
    attachments: Vec<Attachment>,
    expires_at: UnixMillis,
}

impl Onward {
    pub(crate) fn of_mailbox(entry: &MailboxEntry, blobs: bool) -> Result<Self, StoreError> {
        Self::new(entry.seq, &entry.mail, entry.expires_at, blobs)
    }

    pub(crate) fn of_outbox(entry: &OutboxEntry, blobs: bool) -> Result<Self, StoreError> {
        Self::new(entry.seq, &entry.mail, entry.expires_at, blobs)
    }

    fn new(seq: Seq, mail: &Mail, expires_at: UnixMillis, blobs: bool) -> Result<Self, StoreError> {
        Ok(Self {
            seq,
            id: mail.id.clone(),
            parties: history::parties_of(mail),
            lane: outbox::lane_of(mail),
            class: mail.priority,
            body: Body::new(mail, blobs)?,
            // What could not be read was accepted as a message without files.
            attachments: list_in(&mail.payload).unwrap_or_default(),
            expires_at,
        })
    }

    /// Bytes that wait in the writer's queue.
    pub(crate) fn size(&self) -> usize {
        self.body.len()
    }
}

/// Moves mail from a mailbox into the queue to `node`; ends at the first for which that has no room. What was
/// acknowledged meanwhile is passed over. Gives how many went.
pub(crate) fn hand_on(
    group: &mut Group<'_>,
    agent: AgentNo,
    mail: &[Onward],
    node: NodeId,
    now: UnixMillis,
) -> Result<u32, StoreError> {
    let destination = Destination::Node(node);
    let mut gone = 0;
    for one in mail {
        let Some(head) = mailbox::head(&group.txn, agent, one.seq)? else { continue };
        let was = (head.sender, head.queued_at);
        if !enqueue(group, one, &destination, was, now)? {
            break;
        }
        if let Some(shown) = &head.renamed {
            history::forget_name(group, shown, &one.parties);
        }
        mailbox::take(group, agent, one.seq)?;
        gone += 1;
    }
    Ok(gone)
}

/// Moves mail from the queue to `from` to where its recipient is now; ends at the first for which there is no room. What
/// was settled meanwhile is passed over. Gives how many went.
pub(crate) fn redirect(
    group: &mut Group<'_>,
    from: NodeId,
    mail: &[Onward],
    to: &Target,
    now: UnixMillis,
) -> Result<u32, StoreError> {
    let queue = outbox::key_of(&Destination::Node(from));
    let mut gone = 0;
    for one in mail {
        let Some(head) = outbox::head(&group.txn, &queue, one.seq)? else { continue };
        let was = (head.sender, head.queued_at);
        let moved = match to {
            Target::Outbox { destination } => enqueue(group, one, destination, was, now)?,
            Target::Mailbox { agent, trust } => bring_home(group, one, (*agent, *trust), was, now)?,
        };
        if !moved {
            break;
        }
        outbox::take(group, &queue, one.seq)?;
        gone += 1;
    }
    Ok(gone)
}

/// Its sender here, if it has one, and since when it waits.
type Was = (Option<AgentNo>, UnixMillis);

fn enqueue(
    group: &mut Group<'_>,
    one: &Onward,
    destination: &Destination,
    (sender, queued_at): Was,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let queue = outbox::key_of(destination);
    if !outbox::has_room(group, &queue, None, one.size()) {
        return Ok(false);
    }
    let seq = group.next_seq();
    let head = outbox::Head {
        id: one.id.clone(),
        sender,
        system: false,
        lane: one.lane,
        class: one.class,
        number: outbox::next_number(group, &queue, &one.lane, seq),
        size: u32::try_from(one.size()).unwrap_or(u32::MAX),
        queued_at,
        expires_at: one.expires_at,
        body: one.body.place(),
    };
    outbox::put(group, &queue, seq, &head, &one.body)?;
    share_files(group, one, seq, &holder_of(destination), now)?;
    history::moved(group, &one.id, &one.parties, seq, Place::Outbox(destination.clone()))?;
    Ok(true)
}

fn bring_home(
    group: &mut Group<'_>,
    one: &Onward,
    (agent, trust): (AgentNo, Trust),
    (sender, queued_at): Was,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let place = Place::Mailbox(agent);
    let Some(mut entry) = history::entry(&group.txn, &one.id, &one.parties)? else { return Ok(true) };
    if entry.place == place {
        // It came with what its recipient's last host handed on.
        return Ok(true);
    }
    if !mailbox::has_room(group, agent, false) {
        return Ok(false);
    }
    let seq = group.next_seq();
    let renamed = match history::is_shown(&group.txn, agent, &one.id)? {
        true => Some(history::fresh_id(&group.txn, agent, &one.id, &one.parties, queued_at)?),
        false => None,
    };
    let head = mailbox::Head {
        id: one.id.clone(),
        renamed: renamed.clone(),
        class: one.class,
        trust,
        sender_key: None,
        queued_at,
        expires_at: one.expires_at,
        sender,
        body: one.body.place(),
    };
    mailbox::put(group, agent, seq, &head, &one.body)?;
    share_files(group, one, seq, &Holder::Agent(agent), now)?;
    (entry.seq, entry.place) = (seq, place);
    entry.name = renamed.map_or(Name::Own, Name::ShownAs);
    history::record(group, &one.id, &one.parties, entry, lifetime::forget_at(one.expires_at, now))?;
    Ok(true)
}

fn share_files(
    group: &mut Group<'_>,
    one: &Onward,
    seq: Seq,
    recipient: &Holder,
    now: UnixMillis,
) -> Result<(), StoreError> {
    attachments::share(group, (recipient, recipient), seq, &one.attachments, (one.expires_at, now))
}

fn holder_of(destination: &Destination) -> Holder {
    match destination {
        Destination::Node(node) => Holder::Node(*node),
        Destination::Provider(domain) => Holder::Provider(domain.clone()),
        Destination::HttpHost(name) => Holder::HttpHost(name.clone()),
    }
}
