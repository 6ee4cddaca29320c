//! `amesh inbox --follow`: mail as it comes, over the WebSocket, saved before it is acknowledged.

use super::context::Context;
use super::fetch::{self, Report};
use super::output::Trouble;
use super::session::Session;
use crate::client::known_keys::KnownKeys;
use crate::client::received::Received;
use crate::client::websocket::{MailStream, StreamError};
use amesh_proto::api::ws::ServerFrame;
use std::time::Duration;

/// First and longest wait before connecting again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Never returns but with an error that connecting again does not mend.
pub(super) async fn follow(ctx: &Context, session: &mut Session) -> anyhow::Result<()> {
    let mut wait = BACK_OFF.0;
    loop {
        match MailStream::open(session.api.base(), &session.registration.api_key).await {
            Ok(mut stream) => {
                wait = BACK_OFF.0;
                let ended = listen(ctx, session, &mut stream).await?;
                ctx.out.note(&format!("{ended}; connecting again"));
            }
            Err(error @ StreamError::Refused(_)) => return Err(Trouble::from(error).into()),
            Err(error) => ctx.out.note(&format!("{error}; trying again in {} s", wait.as_secs_f32())),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
        // The node may be back at another address.
        if let Ok(node) = ctx.node() {
            *session = Session::with(session.identity.clone(), session.registration.clone(), Some(&node))?;
        }
    }
}

/// Takes over mail until the connection ends.
async fn listen(ctx: &Context, session: &Session, stream: &mut MailStream) -> anyhow::Result<StreamError> {
    let mut known = KnownKeys::load(&session.identity.home)?;
    loop {
        let frame = match stream.next().await {
            Ok(frame) => frame,
            Err(error) => return Ok(error),
        };
        let mail = match frame {
            ServerFrame::Mail { mail, .. } => Received::from_delivery(*mail),
            ServerFrame::Error(said) => {
                ctx.out.note(&format!("the node says: {} ({})", said.message, said.error));
                continue;
            }
            _ => continue,
        };
        let mail = match mail {
            Ok(mail) => mail,
            Err(error) => {
                ctx.out.note(&error.to_string());
                continue;
            }
        };
        let mut report = Report::default();
        fetch::take_over(ctx, session, &mail, &mut known, &mut report)?;
        known.save()?;
        if let Err(error) = stream.acknowledge(&mail.id).await {
            return Ok(error);
        }
        for one in &report.new {
            ctx.out.stream(one, || one.line())?;
        }
    }
}
