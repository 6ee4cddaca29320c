//! What a reader sees in a character: letters that look like others folded to plain ones, invisible ones known as such.
//! Called by [`crate::trust`], whose fence must not be imitated, and by [`crate::injection`], which reads what is meant.

use std::sync::LazyLock;

/// A character as a reader takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A letter or digit, in lower-case ASCII.
    Plain(u8),
    /// A letter of another alphabet that looks like this one.
    Lookalike(u8),
    /// A mathematical or circled spelling of this one.
    Styled(u8),
    /// Full width, as East Asian text has them.
    Wide(u8),
    /// A letter or digit that is none of ASCII's.
    Foreign,
    /// Nothing is seen, though something is there.
    Invisible,
    /// It stands over the letter before it.
    Mark,
    /// Invisible, and spells this ASCII character to programs.
    Tag(u8),
    /// Invisible, and can carry this byte.
    Selector(u8),
    /// Turns the order in which letters are shown.
    Override,
    /// A blank.
    Space,
    /// Anything else; as ASCII where it has such a form.
    Symbol(Option<u8>),
}

/// What is seen in `c`.
pub(crate) fn seen(c: char) -> Seen {
    static KNOWN: LazyLock<Vec<Seen>> = LazyLock::new(|| ('\0'..TABLED).map(looked_up).collect());
    if c < TABLED { KNOWN[c as usize] } else { looked_up(c) }
}

/// The same, slowly.
fn looked_up(c: char) -> Seen {
    match c {
        '0'..='9' | 'a'..='z' => Seen::Plain(low(c)),
        'A'..='Z' => Seen::Plain(low(c).to_ascii_lowercase()),
        '\t' | '\n' | '\r' | ' ' => Seen::Space,
        '\0'..='\u{7f}' => Seen::Symbol(Some(low(c))),
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => {
            Seen::Invisible
        }
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{3164}' => {
            Seen::Invisible
        }
        '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' => Seen::Invisible,
        '\u{202a}'..='\u{202c}' => Seen::Invisible,
        '\u{202d}' | '\u{202e}' => Seen::Override,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}' => Seen::Mark,
        '\u{e0020}'..='\u{e007e}' => Seen::Tag(offset(c, 0xe0000)),
        '\u{e0000}'..='\u{e007f}' => Seen::Invisible,
        '\u{e0100}'..='\u{e01ef}' => Seen::Selector(offset(c, 0xe0100)),
        '\u{ff01}'..='\u{ff5e}' => wide(offset(c, 0xff01) + b'!'),
        '\u{1d400}'..='\u{1d6a3}' => Seen::Styled(b'a' + modulo(c, 0x1d400)),
        '\u{1d7ce}'..='\u{1d7ff}' => Seen::Styled(b'0' + offset(c, 0x1d7ce) % 10),
        '\u{24b6}'..='\u{24e9}' => Seen::Styled(b'a' + modulo(c, 0x24b6)),
        '\u{1f130}'..='\u{1f189}' => Seen::Styled(b'a' + offset(c, 0x1f130) % 32 % 26),
        '\u{2018}' | '\u{2019}' | '\u{2bc}' => Seen::Symbol(Some(b'\'')),
        '\u{201c}' | '\u{201d}' => Seen::Symbol(Some(b'"')),
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Seen::Symbol(Some(b'-')),
        '\u{2026}' | '\u{3002}' => Seen::Symbol(Some(b'.')),
        c if c.is_whitespace() => Seen::Space,
        c => folded(c),
    }
}

fn folded(c: char) -> Seen {
    let find =
        |table: &[(u8, &str)]| table.iter().find(|(_, like)| like.contains(c)).map(|(letter, _)| *letter);
    if c < '\u{250}' {
        return find(ACCENTED).map_or_else(|| other(c), Seen::Plain);
    }
    if ('\u{370}'..'\u{590}').contains(&c) || ('\u{13a0}'..'\u{1400}').contains(&c) {
        return find(LOOKALIKES).map_or_else(|| other(c), Seen::Lookalike);
    }
    if ('\u{250}'..'\u{2b0}').contains(&c) || ('\u{1d00}'..'\u{1d80}').contains(&c) {
        return find(SMALL_CAPITALS).map_or_else(|| other(c), Seen::Styled);
    }
    if ('\u{1e00}'..'\u{1f00}').contains(&c) {
        return find(ACCENTED).map_or_else(|| other(c), Seen::Plain);
    }
    other(c)
}

fn other(c: char) -> Seen {
    if c.is_alphanumeric() { Seen::Foreign } else { Seen::Symbol(None) }
}

fn wide(ascii: u8) -> Seen {
    if ascii.is_ascii_alphanumeric() {
        Seen::Wide(ascii.to_ascii_lowercase())
    } else {
        Seen::Symbol(Some(ascii))
    }
}

fn low(c: char) -> u8 {
    u8::try_from(c).unwrap_or(b'?')
}

/// How far `c` is from `first`, which is less than a byte.
fn offset(c: char, first: u32) -> u8 {
    u8::try_from(u32::from(c).saturating_sub(first)).unwrap_or(u8::MAX)
}

/// The letter's number in an alphabet that is repeated from `first` on.
fn modulo(c: char, first: u32) -> u8 {
    u8::try_from(u32::from(c).saturating_sub(first) % 26).unwrap_or_default()
}

/// Below it are the alphabets whose letters have to be searched for.
const TABLED: char = '\u{2000}';

