//! All words of the rules in one table, one cell a state: a text is walked through it letter by letter, and most of the
//! time of a scan is this walk. Built by [`super::compile`]; walked by [`super::reader`] and [`super::hidden`].

/// A place in a [`Trie`]: the letters that have been read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State(u32);

/// States in a double array: the one after `letter` lies `letter` cells behind its parent's `children`, if its cell says
/// that this is its parent. One look a letter, and texts that are alike stay within few cells.
#[derive(Debug)]
pub(super) struct Trie {
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    parent: u32,
    children: u32,
}

/// The same while words are added: `rows[node][letter]` is a node, or 0 for nowhere.
#[derive(Debug)]
pub(super) struct Builder {
    rows: Vec<[u16; LETTERS]>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { rows: vec![[0; LETTERS]] }
    }
}

impl Builder {
    /// The node after `word`, a higher number than any node on the way to it; nothing when the table is full, or
    /// where the word has other letters than [`index`] knows.
    pub(super) fn node(&mut self, word: &str) -> Option<u16> {
        let mut node = 0;
        for letter in word.bytes() {
            let letter = usize::from(index(letter)?);
            let next = self.rows[usize::from(node)][letter];
            node = if next == 0 {
                let made = u16::try_from(self.rows.len()).ok()?;
                self.rows.push([0; LETTERS]);
                self.rows[usize::from(node)][letter] = made;
                made
            } else {
                next
            };
        }
        Some(node)
    }

    /// How many nodes there are; the first is the beginning.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The nodes one letter after `node`.
    pub(super) fn after(&self, node: usize) -> impl Iterator<Item = usize> {
        self.rows[node].iter().filter(|next| **next != 0).map(|next| usize::from(*next))
    }

    /// The table, and by node the [`Trie::place`] of its state.
    pub(super) fn finish(self) -> (Trie, Vec<usize>) {
        let mut cells = vec![Cell::FREE; LETTERS + 1];
        cells[0] = Cell { parent: NOBODY, children: 1 };
        let mut places = vec![0; self.rows.len()];
        let mut first_free = 1;
        // A child's number is higher than its parent's, whose place is known by then.
        for (node, row) in self.rows.iter().enumerate() {
            let letters: Vec<usize> = (0..LETTERS).filter(|letter| row[*letter] != 0).collect();
            let Some(lowest) = letters.first() else { continue };
            while cells[first_free].is_taken() {
                first_free += 1;
            }
            let mut children = first_free.saturating_sub(*lowest).max(1);
            while letters
                .iter()
                .any(|letter| cells.get(children + letter).is_some_and(|cell| cell.is_taken()))
            {
                children += 1;
            }
            // Whatever letter is looked for there is a cell to look at.
            cells.resize(cells.len().max(children + LETTERS + 1), Cell::FREE);
            cells[places[node]].children = narrow(children);
            for letter in letters {
                cells[children + letter].parent = narrow(places[node]);
                places[usize::from(row[letter])] = children + letter;
            }
        }
        (Trie { cells }, places)
    }
}

impl Cell {
    /// Nobody's child, with the children of nobody: the root is behind no letter.
    const FREE: Self = Self { parent: NOBODY, children: 0 };

    fn is_taken(self) -> bool {
        self.parent != NOBODY
    }
}

impl Trie {
    /// Before any letter.
    pub(super) const START: State = State(0);

    /// The state after one more letter, an [`index`]; nothing where no word goes on so.
    #[inline]
    pub(super) fn next(&self, state: State, letter: u8) -> Option<State> {
        let children = self.cells.get(state.0 as usize)?.children;
        let place = children + u32::from(letter);
        (self.cells.get(place as usize)?.parent == state.0).then_some(State(place))
    }

    /// A number for the state, below [`Self::places`].
    #[inline]
    pub(super) fn place(state: State) -> usize {
        state.0 as usize
    }

    /// How many places there are.
    pub(super) fn places(&self) -> usize {
        self.cells.len()
    }
}

/// A letter's or digit's number.
pub(super) const fn index(letter: u8) -> Option<u8> {
    match letter {
        b'a'..=b'z' => Some(letter - b'a'),
        b'0'..=b'9' => Some(letter - b'0' + 26),
        _ => None,
    }
}

/// There are at most as many nodes as a `u16` counts, and a row for each would still fit.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NOBODY)
}

const NOBODY: u32 = u32::MAX;
const LETTERS: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_word_is_found_at_its_place_and_nothing_else(
            words in proptest::collection::btree_set("[a-c0-1z]{1,5}", 1..60),
            others in proptest::collection::vec("[a-c0-1z]{1,6}", 0..60),
        ) {
            let mut builder = Builder::default();
            let nodes: Vec<usize> = words.iter().map(|word| usize::from(builder.node(word).unwrap())).collect();
            let (trie, places) = builder.finish();
            let walk = |word: &str| {
                word.bytes().try_fold(Trie::START, |state, letter| trie.next(state, index(letter).unwrap()))
            };
            for (word, node) in words.iter().zip(nodes) {
                let state = walk(word).unwrap();
                prop_assert_eq!(Trie::place(state), places[node]);
                prop_assert!(places[node] < trie.places());
            }
            for other in &others {
                let known = words.iter().any(|word| word.starts_with(other.as_str()));
                prop_assert_eq!(walk(other).is_some(), known);
            }
        }
    }
}
