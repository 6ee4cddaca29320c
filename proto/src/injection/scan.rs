//! One message as it is scanned: where each pattern stands, what was found, and what is still to be read because it was
//! hidden. Called by [`super::Rules`]; [`super::reader`] turns texts into words and signs for it.
//!
//! Every slot remembers where it was filled last. Since a gap counts from there, a later filling is never worse than
//! an earlier one, and a word costs as many steps as there are slots that it can fill: a number of the rules, not
//! of the text.

use super::compile::{ADJACENT, Found, Slot};
use super::reader::Reader;
use super::rules::Rules;
use super::{Category, Flags};

#[derive(Debug)]
pub(super) struct Scan<'r> {
    rules: &'r Rules,
    flags: Flags,
    /// The number of the next token, and of the last word.
    token: u32,
    word: u32,
    filled: Vec<At>,
    /// What was hidden, and how deep.
    hidden: Vec<(String, u8)>,
    /// How many more bytes of hidden text are read.
    allowance: usize,
    /// Steps taken: what the time is proportional to.
    steps: u64,
}

/// Where a slot was filled last; zero is never.
#[derive(Debug, Clone, Copy, Default)]
struct At {
    token: u32,
    word: u32,
}

impl<'r> Scan<'r> {
    /// For texts of `bytes` together.
    pub(super) fn new(rules: &'r Rules, bytes: usize) -> Self {
        Self {
            rules,
            flags: Flags::default(),
            token: 0,
            word: 0,
            filled: vec![At::default(); rules.compiled.slots],
            hidden: Vec::new(),
            allowance: HIDDEN_SHARE.saturating_mul(bytes) + LEAST_ALLOWANCE,
            steps: 0,
        }
    }

    /// Reads a text, and what is hidden in it.
    pub(super) fn read(&mut self, text: &str) {
        self.visible(text, 0);
        while let Some((text, depth)) = self.hidden.pop() {
            let before = std::mem::take(&mut self.flags);
            self.visible(&text, depth);
            if !self.flags.is_empty() {
                self.flags.insert(Category::EncodingTricks);
            }
            self.flags = self.flags.and(before);
        }
    }

    fn visible(&mut self, text: &str, depth: u8) {
        // No pattern goes on from one text to the next.
        self.token = self.token.saturating_add(APART);
        self.word = self.word.saturating_add(APART);
        self.steps += text.len() as u64;
        Reader::new(self, &self.rules.compiled, text, depth).read();
    }

    pub(super) fn finish(self) -> Flags {
        self.flags
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn flag(&mut self, category: Category) {
        self.flags.insert(category);
    }

    /// A word, or a part of the text that counts as one.
    pub(super) fn word(&mut self, found: &Found) {
        self.word = self.word.saturating_add(1);
        self.fill(&found.slots);
    }

    /// A sign.
    pub(super) fn sign(&mut self, slots: &[Slot]) {
        self.fill(slots);
    }

    /// The end of a sentence or paragraph: patterns reach beyond it only with a gap.
    pub(super) fn pause(&mut self) {
        self.word = self.word.saturating_add(PAUSE);
    }

    /// Reads `text` too, which was hidden in a text of this depth.
    pub(super) fn reveal(&mut self, text: String, depth: u8) {
        if text.len() > self.allowance {
            // More is hidden than there is text: nobody honest does that.
            self.flag(Category::EncodingTricks);
        } else if depth < DEEPEST {
            self.allowance -= text.len();
            self.hidden.push((text, depth + 1));
        }
    }

    fn fill(&mut self, slots: &[Slot]) {
        self.token = self.token.saturating_add(1);
        self.steps += slots.len() as u64;
        let now = At { token: self.token, word: self.word };
        for slot in slots {
            // One that was never filled was filled at nought, which is longer ago than any gap is wide.
            let comes_in_time = slot.before.is_none_or(|before| {
                let before = self.filled[usize::from(before)];
                match slot.within {
                    ADJACENT => before.token + 1 == now.token,
                    within => now.word - before.word <= u32::from(within),
                }
            });
            if comes_in_time {
                self.filled[usize::from(slot.number)] = now;
                self.flags = self.flags.and(slot.completes);
            }
        }
    }
}

/// Hidden in what was hidden in what was hidden: nobody reads that.
const DEEPEST: u8 = 2;
/// Hidden text that is read, as a share of the visible.
const HIDDEN_SHARE: usize = 4;
const LEAST_ALLOWANCE: usize = 1024;
const APART: u32 = 1_000;
const PAUSE: u32 = 3;
