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
    signs: Vec<Vec<u16>>,
    pub(super) slots: Vec<Slot>,
}

/// What a word is to the rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The slots it can fill, last first: a word must not fill two of one pattern.
    pub(super) slots: Vec<u16>,
    /// The disguise it speaks of.
    pub(super) hint: Option<Disguise>,
}

/// One place of a pattern.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// The place before it.
    pub(super) before: Option<u16>,
    /// As in [`Step`].
    pub(super) gap: Option<u32>,
    /// The categories whose patterns are complete here.
    pub(super) completes: Flags,
}

#[derive(Debug)]
pub(super) struct Builder {
    nodes: Vec<[u16; LETTERS]>,
    words: HashMap<u16, Found>,
    stems: HashMap<u16, Found>,
    signs: Vec<Vec<u16>>,
    slots: Vec<Slot>,
    /// Patterns share what they begin with.
    known: HashMap<(Option<u16>, Step), u16>,
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
        self.slots.push(Slot { before, gap: step.gap, completes: Flags::default() });
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

    pub(super) fn finish(mut self) -> Compiled {
        let count = self.nodes.len();
        let mut begins = vec![Found::default(); count];
        let mut ends = vec![Found::default(); count];
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
        for found in begins.iter_mut().chain(&mut ends) {
            last_first(&mut found.slots);
        }
        self.signs.iter_mut().for_each(last_first);
        Compiled { nodes: self.nodes, ends, begins, signs: self.signs, slots: self.slots }
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
    pub(super) fn sign(&self, sign: u8) -> &[u16] {
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

fn last_first(slots: &mut Vec<u16>) {
    slots.sort_unstable_by(|one, other| other.cmp(one));
    slots.dedup();
}

pub(super) const NOWHERE: u16 = 0;
pub(super) const START: u16 = 1;
const LETTERS: usize = 36;
