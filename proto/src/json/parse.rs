//! Reading JSON (RFC 8259), strictly, into a token tree.

use super::text::Text;
use super::{Document, Facts, JsonError, Member, Node, Object, order};
use crate::limits;

/// Reads one JSON object and nothing else. Duplicate keys at any depth, half surrogate pairs and nesting
/// beyond [`limits::JSON_DEPTH`] are refused.
///
/// # Errors
/// Says at which byte the text stops being acceptable.
pub fn parse_object(bytes: &[u8]) -> Result<Document<'_>, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::Utf8(error.valid_up_to()))?;
    let facts =
        Facts { compact: true, sorted: true, raw_differs: false, ascii_differs: false, js_differs: false };
    let mut parser = Parser { text, at: 0, facts };
    parser.skip_blanks();
    if parser.peek() != Some(b'{') {
        // Tell what is JSON of another kind from what is not JSON.
        parser.value(0)?;
        return Err(JsonError::NotAnObject);
    }
    let root = parser.object(0)?;
    parser.skip_blanks();
    if parser.at < text.len() {
        return Err(parser.wrong());
    }
    Ok(Document { text, root, facts: parser.facts })
}

/// Bytes in a string that need a closer look.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || byte >= 0x7f || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    table
};

struct Parser<'a> {
    text: &'a str,
    at: usize,
    facts: Facts,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Result<Node<'a>, JsonError> {
        match self.peek() {
            Some(b'{') => self.object(depth).map(Node::Object),
            Some(b'[') => self.array(depth).map(Node::Array),
            Some(b'"') => self.string().map(Node::Text),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object<'a>, JsonError> {
        if depth >= limits::JSON_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let start = self.at;
        self.at += 1;
        let mut members = Vec::new();
        self.skip_blanks();
        if self.eat(b'}') {
            return Ok(Object::default());
        }
        loop {
            self.skip_blanks();
            let key = self.string()?;
            self.note_key(&key);
            self.skip_blanks();
            self.expect(b':')?;
            self.skip_blanks();
            let from = self.at;
            let value = self.value(depth + 1)?;
            members.push(Member { key, value, raw: &self.text[from..self.at], at: from });
            self.skip_blanks();
            if !self.eat(b',') {
                break;
            }
        }
        self.expect(b'}')?;
        let by_code_point = order::by_code_point(&members, start)?;
        self.facts.sorted &= by_code_point.is_empty();
        Ok(Object { members, by_code_point })
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Node<'a>>, JsonError> {
        if depth >= limits::JSON_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.eat(b']') {
            return Ok(items);
        }
        loop {
            self.skip_blanks();
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            if !self.eat(b',') {
                break;
            }
        }
        self.expect(b']')?;
        Ok(items)
    }

    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        let quote = self.at;
        self.expect(b'"')?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            // Most of a text is looked at only here.
            let run = bytes[self.at..].iter().position(|byte| SPECIAL[usize::from(*byte)]);
            self.at += run.unwrap_or(bytes.len() - self.at);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape(quote)?;
                }
                Some(0x7f) => {
                    self.facts.raw_differs = true;
                    self.facts.ascii_differs = true;
                    self.at += 1;
                }
                Some(0x80..) => {
                    self.facts.ascii_differs = true;
                    self.at += bytes[self.at..].iter().take_while(|byte| **byte >= 0x80).count();
                }
                _ => return Err(self.wrong()),
            }
        }
        let text = Text::new(&self.text[start..self.at], escaped);
        self.at += 1;
        Ok(text)
    }

    fn escape(&mut self, quote: usize) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'/') => {
                self.facts.raw_differs = true;
                self.facts.ascii_differs = true;
                self.at += 1;
            }
            Some(b'u') => {
                let half = JsonError::Surrogate(quote);
                match self.unicode_unit()? {
                    0xdc00..=0xdfff => return Err(half),
                    0xd800..=0xdbff => {
                        if !(self.eat(b'\\') && self.peek() == Some(b'u')) {
                            return Err(half);
                        }
                        if !(0xdc00..=0xdfff).contains(&self.unicode_unit()?) {
                            return Err(half);
                        }
                    }
                    _ => {}
                }
            }
            _ => return Err(self.wrong()),
        }
        Ok(())
    }

    /// Reads `uXXXX`.
    fn unicode_unit(&mut self) -> Result<u16, JsonError> {
        self.at += 1;
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or_else(|| self.wrong())?;
        let mut unit = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or_else(|| self.wrong())?;
            unit = unit * 16 + digit;
        }
        // Whether the other programs would have written this escape too ([`super::text::Speller`]).
        let control = unit < 0x20 && !matches!(unit, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
        let small = !digits.iter().any(u8::is_ascii_uppercase);
        self.facts.raw_differs |= !(control && small);
        self.facts.ascii_differs |= !((control || unit >= 0x7f) && small);
        self.at += 4;
        u16::try_from(unit).map_err(|_| self.wrong())
    }

    fn number(&mut self) -> Result<Node<'a>, JsonError> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _signed = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(Node::Token(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong()) } else { Ok(()) }
    }

    fn word(&mut self, word: &'static str) -> Result<Node<'a>, JsonError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.wrong());
        }
        self.at += word.len();
        Ok(Node::Token(word))
    }

    fn note_key(&mut self, key: &Text<'_>) {
        if !self.facts.js_differs {
            self.facts.js_differs = order::is_special_to_javascript(&key.decode());
        }
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
            self.facts.compact = false;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.eat(byte) { Ok(()) } else { Err(self.wrong()) }
    }

    fn wrong(&self) -> JsonError {
        JsonError::Syntax(self.at)
    }
}
