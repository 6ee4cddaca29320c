//! Looks at every value of every tree, and at every reference between trees. Called through `Store::verify`.

use crate::agents::AgentRecord;
use crate::api_keys::ApiKey;
use crate::attachments::{Share, Stage, Upload};
use crate::blob::{self, Uses};
use crate::body::BodyPlace;
use crate::codec;
use crate::engine::{Range, Read};
use crate::error::StoreError;
use crate::expire::{DueKeys, Kind};
use crate::files::{self, FileUses};
use crate::history::{self, Entry, Name, UsedFor};
use crate::key::{first_number, last_number, with_number};
use crate::lanes_in::LaneValue;
use crate::mail::{AgentNo, Place, Seq};
use crate::meta::{Birth, Counters};
use crate::outbox::{self, LastNumber};
use crate::owners::{InviteCode, OwnerRecord};
use crate::peers::PeerRecord;
use crate::pins::PinValue;
use crate::postings::Posting;
use crate::receipt::Receipt;
use crate::tally::BoxCount;
use crate::tickets::TicketValue;
use crate::trees::Tree;
use crate::{agents, classes, handed, mailbox, own_roster, receipts, rosters};
use amesh_proto::address::Address;
use amesh_proto::attachment::FileDigest;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

/// What a walk over the whole store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Values that were looked at.
    pub values: u64,
    /// What is wrong, in words; at most a hundred.
    pub problems: Vec<String>,
    /// How many things are wrong.
    pub problem_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problem_count == 0
    }

    fn wrong(&mut self, tree: Tree, what: impl FnOnce() -> String) {
        self.problem_count += 1;
        if self.problems.len() < LISTED {
            self.problems.push(format!("{}: {}", tree.name(), what()));
        }
    }
}

/// One walk.
struct Walk<'a> {
    read: &'a dyn Read,
    bodies: Option<&'a Path>,
    attachments: Option<&'a Path>,
    report: Report,
    counters: Counters,
    boxes: BTreeMap<AgentNo, BoxCount>,
    uses: BTreeMap<blob::Digest, u64>,
    file_uses: BTreeMap<FileDigest, u64>,
    numbers: BTreeSet<Vec<u8>>,
}

pub(crate) fn verify(
    read: &dyn Read,
    (bodies, attachments): (Option<&Path>, Option<&Path>),
    progress: &mut dyn FnMut(u64),
) -> Result<Report, StoreError> {
    let counters = Counters::read(read).unwrap_or_default();
    let mut walk = Walk {
        read,
        bodies,
        attachments,
        report: Report::default(),
        counters,
        boxes: BTreeMap::new(),
        uses: BTreeMap::new(),
        file_uses: BTreeMap::new(),
        numbers: BTreeSet::new(),
    };
    if !matches!(Birth::read(read), Ok(Some(_))) || Counters::read(read).is_err() {
        walk.report.wrong(Tree::Meta, || "the store's own record is missing or damaged".to_owned());
    }
    for tree in Tree::ALL {
        walk.tree(tree, progress)?;
    }
    walk.boxes()?;
    walk.bodies()?;
    walk.files()?;
    Ok(walk.report)
}

