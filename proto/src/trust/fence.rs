//! Keeps fenced text from closing or imitating its fence, reversibly (TRU-8, A-39).
//!
//! Wherever a `<` is followed, with nothing between but punctuation and blanks, by the letters
//! `externalcontent`, one `_` goes behind the `<`; a text that has underscores there already gets one more.
//! Underscores are no letters, so the places found are the same before and after, and taking one away
//! everywhere undoes it. It works on tokens, not on what they mean: escapes stay spelled as they were.

use crate::json::Text;

const MARKER: &[u8] = b"externalcontent";

/// The raw token with every imitation of a fence disarmed.
pub(super) fn close_gaps(text: &Text<'_>) -> String {
    if cannot_open(text.raw()) {
        return text.raw().to_owned();
    }
    let mut out = String::with_capacity(text.raw().len() + 8);
    for piece in pieces(text) {
        out.push_str(piece.spelling);
        if piece.opens {
            out.push('_');
        }
    }
    out
}

/// Undoes [`close_gaps`]; `None` when the token cannot have come from it.
pub(super) fn open_gaps(text: &Text<'_>) -> Option<String> {
    if cannot_open(text.raw()) {
        return Some(text.raw().to_owned());
    }
    let mut out = String::with_capacity(text.raw().len());
    let mut pieces = pieces(text).into_iter();
    while let Some(piece) = pieces.next() {
        out.push_str(piece.spelling);
        if piece.opens && pieces.next()?.spelling != "_" {
            return None;
        }
    }
    Some(out)
}

/// Most texts: nothing in them is an opener, however it is spelled.
fn cannot_open(raw: &str) -> bool {
    raw.is_ascii() && !raw.contains('<') && !raw.contains("\\u")
}

/// One character of a token.
struct Piece<'a> {
    spelling: &'a str,
    /// It opens a tag whose letters spell the marker.
    opens: bool,
}

fn pieces<'a>(text: &Text<'a>) -> Vec<Piece<'a>> {
    let mut letters: Vec<u8> = Vec::new();
    let mut pieces = Vec::new();
    // Openers wait for the letter that follows them: (piece, index of that letter).
    let mut openers: Vec<(usize, usize)> = Vec::new();
    for (c, spelling) in text.spelled() {
        if is_opener(c) {
            openers.push((pieces.len(), letters.len()));
        } else if let Some(letter) = letter(c) {
            letters.push(letter);
        }
        pieces.push(Piece { spelling, opens: false });
    }
    for (piece, letter) in openers {
        pieces[piece].opens = letters[letter..].starts_with(MARKER);
    }
    pieces
}

/// Brackets that a reader may take for `<`.
fn is_opener(c: char) -> bool {
    matches!(
        c,
        '<' | '\u{2c2}'
            | '\u{1438}'
            | '\u{2039}'
            | '\u{2329}'
            | '\u{27e8}'
            | '\u{3008}'
            | '\u{fe64}'
            | '\u{ff1c}'
    )
}

/// The letter that a reader sees in `c`: folded to lower case, to ASCII from full width and from the
/// Cyrillic letters that look the same. Other letters and digits count as some other letter; everything
/// else is skipped, zero-width characters included.
fn letter(c: char) -> Option<u8> {
    let folded = match c {
        '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}' => {
            char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c)
        }
        '\u{430}' | '\u{410}' => 'a',
        '\u{435}' | '\u{415}' => 'e',
        '\u{43e}' | '\u{41e}' => 'o',
        '\u{441}' | '\u{421}' => 'c',
        '\u{445}' | '\u{425}' => 'x',
        '\u{422}' => 't',
        c => c,
    };
    if folded.is_ascii_alphabetic() {
        return u8::try_from(folded.to_ascii_lowercase()).ok();
    }
    folded.is_alphanumeric().then_some(b'?')
}
