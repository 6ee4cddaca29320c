//! One message as it is scanned: where each pattern stands, what was found, and what is still to be read because it was
//! hidden. Called by [`super::Rules`]; [`super::reader`] turns texts into words and signs for it.
//!
//! Every slot remembers where it was filled last. Since a gap counts from there, a later filling is never worse than
//! an earlier one, and a word costs as many steps as there are slots that it can fill: a number of the rules, not
//! of the text. Code has more signs than words, and nearly all of them come where no pattern waits for one: a sign is
//! looked at only where it could go on with something, or begin it.

use super::compile::{ADJACENT, Compiled, Found, SIGNS, Slot, Slots};
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
    /// By sign: up to where it can fill a slot that another stands before.
    awaited: [At; SIGNS],
    /// What was hidden, and how deep.
    hidden: Vec<(String, u8)>,
    /// How many more bytes of hidden text are read.
    allowance: usize,
    /// Steps taken: what the time is proportional to.
    steps: u64,
}

/// Where something is in the text, as its `n`th token and word; zero is nowhere.
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
            filled: vec![At::default(); rules.compiled.slots()],
            awaited: [At::default(); SIGNS],
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
        let now = self.next_token();
        self.fill_later(now, &found.slots.later);
        self.fill_first(now, &found.slots.first);
    }

    /// A sign of ASCII, with the slots that it can fill.
    #[inline]
    pub(super) fn sign(&mut self, sign: u8, slots: &Slots) {
        let now = self.next_token();
        let awaited = self.awaited[usize::from(sign) % SIGNS];
        if now.word <= awaited.word || now.token == awaited.token {
            self.fill_later(now, &slots.later);
        }
        if !slots.first.is_empty() {
            self.fill_first(now, &slots.first);
        }
    }

    #[inline]
    fn next_token(&mut self) -> At {
        self.token = self.token.saturating_add(1);
        At { token: self.token, word: self.word }
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

    fn fill_later(&mut self, now: At, slots: &[Slot]) {
        self.steps += slots.len() as u64;
        for slot in slots {
            // One that was never filled was filled at nought, which is longer ago than any gap is wide.
            let before = self.filled[usize::from(slot.before)];
            let comes_in_time = match slot.within {
                ADJACENT => before.token + 1 == now.token,
                within => now.word - before.word <= u32::from(within),
            };
            if comes_in_time {
                self.fill(now, *slot);
            }
        }
    }

    fn fill_first(&mut self, now: At, slots: &[Slot]) {
        self.steps += slots.len() as u64;
        for slot in slots {
            self.fill(now, *slot);
        }
    }

    #[inline]
    fn fill(&mut self, now: At, slot: Slot) {
        self.filled[usize::from(slot.number)] = now;
        self.flags = self.flags.and(slot.completes);
        if slot.awaits {
            self.await_signs(now, slot);
        }
    }

    fn await_signs(&mut self, now: At, slot: Slot) {
        let rules: &Compiled = &self.rules.compiled;
        for next in rules.awaits(slot) {
            let awaited = &mut self.awaited[usize::from(next.sign) % SIGNS];
            match next.within {
                ADJACENT => awaited.token = now.token + 1,
                within => awaited.word = awaited.word.max(now.word + u32::from(within)),
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
