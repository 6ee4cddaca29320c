//! `amesh invite`, `join`, `leave` and `peers`: who belongs to the mesh (DESIGN §3).

use super::args::{InviteArgs, JoinArgs, PeersAction, PeersArgs};
use super::context::Context;
use super::output::Trouble;
use amesh_proto::api::control::{InviteRequest, JoinRequest, Joined};
use std::io::{IsTerminal as _, Read};

/// No ticket is longer.
const LONGEST_TICKET: u64 = 16 * 1024;

pub(super) async fn invite(ctx: &Context, args: &InviteArgs) -> anyhow::Result<()> {
    let request = InviteRequest { ttl_secs: Some(args.ttl.as_secs()), introducer: args.introducer };
    let invitation = ctx.control()?.invite(&request).await.map_err(Trouble::from)?;
    let on_screen = std::io::stdout().is_terminal();
    let code = if args.qr { super::qr::drawn(&invitation.ticket, on_screen)? } else { String::new() };
    ctx.out.show(&invitation, || code + &invitation.ticket)?;
    if on_screen {
        ctx.out.note(&format!(
            "On the other machine: amesh join <ticket>   (one machine, until {})",
            invitation.expires_at
        ));
    }
    Ok(())
}

pub(super) async fn join(ctx: &Context, args: &JoinArgs) -> anyhow::Result<()> {
    let ticket = ticket(ctx, args, &mut std::io::stdin().lock())?;
    let control = ctx.control()?;
    let mut request = JoinRequest { ticket, leave: args.leave, confirm: args.yes };
    let mut joined = control.join(&request).await.map_err(Trouble::from)?;
    if !joined.joined {
        ctx.out.note(&clashes(&joined));
        if !super::ask::agreed(ctx, "Join although these names will be held by the other host?")? {
            return Err(clash_trouble(ctx, &joined).into());
        }
        request.confirm = true;
        joined = control.join(&request).await.map_err(Trouble::from)?;
    }
    ctx.out.show(&joined, || {
        let members = joined.members.join(", ");
        let mut text = format!("joined mesh {}\nmembers: {members}", joined.mesh);
        if !joined.clashes.is_empty() {
            text.push_str(&format!("\n{}", clashes(&joined)));
        }
        text
    })
}

pub(super) async fn leave(ctx: &Context) -> anyhow::Result<()> {
    let done = ctx.control()?.leave().await.map_err(Trouble::from)?;
    ctx.out.show(&done, || "left the mesh; this node is on its own now".to_owned())
}

pub(super) async fn peers(ctx: &Context, args: &PeersArgs) -> anyhow::Result<()> {
    let control = ctx.control()?;
    if let Some(PeersAction::Remove { id }) = &args.action {
        let removed = control.remove_peer(id).await.map_err(Trouble::from)?;
        return ctx.out.show(&removed, || match removed.scope.as_str() {
            "mesh" => format!("{} is removed from the mesh", removed.node_id),
            _ => format!(
                "{} is blocked by this node alone; the founder or an introducer can remove it for all",
                removed.node_id
            ),
        });
    }
    if let Some(PeersAction::Promote { id }) = &args.action {
        let promoted = control.promote_peer(id).await.map_err(Trouble::from)?;
        return ctx.out.show(&promoted, || {
            format!("{} may invite machines to the mesh now, and remove them", promoted.node_id)
        });
    }
    let list = control.peers().await.map_err(Trouble::from)?;
    ctx.out.show(&list, || super::peers::told(&list))
}

/// The mesh was not joined because names would change hands.
fn clash_trouble(ctx: &Context, joined: &Joined) -> Trouble {
    Trouble::new("name_clash", "not joined: agents on both sides have the same names")
        .because(clashes(joined))
        .mend(ctx.command("join TICKET --yes"))
}

