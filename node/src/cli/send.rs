//! `amesh send` and `amesh reply`: a message is signed here and handed to the node (CLI-2, CLI-5, ICL-10, ICL-14).

use super::args::{ReplyArgs, SendArgs};
use super::context::Context;
use super::download;
use super::output::Trouble;
use super::session::Session;
use crate::client::compose::{Draft, Outgoing};
use crate::client::http::ApiError;
use crate::client::mailbox::{Folder, Mailbox};
use crate::client::registration::Registration;
use amesh_proto::address::{Address, Naming};
use amesh_proto::api::route::RouteResponse;
use amesh_proto::id::MessageId;
use amesh_proto::message::Priority;
use rand::TryRngCore as _;
use serde::Serialize;
use std::io::Read as _;

/// What is printed about a message that was accepted.
#[derive(Serialize)]
struct Sent<'a> {
    #[serde(flatten)]
    answer: &'a RouteResponse,
    from: &'a str,
    to: &'a str,
    subject: &'a str,
    thread_id: &'a str,
}

/// The node refuses longer messages anyway (MSG-9); reading stops somewhat later so that it can say so.
const LONGEST_MESSAGE: u64 = 1 << 20;

pub(super) async fn send(ctx: &Context, args: &SendArgs) -> anyhow::Result<()> {
    let mut session = Session::open(ctx).await?;
    let to = recipient(&session, &args.to)?;
    let attachments = download::upload(ctx, &mut session, &args.attach).await?;
    let draft = Draft {
        to,
        subject: args.subject.clone(),
        message: text(&args.message)?,
        kind: args.kind.clone(),
        priority: Priority::parse(&args.priority)?,
        in_reply_to: args.reply_to.clone(),
        thread_id: args.thread_id.clone().or_else(|| thread_of(&session, args.reply_to.as_deref())),
        context: args.context.clone(),
        attachments,
    };
    dispatch(ctx, session, draft).await
}

pub(super) async fn reply(ctx: &Context, args: &ReplyArgs) -> anyhow::Result<()> {
    let mut session = Session::open(ctx).await?;
    let mailbox = Mailbox::of(&session.identity.home);
    let Some(original) = mailbox.find(Folder::Inbox, &args.id).map_err(Trouble::from)? else {
        return Err(ctx.not_here(&args.id).into());
    };
    let of = |member: &str| original.envelope.text(member).unwrap_or_default();
    // To the signed sender, never to an unsigned `reply_to`.
    let to = recipient(&session, &of("from"))?;
    let parent = MessageId::parse(&of("id")).map_or_else(|_| original.id.clone(), |id| id.to_string());
    let thread = of("thread_id");
    let attachments = download::upload(ctx, &mut session, &args.attach).await?;
    let draft = Draft {
        to,
        subject: answered(&of("subject")),
        message: text(&args.message)?,
        kind: args.kind.clone(),
        priority: match &args.priority {
            Some(priority) => Priority::parse(priority)?,
            None => Priority::parse(&of("priority")).unwrap_or_default(),
        },
        thread_id: Some(if thread.is_empty() { parent.clone() } else { thread }),
        in_reply_to: Some(parent),
        context: args.context.clone(),
        attachments,
    };
    dispatch(ctx, session, draft).await
}

/// Signs the message, sends it, and keeps a copy.
pub(super) async fn dispatch(ctx: &Context, session: Session, draft: Draft) -> anyhow::Result<()> {
    let (mut session, full) = through(session, &draft.to)?;
    let key = session.identity.key().map_err(Trouble::from)?;
    let mut random = [0; 8];
    rand::rngs::OsRng.try_fill_bytes(&mut random)?;
    let id = MessageId::mint(ctx.now(), random);
    let (to, subject) = (draft.to.to_string(), draft.subject.clone());
    let out = draft.sign(&session.registration.address, &key, id, ctx.now()).map_err(|error| {
        let trouble = Trouble::new("invalid_field", error.to_string());
        match std::error::Error::source(&error) {
            Some(source) => trouble.because(source),
            None => trouble,
        }
    })?;
    let answer = route(ctx, &mut session, &out, full).await?;
    let file = out.file(&answer.id, &answer.status, &answer.method, ctx.now());
    if let Err(error) = Mailbox::of(&session.identity.home).save_sent(&answer.id, &to, &file) {
        // The message is on its way; failing now would make somebody send it again.
        ctx.out.note(&format!("sent, but no copy could be kept: {error}"));
    }
    let sent =
        Sent { answer: &answer, from: &out.from, to: &to, subject: &subject, thread_id: &out.thread_id };
    ctx.out.show(&sent, || {
        let place = answer.remote_host.as_deref().map(|host| format!(" for {host}")).unwrap_or_default();
        format!("{} {}{place} ({})\nto {to}", answer.id, answer.status, answer.method)
    })
}

