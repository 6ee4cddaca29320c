//! `amesh inbox`, `read` and `delete`: an agent's mail on disk, brought up to date first (CLI-3, CLI-4, CLI-9).

use super::args::{DeleteArgs, DownloadArgs, InboxAction, InboxArgs, ReadArgs};
use super::context::Context;
use super::download;
use super::fetch::{self, Report};
use super::output::Trouble;
use super::session::Session;
use super::table::table;
use super::view::View;
use crate::client::identity::Identity;
use crate::client::judge::Judged;
use crate::client::known_keys::KnownKeys;
use crate::client::mailbox::{Folder, Mailbox, Stored};
use crate::client::registration::Registration;
use serde::Serialize;

/// What `inbox` prints.
#[derive(Serialize)]
struct Listing {
    messages: Vec<View>,
    /// How many are listed.
    count: usize,
    /// How many of that kind there are.
    total: usize,
    unread: usize,
    /// How many came just now.
    fetched: usize,
    /// Files that hold no message.
    unreadable: usize,
}

#[derive(Serialize)]
struct Count {
    count: usize,
    unread: usize,
}

#[derive(Serialize)]
struct Changed<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<bool>,
}

pub(super) async fn inbox(ctx: &Context, args: &InboxArgs) -> anyhow::Result<()> {
    match &args.action {
        Some(InboxAction::Read { id }) => {
            let read = ReadArgs { id: id.clone(), no_mark_read: false, sent: false, download: false };
            return self::read(ctx, &read).await;
        }
        Some(InboxAction::Ack { id }) => return acknowledge(ctx, id).await,
        Some(InboxAction::List) | None => {}
    }
    if args.no_fetch {
        return list(ctx, &ctx.identity().await?, args, &Report::default());
    }
    let mut session = Session::open(ctx).await?;
    let fetched = fetch::fetch_from(ctx, &mut session, true).await;
    let (report, failed) = match fetched {
        Ok(report) => (report, None),
        Err(trouble) => (Report::default(), Some(trouble.mend(ctx.command("up --detach")))),
    };
    for why in &report.left {
        ctx.out.note(&format!("left with the node: {why}"));
    }
    list(ctx, &session.identity, args, &report)?;
    match failed {
        // The list is what there is on disk; that it may be old is not hidden.
        Some(trouble) => Err(trouble.into()),
        None if args.follow => super::follow::follow(ctx, &mut session).await,
        None => Ok(()),
    }
}

fn list(ctx: &Context, identity: &Identity, args: &InboxArgs, report: &Report) -> anyhow::Result<()> {
    let (all, unreadable) = Mailbox::of(&identity.home).list(Folder::Inbox);
    let unread = all.iter().filter(|one| one.status() == "unread").count();
    let wanted: Vec<&Stored> = all.iter().filter(|one| is_wanted(&one.status(), args)).collect();
    if args.count {
        let count = Count { count: wanted.len(), unread };
        return ctx.out.show(&count, || count.count.to_string());
    }
    let judge = Judge::of(identity)?;
    let views = wanted.iter().take(args.limit).map(|one| View::of(one, &judge.judge(one)).in_list());
    let messages: Vec<View> = views.collect();
    let listing = Listing {
        count: messages.len(),
        messages,
        total: wanted.len(),
        unread,
        fetched: report.new.len(),
        unreadable,
    };
    if unreadable > 0 {
        ctx.out.note(&format!("{unreadable} file(s) in {} hold no message", identity.home.inbox().display()));
    }
    ctx.out.show(&listing, || listing.text())
}

fn is_wanted(status: &str, args: &InboxArgs) -> bool {
    match (args.all, args.read) {
        (true, _) => true,
        (false, true) => status == "read",
        (false, false) => status == "unread",
    }
}

impl Listing {
    fn text(&self) -> String {
        if self.messages.is_empty() {
            return "no messages".to_owned();
        }
        let rows: Vec<_> = self
            .messages
            .iter()
            .map(|one| {
                let mark = if one.status == "unread" { "*" } else { " " };
                let mut trust =
                    if one.trust == "verified" { String::new() } else { one.trust.to_uppercase() };
                if !one.injection_flags.is_empty() {
                    trust = format!("{trust} SUSPICIOUS").trim_start().to_owned();
                }
                [
                    mark.to_owned(),
                    one.id.clone(),
                    one.from.clone(),
                    one.priority.clone(),
                    one.subject.clone(),
                    one.received_at.clone(),
                    trust,
                ]
            })
            .collect();
        let left = self.total.saturating_sub(self.count);
        let more = if left > 0 { format!("\n… and {left} more (--limit)") } else { String::new() };
        table(["", "ID", "FROM", "PRIORITY", "SUBJECT", "RECEIVED", ""], &rows) + &more
    }
}

