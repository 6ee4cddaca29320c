//! Text that is encoded: base64, hexadecimal digits, escapes, ROT13, backwards, letter by letter. Each decoding takes one
//! pass. Called by [`super::reader`]; what comes out is read like any other text.

use super::compile::Compiled;
use super::trie::{Trie, index};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;

/// A disguise whose common words are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disguise {
    /// Every letter moved by half the alphabet.
    Rot13,
    /// Written from the end.
    Reversed,
}

impl Disguise {
    /// Words that are common in each.
    pub(super) fn hints() -> impl Iterator<Item = (Self, String)> {
        let rotated = COMMON.iter().map(|word| (Self::Rot13, rot13(word)));
        // Some short words are others backwards.
        let long = COMMON.iter().filter(|word| word.len() > 4);
        rotated.chain(long.map(|word| (Self::Reversed, word.chars().rev().collect())))
    }
}

/// Moves every letter by half the alphabet.
pub(super) fn rot13(text: &str) -> String {
    text.chars()
        .map(|c| {
            let turn = |first: u8| {
                let letter = u8::try_from(c).unwrap_or(first) - first;
                char::from(first + (letter + 13) % 26)
            };
            match c {
                'a'..='z' => turn(b'a'),
                'A'..='Z' => turn(b'A'),
                other => other,
            }
        })
        .collect()
}

/// The letter that a digit imitates; 1 imitates two.
pub(super) fn letter_of_digit(digit: u8, one: u8) -> u8 {
    match digit {
        b'0' => b'o',
        b'1' => one,
        b'3' => b'e',
        b'4' => b'a',
        b'5' => b's',
        b'7' => b't',
        b'8' => b'b',
        b'9' => b'g',
        other => other,
    }
}

/// Letters without a blank, with blanks around the words that the rules know.
pub(super) fn split(letters: &str, rules: &Compiled) -> String {
    let bytes = letters.as_bytes();
    let mut out = String::with_capacity(letters.len() * 2);
    let mut at = 0;
    while at < bytes.len() {
        let mut state = Trie::START;
        let mut longest = 0;
        for (count, byte) in bytes[at..].iter().take(LONGEST_WORD).enumerate() {
            let Some(next) = index(*byte).and_then(|letter| rules.words.next(state, letter)) else { break };
            state = next;
            if count >= 2 && !rules.ends(state).slots.is_empty() {
                longest = count + 1;
            }
        }
        if longest > 0 {
            out.push(' ');
        }
        out.extend(bytes[at..at + longest.max(1)].iter().map(|byte| char::from(*byte)));
        if longest > 0 {
            out.push(' ');
        }
        at += longest.max(1);
    }
    out
}

/// The run of letters that codes are made of, around a word from `begin` to `end`, and not before `from`.
pub(super) fn run(text: &str, from: usize, begin: usize, end: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let before = bytes[from..begin].iter().rev().take_while(|byte| is_code(**byte)).count();
    let after = bytes[end..].iter().take_while(|byte| is_code(**byte)).count();
    begin - before..end + after
}

/// What a run says, if it is a code for text.
pub(super) fn decoded(run: &str) -> Option<String> {
    let bare = run.trim_start_matches("0x").trim_matches('=');
    if bare.len().is_multiple_of(2) && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let pair = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        };
        let bytes: Option<Vec<u8>> = bare.as_bytes().chunks_exact(2).map(pair).collect();
        return printable(&bytes?);
    }
    // A word of a language has no capital inside and no digit.
    let words = !bare.bytes().skip(1).any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if words || bare.bytes().any(|byte| !is_code(byte)) {
        return None;
    }
    let engine = if bare.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    // What is left over when the length is odd belongs to something else.
    let whole = bare.len() - usize::from(bare.len() % 4 == 1);
    printable(&engine.decode(&bare.as_bytes()[..whole]).ok()?)
}

/// `bytes` as text, if that is what they are.
pub(super) fn printable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let odd = text.chars().filter(|c| c.is_control() && !c.is_whitespace()).count();
    (text.len() >= SHORTEST_HIDDEN && odd == 0).then(|| text.to_owned())
}

/// The text with `%41`, `\u0041`, `\x41` and `&#65;` as what they mean.
pub(super) fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '\\', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((c, len)) = escape(rest) {
            out.push(c);
            rest = &rest[len..];
        } else {
            out.push_str(&rest[..1]);
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// The character that an escape at the beginning of `text` means, and how long that is. No escape stands in another.
pub(super) fn escape(text: &str) -> Option<(char, usize)> {
    let hex = |from: usize, len: usize| {
        let digits = text.get(from..from + len)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        Some((char::from_u32(code)?, from + len))
    };
    if text.starts_with('%') {
        return hex(1, 2);
    }
    if text.starts_with("\\u") {
        return hex(2, 4);
    }
    if text.starts_with("\\x") {
        return hex(2, 2);
    }
    let body = text.strip_prefix("&#")?;
    let end = body.bytes().take(9).position(|byte| byte == b';')?;
    let digits = &body[..end];
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    Some((char::from_u32(code.ok()?)?, end + 3))
}

fn is_code(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
}

/// A shorter run of letters is a word.
pub(super) const SHORTEST_RUN: usize = 16;
pub(super) const FEWEST_ESCAPES: u32 = 6;
const SHORTEST_HIDDEN: usize = 8;
const LONGEST_WORD: usize = 24;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

const COMMON: &[&str] = &[
    "the",
    "and",
    "your",
    "all",
    "you",
    "are",
    "with",
    "this",
    "that",
    "please",
    "ignore",
    "previous",
    "prior",
    "instructions",
    "instruction",
    "system",
    "prompt",
    "reveal",
    "password",
    "passwords",
    "secret",
    "secrets",
    "send",
    "follow",
    "rules",
    "delete",
    "these",
    "what",
    "disregard",
    "forget",
    "print",
    "execute",
    "command",
    "token",
    "tokens",
];
