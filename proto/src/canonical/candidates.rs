//! The search for the form that was signed: each distinct text once, likeliest first, each payload hashed once.

use super::form::{CanonicalForm, PayloadForm, SubjectForm};
use super::{Signable, payload, signing_text};
use crate::json::Document;
use crate::limits::CANONICAL_CANDIDATES;
use std::borrow::Cow;

/// More spellings of one address than anybody has.
const SPELLINGS: usize = 8;

pub(super) struct Search<'a> {
    what: &'a Signable<'a>,
    payload: &'a Document<'a>,
    tsv_subject: Option<String>,
    /// Payload forms with their hashes.
    hashes: Vec<(PayloadForm, String)>,
    /// Texts that did not verify.
    failed: Vec<String>,
}

impl<'a> Search<'a> {
    pub(super) fn new(what: &'a Signable<'a>, payload: &'a Document<'a>) -> Self {
        let tsv_subject = tsv(what.subject);
        Self { what, payload, tsv_subject, hashes: Vec::new(), failed: Vec::new() }
    }

    /// The first form whose text `accepts`.
    pub(super) fn find(
        mut self,
        hint: Option<CanonicalForm>,
        accepts: impl Fn(&str) -> bool,
    ) -> Option<CanonicalForm> {
        // Nearly every message ends here: the list of all candidates is made only for the others.
        let first = hint.into_iter().chain([CanonicalForm::EMITTED]);
        for form in first {
            if let Some(form) = self.attempt(form, &accepts) {
                return Some(form);
            }
        }
        for form in self.all() {
            if self.failed.len() >= CANONICAL_CANDIDATES || self.hashes.len() > CANONICAL_CANDIDATES {
                return None;
            }
            if let Some(form) = self.attempt(form, &accepts) {
                return Some(form);
            }
        }
        None
    }

    /// Tries one form, unless its text was tried before or it does not fit this message.
    fn attempt(&mut self, form: CanonicalForm, accepts: impl Fn(&str) -> bool) -> Option<CanonicalForm> {
        let from = self.what.from.get(form.from_index())?;
        let to = self.what.to.get(form.to_index())?;
        let (subject, subject_form) = match (form.subject, &self.tsv_subject) {
            (SubjectForm::Tsv, Some(escaped)) => (Cow::Owned(escaped.clone()), SubjectForm::Tsv),
            _ => (Cow::Borrowed(self.what.subject), SubjectForm::Plain),
        };
        let payload = payload::simplest(self.payload, form.payload);
        let Signable { priority, in_reply_to, .. } = *self.what;
        let hash = self.hash(payload);
        let text = signing_text(from, to, &subject, priority, in_reply_to, hash);
        if self.failed.contains(&text) {
            return None;
        }
        if accepts(&text) {
            return Some(CanonicalForm { subject: subject_form, payload, ..form });
        }
        self.failed.push(text);
        None
    }

    fn hash(&mut self, form: PayloadForm) -> &str {
        let place = self.hashes.iter().position(|(known, _)| *known == form).unwrap_or_else(|| {
            let text = payload::text(self.payload, form);
            self.hashes.push((form, payload::payload_hash(text.as_bytes())));
            self.hashes.len() - 1
        });
        &self.hashes[place].1
    }

    /// Every form that could differ, the likeliest first: each axis says how unlikely its choices are.
    fn all(&self) -> Vec<CanonicalForm> {
        let subjects = if self.tsv_subject.is_some() { 2 } else { 1 };
        let subjects = &[(SubjectForm::Plain, 0), (SubjectForm::Tsv, 1)][..subjects];
        let mut found = Vec::new();
        for (payload, payload_cost) in self.payload_forms() {
            for (from, from_cost) in spellings(self.what.from) {
                for (to, to_cost) in spellings(self.what.to) {
                    for (subject, subject_cost) in subjects {
                        let cost = payload_cost + from_cost + to_cost + subject_cost;
                        let subject = *subject;
                        found.push((cost, CanonicalForm { from, to, subject, payload }));
                    }
                }
            }
        }
        found.sort_by_key(|(cost, _)| *cost);
        found.into_iter().map(|(_, form)| form).collect()
    }

    fn payload_forms(&self) -> Vec<(PayloadForm, u8)> {
        let mut forms: Vec<(PayloadForm, u8)> = Vec::new();
        let cuts = if payload::empty_attachments(self.payload).is_some() { 2 } else { 1 };
        for without_attachments in &[false, true][..cuts] {
            for (form, cost) in payload::FORMS {
                let form = PayloadForm { without_attachments: *without_attachments, ..form };
                let form = payload::simplest(self.payload, form);
                if !forms.iter().any(|(known, _)| *known == form) {
                    forms.push((form, cost + u8::from(*without_attachments)));
                }
            }
        }
        forms
    }
}

/// Indexes of spellings; each further one is less likely.
fn spellings(of: &[&str]) -> impl Iterator<Item = (u8, u8)> + use<> {
    (0u8..).take(of.len().min(SPELLINGS)).map(|index| (index, index * 2))
}

/// The subject after jq's `@tsv` and the shell's `read -r`; `None` where that changes nothing (ICL-25).
pub(super) fn tsv(subject: &str) -> Option<String> {
    let special = |c: char| matches!(c, '\\' | '\t' | '\n' | '\r');
    let trimmed = subject.trim_matches(' ');
    if !trimmed.contains(special) {
        return (trimmed.len() < subject.len()).then(|| trimmed.to_owned());
    }
    let mut out = String::with_capacity(trimmed.len() + 8);
    for c in trimmed.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    Some(out)
}