pub(super) async fn read(ctx: &Context, args: &ReadArgs) -> anyhow::Result<()> {
    let identity = ctx.identity().await?;
    let folder = if args.sent { Folder::Sent } else { Folder::Inbox };
    let Some(mut stored) = Mailbox::of(&identity.home).find(folder, &args.id).map_err(Trouble::from)? else {
        return Err(ctx.not_here(&args.id).into());
    };
    let judge = Judge::of(&identity)?;
    let judged = if args.sent { judge.own(&stored)? } else { judge.judge(&stored) };
    if !args.sent && !args.no_mark_read && stored.status() == "unread" {
        stored.set_status("read", ctx.now()).map_err(Trouble::from)?;
    }
    let view = View::of(&stored, &judged);
    if !args.download {
        return ctx.out.show(&view, || view.text());
    }
    let files = DownloadArgs {
        id: args.id.clone(),
        attachment: None,
        all: true,
        dest: None,
        sent: args.sent,
        suspicious: false,
    };
    let downloaded = download::bring(ctx, &files).await?;
    let shown = ReadWithFiles { view: &view, downloaded: &downloaded };
    ctx.out.show(&shown, || format!("{}\n\n{}", view.text(), downloaded.text()))?;
    downloaded.judge()
}

/// A message, and where its files are now (CLI-4).
#[derive(Serialize)]
struct ReadWithFiles<'a> {
    #[serde(flatten)]
    view: &'a View,
    downloaded: &'a download::Report,
}

pub(super) async fn delete(ctx: &Context, args: &DeleteArgs) -> anyhow::Result<()> {
    let identity = ctx.identity().await?;
    let folder = if args.sent { Folder::Sent } else { Folder::Inbox };
    let Some(stored) = Mailbox::of(&identity.home).find(folder, &args.id).map_err(Trouble::from)? else {
        return Err(ctx.not_here(&args.id).into());
    };
    if !args.force && !super::ask::agreed(ctx, &format!("Delete {}?", args.id))? {
        return Err(Trouble::usage("nothing was deleted")
            .because("deleting cannot be undone, and nobody agreed")
            .mend(ctx.command(&format!("delete {} --force", args.id)))
            .into());
    }
    stored.delete().map_err(Trouble::from)?;
    let changed = Changed { id: &args.id, deleted: Some(true), acknowledged: None };
    ctx.out.show(&changed, || format!("deleted {}", args.id))
}

/// `inbox ack ID` of the protocol's chapter 09: the message is saved before the node forgets it.
async fn acknowledge(ctx: &Context, id: &str) -> anyhow::Result<()> {
    let mut session = Session::open(ctx).await?;
    fetch::fetch_from(ctx, &mut session, false).await?;
    if Mailbox::of(&session.identity.home).find(Folder::Inbox, id).map_err(Trouble::from)?.is_none() {
        return Err(ctx.not_here(id).into());
    }
    let removed = session.api.acknowledge(&[id.to_owned()], false).await.map_err(Trouble::from)?;
    let changed = Changed { id, deleted: None, acknowledged: Some(removed > 0) };
    ctx.out.show(&changed, || match removed {
        0 => format!("{id} had been acknowledged before"),
        _ => format!("acknowledged {id}"),
    })
}

/// Judges what is on disk, for whichever of the agent's addresses it was written to.
struct Judge {
    known: KnownKeys,
    address: String,
    provider: String,
    others: Vec<Registration>,
    own: Option<amesh_proto::key::PublicKey>,
}

impl Judge {
    fn of(identity: &Identity) -> Result<Self, Trouble> {
        Ok(Self {
            known: KnownKeys::load(&identity.home)?,
            address: identity.address.clone(),
            provider: identity.provider.clone(),
            others: Registration::all(&identity.home)?,
            own: identity.key().ok().map(|key| key.public()),
        })
    }

    fn judge(&self, stored: &Stored) -> Judged {
        let from = stored.local.text("fetched_from").unwrap_or_default();
        match self.others.iter().find(|one| one.provider == from) {
            Some(one) => Judged::stored(stored, &one.address, &one.provider, &self.known),
            None => Judged::stored(stored, &self.address, &self.provider, &self.known),
        }
    }

    /// A message this agent sent: verified with its own key, written to somebody else.
    fn own(&self, stored: &Stored) -> Result<Judged, Trouble> {
        let mut stored = stored.clone();
        if let Some(own) = &self.own {
            stored.local.put("sender_public_key", &own.sender_key_text());
        }
        let to = stored.envelope.text("to").unwrap_or_default();
        Ok(Judged::stored(&stored, &to, &self.provider, &self.known))
    }
}
