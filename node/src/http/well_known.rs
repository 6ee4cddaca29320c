//! The public discovery document (FED-3, EXT-2) and the organization (ICL-2). The only answers a foreign web page may read.

use crate::http::state::{Peer, Shared};
use crate::http::v1::info::capabilities;
use amesh_proto::api::info::{Organization, WellKnown};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

/// Where the document is.
pub(crate) const PATH: &str = "/.well-known/agent-messaging.json";

/// Whether any web page may read `path`.
pub(crate) fn is_public(path: &str) -> bool {
    path == PATH
}

/// The public discovery document (FED-3). Any web page may read it.
#[utoipa::path(get, path = "", tag = "provider", security(()),
    responses((status = 200, description = "Where the API is.", body = WellKnown)))]
pub(crate) async fn document(
    State(state): State<Shared>,
    peer: Peer,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let own = state.parts.federation.as_ref().and_then(|federation| federation.own());
    // Programs on this machine go on using the door they came by; everybody else is told the one address that DNS tells too.
    let endpoint = match own {
        Some(own) if !peer.is_local() => own.endpoint().to_owned(),
        _ => format!("{}{DEFAULT_BASE}", origin(&peer, &uri, &headers)),
    };
    let document = WellKnown {
        version: "AMP1".to_owned(),
        endpoint,
        provider: state.parts.naming.provider.clone(),
        public_key: own.map(|own| own.public_key().to_pem()),
        fingerprint: own.map(|own| own.public_key().fingerprint()),
        capabilities: capabilities(&state),
        contact: own.and_then(|own| own.contact().map(str::to_owned)),
    };
    let mut response = Json(document).into_response();
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// The tenant of this node's agents (ICL-2).
#[utoipa::path(get, path = "", tag = "provider", security(()),
    responses((status = 200, description = "The organization.", body = Organization)))]
pub(crate) async fn organization(State(state): State<Shared>) -> Json<Organization> {
    Json(Organization { organization: state.parts.naming.org.clone() })
}

/// `http://host:port`, or with `https`, as the caller wrote it. The guard has already judged the `Host` header.
pub(crate) fn origin(peer: &Peer, uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let scheme = if peer.shown.is_some() { "https" } else { "http" };
    match host.or_else(|| uri.authority().map(|authority| authority.as_str())) {
        Some(host) => format!("{scheme}://{host}"),
        None => format!("{scheme}://{}", peer.local),
    }
}

/// The base by which the caller came.
pub(crate) fn base(uri: &Uri) -> &'static str {
    if uri.path().starts_with("/v1/") { "/v1" } else { DEFAULT_BASE }
}

/// The reference client's base (ICL-1).
const DEFAULT_BASE: &str = "/api/v1";
