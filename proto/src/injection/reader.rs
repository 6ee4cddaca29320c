//! A text as words and signs, as a person would read them: folded, spelled-out words put together, disguises noticed.
//! Called by [`super::scan`].

use super::Category;
use super::compile::{Compiled, Found};
use super::hidden::{self, Disguise};
use super::scan::Scan;
use super::trie::{State, Trie, index};
use crate::fold::{Seen, seen};

pub(super) struct Reader<'s, 'r, 't> {
    scan: &'s mut Scan<'r>,
    rules: &'r Compiled,
    text: &'t str,
    depth: u8,
    at: usize,
    /// The last sign ended a sentence.
    sentence_ends: bool,
    spelled: Spelled,
    signs: Signs,
    /// Up to here, runs of letters were looked at for encoded text.
    looked: usize,
}

/// A word while it is read.
struct Word {
    begins: usize,
    /// How far the rules know it.
    state: State,
    /// They know no word that goes on so.
    strayed: bool,
    letters: u32,
    digits: u32,
    /// Letters that imitate others.
    lookalike: u32,
    styled: u32,
    foreign: u32,
    /// Something invisible stands inside it.
    invisible: bool,
    /// Something invisible followed; it is inside if a letter follows that.
    pending: bool,
}

/// Words of one letter in a row: perhaps a word.
#[derive(Default)]
struct Spelled {
    letters: String,
    ends: usize,
    /// What stands between its letters.
    joint: Option<char>,
    breaks: bool,
}

/// Signs of disguises, counted over a text.
#[derive(Default)]
struct Signs {
    split_words: u32,
    mixed_words: u32,
    escapes: u32,
    rot13: u32,
    reversed: u32,
    tags: String,
    bytes: Vec<u8>,
    /// How many more tags may spell the region of a flag's emoji.
    flag_region: u8,
}

impl<'s, 'r, 't> Reader<'s, 'r, 't> {
    pub(super) fn new(scan: &'s mut Scan<'r>, rules: &'r Compiled, text: &'t str, depth: u8) -> Self {
        Self {
            scan,
            rules,
            text,
            depth,
            at: 0,
            sentence_ends: false,
            spelled: Spelled::default(),
            signs: Signs::default(),
            looked: 0,
        }
    }