const ACCENTED: &[(u8, &str)] = &[
    (b'a', "àáâãäåāăąǎǟǡǻȁȃȧÀÁÂÃÄÅĀĂĄǍạảấầẩẫậắằẳẵặªẠẢẤẦẨẪẬẮẰẲẴẶḁḀ"),
    (b'c', "çćĉċčÇĆĈĊČḉḈ"),
    (b'd', "ďđĎĐḋḍḏḑḓ"),
    (b'e', "èéêëēĕėęěȅȇȩÈÉÊËĒĔĖĘĚẹẻẽếềểễệḕḗḙḛẸẺẼẾỀỂỄỆ"),
    (b'g', "ĝğġģǧǵĜĞĠĢḡ"),
    (b'h', "ĥħĤĦḣḥḧḩḫ"),
    (b'i', "ìíîïĩīĭįıǐȉȋÌÍÎÏĨĪĬĮİỉịḭḯỈỊ"),
    (b'j', "ĵĴǰ"),
    (b'k', "ķĶǩḱḳḵ"),
    (b'l', "ĺļľŀłĹĻĽĿŁḷḹḻḽ"),
    (b'm', "ḿṁṃ"),
    (b'n', "ñńņňŉǹÑŃŅŇṅṇṉṋ"),
    (b'o', "òóôõöøōŏőơǒǫȍȏºÒÓÔÕÖØŌŎŐƠọỏốồổỗộớờởỡợỌỎỐỒỔỖỘỚỜỞỠỢ"),
    (b'p', "ṕṗ"),
    (b'r', "ŕŗřȑȓŔŖŘṙṛṝṟ"),
    (b's', "śŝşšșŚŜŞŠȘṡṣṥṧṩ"),
    (b't', "ţťŧțŢŤŦȚṫṭṯṱẗ"),
    (b'u', "ùúûüũūŭůűųưǔǖǘǚǜȕȗÙÚÛÜŨŪŬŮŰŲƯụủứừửữựỤỦỨỪỬỮỰ"),
    (b'v', "ṽṿ"),
    (b'w', "ŵŴẁẃẅẇẉẘ"),
    (b'x', "ẋẍ"),
    (b'y', "ýÿŷÝŶŸỳỵỷỹẏẙ"),
    (b'z', "źżžŹŻŽẑẓẕ"),
];

/// Letters of Cyrillic, Greek, Armenian and Cherokee that are shown like these.
const LOOKALIKES: &[(u8, &str)] = &[
    (b'a', "аАαΑᎪ"),
    (b'b', "ВвΒЬᏴ"),
    (b'c', "сСϲᏟ"),
    (b'd', "ԁᎠ"),
    (b'e', "еЕεΕёЁєᎬ"),
    (b'g', "ɡԍᏀ"),
    (b'h', "һНΗнᎻ"),
    (b'i', "іІιΙїЇᎥ"),
    (b'j', "јЈϳᎫ"),
    (b'k', "кКκΚᏦ"),
    (b'l', "ӏӀᏞ"),
    (b'm', "МмΜᎷ"),
    (b'n', "ոΝηп"),
    (b'o', "оОοΟσօ"),
    (b'p', "рРρΡᏢ"),
    (b'q', "ԛ"),
    (b'r', "гᎡ"),
    (b's', "ѕЅᏚ"),
    (b't', "тТτΤᎢ"),
    (b'u', "υսц"),
    (b'v', "νѵᏙ"),
    (b'w', "ѡԝωшᎳ"),
    (b'x', "хХχΧ"),
    (b'y', "уУΥγүᎩ"),
    (b'z', "ΖᏃ"),
];

const SMALL_CAPITALS: &[(u8, &str)] = &[
    (b'a', "ɑᴀ"),
    (b'b', "ʙ"),
    (b'c', "ᴄ"),
    (b'd', "ᴅ"),
    (b'e', "ᴇ"),
    (b'g', "ɡɢ"),
    (b'h', "ʜ"),
    (b'i', "ɪɩ"),
    (b'j', "ᴊ"),
    (b'k', "ᴋ"),
    (b'l', "ʟ"),
    (b'm', "ᴍ"),
    (b'n', "ɴ"),
    (b'o', "ᴏ"),
    (b'p', "ᴘ"),
    (b'r', "ʀ"),
    (b't', "ᴛ"),
    (b'u', "ᴜʋ"),
    (b'v', "ᴠ"),
    (b'w', "ᴡ"),
    (b'y', "ʏ"),
    (b'z', "ᴢ"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_as_they_look() {
        for (c, as_seen) in [
            ('E', Seen::Plain(b'e')),
            ('é', Seen::Plain(b'e')),
            ('е', Seen::Lookalike(b'e')),
            ('ο', Seen::Lookalike(b'o')),
            ('𝐢', Seen::Styled(b'i')),
            ('𝒁', Seen::Styled(b'z')),
            ('𝟗', Seen::Styled(b'9')),
            ('ⓒ', Seen::Styled(b'c')),
            ('🅰', Seen::Styled(b'a')),
            ('ɪ', Seen::Styled(b'i')),
            ('Ｘ', Seen::Wide(b'x')),
            ('＜', Seen::Symbol(Some(b'<'))),
            ('’', Seen::Symbol(Some(b'\''))),
            ('\u{200b}', Seen::Invisible),
            ('\u{301}', Seen::Mark),
            ('\u{e0041}', Seen::Tag(b'A')),
            ('\u{e0101}', Seen::Selector(1)),
            ('\u{202e}', Seen::Override),
            ('\u{a0}', Seen::Space),
            ('漢', Seen::Foreign),
            ('ж', Seen::Foreign),
            ('→', Seen::Symbol(None)),
        ] {
            assert_eq!(seen(c), as_seen, "{c:?}");
        }
    }
}
