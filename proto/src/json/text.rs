//! String tokens: what they mean, and how other programs would spell them.

use std::borrow::Cow;
use std::fmt::Write;

/// A string as it stands in the text, without its quotes. The parser has checked its escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(raw: &'a str, escaped: bool) -> Self {
        Self { raw, escaped }
    }

    /// Part of a token that was parsed before, cut between characters.
    pub(crate) fn from_raw(raw: &'a str) -> Self {
        Self { raw, escaped: raw.contains('\\') }
    }

    /// The token, verbatim, without quotes.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// What the token means.
    #[must_use]
    pub fn decode(&self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut meaning = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            meaning.push_str(&rest[..at]);
            let (c, len) = unescape(&rest[at..]);
            meaning.push(c);
            rest = &rest[at + len..];
        }
        meaning.push_str(rest);
        Cow::Owned(meaning)
    }

    /// Whether the token means `text`.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        if self.escaped { self.chars().eq(text.chars()) } else { self.raw == text }
    }

    /// What the token means, one character at a time.
    pub fn chars(&self) -> impl Iterator<Item = char> + 'a {
        Chars { rest: self.raw }.map(|(meaning, _)| meaning)
    }

    /// What the head of a raw token means, and how many bytes spell it.
    pub(crate) fn first(raw: &str) -> Option<(char, usize)> {
        let first = raw.chars().next()?;
        Some(if first == '\\' { unescape(raw) } else { (first, first.len_utf8()) })
    }

    /// Whether no escape needs decoding.
    pub(super) fn is_plain(&self) -> bool {
        !self.escaped
    }
}

struct Chars<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Chars<'a> {
    type Item = (char, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (meaning, len) = Text::first(self.rest)?;
        let (spelling, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some((meaning, spelling))
    }
}

/// Meaning and length of the escape at the head of `text`, which the parser has found well formed.
fn unescape(text: &str) -> (char, usize) {
    let short = match text.as_bytes().get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unescape_unicode(text),
        Some(other) => char::from(*other),
        None => '\\',
    };
    (short, text.len().min(2))
}

fn unescape_unicode(text: &str) -> (char, usize) {
    let unit = |at: usize| text.get(at..at + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let units = [unit(2), unit(8)].map(Option::unwrap_or_default);
    let wide = (0xd800..0xdc00).contains(&units[0]);
    let (units, len) = if wide { (&units[..], 12) } else { (&units[..1], 6) };
    let meaning = char::decode_utf16(units.iter().copied()).next().and_then(Result::ok);
    (meaning.unwrap_or(char::REPLACEMENT_CHARACTER), len.min(text.len()))
}

/// Whose spelling of a string to write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speller {
    /// `JSON.stringify`, and Python with `ensure_ascii=False`: raw but for controls.
    JavaScript,
    /// jq: as before, and DEL is escaped (ICL-23).
    Jq,
    /// Python's `json.dumps`: everything outside printable ASCII is escaped.
    Python,
}

impl Speller {
    /// Appends `c` as this program spells it.
    pub(super) fn push(self, out: &mut String, c: char) {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => push_unicode(out, c),
            '\u{7f}' if self != Self::JavaScript => push_unicode(out, c),
            '\u{80}'.. if self == Self::Python => push_unicode(out, c),
            _ => out.push(c),
        }
    }
}

fn push_unicode(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let Ok(()) = write!(out, "\\u{unit:04x}") else { continue };
    }
}

/// `text` as it stands between the quotes of a JSON string.
pub(crate) fn json_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    text.chars().for_each(|c| Speller::JavaScript.push(&mut out, c));
    out
}
