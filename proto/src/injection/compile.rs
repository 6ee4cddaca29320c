//! Rules as tables: for each word and sign the places in patterns that it can fill. Called by [`super::rules`]; read by
//! [`super::scan`].

use super::hidden::Disguise;
use super::pattern::{Step, Token};
use super::trie::{self, State, Trie};
use super::{Category, Flags};
use std::collections::HashMap;

/// What [`super::scan`] reads.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) words: Trie,
    /// By place: what a word is that ends there.
    ends: Vec<Found>,
    /// By place: what a word is that only begins so.
    begins: Vec<Found>,
    /// By sign: the slots it can fill.
    signs: Vec<Slots>,
    /// By slot: the signs that are looked for once it is filled.
    awaits: Vec<Vec<Awaited>>,
}

/// What a word is to the rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) slots: Slots,
    /// The disguise it speaks of.
    pub(super) hint: Option<Disguise>,
}

/// The places of patterns that a word or sign can fill.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    /// Those that another stands before, last first: a word must not fill two of one pattern.
    pub(super) later: Vec<Slot>,
    /// Those that a pattern begins with.
    pub(super) first: Vec<Slot>,
}

/// One place of a pattern, small and whole: a text has many words that can fill several.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) number: u16,
    /// The place before it; its own, where it is the first.
    pub(super) before: u16,
    /// How many words at most from that place to this one; [`ADJACENT`] where nothing may stand between.
    pub(super) within: u16,
    /// The categories whose patterns are complete here.
    pub(super) completes: Flags,
    /// A sign may come next: see [`Compiled::awaits`].
    pub(super) awaits: bool,
}

/// A sign that fills a slot if it comes in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited {
    pub(super) sign: u8,
    /// As in a [`Slot`].
    pub(super) within: u16,
}

#[derive(Debug)]
pub(super) struct Builder {
    trie: trie::Builder,
    words: HashMap<u16, Filled>,
    stems: HashMap<u16, Filled>,
    signs: Vec<Vec<u16>>,
    slots: Vec<Slot>,
    awaits: Vec<Vec<Awaited>>,
    /// Patterns share what they begin with.
    known: HashMap<(Option<u16>, Step), u16>,
}

/// As [`Found`], while slots are still added.
#[derive(Debug, Clone, Default)]
struct Filled {
    slots: Vec<u16>,
    hint: Option<Disguise>,
}

impl Default for Builder {
    fn default() -> Self {
        let mut builder = Self {
            trie: trie::Builder::default(),
            words: HashMap::new(),
            stems: HashMap::new(),
            signs: vec![Vec::new(); SIGNS],
            slots: Vec::new(),
            awaits: Vec::new(),
            known: HashMap::new(),
        };
        for (disguise, word) in Disguise::hints() {
            if let Some(node) = builder.trie.node(&word) {
                builder.words.entry(node).or_default().hint = Some(disguise);
            }
        }
        builder
    }
}

impl Builder {
    /// Adds every variant of a pattern.
    ///
    /// # Errors
    /// When there are too many rules.
    pub(super) fn add(&mut self, category: Category, variants: &[Vec<Step>]) -> Result<(), String> {
        for steps in variants {
            let mut before = None;
            for step in steps {
                before = Some(self.slot(before, step)?);
            }
            if let Some(last) = before {
                self.slots[usize::from(last)].completes.insert(category);
            }
        }
        Ok(())
    }

    fn slot(&mut self, before: Option<u16>, step: &Step) -> Result<u16, String> {
        let key = (before, step.clone());
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let too_many = || "there are too many rules".to_owned();
        let number = u16::try_from(self.slots.len()).map_err(|_| too_many())?;
        let within = step.gap.map_or(ADJACENT, |gap| u16::try_from(gap + 1).unwrap_or(ADJACENT));
        let completes = Flags::default();
        let slot = Slot { number, before: before.unwrap_or(number), within, completes, awaits: false };
        self.slots.push(slot);
        self.awaits.push(Vec::new());
        self.known.insert(key, number);
        for token in &step.tokens {
            match token {
                Token::Word(word) => {
                    let node = self.trie.node(word).ok_or_else(too_many)?;
                    self.words.entry(node).or_default().slots.push(number);
                }
                Token::Stem(word) => {
                    let node = self.trie.node(word).ok_or_else(too_many)?;
                    self.stems.entry(node).or_default().slots.push(number);
                }
                Token::Sign(sign) => {
                    let sign = sign & 0x7f;
                    self.signs[usize::from(sign)].push(number);
                    if let Some(before) = before {
                        self.slots[usize::from(before)].awaits = true;
                        self.awaits[usize::from(before)].push(Awaited { sign, within });
                    }
                }
            }
        }
        Ok(number)
    }

    pub(super) fn finish(self) -> Compiled {
        let count = self.trie.len();
        let mut begins = vec![Filled::default(); count];
        let mut ends = vec![Filled::default(); count];
        // A child's number is higher than its parent's.
        for node in 0..count {
            if let Some(stem) = self.stems.get(&state(node)) {
                begins[node].slots.extend(&stem.slots);
            }
            ends[node] = begins[node].clone();
            if let Some(word) = self.words.get(&state(node)) {
                ends[node].slots.extend(&word.slots);
                ends[node].hint = word.hint;
            }
            for child in self.trie.after(node) {
                begins[child] = begins[node].clone();
            }
        }
        let slots = |numbers: Vec<u16>| Slots::of(numbers, &self.slots);
        let (words, places) = self.trie.finish();
        let by_place = |filled: Vec<Filled>| {
            let mut found = vec![Found::default(); words.places()];
            for (filled, place) in filled.into_iter().zip(&places) {
                found[*place] = Found { slots: slots(filled.slots), hint: filled.hint };
            }
            found
        };
        Compiled {
            ends: by_place(ends),
            begins: by_place(begins),
            signs: self.signs.into_iter().map(slots).collect(),
            words,
            awaits: self.awaits,
        }
    }
}

impl Slots {
    fn of(mut numbers: Vec<u16>, all: &[Slot]) -> Self {
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        numbers.dedup();
        let slots = numbers.into_iter().map(|number| all[usize::from(number)]);
        let (first, later) = slots.partition(|slot| slot.before == slot.number);
        Self { later, first }
    }

    /// Whether no pattern has a place for it.
    pub(super) fn is_empty(&self) -> bool {
        self.later.is_empty() && self.first.is_empty()
    }
}

impl Compiled {
    /// What a word is that ended in this state.
    pub(super) fn ends(&self, state: State) -> &Found {
        &self.ends[Trie::place(state)]
    }

    /// What a word is that left the trie after this state.
    pub(super) fn begins(&self, state: State) -> &Found {
        &self.begins[Trie::place(state)]
    }

    /// The slots that a sign can fill.
    pub(super) fn sign(&self, sign: u8) -> &Slots {
        &self.signs[usize::from(sign) % SIGNS]
    }

    /// The signs that are looked for once `slot` is filled.
    pub(super) fn awaits(&self, slot: Slot) -> &[Awaited] {
        &self.awaits[usize::from(slot.number)]
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.awaits.len()
    }
}

fn state(node: usize) -> u16 {
    u16::try_from(node).unwrap_or(u16::MAX)
}

/// Instead of a number of words.
pub(super) const ADJACENT: u16 = u16::MAX;

/// How many signs there are.
pub(super) const SIGNS: usize = 128;
