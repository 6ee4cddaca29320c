//! How urgent a message is. Part of the signed text, so [`crate::canonical`] and [`crate::message`] both read it.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// How urgent a message is (MSG-3). Part of the signed text.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before everything else.
    Urgent,
    /// Before normal mail.
    High,
    /// What a message without a priority has (SIG-4).
    #[default]
    Normal,
    /// May be batched.
    Low,
}

/// A priority that AMP does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("priority must be one of urgent, high, normal, low")]
pub struct UnknownPriority;

impl Priority {
    /// All of them, most urgent first.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::High, Self::Normal, Self::Low];

    /// The word that AMP writes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Reads the word that AMP writes. Exactly: it is part of the signed text.
    ///
    /// # Errors
    /// For any other word.
    pub fn parse(text: &str) -> Result<Self, UnknownPriority> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text).ok_or(UnknownPriority)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
