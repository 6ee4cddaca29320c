//! What each endpoint may refuse, with its status from [`status_of`] and the headers that go with it. Called when the
//! document is made.
//!
//! An endpoint names only the codes of its own (`x-errors`); those that follow from its having a key, a body or a
//! variable in its path are added here.

use crate::http::error::{MISDIRECTED, UPGRADE_REQUIRED, status_of};
use amesh_proto::api::error::code;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Gives every operation its refusals; shared responses go to `responses`.
pub(super) fn complete(paths: &mut Value, responses: &mut Map<String, Value>) {
    let items = paths.as_object_mut().into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    for item in items {
        let methods = item.iter_mut().filter(|(name, _)| *name != "servers" && *name != "parameters");
        for operation in methods.filter_map(|(_, operation)| operation.as_object_mut()) {
            let codes = codes(operation);
            operation.remove("x-errors");
            let limited = codes.contains(code::RATE_LIMITED);
            let Some(answers) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
                continue;
            };
            for answer in answers.values_mut().filter(|_| limited) {
                answer["headers"] = rate_headers();
            }
            for (status, codes) in by_status(&codes) {
                let name = format!("{status}.{}", codes.join("."));
                answers.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
                responses.entry(name).or_insert_with(|| response(status, &codes));
            }
        }
    }
}

/// The headers that several responses carry.
pub(super) fn headers() -> Value {
    let header = |description: &str, example: u64| json!({"description": description, "schema": {"type": "integer", "minimum": 0}, "example": example});
    json!({
        "X-RateLimit-Limit": header("Requests of this kind allowed per window. Absent where nothing is limited.", 6000),
        "X-RateLimit-Remaining": header("How many are left.", 5999),
        "X-RateLimit-Reset": header("When the window is whole again, in Unix seconds.", 1_790_000_001),
        "Retry-After": header("Seconds to wait.", 1),
        "WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}, "example": "Bearer"},
    })
}

/// Every code that this operation may answer with.
fn codes(operation: &Map<String, Value>) -> BTreeSet<String> {
    let mut codes: BTreeSet<&str> = operation
        .get("x-errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    codes.extend(ANYWHERE);
    // `security: [{}]` lifts the rule that stands over the whole document: a key is needed.
    let wants_key = operation.get("security").is_none_or(|all| *all != json!([{}]));
    if wants_key {
        codes.extend([code::UNAUTHORIZED, code::RATE_LIMITED]);
    }
    if operation.contains_key("requestBody") {
        codes.extend([
            code::MISSING_FIELD,
            code::INVALID_FIELD,
            code::REQUEST_TIMEOUT,
            code::PAYLOAD_TOO_LARGE,
        ]);
    }
    let parameters = operation.get("parameters").and_then(Value::as_array);
    if parameters.into_iter().flatten().any(|parameter| parameter["in"] == "path") {
        codes.insert(code::NOT_FOUND);
    }
    codes.into_iter().map(str::to_owned).collect()
}

fn by_status(codes: &BTreeSet<String>) -> BTreeMap<u16, Vec<&str>> {
    let mut by_status = BTreeMap::<u16, Vec<&str>>::new();
    for code in codes {
        by_status.entry(status_of(code).as_u16()).or_default().push(code);
    }
    by_status
}

fn response(status: u16, codes: &[&str]) -> Value {
    let first = codes.first().copied().unwrap_or_default();
    let lines: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}", meaning(code))).collect();
    let mut response = json!({
        "description": lines.join("\n"),
        "content": {"application/json": {
            "schema": {"allOf": [
                {"$ref": "#/components/schemas/ErrorBody"},
                {"type": "object", "properties": {"error": {"type": "string", "enum": codes}}}
            ]},
            "example": {"error": first, "message": meaning(first)},
        }},
    });
    let headers = match status {
        401 => json!({"WWW-Authenticate": {"$ref": "#/components/headers/WWW-Authenticate"}}),
        429 => {
            let mut headers = rate_headers();
            headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
            headers
        }
        503 => json!({"Retry-After": {"$ref": "#/components/headers/Retry-After"}}),
        _ => return response,
    };
    response["headers"] = headers;
    response
}

