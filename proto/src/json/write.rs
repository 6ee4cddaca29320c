//! Writing a token tree in another order and spelling, without whitespace or with Python's.

use super::text::{Speller, Text};
use super::{Node, Object, order};
use serde::{Deserialize, Serialize};

/// In which order members are written. Frozen: part of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyOrder {
    /// By code point at every level, as `jq -cS` does it.
    Sorted,
    /// As received.
    AsReceived,
    /// As JavaScript leaves a sorted object: array indexes first, then by UTF-16 units.
    JavaScript,
}

/// How strings are spelled. Numbers are always verbatim (ICL-24). Frozen: part of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Spelling {
    /// Tokens as received.
    Verbatim,
    /// Raw UTF-8, with the fewest escapes. Sorted, it is jq's, which escapes DEL too (ICL-23).
    Raw,
    /// Everything outside printable ASCII as `\uXXXX`, as Python's `json.dumps` does it.
    Ascii,
}

/// Appends values to one string.
pub(crate) struct Writer {
    out: String,
    order: KeyOrder,
    speller: Option<Speller>,
    between: (&'static str, &'static str),
}

impl Writer {
    pub(crate) fn new(order: KeyOrder, spelling: Spelling, capacity: usize) -> Self {
        let speller = match (spelling, order) {
            (Spelling::Verbatim, _) => None,
            (Spelling::Raw, KeyOrder::Sorted) => Some(Speller::Jq),
            (Spelling::Raw, _) => Some(Speller::JavaScript),
            (Spelling::Ascii, _) => Some(Speller::Python),
        };
        Self { out: String::with_capacity(capacity), order, speller, between: (",", ":") }
    }

    /// As Python's `json.dumps` writes by default: with a blank after every comma and colon.
    pub(crate) fn python(capacity: usize) -> Self {
        let writer = Self::new(KeyOrder::AsReceived, Spelling::Ascii, capacity);
        Self { between: (", ", ": "), ..writer }
    }

    /// Writes an object, without the member at index `omitted` as received.
    pub(crate) fn object(&mut self, object: &Object<'_>, omitted: Option<usize>) {
        let members = &object.members;
        let order = match self.order {
            KeyOrder::AsReceived => &[][..],
            KeyOrder::Sorted => &object.by_code_point,
            KeyOrder::JavaScript => &order::by_javascript(members),
        };
        self.out.push('{');
        let mut first = true;
        for place in 0..members.len() {
            let index = order.get(place).map_or(place, |index| *index as usize);
            if omitted == Some(index) {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.out.push_str(self.between.0);
            }
            self.text(&members[index].key);
            self.out.push_str(self.between.1);
            self.value(&members[index].value);
        }
        self.out.push('}');
    }

    fn value(&mut self, node: &Node<'_>) {
        match node {
            Node::Token(token) => self.out.push_str(token),
            Node::Text(text) => self.text(text),
            Node::Object(object) => self.object(object, None),
            Node::Array(items) => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.out.push_str(self.between.0);
                    }
                    self.value(item);
                }
                self.out.push(']');
            }
        }
    }

    fn text(&mut self, text: &Text<'_>) {
        self.out.push('"');
        match self.speller {
            None => self.out.push_str(text.raw()),
            Some(speller) => text.chars().for_each(|c| speller.push(&mut self.out, c)),
        }
        self.out.push('"');
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }
}
