//! The payload as text to be hashed, in every accepted form.

use super::form::PayloadForm;
use crate::json::{Document, KeyOrder, Node, Spelling, Writer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Base64 of SHA-256 over the payload in canonical form (SIG-3).
#[must_use]
pub fn payload_hash(canonical: &[u8]) -> String {
    BASE64_STANDARD.encode(Sha256::digest(canonical))
}

/// Every payload form, likeliest first, with how unlikely it is.
pub(super) const FORMS: [(PayloadForm, u8); 7] = [
    (PayloadForm::of(KeyOrder::Sorted, Spelling::Verbatim), 0),
    (PayloadForm::of(KeyOrder::AsReceived, Spelling::Verbatim), 1),
    (PayloadForm::of(KeyOrder::AsReceived, Spelling::Ascii), 2),
    (PayloadForm::of(KeyOrder::AsReceived, Spelling::Raw), 2),
    (PayloadForm::of(KeyOrder::Sorted, Spelling::Raw), 2),
    (PayloadForm::of(KeyOrder::JavaScript, Spelling::Raw), 3),
    (PayloadForm::of(KeyOrder::Sorted, Spelling::Ascii), 3),
];

/// The payload in this form. Costs nothing when the received text stands in it already.
pub(super) fn text<'a>(payload: &Document<'a>, form: PayloadForm) -> Cow<'a, str> {
    let omitted = if form.without_attachments { empty_attachments(payload) } else { None };
    let facts = payload.facts();
    let as_it_stands = match form.order {
        KeyOrder::AsReceived => true,
        KeyOrder::Sorted => facts.sorted,
        KeyOrder::JavaScript => false,
    };
    if as_it_stands && form.spelling == Spelling::Verbatim && facts.compact && omitted.is_none() {
        return Cow::Borrowed(payload.text());
    }
    let mut writer = Writer::new(form.order, form.spelling, payload.text().len());
    writer.object(payload.root(), omitted);
    Cow::Owned(writer.finish())
}

/// The simplest form that is written like `form` for this payload, so that no two equal texts are hashed.
pub(super) fn simplest(payload: &Document<'_>, form: PayloadForm) -> PayloadForm {
    let facts = payload.facts();
    let mut form = form;
    form.without_attachments &= empty_attachments(payload).is_some();
    let same_spelling = match form.spelling {
        Spelling::Verbatim => true,
        Spelling::Raw => !facts.raw_differs,
        Spelling::Ascii => !facts.ascii_differs,
    };
    if same_spelling {
        form.spelling = Spelling::Verbatim;
    }
    // Raw spellings differ between orders (DEL), so there the order stays.
    let same_order = match form.order {
        KeyOrder::Sorted => true,
        KeyOrder::AsReceived => facts.sorted,
        KeyOrder::JavaScript => !facts.js_differs,
    };
    if same_order && form.spelling != Spelling::Raw {
        form.order = KeyOrder::Sorted;
    }
    form
}

/// Where an empty `attachments` stands in the outermost object.
pub(super) fn empty_attachments(payload: &Document<'_>) -> Option<usize> {
    let is_empty = |value: &Node<'_>| matches!(value, Node::Array(items) if items.is_empty());
    let mut members = payload.root().members().iter();
    members.position(|member| member.key.is("attachments") && is_empty(&member.value))
}
