//! `POST /federation/deliver` (AMP 06 §Forward Endpoint): mail of other providers' agents. Whom it is taken from, and what is
//! checked in which order, is `federation/incoming`.

use crate::federation::{Caller, Deliveries, Head, NotTaken, turned_away};
use crate::http::body::{self, Json};
use crate::http::error::{NotAccepted, Problem};
use crate::http::finish::to_the_end;
use crate::http::http_mesh::one;
use crate::http::limit::network;
use crate::http::state::{self, Peer, Shared};
use crate::http::v1::route::shown;
use crate::message::Accepted;
use amesh_proto::api::error::code;
use amesh_proto::delivery::{DeliveryAnswer, PROVIDER, SIGNATURE, TIMESTAMP};
use axum::extract::{FromRequest, Request, State};
use axum::http::HeaderMap;

/// Takes mail that another provider delivers for an agent of this one (AMP 06 §Forward Endpoint).
///
/// Over HTTPS only. The provider signs `{timestamp}.{body}`; the sender's own signature is in the envelope. A 200 is given only
/// when the message is on disk; the same message again is answered with the first result. Refusals have `accepted: false`
/// besides the members of every error.
#[utoipa::path(post, path = "", tag = "provider", security(()),
    request_body(content = Object, description = "`{envelope, payload, sender_public_key, queued_at}`: the message as its sender signed it, with its key (64 hexadecimal digits or PEM), and since when it has waited."),
    params(
        ("X-AMP-Provider" = String, Header, description = "The domain of the provider that delivers."),
        ("X-AMP-Timestamp" = String, Header, pattern = "^[0-9]+$", description = "Unix seconds at which this attempt was signed."),
        ("X-AMP-Signature" = String, Header, description = "The provider's signature over `{timestamp}.{body}`, in base64.")),
    responses((status = 200, description = "Taken: with its recipient, or waiting for it.", body = DeliveryAnswer)),
    extensions(("x-errors" = json!([
        "missing_header", "timestamp_expired", "timestamp_future", "message_expired", "provider_not_trusted",
        "signature_missing", "signature_invalid", "key_not_found", "key_revoked", "recipient_not_found", "key_conflict",
        "duplicate_message", "rate_limited", "queue_full"]))))]
pub(crate) async fn deliver(
    State(state): State<Shared>,
    peer: Peer,
    request: Request,
) -> Result<axum::Json<DeliveryAnswer>, NotAccepted> {
    let (deliveries, head, caller) = match let_in(&state, &peer, request.headers()) {
        Ok(admitted) => admitted,
        Err(problem) => return Err(away(request.headers(), problem)),
    };
    let headers = request.headers().clone();
    let body = match Json::<{ body::MESSAGE }>::from_request(request, &state).await {
        Ok(body) => body.0,
        Err(problem) => return Err(away(&headers, problem)),
    };
    let taking = async move { deliveries.take(head, body, caller).await };
    match to_the_end(&state.parts.tasks, taking).await {
        Ok(accepted) => Ok(axum::Json(answer(&accepted))),
        Err(fault) => Err(NotAccepted(fault.into())),
    }
}

/// Everything that can be said without the body.
fn let_in(
    state: &state::State,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<(Deliveries, Head, Caller), Problem> {
    let deliveries = state.parts.deliveries.clone();
    // FED-16: only the owner can say that what comes over loopback came over TLS before.
    let by_proxy = peer.shown.is_none();
    if by_proxy && !(peer.is_local() && deliveries.as_ref().is_some_and(Deliveries::behind_proxy)) {
        return Err(Problem::new(code::FORBIDDEN, "providers deliver over HTTPS only"));
    }
    let no_provider = || Problem::new("provider_not_trusted", "this node is no provider");
    let deliveries = deliveries.ok_or_else(no_provider)?;
    let caller = Caller { network: network(peer.remote.ip()), by_proxy };
    let text = |name: &'static str, shown: &'static str| -> Result<String, Problem> {
        let missing =
            || Problem::new("missing_header", format!("the header {shown} is missing")).field(shown);
        one(headers, name)?.filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(missing)
    };
    let head = Head {
        provider: text(PROVIDER, "X-AMP-Provider")?,
        timestamp: text(TIMESTAMP, "X-AMP-Timestamp")?,
        signature: text(SIGNATURE, "X-AMP-Signature")?,
    };
    deliveries.admit(&head, caller)?;
    Ok((deliveries, head, caller))
}

fn away(headers: &HeaderMap, problem: Problem) -> NotAccepted {
    let provider = headers.get(PROVIDER).and_then(|value| value.to_str().ok());
    turned_away(provider, problem.code());
    NotAccepted(problem)
}

/// The union of what is known to be expected.
fn answer(accepted: &Accepted) -> DeliveryAnswer {
    let shown = shown(accepted);
    DeliveryAnswer {
        accepted: true,
        id: shown.id,
        delivered: shown.status == "delivered",
        status: shown.status,
        method: shown.method,
        delivered_at: shown.delivered_at,
        queued_at: shown.queued_at,
    }
}

impl From<NotTaken> for Problem {
    fn from(fault: NotTaken) -> Self {
        if let NotTaken::Message(refusal @ crate::message::Refusal::Store(_)) = fault {
            return refusal.into();
        }
        let mut problem = Self::new(fault.code(), fault.to_string()).details(fault.details());
        if let Some(field) = fault.field() {
            problem = problem.field(field.to_owned());
        }
        match fault.retry_after() {
            Some(seconds) => problem.retry_after(seconds),
            None => problem,
        }
    }
}
