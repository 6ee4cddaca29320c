//! Taking over mail: ask, judge, save to disk, and only then acknowledge (CLI-8). `amesh fetch` does it for every
//! registration; `inbox` for the agent's own node.

use super::args::FetchArgs;
use super::context::Context;
use super::output::Trouble;
use super::session::Session;
use super::table::shown;
use crate::client::http::{ApiError, Page};
use crate::client::judge::Judged;
use crate::client::known_keys::KnownKeys;
use crate::client::mailbox::{Mailbox, Saved};
use crate::client::raw::RawObject;
use crate::client::received::Received;
use crate::client::registration::Registration;
use serde::Serialize;

/// What one fetch did.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Where from.
    pub(super) provider: String,
    /// What came.
    pub(super) new: Vec<Fetched>,
    /// How many were on disk already.
    pub(super) known: usize,
    /// How many the provider was told are safe.
    pub(super) acknowledged: usize,
    /// What could not be taken over, and stays with the provider.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<String>,
}

/// One message that came.
#[derive(Debug, Serialize)]
pub(super) struct Fetched {
    pub(super) id: String,
    pub(super) from: String,
    pub(super) subject: String,
    pub(super) trust: &'static str,
    pub(super) verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warning: Option<String>,
}

#[derive(Serialize)]
struct All {
    fetched: usize,
    providers: Vec<Report>,
}

pub(super) async fn fetch(ctx: &Context, args: &FetchArgs) -> anyhow::Result<()> {
    let identity = ctx.identity().await?;
    let mut registrations = Registration::all(&identity.home).map_err(Trouble::from)?;
    if let Some(provider) = args.provider.as_deref().map(str::to_lowercase) {
        registrations.retain(|one| one.provider == provider);
        if registrations.is_empty() {
            return Err(Trouble::new(
                "not_registered",
                format!("the agent is not registered with {provider}"),
            )
            .mend(ctx.command(&format!("register --provider {provider}")))
            .into());
        }
    }
    let node = ctx.node().ok();
    let mut providers = Vec::new();
    let mut failed = None;
    if registrations.is_empty() {
        let mut session = Session::open(ctx).await?;
        providers.push(fetch_from(ctx, &mut session, !args.no_mark).await?);
    }
    for registration in registrations {
        let mut session = Session::with(identity.clone(), registration, node.as_ref())?;
        match fetch_from(ctx, &mut session, !args.no_mark).await {
            Ok(report) => providers.push(report),
            Err(trouble) => {
                ctx.out.note(&format!("{}: {}", session.registration.provider, trouble.what));
                failed.get_or_insert(trouble);
            }
        }
    }
    let fetched = providers.iter().map(|report| report.new.len()).sum();
    let all = All { fetched, providers };
    ctx.out.show(&all, || all.text(args.verbose))?;
    failed.map_or(Ok(()), |trouble| Err(trouble.into()))
}

impl All {
    fn text(&self, verbose: bool) -> String {
        let mut lines = Vec::new();
        for report in &self.providers {
            for one in report.new.iter().filter(|one| verbose || one.warning.is_some()) {
                lines.push(one.line());
            }
            lines.extend(report.left.iter().map(|why| format!("left with {}: {why}", report.provider)));
        }
        lines.push(match self.fetched {
            0 => "no new messages".to_owned(),
            1 => "1 new message; amesh inbox lists it".to_owned(),
            many => format!("{many} new messages; amesh inbox lists them"),
        });
        lines.join("\n")
    }
}

impl Fetched {
    pub(super) fn line(&self) -> String {
        let line = format!("{}  {}  {}", self.id, shown(&self.from), shown(&self.subject));
        match &self.warning {
            Some(warning) => format!("{line}\n  WARNING: {}", shown(warning)),
            None => line,
        }
    }
}

/// Takes over everything that waits at one provider.
pub(super) async fn fetch_from(ctx: &Context, session: &mut Session, ack: bool) -> Result<Report, Trouble> {
    let mut report = Report { provider: session.registration.provider.clone(), ..Report::default() };
    let mut known = KnownKeys::load(&session.identity.home)?;
    let mut cursor = None;
    loop {
        let page = page(ctx, session, cursor.as_deref()).await?;
        let mut safe = Vec::new();
        for entry in &page.messages {
            match Received::parse(entry) {
                Ok(mail) => {
                    take_over(ctx, session, &mail, &mut known, &mut report)?;
                    safe.push(mail.id);
                }
                Err(error) => report.left.push(error.to_string()),
            }
        }
        known.save()?;
        if ack && !safe.is_empty() {
            report.acknowledged += session.api.acknowledge(&safe, page.from_inbox).await?;
        }
        // Without a cursor the next page is the same one, unless this one was acknowledged.
        cursor = page.cursor.filter(|_| !ack || !report.left.is_empty());
        let goes_on = page.remaining > 0 && (cursor.is_some() || (ack && !safe.is_empty()));
        if !goes_on {
            return Ok(report);
        }
    }
}

/// Judges one message and saves it, synced to disk.
pub(super) fn take_over(
    ctx: &Context,
    session: &Session,
    mail: &Received,
    known: &mut KnownKeys,
    report: &mut Report,
) -> Result<(), Trouble> {
    let now = ctx.now();
    let Registration { address, provider, .. } = &session.registration;
    let judged = Judged::received(mail, address, provider, known);
    let envelope = RawObject::parse(mail.envelope.get()).unwrap_or_default();
    let from = envelope.text("from").unwrap_or_else(|| "unknown".to_owned());
    let file = judged.file(mail, provider, "fetch", now);
    match Mailbox::of(&session.identity.home).save_received(&mail.id, &from, &file, now)? {
        Saved::Known => report.known += 1,
        Saved::New => {
            if let (true, Some(key)) = (judged.verified, &judged.key) {
                known.remember(&from, key, now);
            }
            report.new.push(Fetched {
                id: mail.id.clone(),
                from,
                subject: envelope.text("subject").unwrap_or_default(),
                trust: judged.trust.as_str(),
                verified: judged.verified,
                warning: judged.problem.map(|problem| problem.to_string()),
            });
        }
    }
    Ok(())
}

async fn page(ctx: &Context, session: &mut Session, cursor: Option<&str>) -> Result<Page, Trouble> {
    match session.api.pending(cursor).await {
        Err(error @ ApiError::Refused { status: 401, .. }) if session.renew(ctx, &error).await? => {
            Ok(session.api.pending(None).await?)
        }
        other => Ok(other?),
    }
}
