//! Which of the accepted forms a signature covered. Remembered per sender, carried in frames, logged.

use crate::json::{KeyOrder, Spelling};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which spelling of from, to, subject and payload a signature covered.
///
/// A hint wherever it comes from: it decides what is tried first, never what is believed. Frozen: part of
/// frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CanonicalForm {
    /// Index into the spellings of the sender.
    pub from: u8,
    /// Index into the spellings of the recipient.
    pub to: u8,
    /// How the subject stood in the signed text.
    pub subject: SubjectForm,
    /// How the payload was written before it was hashed.
    pub payload: PayloadForm,
}

/// How the subject stood in the signed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubjectForm {
    /// As it is.
    Plain,
    /// Through jq's `@tsv` and the shell's `read -r` (ICL-25).
    Tsv,
}

/// How the payload was written before it was hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PayloadForm {
    /// In which order its members stood.
    pub order: KeyOrder,
    /// How its strings were spelled.
    pub spelling: Spelling,
    /// An empty `attachments` was added only after signing.
    pub without_attachments: bool,
}

impl PayloadForm {
    /// What we emit (SIG-12).
    pub const EMITTED: Self = Self::of(KeyOrder::Sorted, Spelling::Verbatim);

    pub(super) const fn of(order: KeyOrder, spelling: Spelling) -> Self {
        Self { order, spelling, without_attachments: false }
    }
}

impl CanonicalForm {
    /// The form that we emit: first spellings, plain subject, sorted payload.
    pub const EMITTED: Self =
        Self { from: 0, to: 0, subject: SubjectForm::Plain, payload: PayloadForm::EMITTED };

    /// Index into [`super::Signable::from`] of the spelling that verified.
    #[must_use]
    pub fn from_index(self) -> usize {
        usize::from(self.from)
    }

    /// Index into [`super::Signable::to`] of the spelling that verified.
    #[must_use]
    pub fn to_index(self) -> usize {
        usize::from(self.to)
    }

    /// The same form once the envelope carries the spellings that verified, as the only candidates.
    #[must_use]
    pub fn settled(self) -> Self {
        Self { from: 0, to: 0, ..self }
    }
}

impl fmt::Display for CanonicalForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PayloadForm { order, spelling, without_attachments } = self.payload;
        let cut = if without_attachments { " without attachments" } else { "" };
        write!(f, "from#{} to#{} {:?} {order:?}/{spelling:?}{cut}", self.from, self.to, self.subject)
    }
}
