//! Request and response types of the HTTP API, one file per resource: used by server, client and command line alike.
//!
//! Plain data. Times are RFC 3339 text, addresses and ids are text as sent; whoever acts on a request validates it.
//! Payloads travel as raw JSON, so that no number token is ever re-formatted (ICL-24).

pub mod agents;
pub mod attachments;
pub mod control;
pub mod error;
pub mod federation;
pub mod fields;
pub mod health;
pub mod http_mesh;
pub mod info;
pub mod keys;
pub mod messages;
pub mod owned;
pub mod owner;
pub mod pending;
pub mod register;
pub mod registrations;
pub mod route;
pub mod ws;
