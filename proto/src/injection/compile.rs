//! Rules as tables: a trie of all their words, and for each word the places in patterns that it can fill. Called by
//! [`super::rules`]; read by [`super::scan`].

use super::hidden::Disguise;
use super::pattern::{Step, Token};
use super::{Category, Flags};
use std::collections::HashMap;

/// What [`super::scan`] reads.
#[derive(Debug)]
pub(super) struct Compiled {
    /// `nodes[state][letter]`; 0 is nowhere, 1 the beginning.
    nodes: Vec<[u16; LETTERS]>,
    /// By state: what a word that ends there is.
    ends: Vec<Found>,
    /// By state: what a word is that only begins so.
    begins: Vec<Found>,
    /// By sign: the slots it can fill.
    signs: Vec<Vec<Slot>>,
    /// How many slots there are.
    pub(super) slots: usize,
}

/// What a word is to the rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The slots it can fill, last first: a word must not fill two of one pattern.
    pub(super) slots: Vec<Slot>,
    /// The disguise it speaks of.
    pub(super) hint: Option<Disguise>,
}

/// One place of a pattern, small and whole: a text has many words that can fill several.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) number: u16,
    /// The place before it.
    pub(super) before: Option<u16>,
    /// How many words at most from that place to this one; [`ADJACENT`] where nothing may stand between.
    pub(super) within: u16,
    /// The categories whose patterns are complete here.
    pub(super) completes: Flags,
}

#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<[u16; LETTERS]>,
    words: HashMap<u16, Filled>,
    stems: HashMap<u16, Filled>,
    signs: Vec<Vec<u16>>,
    slots: Vec<Slot>,
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
            nodes: vec![[0; LETTERS]; 2],
            words: HashMap::new(),
            stems: HashMap::new(),
            signs: vec![Vec::new(); 128],
            slots: Vec::new(),
            known: HashMap::new(),
        };
        for (disguise, word) in Disguise::hints() {
            if let Some(node) = builder.node(&word) {
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
        self.slots.push(Slot { number, before, within, completes: Flags::default() });
        self.known.insert(key, number);
        for token in &step.tokens {
            match token {
                Token::Word(word) => {
                    let node = self.node(word).ok_or_else(too_many)?;
                    self.words.entry(node).or_default().slots.push(number);
                }
                Token::Stem(word) => {
                    let node = self.node(word).ok_or_else(too_many)?;
                    self.stems.entry(node).or_default().slots.push(number);
                }
                Token::Sign(sign) => self.signs[usize::from(*sign & 0x7f)].push(number),
            }
        }
        Ok(number)
    }

    /// The state after `word`; nothing when the tables are full.
    fn node(&mut self, word: &str) -> Option<u16> {
        let mut node = START;
        for letter in word.bytes() {
            let letter = usize::from(index(letter)?);
            let next = self.nodes[usize::from(node)][letter];
            node = if next == NOWHERE {
                let made = u16::try_from(self.nodes.len()).ok()?;
                self.nodes.push([0; LETTERS]);
                self.nodes[usize::from(node)][letter] = made;
                made
            } else {
                next
            };
        }
        Some(node)
    }

    pub(super) fn finish(self) -> Compiled {
        let count = self.nodes.len();
        let mut begins = vec![Filled::default(); count];
        let mut ends = vec![Filled::default(); count];
        // A child's number is higher than its parent's.
        for node in 1..count {
            if let Some(stem) = self.stems.get(&state(node)) {
                begins[node].slots.extend(&stem.slots);
            }
            ends[node] = begins[node].clone();
            if let Some(word) = self.words.get(&state(node)) {
                ends[node].slots.extend(&word.slots);
                ends[node].hint = word.hint;
            }
            for child in self.nodes[node].into_iter().filter(|child| *child != NOWHERE) {
                begins[usize::from(child)] = begins[node].clone();
            }
        }
        let slots =
            |numbers: Vec<u16>| last_first(numbers).map(|number| self.slots[usize::from(number)]).collect();
        let found = |filled: Filled| Found { slots: slots(filled.slots), hint: filled.hint };
        Compiled {
            ends: ends.into_iter().map(found).collect(),
            begins: begins.into_iter().map(found).collect(),
            signs: self.signs.into_iter().map(slots).collect(),
            nodes: self.nodes,
            slots: self.slots.len(),
        }
    }
}

impl Compiled {
    /// The state after one more letter, an [`index`].
    #[inline]
    pub(super) fn next(&self, node: u16, letter: u8) -> u16 {
        self.nodes[usize::from(node)][usize::from(letter) % LETTERS]
    }

    /// What a word is that ended in this state.
    pub(super) fn ends(&self, node: u16) -> &Found {
        &self.ends[usize::from(node)]
    }

    /// What a word is that left the trie after this state.
    pub(super) fn begins(&self, node: u16) -> &Found {
        &self.begins[usize::from(node)]
    }

    /// The slots that a sign can fill.
    pub(super) fn sign(&self, sign: u8) -> &[Slot] {
        self.signs.get(usize::from(sign)).map_or(&[], Vec::as_slice)
    }
}

/// A letter's or digit's place in a node.
pub(super) const fn index(letter: u8) -> Option<u8> {
    match letter {
        b'a'..=b'z' => Some(letter - b'a'),
        b'0'..=b'9' => Some(letter - b'0' + 26),
        _ => None,
    }
}

fn state(node: usize) -> u16 {
    u16::try_from(node).unwrap_or(NOWHERE)
}

fn last_first(mut slots: Vec<u16>) -> impl Iterator<Item = u16> {
    slots.sort_unstable_by(|one, other| other.cmp(one));
    slots.dedup();
    slots.into_iter()
}

/// Instead of a number of words.
pub(super) const ADJACENT: u16 = u16::MAX;

pub(super) const NOWHERE: u16 = 0;
pub(super) const START: u16 = 1;
const LETTERS: usize = 36;