    pub(super) fn read(mut self) {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            let class = CLASS[usize::from(*byte)];
            match class {
                SPACE => self.spaces(),
                SIGN => {
                    self.at += 1;
                    self.sign(*byte);
                }
                WIDE => self.beyond_ascii(),
                _ => self.word(),
            }
        }
        self.end_of_spelled();
        self.verdict();
    }

    fn spaces(&mut self) {
        let bytes = self.text.as_bytes();
        let mut lines = 0;
        while let Some(byte) = bytes.get(self.at).filter(|byte| CLASS[usize::from(**byte)] == SPACE) {
            lines += u32::from(*byte == b'\n');
            self.at += 1;
        }
        if self.sentence_ends || lines > 1 {
            self.scan.pause();
        }
        self.sentence_ends = false;
    }

    /// A sign of ASCII, behind which the reader is.
    fn sign(&mut self, sign: u8) {
        if matches!(sign, b'%' | b'\\' | b'&') {
            self.signs.escapes += u32::from(hidden::escape(&self.text[self.at - 1..]).is_some());
        }
        self.means(sign);
    }

    /// What is read as this sign.
    #[inline]
    fn means(&mut self, sign: u8) {
        self.sentence_ends = matches!(sign, b'.' | b'!' | b'?');
        self.scan.sign(sign, self.rules.sign(sign));
    }

    /// A character that is no ASCII and begins no word of ASCII.
    fn beyond_ascii(&mut self) {
        let Some(c) = self.text[self.at..].chars().next() else { return };
        match seen(c) {
            Seen::Plain(_) | Seen::Lookalike(_) | Seen::Styled(_) | Seen::Wide(_) | Seen::Foreign => {
                self.word();
                return;
            }
            Seen::Space => self.spaces_beyond_ascii(),
            Seen::Symbol(sign) => {
                self.signs.flag_region = if c == FLAG { LONGEST_REGION } else { 0 };
                self.means(sign.unwrap_or(0));
            }
            other => self.unseen(other),
        }
        self.at += c.len_utf8();
    }

    fn spaces_beyond_ascii(&mut self) {
        if self.sentence_ends {
            self.scan.pause();
        }
        self.sentence_ends = false;
    }

    fn unseen(&mut self, what: Seen) {
        match what {
            Seen::Override => self.scan.flag(Category::EncodingTricks),
            Seen::Tag(_) if self.signs.flag_region > 0 => self.signs.flag_region -= 1,
            Seen::Tag(tag) => self.signs.tags.push(char::from(tag)),
            Seen::Selector(byte) => self.signs.bytes.push(byte.saturating_add(16)),
            _ => {}
        }
    }

    fn word(&mut self) {
        let mut word = Word::new(self.at);
        self.sentence_ends = false;
        loop {
            self.ascii_run(&mut word);
            if self.text.as_bytes().get(self.at).is_none_or(|byte| *byte < 0x80 && *byte != b'\'') {
                break;
            }
            let Some(c) = self.text[self.at..].chars().next() else { break };
            if c.is_ascii() {
                let joins = c == '\'' && self.letter_follows(1);
                if !joins {
                    break;
                }
                self.at += 1;
                continue;
            }
            let what = seen(c);
            match what {
                Seen::Plain(letter) => word.push(self.rules, letter),
                Seen::Lookalike(letter) => {
                    word.lookalike += 1;
                    word.push(self.rules, letter);
                }
                Seen::Styled(letter) => {
                    word.styled += 1;
                    word.push(self.rules, letter);
                }
                Seen::Wide(letter) => word.push(self.rules, letter),
                Seen::Foreign => {
                    word.foreign += 1;
                    word.strayed = true;
                }
                Seen::Mark => {}
                Seen::Invisible => word.pending = c != '\u{ad}' || word.pending,
                Seen::Tag(_) | Seen::Selector(_) | Seen::Override => {
                    word.pending = true;
                    self.unseen(what);
                }
                Seen::Symbol(Some(b'\'')) if self.letter_follows(c.len_utf8()) => {}
                Seen::Space | Seen::Symbol(_) => break,
            }
            self.at += c.len_utf8();
        }
        self.word_ends(&word);
    }

    /// Letters and digits of ASCII, which is most of most texts.
    #[inline]
    fn ascii_run(&mut self, word: &mut Word) {
        let bytes = &self.text.as_bytes()[self.at..];
        let class_at = |at: usize| bytes.get(at).map_or(SPACE, |byte| CLASS[usize::from(*byte)]);
        let (mut count, mut digits, mut state) = (0, 0, word.state);
        let mut class = class_at(0);
        if !word.strayed {
            while class < SPACE {
                let Some(next) = self.rules.words.next(state, class) else {
                    word.strayed = true;
                    break;
                };
                state = next;
                digits += u32::from(class >= FIRST_DIGIT);
                count += 1;
                class = class_at(count);
            }
        }
        while class < SPACE {
            digits += u32::from(class >= FIRST_DIGIT);
            count += 1;
            class = class_at(count);
        }
        if count > 0 {
            word.invisible |= word.pending;
            word.pending = false;
            word.letters += u32::try_from(count).unwrap_or(u32::MAX);
            word.digits += digits;
            word.state = state;
            self.at += count;
        }
    }

    fn letter_follows(&self, skip: usize) -> bool {
        self.text[self.at + skip..].chars().next().is_some_and(char::is_alphanumeric)
    }

    fn word_ends(&mut self, word: &Word) {
        let mut found = word.found(self.rules);
        let plain = word.lookalike + word.styled + word.foreign == 0 && !word.invisible;
        let perhaps_leet = word.digits > 0 && word.digits < word.letters && found.slots.is_empty();
        if plain && !perhaps_leet && found.hint.is_none() && self.at - word.begins < hidden::SHORTEST_RUN {
            self.scan.word(found);
            self.perhaps_spelled(word);
            return;
        }
        let mut imitated = false;
        if perhaps_leet
            && word.letters <= LONGEST_LEET
            && let Some(read) = self.with_digits_as_letters(word)
        {
            found = read;
            imitated = true;
        }
        self.scan.word(found);
        match found.hint {
            Some(Disguise::Rot13) => self.signs.rot13 += 1,
            Some(Disguise::Reversed) => self.signs.reversed += 1,
            None => {}
        }
        self.judge(word, found, imitated);
        self.perhaps_spelled(word);
        if self.at - word.begins >= hidden::SHORTEST_RUN {
            self.perhaps_encoded(word);
        }
    }

    /// Notes what is odd about how a word is written.
    fn judge(&mut self, word: &Word, found: &Found, imitated: bool) {
        let plain = word.letters - word.lookalike - word.styled;
        let is_ours = !found.slots.is_empty() && word.letters >= SHORTEST_OURS;
        let mixed = word.lookalike > 0 && word.foreign == 0 && plain >= 2 && word.letters >= 4;
        let styled = word.styled >= 4;
        let split = word.invisible && plain >= 2 && word.foreign == 0;
        self.signs.mixed_words += u32::from(mixed || styled);
        self.signs.split_words += u32::from(split);
        let disguised = word.lookalike + word.styled > 0 || split || imitated;
        if is_ours && disguised && word.foreign == 0 && (plain > 0 || word.styled > 0 || word.letters >= 6) {
            self.scan.flag(Category::EncodingTricks);
        }
    }

    /// What `1gn0r3` says.
    fn with_digits_as_letters(&mut self, word: &Word) -> Option<&'r Found> {
        let written = &self.text[word.begins..self.at];
        [b'i', b'l'].into_iter().find_map(|one| {
            let mut read = Word::new(word.begins);
            for c in written.chars() {
                let (Seen::Plain(letter)
                | Seen::Lookalike(letter)
                | Seen::Styled(letter)
                | Seen::Wide(letter)) = seen(c)
                else {
                    continue;
                };
                read.push(self.rules, hidden::letter_of_digit(letter, one));
            }
            let found = read.found(self.rules);
            (!found.slots.is_empty()).then_some(found)
        })
    }

    /// Puts `i g n o r e` together.
    #[inline]
    fn perhaps_spelled(&mut self, word: &Word) {
        if word.letters == 1 && word.foreign == 0 {
            self.spell(word.begins);
        } else if !self.spelled.letters.is_empty() {
            self.end_of_spelled();
        }
    }

    /// Adds a word of one letter, which begins here.
    fn spell(&mut self, begins: usize) {
        if self.spelled.letters.is_empty() {
            self.spelled.joint = None;
        } else if begins - self.spelled.ends > MOST_BETWEEN {
            self.end_of_spelled();
        } else {
            let mut between = self.text[self.spelled.ends..begins].chars();
            let joint = between.next().filter(|_| between.next().is_none());
            if self.spelled.joint.is_none() && joint.is_some() {
                self.spelled.joint = joint;
            } else if joint.is_none() || joint != self.spelled.joint {
                self.spelled.letters.push(' ');
                self.spelled.breaks = true;
            }
        }
        let letter = self.text[begins..self.at].chars().find_map(|c| match seen(c) {
            Seen::Plain(l) | Seen::Lookalike(l) | Seen::Styled(l) | Seen::Wide(l) => Some(l),
            _ => None,
        });
        self.spelled.letters.push(letter.map_or(' ', char::from));
        self.spelled.ends = self.at;
    }

    fn end_of_spelled(&mut self) {
        if self.spelled.letters.len() < SHORTEST_SPELLED {
            // Most are the names of variables: the next one needs the space again.
            self.spelled.letters.clear();
            (self.spelled.joint, self.spelled.breaks) = (None, false);
            return;
        }
        let spelled = std::mem::take(&mut self.spelled);
        let text = if spelled.breaks { spelled.letters } else { hidden::split(&spelled.letters, self.rules) };
        self.scan.reveal(text, self.depth);
    }

    /// A long run of letters: perhaps something encoded.
    fn perhaps_encoded(&mut self, word: &Word) {
        if word.begins < self.looked {
            return;
        }
        let run = hidden::run(self.text, self.looked, word.begins, self.at);
        self.looked = run.end;
        if let Some(text) = hidden::decoded(&self.text[run]) {
            self.scan.reveal(text, self.depth);
        }
    }

    /// What the signs say, now that the text has been read.
    fn verdict(self) {
        let Self { scan, text, depth, signs, .. } = self;
        if signs.split_words >= 2 || signs.mixed_words >= 3 || signs.tags.len() >= 4 || signs.bytes.len() >= 6
        {
            scan.flag(Category::EncodingTricks);
        }
        if signs.tags.len() >= 4 {
            scan.reveal(signs.tags, depth);
        }
        if let Some(text) = hidden::printable(&signs.bytes) {
            scan.reveal(text, depth);
        }
        if signs.escapes >= hidden::FEWEST_ESCAPES {
            scan.reveal(hidden::without_escapes(text), depth);
        }
        if signs.rot13.max(signs.reversed) >= ENOUGH_HINTS {
            scan.flag(Category::EncodingTricks);
        }
        if signs.rot13 >= FEWEST_HINTS {
            scan.reveal(hidden::rot13(text), depth);
        }
        if signs.reversed >= FEWEST_HINTS {
            scan.reveal(text.chars().rev().collect(), depth);
        }
    }
}

