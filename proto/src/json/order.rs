//! How object keys sort: by code point, and as JavaScript does it (A-1, IPR-25).

use super::{JsonError, Member};
use std::cmp::Ordering;

/// The order by code point; empty when the members stand that way. Two equal keys are an error.
pub(super) fn by_code_point(members: &[Member<'_>], at: usize) -> Result<Vec<u32>, JsonError> {
    let mut sorted = true;
    for pair in members.windows(2) {
        match compare(&pair[0], &pair[1]) {
            Ordering::Less => {}
            Ordering::Equal => return Err(JsonError::DuplicateKey(at)),
            Ordering::Greater => sorted = false,
        }
    }
    if sorted {
        return Ok(Vec::new());
    }
    let mut order: Vec<u32> = (0u32..).take(members.len()).collect();
    let member = |index: u32| &members[index as usize];
    order.sort_unstable_by(|a, b| compare(member(*a), member(*b)));
    let twice = order.windows(2).any(|pair| compare(member(pair[0]), member(pair[1])).is_eq());
    if twice { Err(JsonError::DuplicateKey(at)) } else { Ok(order) }
}

fn compare(a: &Member<'_>, b: &Member<'_>) -> Ordering {
    if a.key.is_plain() && b.key.is_plain() {
        // UTF-8 sorts by bytes as by code points.
        return a.key.raw().cmp(b.key.raw());
    }
    a.key.chars().cmp(b.key.chars())
}

/// The order in which `JSON.stringify` writes an object whose keys were assigned sorted: array indexes by
/// value, then the rest by UTF-16 units.
pub(super) fn by_javascript(members: &[Member<'_>]) -> Vec<u32> {
    let mut keyed: Vec<(Option<u32>, Vec<u16>, u32)> = (0u32..)
        .zip(members)
        .map(|(at, member)| {
            let key = member.key.decode();
            (array_index(&key), key.encode_utf16().collect(), at)
        })
        .collect();
    keyed.sort_unstable_by(|(a, a16, _), (b, b16, _)| match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a16.cmp(b16),
    });
    keyed.into_iter().map(|(_, _, at)| at).collect()
}

/// Whether JavaScript may place this key elsewhere than its code points would.
pub(super) fn is_special_to_javascript(key: &str) -> bool {
    // The lead byte of U+E000 is 0xEE; everything that UTF-16 sorts otherwise comes after it.
    array_index(key).is_some() || key.bytes().any(|byte| byte >= 0xee)
}

/// The number that JavaScript takes this key for: a plain decimal below 2^32 - 1.
fn array_index(key: &str) -> Option<u32> {
    let plain = key == "0" || !key.starts_with('0');
    let digits = !key.is_empty() && key.len() <= 10 && key.bytes().all(|b| b.is_ascii_digit());
    if plain && digits { key.parse().ok().filter(|index| *index != u32::MAX) } else { None }
}
