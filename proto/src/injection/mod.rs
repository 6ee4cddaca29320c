//! Signs of prompt injection in a message: eight categories, flagged and never dropped (INJ-1, INJ-2, AMP A).
//!
//! Rules are data (`rules.txt`, and what the owner adds): sequences of words with gaps. The text is read once, as a
//! person would read it: letters that imitate others and invisible ones are folded away ([`crate::fold`]), and what is
//! encoded is decoded and read as well ([`hidden`]). No text takes more than linear time. Called by the hallway when it
//! renders a delivery, and by the client when it judges one.

mod compile;
#[cfg(test)]
mod corpus;
mod hidden;
mod pattern;
mod reader;
mod rules;
mod scan;
#[cfg(test)]
mod tests;
mod trie;

pub use rules::{RuleError, Rules};

use crate::json::{Document, Node, Object};
use std::fmt;

/// What a text seems to try (INJ-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// To replace the instructions of whoever reads it (INJ-3).
    InstructionOverride,
    /// To learn those instructions (INJ-4).
    SystemPromptExtraction,
    /// To have something executed (INJ-5).
    CommandInjection,
    /// To have secrets sent out (INJ-6).
    DataExfiltration,
    /// To change who the reader believes itself, or the writer, to be (INJ-7).
    RoleManipulation,
    /// To press the reader into skipping its checks (INJ-8).
    SocialEngineering,
    /// To turn the reader's tools against others (INJ-9).
    ToolAbuse,
    /// To hide what it says (INJ-10).
    EncodingTricks,
}

impl Category {
    /// All of them, in the order of the specification's appendix.
    pub const ALL: [Self; 8] = [
        Self::InstructionOverride,
        Self::SystemPromptExtraction,
        Self::CommandInjection,
        Self::DataExfiltration,
        Self::RoleManipulation,
        Self::SocialEngineering,
        Self::ToolAbuse,
        Self::EncodingTricks,
    ];

    /// The id that AMP writes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InstructionOverride => "instruction_override",
            Self::SystemPromptExtraction => "system_prompt_extraction",
            Self::CommandInjection => "command_injection",
            Self::DataExfiltration => "data_exfiltration",
            Self::RoleManipulation => "role_manipulation",
            Self::SocialEngineering => "social_engineering",
            Self::ToolAbuse => "tool_abuse",
            Self::EncodingTricks => "encoding_tricks",
        }
    }

    /// Reads an id, also in the reference client's spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "prompt_extraction" {
            return Some(Self::SystemPromptExtraction);
        }
        Self::ALL.into_iter().find(|category| category.as_str() == text)
    }
}

/// A set of categories.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// Adds a category.
    pub fn insert(&mut self, category: Category) {
        self.0 |= 1 << category as u8;
    }

    /// Whether it is among them.
    #[must_use]
    pub fn contains(self, category: Category) -> bool {
        self.0 & (1 << category as u8) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Category> {
        Category::ALL.into_iter().filter(move |category| self.contains(*category))
    }

    /// Their ids, as `local.security.injection_flags` has them.
    #[must_use]
    pub fn ids(self) -> Vec<String> {
        self.iter().map(|category| category.as_str().to_owned()).collect()
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Category::as_str)).finish()
    }
}

impl Rules {
    /// What one text seems to try.
    #[must_use]
    pub fn scan(&self, text: &str) -> Flags {
        let mut scan = scan::Scan::new(self, text.len());
        scan.read(text);
        scan.finish()
    }

    /// What a message seems to try: its subject and every text of its payload, names of members included.
    #[must_use]
    pub fn scan_message(&self, subject: &str, payload: &Document<'_>) -> Flags {
        let mut scan = scan::Scan::new(self, subject.len() + payload.text().len());
        scan.read(subject);
        object(&mut scan, payload.root());
        scan.finish()
    }
}

/// The parser has bounded the depth.
fn object(scan: &mut scan::Scan<'_>, object: &Object<'_>) {
    for member in object.members() {
        scan.read(&member.key.decode());
        node(scan, &member.value);
    }
}

fn node(scan: &mut scan::Scan<'_>, value: &Node<'_>) {
    match value {
        Node::Token(_) => {}
        Node::Text(text) => scan.read(&text.decode()),
        Node::Array(items) => items.iter().for_each(|item| node(scan, item)),
        Node::Object(inner) => object(scan, inner),
    }
}
