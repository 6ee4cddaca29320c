//! The only place that gives a refusal its HTTP status and body (API-5, API-6). Every handler ends here when it fails.

use crate::agents::{OwnerError, RegisterError, RotateError};
use crate::http::limit::Exceeded;
use crate::message::Refusal;
use amesh_proto::api::error::{ErrorBody, code};
use amesh_proto::api::fields::BadBody;
use amesh_store::StoreError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A request that was not done, with everything its sender is told.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: &'static str,
    message: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    more: Option<Box<More>>,
}

/// What few problems have; boxed, so that a `Result` stays small.
#[derive(Debug, Clone, Default)]
struct More {
    details: Map<String, Value>,
    suggestions: Vec<String>,
    exceeded: Option<Exceeded>,
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem with `code`, told to people as `message`.
    pub(crate) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), field: None, more: None }
    }

    /// 400 `invalid_field`.
    pub(crate) fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::INVALID_FIELD, message).field(field)
    }

    /// 404.
    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::NOT_FOUND, message)
    }

    /// 401 (KEY-9).
    pub(crate) fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::UNAUTHORIZED, message)
    }

    /// 500: the cause goes to the log, never to the caller.
    pub(crate) fn internal(what: &'static str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(what, %cause, "request failed inside the node");
        Self::new(code::INTERNAL_ERROR, "the node could not do this; its log says why (`amesh logs`)")
    }

    /// 503: a part is not there, or not now.
    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::UNAVAILABLE, message)
    }

    /// Says first what it is about.
    #[must_use]
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message).into();
        self
    }

    /// Says when to ask again.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.more().retry_after = Some(seconds);
        self
    }

    /// Names the member at fault.
    #[must_use]
    pub(crate) fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds details for machines.
    #[must_use]
    pub(crate) fn details(mut self, details: Map<String, Value>) -> Self {
        if !details.is_empty() {
            self.more().details = details;
        }
        self
    }

    /// Adds free names (REG-13).
    #[must_use]
    pub(crate) fn suggestions(mut self, suggestions: Vec<String>) -> Self {
        self.more().suggestions = suggestions;
        self
    }

    /// The machine-readable code.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The body, as a WebSocket error frame wants it too.
    pub(crate) fn body(&self) -> ErrorBody {
        let mut body = ErrorBody {
            error: self.code.to_owned(),
            message: self.message.clone().into_owned(),
            field: self.field.clone().map(Cow::into_owned),
            ..ErrorBody::default()
        };
        if let Some(more) = &self.more {
            body.details = more.details.clone();
            body.retry_after = more.retry_after;
            body.suggestions.clone_from(&more.suggestions);
            if !more.suggestions.is_empty() {
                // the specification has them on top, the reference provider in `details`.
                body.details.insert("suggestions".to_owned(), more.suggestions.clone().into());
            }
        }
        body
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_with(Box::default)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = status_of(self.code);
        let mut response = (status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(more) = self.more {
            if let Some(exceeded) = more.exceeded {
                exceeded.standing.write(headers);
            }
            if let Some(seconds) = more.retry_after {
                headers.insert(header::RETRY_AFTER, seconds.into());
            }
        }
        response
    }
}

/// A delivery of another provider that was not taken (FED-13): a problem that says so in so many words.
#[derive(Debug, Clone)]
pub(crate) struct NotAccepted(pub(crate) Problem);

#[derive(Serialize)]
struct NotAcceptedBody {
    accepted: bool,
    #[serde(flatten)]
    error: ErrorBody,
}

impl IntoResponse for NotAccepted {
    fn into_response(self) -> Response {
        let body = Json(NotAcceptedBody { accepted: false, error: self.0.body() }).into_response();
        let (parts, body) = (self.0.into_response().into_parts().0, body.into_body());
        let mut response = Response::from_parts(parts, body);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    }
}

