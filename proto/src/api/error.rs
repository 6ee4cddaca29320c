//! The body of every refused request (API-5), and the codes it may carry (API-6).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One of [`code`], or a code this version does not know.
    #[schema(example = "not_found")]
    pub error: String,
    /// For people: what happened and what to do.
    #[serde(default)]
    pub message: String,
    /// The request member at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// More, by code.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// Free names, with `name_taken` (REG-13; also in `details`, A-41).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<String>,
    /// Seconds to wait, with `rate_limited` (RAT-7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// The machine-readable codes.
#[allow(missing_docs, reason = "each constant spells itself")]
pub mod code {
    pub const INVALID_REQUEST: &str = "invalid_request";
    pub const MISSING_FIELD: &str = "missing_field";
    pub const INVALID_FIELD: &str = "invalid_field";
    pub const UNAUTHORIZED: &str = "unauthorized";
    pub const FORBIDDEN: &str = "forbidden";
    pub const NOT_FOUND: &str = "not_found";
    pub const CURSOR_EXPIRED: &str = "cursor_expired";
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    pub const REQUEST_TIMEOUT: &str = "request_timeout";
    pub const NAME_TAKEN: &str = "name_taken";
    pub const KEY_CONFLICT: &str = "key_conflict";
    pub const DUPLICATE_MESSAGE: &str = "duplicate_message";
    pub const TENANT_ACCESS_DENIED: &str = "tenant_access_denied";
    pub const SIGNATURE_MISSING: &str = "signature_missing";
    pub const INVALID_SIGNATURE: &str = "invalid_signature";
    pub const SIGNATURE_INVALID: &str = "signature_invalid";
    pub const PAYLOAD_TOO_LARGE: &str = "payload_too_large";
    pub const EXTERNAL_PROVIDER: &str = "external_provider";
    pub const RATE_LIMITED: &str = "rate_limited";
    pub const QUEUE_FULL: &str = "queue_full";
    pub const INTERNAL_ERROR: &str = "internal_error";
    pub const UNAVAILABLE: &str = "unavailable";
}
