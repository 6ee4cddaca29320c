//! The API's document (API-11, as OpenAPI 3.1) and its reference page, made from the table of endpoints and the types
//! they name. The doors serve what is made here; `docs/openapi.json` records it.

mod errors;
mod page;
mod table;

pub(super) use table::Table;

use amesh_proto::api::error::ErrorBody;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::OnceLock;
use utoipa::PartialSchema;

/// The document as JSON text. `docs/openapi.json` holds the same.
///
/// # Errors
/// When a type that the document names has no JSON form; a test holds that there is none.
pub fn json_text() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&document()?).map(|text| text + "\n")
}

/// The document as data.
pub(super) fn document() -> Result<Value, serde_json::Error> {
    let (paths, schemas) = super::endpoints().into_document();
    let mut paths = serde_json::to_value(paths)?;
    let mut responses = Map::new();
    errors::complete(&mut paths, &mut responses);
    let schemas: Map<String, Value> = schemas
        .into_iter()
        .map(|(name, schema)| Ok((name, serde_json::to_value(schema)?)))
        .collect::<Result<_, serde_json::Error>>()?;
    let mut schemas = Value::Object(schemas);
    schemas["ErrorBody"] = serde_json::to_value(ErrorBody::schema())?;
    tidy(&mut paths);
    tidy(&mut schemas);
    let mut document = head();
    document["paths"] = paths;
    document["components"] = json!({
        "schemas": schemas,
        "responses": responses,
        "headers": errors::headers(),
        "securitySchemes": {"api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "The API key that `POST /register` answered with (AMP 08 §Authentication)."
        }}
    });
    Ok(document)
}

/// Texts lose the marks of rustdoc, bytes are no array of numbers, and what a query or a header cannot say (`null`) goes from their schemas.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`").replace("`Self::", "`");
            }
            if members.contains_key("in")
                && let Some(types) = members.get_mut("schema").and_then(|schema| schema.get_mut("type"))
                && let Some(first) = types.as_array().and_then(|types| types.first()).cloned()
            {
                *types = first;
            }
            if members.contains_key("in")
                && let Some(schema) = members.get_mut("schema").and_then(Value::as_object_mut)
            {
                // Numbers of any size are clamped, not refused.
                schema.shift_remove("format");
            }
            for kind in ["application/octet-stream", "*/*"] {
                if let Some(content) = members.get_mut(kind) {
                    content["schema"] = json!({"type": "string", "format": "binary"});
                }
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn head() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "amesh: the agents' API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": INTRODUCTION,
        },
        "servers": [
            {"url": "/v1", "description": "The base of the specification."},
            {"url": "/api/v1", "description": "The base of the reference network (A-20). Same endpoints."}
        ],
        "security": [{"api_key": []}],
        "tags": TAGS.map(|(name, description)| json!({"name": name, "description": description})),
    })
}

/// `GET /openapi.json`
///
/// This document, as JSON.
#[utoipa::path(get, path = "", tag = "provider", security(()), responses(
    (status = 200, description = "OpenAPI 3.1.", content_type = "application/json", body = Object)))]
pub(super) async fn json() -> Response {
    served("application/json", rendered().as_ref().map(|rendered| &rendered.json))
}

/// `GET /openapi.yaml`
///
/// This document, as YAML.
#[utoipa::path(get, path = "", tag = "provider", security(()), responses(
    (status = 200, description = "OpenAPI 3.1.", content_type = "application/yaml", body = Object)))]
pub(super) async fn yaml() -> Response {
    served("application/yaml", rendered().as_ref().map(|rendered| &rendered.yaml))
}

/// `GET /docs`
///
/// This document, as a page for people. It loads nothing from anywhere else.
#[utoipa::path(get, path = "", tag = "provider", security(()), responses(
    (status = 200, description = "HTML.", content_type = "text/html", body = String)))]
pub(super) async fn docs() -> Response {
    served("text/html; charset=utf-8", rendered().as_ref().map(|rendered| &rendered.page))
}

fn served(kind: &'static str, text: Result<&Bytes, &String>) -> Response {
    match text {
        // The page has a style of its own and nothing else; whatever a text of it may hold, no script runs.
        Ok(text) => {
            let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
            let headers =
                [(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=300"), (CONTENT_SECURITY_POLICY, policy)];
            (headers, text.clone()).into_response()
        }
        Err(why) => super::error::Problem::internal("openapi", why).into_response(),
    }
}

/// The three forms; made once, when first asked for.
struct Rendered {
    json: Bytes,
    yaml: Bytes,
    page: Bytes,
}

fn rendered() -> &'static Result<Rendered, String> {
    static RENDERED: OnceLock<Result<Rendered, String>> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let document = document().map_err(|error| error.to_string())?;
        Ok(Rendered {
            json: serde_json::to_vec(&document).map_err(|error| error.to_string())?.into(),
            yaml: yaml_serde::to_string(&document).map_err(|error| error.to_string())?.into(),
            page: page::render(&document).into(),
        })
    })
}

const INTRODUCTION: &str = "A node is a complete provider of the Agent Messaging Protocol for its machine.\n\n\
    Every refusal is JSON: `{error, message, field?, details?}`, where `error` is one of the codes that the response lists. \
    Besides what each endpoint lists, a path that does not exist answers 404 `not_found`, and a method that a path does \
    not take 405 `method_not_allowed`.\n\n\
    AMP 08 asks for OpenAPI 3.0; this is 3.1, whose schemas are JSON Schema itself.";

const TAGS: [(&str, &str); 6] = [
    ("registration", "Becoming an agent of this node (AMP 03)."),
    ("agents", "Oneself and the others (AMP 02, AMP 08)."),
    ("messages", "Sending, and what became of it (AMP 05)."),
    ("mailbox", "Mail that waits until it is acknowledged (AMP 05 §Relay Queue)."),
    ("attachments", "Files that go with messages."),
    ("provider", "The node itself (AMP 08)."),
];