impl Walk<'_> {
    fn tree(&mut self, tree: Tree, progress: &mut dyn FnMut(u64)) -> Result<(), StoreError> {
        let read = self.read;
        // Looking at a value reads other trees: not from within the scan, which may hold a lock.
        let mut from = Range::ALL;
        loop {
            let mut part = Vec::new();
            read.scan(tree, &from, &mut |key, value| {
                part.push((key.to_vec(), value.to_vec()));
                if part.len() < PART { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            for (key, value) in &part {
                self.report.values += 1;
                match self.value(tree, key, value) {
                    Ok(None) => {}
                    Ok(Some(problem)) => self.report.wrong(tree, || problem),
                    Err(error @ StoreError::Failed { .. }) => return Err(error),
                    Err(error) => self.report.wrong(tree, || format!("{} ({error})", shown(key))),
                }
            }
            progress(self.report.values);
            match part.pop() {
                Some((mut last, _)) if part.len() + 1 == PART => {
                    last.push(0);
                    from.from = last;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Whether the value decodes and what it names exists; else what is wrong.
    fn value(&mut self, tree: Tree, key: &[u8], value: &[u8]) -> Result<Option<String>, StoreError> {
        match tree {
            Tree::Meta => Ok(None),
            Tree::Agents => self.agent(key, &codec::decode(value)?),
            Tree::AgentNames => {
                let agents::Named(agent) = codec::decode(value)?;
                self.needs(Tree::Agents, &agent.0.to_be_bytes(), "a name without its agent")
            }
            Tree::ApiKeys => {
                let key: ApiKey = codec::decode(value)?;
                self.needs(Tree::Agents, &key.agent.0.to_be_bytes(), "a key without its agent")
            }
            Tree::OwnRoster => {
                let own_roster::EntryValue(entry) = codec::decode(value)?;
                let known =
                    entry.tombstone.is_some() || agents::by_address(self.read, &entry.address)?.is_some();
                let future = entry.changed > self.counters.roster_version;
                Ok((!known || future).then(|| format!("{} is shown and not there", entry.address)))
            }
            Tree::Mailbox => self.mailbox(key, value),
            Tree::Boxes => self.count(key, value),
            Tree::History => self.history(key, &codec::decode(value)?),
            Tree::Idempotency => codec::decode::<UsedFor>(value).map(|_| None),
            Tree::Outbox => self.outbox(key, value),
            Tree::LanesOut => codec::decode::<LastNumber>(value).map(|_| None),
            Tree::LanesIn => codec::decode::<LaneValue>(value).map(|_| None),
            Tree::Expire => {
                Kind::parse(key.get(8).copied().unwrap_or(u8::MAX))?;
                codec::decode::<DueKeys>(value).map(|_| None)
            }
            Tree::Blobs => self.blob(key, value),
            Tree::Peers => codec::decode::<PeerRecord>(value).map(|_| None),
            Tree::Pins => codec::decode::<PinValue>(value).map(|_| None),
            Tree::Rosters => rosters::check(key, value).map(|()| None),
            Tree::Receipts => {
                receipts::owner_in(key)?;
                codec::decode::<Receipt>(value).map(|_| None)
            }
            Tree::Tickets => codec::decode::<TicketValue>(value).map(|_| None),
            Tree::Owners => codec::decode::<OwnerRecord>(value).map(|_| None),
            Tree::InviteCodes => codec::decode::<InviteCode>(value).map(|_| None),
            Tree::Files => self.file(key, value),
            Tree::Uploads => {
                let upload: Upload = codec::decode(value)?;
                if matches!(upload.stage, Stage::Stored | Stage::Confirmed) {
                    self.use_file(upload.digest);
                }
                Ok(None)
            }
            Tree::Shares => {
                self.use_file(codec::decode::<Share>(value)?.digest);
                Ok(None)
            }
            Tree::Classes => self.class(key),
            Tree::Postings => {
                codec::decode::<Posting>(value)?;
                self.needs(Tree::Mailbox, key, "a posting of a message that is gone")
            }
        }
    }

    fn agent(&self, key: &[u8], record: &AgentRecord) -> Result<Option<String>, StoreError> {
        let agent = AgentNo(first_number(Tree::Agents, key)?);
        if agent != record.no || agent.0 > self.counters.next_agent {
            return Ok(Some(format!("{} has a wrong number", record.address)));
        }
        let named = agents::by_address(self.read, &record.address)?;
        if named.is_none_or(|named| named.no != agent) {
            return Ok(Some(format!("{} is not found by its address", record.address)));
        }
        let name = record.address.as_str().as_bytes();
        self.needs(Tree::OwnRoster, name, "an agent that the roster does not show")
    }

    fn mailbox(&mut self, key: &[u8], value: &[u8]) -> Result<Option<String>, StoreError> {
        let (head, rest) = codec::decode_prefix::<mailbox::Head>(value)?;
        let agent = AgentNo(first_number(Tree::Mailbox, key)?);
        let seq = Seq(last_number(Tree::Mailbox, key)?);
        self.use_body(head.body);
        self.boxes.entry(agent).or_default().total += 1;
        let mail = head.body.read(Tree::Mailbox, rest, self.bodies)?;
        if classes::has_rows(head.class) {
            let row = classes::key_of(agent, head.class, seq);
            if !self.read.has(Tree::Classes, &row)? {
                return Ok(Some(format!("message {} is not found by its class", head.id)));
            }
        }
        if mail.id != head.id || mail.priority != head.class || seq.0 > self.counters.next_seq {
            return Ok(Some(format!("message {} is not the one its head names", head.id)));
        }
        let known = history::shown(self.read, agent, head.shown_id())?;
        if known.is_none_or(|entry| entry.seq != seq || entry.body != head.body) {
            return Ok(Some(format!("message {} cannot be acknowledged: its history is missing", head.id)));
        }
        self.needs(Tree::Agents, &agent.0.to_be_bytes(), "mail for an agent that is gone")
    }

    fn class(&self, key: &[u8]) -> Result<Option<String>, StoreError> {
        let (agent, seq) =
            (AgentNo(first_number(Tree::Classes, key)?), Seq(last_number(Tree::Classes, key)?));
        let head = mailbox::head(self.read, agent, seq)?;
        let is_its_class = |head: &mailbox::Head| classes::key_of(agent, head.class, seq) == key;
        Ok((!head.as_ref().is_some_and(is_its_class)).then(|| "a class of a message that is gone".to_owned()))
    }

    fn count(&self, key: &[u8], value: &[u8]) -> Result<Option<String>, StoreError> {
        let agent = first_number(Tree::Boxes, key)?;
        if key.len() == size_of::<u64>() {
            return codec::decode::<BoxCount>(value).map(|_| None);
        }
        let seq = last_number(Tree::Boxes, key)?;
        let message = with_number(&agent.to_be_bytes(), seq);
        self.needs(Tree::Mailbox, &message, "a mark for a message that is gone")
    }

    fn history(&self, key: &[u8], entry: &Entry) -> Result<Option<String>, StoreError> {
        let twin = match &entry.name {
            Name::Own => return Ok(None),
            Name::ShownAs(twin) | Name::Fresh(twin) => twin,
        };
        let Some(parties) = key.last_chunk() else { return Ok(Some("a key is too short".to_owned())) };
        self.needs(
            Tree::History,
            &history::key_of(twin, parties),
            "a renamed message has lost one of its names",
        )
    }

    fn outbox(&mut self, key: &[u8], value: &[u8]) -> Result<Option<String>, StoreError> {
        let (head, rest) = codec::decode_prefix::<outbox::Head>(value)?;
        let seq = last_number(Tree::Outbox, key)?;
        let destination = outbox::destination_of(key)?;
        self.use_body(head.body);
        let mail = head.body.read(Tree::Outbox, rest, self.bodies)?;
        let is_its = mail.id == head.id && outbox::lane_of(&mail) == head.lane && mail.priority == head.class;
        if !is_its || seq > self.counters.next_seq {
            return Ok(Some(format!("message {} is not the one its head names", head.id)));
        }
        let number =
            [outbox::key_of(&destination).as_slice(), &head.lane, &head.number.to_be_bytes()].concat();
        if head.number > seq || !self.numbers.insert(number) {
            return Ok(Some(format!("message {} has a number that its lane used before", head.id)));
        }
        let parties = history::parties_of(&mail);
        let Some(bytes) = self.read.get(Tree::History, &history::key_of(&head.id, &parties))? else {
            return Ok(Some(format!("message {} has no history", head.id)));
        };
        let entry: Entry = codec::decode(&bytes)?;
        let wrong = entry.seq != Seq(seq) || entry.place != Place::Outbox(destination);
        Ok(wrong.then(|| format!("the history of message {} names another place", head.id)))
    }

    fn blob(&self, key: &[u8], value: &[u8]) -> Result<Option<String>, StoreError> {
        let Uses(_) = codec::decode(value)?;
        let Ok(digest) = blob::Digest::try_from(key) else {
            return Ok(Some("a name is too short".to_owned()));
        };
        blob::read(self.bodies, &digest).map(|_| None)
    }

    /// The counts of mailboxes against the mailboxes.
    fn boxes(&mut self) -> Result<(), StoreError> {
        let mut stored = BTreeMap::new();
        handed::each(self.read, &mut |agent, count| stored.extend([(agent, count.total)]))?;
        let found: BTreeMap<_, _> = self.boxes.iter().map(|(agent, count)| (*agent, count.total)).collect();
        for agent in stored.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
            let (stored, found) = (stored.get(agent), found.get(agent));
            if stored != found {
                let say = || format!("agent {} has {found:?} messages, counted as {stored:?}", agent.0);
                self.report.wrong(Tree::Boxes, say);
            }
        }
        for agent in found.keys() {
            let handed = handed::of(self.read, *agent)?;
            let mut marked = 0;
            self.read.scan(Tree::Mailbox, &Range::prefix(&agent.0.to_be_bytes()), &mut |key, _| {
                let seq = last_number(Tree::Mailbox, key).map(Seq);
                marked += u32::from(seq.is_ok_and(|seq| handed.contains(seq)));
                ControlFlow::Continue(())
            })?;
            let beyond = handed.beyond.len() as u64;
            if marked != handed.count.handed_out || beyond != u64::from(handed.count.beyond) {
                self.report.wrong(Tree::Boxes, || format!("agent {}: handed out is miscounted", agent.0));
            }
        }
        Ok(())
    }

    /// The counts of bodies against the messages that name them.
    fn bodies(&mut self) -> Result<(), StoreError> {
        for (digest, found) in std::mem::take(&mut self.uses) {
            let counted = blob::uses(self.read, &digest)?;
            if counted != found {
                let name = blob::file_name(&digest);
                self.report
                    .wrong(Tree::Blobs, || format!("{name} is named {found} times, counted {counted}"));
            }
        }
        Ok(())
    }

    fn file(&self, key: &[u8], value: &[u8]) -> Result<Option<String>, StoreError> {
        let FileUses { size, .. } = codec::decode(value)?;
        let Ok(digest) = key.try_into().map(FileDigest) else {
            return Ok(Some("a name is too short".to_owned()));
        };
        let Some(dir) = self.attachments else { return Ok(None) };
        let found = std::fs::metadata(dir.join(digest.hex())).map(|meta| meta.len()).ok();
        Ok((found != Some(size)).then(|| format!("{digest} has {found:?} bytes, {size} are meant")))
    }

    /// The counts of attached files against the records that name them.
    fn files(&mut self) -> Result<(), StoreError> {
        let mut counted = BTreeMap::new();
        files::each(self.read, &mut |digest, uses| counted.extend([(digest, uses.count)]))?;
        let found = std::mem::take(&mut self.file_uses);
        for digest in counted.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
            let (counted, found) = (counted.get(digest), found.get(digest));
            if counted != found {
                let say = || format!("{digest} is named {found:?} times, counted {counted:?}");
                self.report.wrong(Tree::Files, say);
            }
        }
        Ok(())
    }

    fn use_file(&mut self, digest: FileDigest) {
        *self.file_uses.entry(digest).or_default() += 1;
    }

    fn use_body(&mut self, body: BodyPlace) {
        if let BodyPlace::Blob(digest) = body {
            *self.uses.entry(digest).or_default() += 1;
        }
    }

    fn needs(&self, tree: Tree, key: &[u8], without: &str) -> Result<Option<String>, StoreError> {
        Ok((!self.read.has(tree, key)?).then(|| format!("{without}: {}", shown(key))))
    }
}

/// A key for people: text where it is text.
fn shown(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if Address::parse(text, &[]).is_ok() => text.to_owned(),
        _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Problems listed in words.
const LISTED: usize = 100;

/// Values copied before they are looked at.
const PART: usize = 256;
