//! JSON as a tree of tokens: what was received can be hashed in another order without changing a byte of it.
//!
//! Numbers are never re-formatted, duplicate keys are refused (SIG-13). Called by [`crate::canonical`],
//! [`crate::trust`] and every door that must look into a payload without re-writing it.

mod order;
mod parse;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use parse::parse_object;
pub use text::Text;
pub use write::{KeyOrder, Spelling};

pub(crate) use text::json_escaped;
pub(crate) use write::Writer;

/// Why a text is refused. The protocol answers 400 `invalid_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("not UTF-8 at byte {0}")]
    Utf8(usize),
    /// Not JSON (RFC 8259).
    #[error("not JSON at byte {0}")]
    Syntax(usize),
    /// Half of a surrogate pair: such a text means something else to every reader.
    #[error("half a surrogate pair in the string at byte {0}")]
    Surrogate(usize),
    /// The same key twice in one object (SIG-13).
    #[error("an object at byte {0} has the same key twice")]
    DuplicateKey(usize),
    /// Deeper than [`crate::limits::JSON_DEPTH`].
    #[error("nested deeper than {} levels", crate::limits::JSON_DEPTH)]
    TooDeep,
    /// Something other than an object where one is needed.
    #[error("must be a JSON object")]
    NotAnObject,
}

/// One value, as it stands in the text.
#[derive(Debug, Clone, PartialEq)]
pub enum Node<'a> {
    /// A number, `true`, `false` or `null`, verbatim.
    Token(&'a str),
    /// A string.
    Text(Text<'a>),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Object<'a>),
}

/// An object: its members as received, and how they sort.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object<'a> {
    members: Vec<Member<'a>>,
    /// Indexes of `members` by code point of the key; empty when they stand that way already.
    by_code_point: Vec<u32>,
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member<'a> {
    /// Its key.
    pub key: Text<'a>,
    /// Its value.
    pub value: Node<'a>,
    /// The value's text, verbatim.
    pub raw: &'a str,
    /// Where the value begins.
    pub(crate) at: usize,
}

/// A parsed object with the text that it was parsed from.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<'a> {
    text: &'a str,
    root: Object<'a>,
    facts: Facts,
}

/// What a parse learns in passing, so that spellings which cannot differ are not written twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// There is no whitespace between tokens.
    pub(crate) compact: bool,
    /// Every object is sorted by code point.
    pub(crate) sorted: bool,
    /// Some string is spelled otherwise than `JSON.stringify` spells it, or holds a DEL.
    pub(crate) raw_differs: bool,
    /// Some string is spelled otherwise than Python's `json.dumps` spells it.
    pub(crate) ascii_differs: bool,
    /// Some key makes JavaScript sort otherwise than by code point.
    pub(crate) js_differs: bool,
}

impl<'a> Document<'a> {
    /// The text as received.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The outermost object.
    #[must_use]
    pub fn root(&self) -> &Object<'a> {
        &self.root
    }

    /// The outermost object's member of this name.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.root.member(key)
    }

    /// The document in another order and spelling, without whitespace.
    #[must_use]
    pub fn write(&self, order: KeyOrder, spelling: Spelling) -> String {
        let mut writer = Writer::new(order, spelling, self.text.len());
        writer.object(&self.root, None);
        writer.finish()
    }

    /// The document as Python's `json.dumps` writes it by default, members and numbers as received.
    #[must_use]
    pub fn python_dumps(&self) -> String {
        let mut writer = Writer::python(self.text.len() + self.text.len() / 8);
        writer.object(&self.root, None);
        writer.finish()
    }

    /// Whether every string means the same to a hash once it is spelled anew: it stands in one of the spellings that
    /// verifiers try besides the received one.
    #[must_use]
    pub fn can_be_respelled(&self) -> bool {
        !self.facts.raw_differs || !self.facts.ascii_differs
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts
    }
}

impl<'a> Object<'a> {
    /// Its members, in the order received.
    #[must_use]
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The member of this name.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.key.is(key))
    }
}

impl<'a> Node<'a> {
    /// The string, when it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&Text<'a>> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The object, when it is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object<'a>> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Token("null"))
    }
}