/// API-6 and the codes that go beyond it.
pub(super) fn status_of(code: &str) -> StatusCode {
    match code {
        // KEY-6: the reference provider's code for a bad proof; SIG-9's word for a bad signature on mail is another.
        code::UNAUTHORIZED | code::INVALID_SIGNATURE => StatusCode::UNAUTHORIZED,
        code::FORBIDDEN
        | code::TENANT_ACCESS_DENIED
        | code::SIGNATURE_MISSING
        | code::SIGNATURE_INVALID
        | "key_not_found"
        | "key_mismatch"
        | "key_revoked"
        | "provider_not_trusted" => StatusCode::FORBIDDEN,
        code::NOT_FOUND | "recipient_not_found" => StatusCode::NOT_FOUND,
        code::CURSOR_EXPIRED => StatusCode::GONE,
        code::METHOD_NOT_ALLOWED => StatusCode::METHOD_NOT_ALLOWED,
        code::REQUEST_TIMEOUT => StatusCode::REQUEST_TIMEOUT,
        code::NAME_TAKEN | code::KEY_CONFLICT | code::DUPLICATE_MESSAGE | CONFLICT | "attachment_pending" => {
            StatusCode::CONFLICT
        }
        code::PAYLOAD_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        code::EXTERNAL_PROVIDER | "attachment_rejected" => StatusCode::UNPROCESSABLE_ENTITY,
        code::RATE_LIMITED => StatusCode::TOO_MANY_REQUESTS,
        code::QUEUE_FULL => StatusCode::INSUFFICIENT_STORAGE,
        code::INTERNAL_ERROR => StatusCode::INTERNAL_SERVER_ERROR,
        code::UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        UPGRADE_REQUIRED => StatusCode::UPGRADE_REQUIRED,
        MISDIRECTED => StatusCode::MISDIRECTED_REQUEST,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// A WebSocket address asked for over plain HTTP.
pub(super) const UPGRADE_REQUIRED: &str = "upgrade_required";
/// A `Host` that is not this node (DNS rebinding).
pub(super) const MISDIRECTED: &str = "misdirected_request";
/// The owner asked for something that the present state does not allow.
pub(super) const CONFLICT: &str = "conflict";

impl From<BadBody> for Problem {
    fn from(bad: BadBody) -> Self {
        let problem = Self::new(bad.code(), bad.to_string());
        match bad.field() {
            Some(field) => problem.field(field),
            None => problem,
        }
    }
}

impl From<Exceeded> for Problem {
    fn from(exceeded: Exceeded) -> Self {
        let seconds = exceeded.retry_after;
        let mut problem =
            Self::new(code::RATE_LIMITED, format!("too many requests; try again in {seconds} s"));
        let more = problem.more();
        more.retry_after = Some(seconds);
        more.exceeded = Some(exceeded);
        problem
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::Store(cause) = &refusal {
            return not_now(cause);
        }
        let mut problem = Self::new(refusal.code(), refusal.to_string()).details(refusal.details());
        problem.field = refusal.field().map(|field| Cow::Owned(field.to_owned()));
        match refusal {
            Refusal::Limited { retry_after } => problem.retry_after(retry_after),
            Refusal::Moving(_) => problem.retry_after(1),
            _ => problem,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            // The store opens again by itself, or the node is stopping: either way not now, and nothing was changed.
            StoreError::Busy | StoreError::Closed | StoreError::DiskFull | StoreError::Failed { .. } => {
                not_now(&error)
            }
            StoreError::NoSuchAgent => Self::unauthorized("this agent is not registered any more"),
            StoreError::Damaged { .. } | StoreError::File { .. } => Self::internal("store", &error),
        }
    }
}

fn not_now(cause: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%cause, "the store did not take a change");
    Problem::unavailable("the node cannot write at the moment; try again shortly").retry_after(1)
}

impl From<OwnerError> for Problem {
    fn from(error: OwnerError) -> Self {
        match error {
            OwnerError::Tenant(why) => Self::invalid("tenant", why),
            OwnerError::Unknown(_) => Self::not_found(error.to_string()).field("owner_id"),
            OwnerError::Full => Self::new(CONFLICT, error.to_string()),
            OwnerError::Store(cause) => cause.into(),
        }
    }
}

impl From<RotateError> for Problem {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Body(bad) => bad.into(),
            RotateError::Proof => Self::new(code::INVALID_SIGNATURE, error.to_string()).field("proof"),
            RotateError::Replaced | RotateError::Full => Self::new(code::FORBIDDEN, error.to_string()),
            RotateError::Store(cause) => cause.into(),
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        if let RegisterError::Store(cause) = error {
            return cause.into();
        }
        let mut problem = Self::new(error.code(), error.to_string()).details(error.details());
        problem.field = error.field().map(Cow::Borrowed);
        match error.suggestions() {
            [] => problem,
            suggestions => problem.suggestions(suggestions.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_specification_has_its_status() {
        let table = [
            ("invalid_request", 400),
            ("missing_field", 400),
            ("invalid_field", 400),
            ("unauthorized", 401),
            ("forbidden", 403),
            ("not_found", 404),
            ("name_taken", 409),
            ("cursor_expired", 410),
            ("payload_too_large", 413),
            ("rate_limited", 429),
            ("internal_error", 500),
            ("queue_full", 507),
            ("external_provider", 422),
            ("signature_missing", 403),
            ("timestamp_expired", 400),
        ];
        for (code, status) in table {
            assert_eq!(status_of(code).as_u16(), status, "{code}");
        }
    }

    #[test]
    fn what_failed_inside_is_not_told_outside() {
        let problem = Problem::from(Refusal::Store("/home/alice/db is broken".to_owned()));
        assert!(!problem.body().message.contains("alice"));
        assert_eq!(problem.code(), "unavailable");
    }
}
