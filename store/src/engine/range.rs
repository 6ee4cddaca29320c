//! Which keys a scan visits. Called by every engine, and by every tree's file that scans.

/// A contiguous stretch of keys: from `from` up to, not including, `to`.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Option<Vec<u8>>,
}

impl Range {
    /// Every key of the tree.
    pub(crate) const ALL: Self = Self { from: Vec::new(), to: None };

    /// Every key that begins with `prefix`.
    pub(crate) fn prefix(prefix: &[u8]) -> Self {
        Self { from: prefix.to_vec(), to: after_prefix(prefix) }
    }

    /// The keys of `prefix ‖ number` with `first <= number < end`.
    pub(crate) fn numbers(prefix: &[u8], first: u64, end: u64) -> Self {
        let key = |number: u64| [prefix, number.to_be_bytes().as_slice()].concat();
        Self { from: key(first), to: Some(key(end)) }
    }
}

/// The smallest key that is greater than every key with this prefix; none for a prefix of 0xff only.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Range, after_prefix};

    #[test]
    fn the_end_of_a_prefix_carries_over_full_bytes() {
        assert_eq!(after_prefix(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[255, 255]), None);
        assert_eq!(Range::prefix(&[]).to, None);
    }
}