impl Word {
    fn new(begins: usize) -> Self {
        Self {
            begins,
            state: Trie::START,
            strayed: false,
            letters: 0,
            digits: 0,
            lookalike: 0,
            styled: 0,
            foreign: 0,
            invisible: false,
            pending: false,
        }
    }

    /// One more letter, of ASCII.
    fn push(&mut self, rules: &Compiled, letter: u8) {
        self.invisible |= self.pending;
        self.pending = false;
        self.letters += 1;
        self.digits += u32::from(letter.is_ascii_digit());
        if !self.strayed {
            match index(letter).and_then(|letter| rules.words.next(self.state, letter)) {
                Some(next) => self.state = next,
                None => self.strayed = true,
            }
        }
    }

    fn found<'r>(&self, rules: &'r Compiled) -> &'r Found {
        if self.strayed { rules.begins(self.state) } else { rules.ends(self.state) }
    }
}

const SPACE: u8 = 36;
const SIGN: u8 = 37;
const WIDE: u8 = 38;
const FIRST_DIGIT: u8 = 26;

/// By byte: a letter's [`index`], or what else it is.
const CLASS: [u8; 256] = {
    let mut table = [SIGN; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte {
            0x41..=0x5a => (byte - 0x41).to_le_bytes()[0],
            0x61..=0x7a => (byte - 0x61).to_le_bytes()[0],
            0x30..=0x39 => (byte - 0x30 + 26).to_le_bytes()[0],
            9 | 10 | 13 | 32 => SPACE,
            0x80.. => WIDE,
            _ => SIGN,
        };
        byte += 1;
    }
    table
};

/// Rules have words that are other alphabets' words as well, if they are short.
const SHORTEST_OURS: u32 = 3;
const LONGEST_LEET: u32 = 32;
const SHORTEST_SPELLED: usize = 6;
/// Between letters that are one word.
const MOST_BETWEEN: usize = 4;
const FEWEST_HINTS: u32 = 2;
/// So many words of a disguise are no accident, whatever they say.
const ENOUGH_HINTS: u32 = 4;
/// The black flag, which tags make the flag of a region.
const FLAG: char = '\u{1f3f4}';
const LONGEST_REGION: u8 = 6;
