//! Version 1 of the API (AMP 08), one file per resource. Routed by `http::routes`.

pub(super) mod agents;
pub(super) mod attachments;
pub(super) mod card;
pub(super) mod count;
pub(super) mod federation;
pub(super) mod health;
pub(super) mod info;
pub(super) mod keys;
pub(super) mod messages;
pub(super) mod owned;
pub(super) mod pending;
pub(super) mod register;
pub(super) mod registrations;
pub(super) mod route;
pub(super) mod ws;