/// Sends once more where the answer was lost: the id says that it is the same message.
async fn route(
    ctx: &Context,
    session: &mut Session,
    out: &Outgoing,
    full: bool,
) -> Result<RouteResponse, Trouble> {
    let request = out.request(full);
    match session.api.route(session.route_url(), &request).await {
        Ok(answer) => Ok(answer),
        Err(error @ ApiError::Refused { status: 401, .. }) => {
            if !session.renew(ctx, &error).await? {
                return Err(Trouble::from(error).mend(ctx.command("register --force")));
            }
            Ok(session.api.route(session.route_url(), &request).await?)
        }
        Err(ApiError::Unreachable { .. }) => match session.api.route(session.route_url(), &request).await {
            Ok(answer) => Ok(answer),
            Err(error @ ApiError::Unreachable { .. }) => {
                Err(Trouble::from(error).mend(ctx.command("up --detach")))
            }
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The registration to send with, and whether it is a foreign provider's: the one whose domain is the recipient's,
/// else the agent's own node, which knows the way (IDN-5, CLI-12).
fn through(session: Session, to: &Address) -> Result<(Session, bool), Trouble> {
    if to.provider() == session.registration.provider {
        return Ok((session, false));
    }
    let all = Registration::all(&session.identity.home)?;
    match all.into_iter().find(|one| to.as_str().ends_with(&format!(".{}", one.provider))) {
        Some(external) => Ok((Session::with(session.identity, external, None)?, true)),
        None => Ok((session, false)),
    }
}

/// The full address that was meant; it is what gets signed.
pub(super) fn recipient(session: &Session, typed: &str) -> Result<Address, Trouble> {
    let registration = &session.registration;
    let wrong = |error: amesh_proto::address::AddressError| {
        Trouble::usage(format!("{typed:?} is no address"))
            .because(error)
            .mend("amesh agents (lists whom this node knows)")
    };
    let naming = Naming::new(&registration.tenant, &registration.provider, "localhost").map_err(wrong)?;
    let sender = Address::parse(&registration.address, &[&registration.provider]).map_err(wrong)?;
    naming.expand(typed, Some(&sender)).map_err(wrong)
}

/// The thread of the message that is answered, where it is among the agent's files (MSG-11).
fn thread_of(session: &Session, parent: Option<&str>) -> Option<String> {
    let stored = Mailbox::of(&session.identity.home).find(Folder::Inbox, parent?).ok().flatten()?;
    stored.envelope.text("thread_id")
}

/// `-` reads standard input.
fn text(message: &str) -> anyhow::Result<String> {
    if message != "-" {
        return Ok(message.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().lock().take(LONGEST_MESSAGE).read_to_string(&mut text)?;
    Ok(text)
}

/// `Re: ` once, however long the exchange (CLI-5).
fn answered(subject: &str) -> String {
    let is_answer = subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
    if is_answer { subject.to_owned() } else { format!("Re: {subject}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_an_answer_is_not_marked_twice() {
        assert_eq!(answered("Hello"), "Re: Hello");
        assert_eq!(answered("Re: Hello"), "Re: Hello");
        assert_eq!(answered("RE: Hello"), "RE: Hello");
        assert_eq!(answered("é"), "Re: é");
        assert_eq!(answered("Réponse"), "Re: Réponse");
    }
}
