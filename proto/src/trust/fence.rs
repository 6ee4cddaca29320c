//! Keeps fenced text from closing or imitating its fence, reversibly (TRU-8, A-39).
//!
//! Wherever a `<` is followed, with nothing between but punctuation and blanks, by the letters
//! `externalcontent`, one `_` goes behind the `<`; a text that has underscores there already gets one more.
//! Underscores are no letters, so the places found are the same before and after, and taking one away
//! everywhere undoes it. It works on tokens, not on what they mean: escapes stay spelled as they were.

use crate::fold::{Seen, seen};
use crate::guards::{self, Guard};
use crate::json::Text;

const MARKER: &[u8] = b"externalcontent";
const BLOCK: usize = 32;

/// The raw token with every imitation of a fence disarmed.
pub(super) fn close_gaps(text: &Text<'_>) -> String {
    let raw = text.raw();
    if guards::is_down(Guard::Fence) {
        return raw.to_owned();
    }
    let mut out = String::with_capacity(raw.len() + 8);
    let mut done = 0;
    for gap in gaps(raw) {
        out.push_str(&raw[done..gap]);
        out.push('_');
        done = gap;
    }
    out.push_str(&raw[done..]);
    out
}

/// Undoes [`close_gaps`]; `None` when the token cannot have come from it.
pub(super) fn open_gaps(text: &Text<'_>) -> Option<String> {
    let raw = text.raw();
    let mut out = String::with_capacity(raw.len());
    let mut done = 0;
    for gap in gaps(raw) {
        out.push_str(&raw[done..gap]);
        if !raw[gap..].starts_with('_') {
            return None;
        }
        done = gap + 1;
    }
    out.push_str(&raw[done..]);
    Some(out)
}

/// Openers that stand before the same letter, and how much of the marker has followed them.
struct Watch {
    matched: usize,
    /// Which of the openers.
    from: usize,
    to: usize,
}

/// Where in `raw` an opener ends whose letters spell the marker, in order.
fn gaps(raw: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut openers: Vec<usize> = Vec::new();
    let mut watching: Vec<Watch> = Vec::new();
    let mut at = 0;
    loop {
        if watching.is_empty() {
            openers.clear();
            let Some(skipped) = first_that_may_open(&raw.as_bytes()[at..]) else { break };
            at += skipped;
        }
        let Some((c, len)) = Text::first(&raw[at..]) else { break };
        at += len;
        if is_opener(c) {
            openers.push(at);
            match watching.last_mut().filter(|watch| watch.matched == 0) {
                Some(watch) => watch.to = openers.len(),
                None => watching.push(Watch { matched: 0, from: openers.len() - 1, to: openers.len() }),
            }
        } else if let Some(letter) = letter(c) {
            watching.retain_mut(|watch| {
                watch.matched += 1;
                MARKER.get(watch.matched - 1) == Some(&letter) && {
                    let whole = watch.matched == MARKER.len();
                    if whole {
                        found.extend_from_slice(&openers[watch.from..watch.to]);
                    }
                    !whole
                }
            });
        }
    }
    // Of openers that wait at a time, the earlier are found earlier: all of them wait for equally many letters.
    found
}

/// Looks at a block at a time first, which takes the machine a few steps.
fn first_that_may_open(bytes: &[u8]) -> Option<usize> {
    let clear = |block: &[u8]| !block.iter().fold(false, |any, byte| any | may_open(*byte));
    let skipped: usize = bytes.chunks(BLOCK).take_while(|block| clear(block)).map(<[u8]>::len).sum();
    bytes[skipped..].iter().position(|byte| may_open(*byte)).map(|at| skipped + at)
}

/// Whether an opener's spelling can begin with this byte.
fn may_open(byte: u8) -> bool {
    matches!(byte, b'<' | b'\\' | 0x80..)
}

/// Brackets that a reader may take for `<`.
fn is_opener(c: char) -> bool {
    matches!(
        c,
        '<' | '\u{2c2}'
            | '\u{1438}'
            | '\u{2039}'
            | '\u{2329}'
            | '\u{276e}'
            | '\u{27e8}'
            | '\u{3008}'
            | '\u{fe64}'
            | '\u{ff1c}'
            | '\u{e003c}'
    )
}

/// The letter that a reader sees in `c`. Digits count as the letters they imitate, letters of other alphabets as some
/// other letter; everything else is skipped, invisible characters included.
fn letter(c: char) -> Option<u8> {
    match seen(c) {
        Seen::Plain(l) | Seen::Lookalike(l) | Seen::Styled(l) | Seen::Wide(l) => Some(imitated(l)),
        Seen::Tag(tag) if tag.is_ascii_alphanumeric() => Some(imitated(tag.to_ascii_lowercase())),
        Seen::Foreign => Some(b'?'),
        _ => None,
    }
}

fn imitated(letter: u8) -> u8 {
    match letter {
        b'0' => b'o',
        b'1' => b'l',
        b'3' => b'e',
        b'4' => b'a',
        b'7' => b't',
        other => other,
    }
}
