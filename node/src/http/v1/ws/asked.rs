//! What the client of a WebSocket asks for, frame by frame (WS-7, WS-8, WS-10, WS-12). Called by `session`.

use super::session::{End, Session};
use super::{error_frame, framed, say, text};
use crate::http::auth::log_in;
use crate::http::error::Problem;
use crate::http::finish::to_the_end;
use crate::http::limit::Class;
use crate::http::mailbox;
use crate::http::v1::route;
use crate::message::{Accepted, Status};
use amesh_proto::api::error::code;
use amesh_proto::api::route::RouteRequest;
use amesh_proto::api::ws::{ClientFrame, MessageDelivered};
use axum::extract::ws::Message;
use futures_util::FutureExt;
use serde_json::value::RawValue;
use tokio::time::Instant;

impl Session {
    pub(super) async fn heard(&mut self, message: Message) -> Result<(), End> {
        self.last_active = Instant::now();
        let frame = match message {
            Message::Text(text) => ClientFrame::parse(text.as_bytes()).map_err(Problem::from),
            Message::Binary(_) => {
                Err(Problem::new(code::INVALID_REQUEST, "frames are JSON text, not binary"))
            }
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Close(_) => return Err(End::Gone),
        };
        match frame {
            Ok(frame) => self.act(frame).await,
            Err(problem) => self.refuse(&problem).await,
        }
    }

    async fn act(&mut self, frame: ClientFrame) -> Result<(), End> {
        let class = match &frame {
            ClientFrame::Route { .. } => Class::Route,
            ClientFrame::Ack { .. } => Class::Pending,
            _ => Class::Other,
        };
        let limits = self.state.limits(&self.peer);
        if let Err(exceeded) = limits.agent(class, &self.agent().no, self.state.now()) {
            let reference =
                if let ClientFrame::Route { reference, .. } = &frame { reference.as_deref() } else { None };
            let answer = error_frame(&exceeded.into(), value_of(reference));
            return Ok(say(&mut self.socket, answer).await?);
        }
        match frame {
            ClientFrame::Ping => self.pong().await,
            ClientFrame::Auth { token } => self.again(&token).await,
            ClientFrame::Ack { id } => {
                self.still_known().await?;
                self.acknowledge(id).await
            }
            ClientFrame::Route { data, reference } => {
                self.still_known().await?;
                self.route(data, reference)
            }
            ClientFrame::Unknown { kind } => {
                let kind: String = kind.chars().take(40).collect();
                let problem =
                    Problem::new(code::INVALID_REQUEST, format!("there is no frame of type {kind:?}"));
                self.refuse(&problem.field("type")).await
            }
        }
    }

    /// WS-8.
    async fn pong(&mut self) -> Result<(), End> {
        #[derive(serde::Serialize)]
        struct Pong {
            #[serde(rename = "type")]
            kind: &'static str,
            timestamp: String,
        }
        let pong = text(&Pong { kind: "pong", timestamp: self.state.now().to_rfc3339() });
        Ok(say(&mut self.socket, pong).await?)
    }

    /// A later `auth` frame is tolerated when it says the same.
    async fn again(&mut self, token: &str) -> Result<(), End> {
        match log_in(&self.state, &self.peer, token) {
            Ok(agent) if agent.no == self.agent().no => Ok(()),
            Ok(_) => {
                let other = Problem::unauthorized("this connection belongs to another agent; open a new one");
                Err(self.fail_with(&other, 4003).await)
            }
            Err(problem) => Err(self.fail_with(&problem, 4003).await),
        }
    }

    /// WS-7. Silent when done; an id that is not waiting gets an error frame.
    async fn acknowledge(&mut self, id: String) -> Result<(), End> {
        let id = match mailbox::id_of(&id) {
            Ok(id) => id,
            Err(problem) => return self.refuse(&problem).await,
        };
        let (state, agent) = (self.state.clone(), self.identity.agent.clone());
        let work = async move {
            match mailbox::acknowledge(&state, &agent, vec![id]).await {
                Ok(0) => vec![error_frame(&mailbox::unknown(), None)],
                Ok(_) => Vec::new(),
                Err(problem) => vec![error_frame(&problem, None)],
            }
        };
        self.begin(work);
        Ok(())
    }

    /// WS-10, A-15. Messages of one socket are committed in the order of their frames.
    fn route(&mut self, data: Box<RawValue>, reference: Option<Box<RawValue>>) -> Result<(), End> {
        let (state, peer, agent) = (self.state.clone(), self.peer.clone(), self.identity.agent.clone());
        let work = async move {
            let sent = async {
                let request = RouteRequest::parse(data.get().as_bytes())?;
                // Who asked for a receipt gets that, and not the same word twice.
                let to = (!request.options.receipt).then(|| request.to.clone());
                Ok((route::send(&state, &peer, &agent, None, request).await?, to))
            };
            match sent.await {
                Ok((accepted, to)) => answers(&accepted, to, reference.as_deref()),
                Err(problem) => vec![error_frame(&problem, value_of(reference.as_deref()))],
            }
        };
        self.begin(work);
        Ok(())
    }

    /// Begins `work` now, up to its first wait: what frames ask for is done in their order.
    fn begin(&mut self, work: impl Future<Output = Vec<String>> + Send + 'static) {
        let mut work = to_the_end(&self.state.parts.tasks, work);
        match (&mut work).now_or_never() {
            Some(frames) => self.under_way.push(std::future::ready(frames).boxed()),
            None => self.under_way.push(work.boxed()),
        }
    }
}

/// `route.result`, and `message.delivered` where it was (A-15, WS-11).
fn answers(accepted: &Accepted, to: Option<String>, reference: Option<&RawValue>) -> Vec<String> {
    let shown = route::shown(accepted);
    let mut frames = Vec::with_capacity(2);
    let delivered = to.filter(|_| accepted.status == Status::Delivered).map(|to| MessageDelivered {
        id: shown.id.clone(),
        to,
        delivered_at: shown.delivered_at.clone().unwrap_or_default(),
        method: shown.method.clone(),
    });
    frames.push(framed("route.result", shown, reference));
    frames.extend(delivered.map(|delivered| framed("message.delivered", delivered, None)));
    frames
}

fn value_of(reference: Option<&RawValue>) -> Option<serde_json::Value> {
    reference.and_then(|raw| serde_json::from_str(raw.get()).ok())
}