/// The ticket from the argument, a file, or standard input.
pub(super) fn ticket(ctx: &Context, args: &JoinArgs, stdin: &mut impl Read) -> Result<String, Trouble> {
    let mut text = String::new();
    let from = match (&args.ticket, &args.file) {
        (Some(ticket), _) if ticket != "-" => return checked(ctx, ticket),
        (_, Some(path)) => {
            let opened = std::fs::File::open(path).map_err(|error| {
                Trouble::new("no_ticket", format!("cannot read {}", path.display())).because(error)
            })?;
            opened.take(LONGEST_TICKET).read_to_string(&mut text)
        }
        _ => {
            if std::io::stdin().is_terminal() && args.ticket.is_none() {
                ctx.out.note("Paste the ticket of `amesh invite`, then Enter and Ctrl-D:");
            }
            stdin.take(LONGEST_TICKET).read_to_string(&mut text)
        }
    };
    from.map_err(|error| Trouble::new("no_ticket", "the ticket cannot be read").because(error))?;
    checked(ctx, &text)
}

/// A ticket that was cut or edited on its way is recognised here, before anybody is dialled.
fn checked(ctx: &Context, text: &str) -> Result<String, Trouble> {
    let text: String = text.split_whitespace().collect();
    if text.is_empty() {
        return Err(Trouble::usage("there is no ticket").mend(ctx.command("join TICKET")));
    }
    match text.parse::<amesh_proto::ticket::Ticket>() {
        Ok(_) => Ok(text),
        Err(error) => Err(Trouble::new("bad_ticket", "this is not a whole ticket")
            .because(error)
            .mend("amesh invite (on the other machine, and copy all of it)")),
    }
}

fn clashes(joined: &Joined) -> String {
    let lines = joined.clashes.iter().map(|clash| {
        format!("{} is held by {}, not by {}: {}", clash.address, clash.holder, clash.loser, clash.mend)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Global;
    use amesh_proto::member::MeshId;
    use amesh_proto::ticket::{Ticket, Token};
    use amesh_proto::time::UnixMillis;

    fn a_ticket() -> String {
        let ticket = Ticket {
            mesh: MeshId([1; 16]),
            inviter: amesh_proto::node_id::NodeId::from_bytes([2; 32]),
            addresses: vec!["10.0.0.1:23001".parse().unwrap()],
            token: Token([3; 24]),
            expires_at: UnixMillis(u64::MAX / 2),
        };
        ticket.to_string()
    }

    fn asked(ticket: Option<&str>, stdin: &str) -> Result<String, Trouble> {
        let args = JoinArgs { ticket: ticket.map(str::to_owned), file: None, leave: false, yes: false };
        super::ticket(&Context::new(Global::default()), &args, &mut stdin.as_bytes())
    }

    #[test]
    fn a_ticket_comes_from_the_argument_or_from_standard_input_however_it_was_wrapped() {
        let ticket = a_ticket();
        let (first, second) = ticket.split_at(20);
        assert_eq!(asked(Some(&ticket), "").unwrap(), ticket);
        assert_eq!(asked(Some("-"), &format!("{first}\n  {second}\n")).unwrap(), ticket);
        assert_eq!(asked(None, &ticket).unwrap(), ticket);
    }

    #[test]
    fn a_ticket_comes_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), a_ticket()).unwrap();
        let args = JoinArgs { ticket: None, file: Some(file.path().to_owned()), leave: false, yes: false };
        let ctx = Context::new(Global::default());
        assert_eq!(ticket(&ctx, &args, &mut std::io::empty()).unwrap(), a_ticket());
    }

    #[test]
    fn an_edited_ticket_is_recognised_before_anybody_is_dialled() {
        let ticket = a_ticket();
        let last = ticket.chars().last().unwrap();
        let edited = format!("{}{}", &ticket[..ticket.len() - 1], if last == 'a' { 'b' } else { 'a' });
        for bad in [edited.as_str(), &ticket[..ticket.len() - 4], "hello"] {
            let trouble = asked(Some(bad), "").unwrap_err();
            assert_eq!(trouble.code, "bad_ticket", "{bad}");
            assert!(trouble.mend.unwrap().starts_with("amesh invite"));
        }
        assert!(asked(None, " \n").unwrap_err().usage, "no ticket at all is a usage error");
    }
}