fn rate_headers() -> Value {
    let names = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
    names.into_iter().map(|name| (name, json!({"$ref": format!("#/components/headers/{name}")}))).collect()
}

/// What a code means, for people. The response's `message` says more.
pub(super) fn meaning(code: &str) -> &'static str {
    MEANINGS.iter().find(|(known, _)| *known == code).map_or("", |(_, meaning)| meaning)
}

/// Before any endpoint is reached: the guard, the full house; and what may fail inside the node.
const ANYWHERE: [&str; 5] =
    [code::INVALID_REQUEST, code::FORBIDDEN, MISDIRECTED, code::INTERNAL_ERROR, code::UNAVAILABLE];

const MEANINGS: [(&str, &str); 36] = [
    (
        code::INVALID_REQUEST,
        "the request cannot be read: no JSON object, a key twice, no `Host`, too many items.",
    ),
    (code::MISSING_FIELD, "a required member is absent, null or empty; `field` names it."),
    (code::INVALID_FIELD, "a member or parameter has a value that is not allowed; `field` names it."),
    ("timestamp_expired", "`envelope.timestamp` is over 5 minutes old."),
    ("timestamp_future", "`envelope.timestamp` is over a minute ahead."),
    ("message_expired", "`expires_at` has passed."),
    (code::UNAUTHORIZED, "no API key, or one that is unknown, expired or revoked."),
    (code::FORBIDDEN, "not this caller: another agent's name, another tenant, a web page of another origin."),
    (code::TENANT_ACCESS_DENIED, "no right to register in this tenant."),
    (code::INVALID_SIGNATURE, "the proof does not verify with the registered key."),
    (code::SIGNATURE_MISSING, "this message must be signed by its sender."),
    (code::SIGNATURE_INVALID, "the signature matches no accepted form of the message."),
    ("missing_header", "a header is missing; `field` names it."),
    (
        "provider_not_trusted",
        "mail of this provider is not taken: by the owner's word, or because its key is not proven.",
    ),
    ("recipient_not_found", "there is no such agent in this domain, and nothing is relayed."),
    ("key_not_found", "no key is known for the sender."),
    ("key_mismatch", "the key is not the one that is registered."),
    ("key_revoked", "the sender's key was no longer valid."),
    (code::NOT_FOUND, "there is no such thing for this caller."),
    (code::CURSOR_EXPIRED, "the cursor is of another store, or too old; begin anew without one."),
    (code::METHOD_NOT_ALLOWED, "the path does not take this method."),
    (code::REQUEST_TIMEOUT, "the body did not arrive in time."),
    (code::NAME_TAKEN, "the name is in use or withheld; `suggestions` are free."),
    (
        code::KEY_CONFLICT,
        "the name is another's: of another host (`details.mend` says what to do), or by another key than before.",
    ),
    (code::DUPLICATE_MESSAGE, "this sender has sent another message under this id or idempotency key."),
    (code::PAYLOAD_TOO_LARGE, "the request is over its limit."),
    (MISDIRECTED, "the `Host` header names another machine."),
    (code::EXTERNAL_PROVIDER, "the address belongs to another provider, and this node sends no mail there."),
    ("attachment_pending", "the file has not been uploaded and confirmed."),
    ("attachment_rejected", "the file is a program or a script."),
    (UPGRADE_REQUIRED, "this path is a WebSocket."),
    (code::RATE_LIMITED, "too many requests; `Retry-After` says when to come back."),
    (code::INTERNAL_ERROR, "a fault of the node; its log says why."),
    (code::UNAVAILABLE, "not now: too many connections, or the node cannot write."),
    (code::QUEUE_FULL, "the mailbox, the queue towards a host, or the disk is full; nothing was accepted."),
    (crate::http::error::CONFLICT, "the present state does not allow it."),
];
