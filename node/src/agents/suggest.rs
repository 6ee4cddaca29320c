//! Free names to offer when one is taken (ADR-9, REG-13): a host-based one where another host holds the name, then
//! word pairs and numbers. Pure; called by `registration`.

/// Up to five names near `name` for which `is_free` holds. `pick` chooses among the word pairs.
pub(super) fn suggestions(
    name: &str,
    host: Option<&str>,
    pick: u64,
    is_free: impl Fn(&str) -> bool,
) -> Vec<String> {
    let stem = stem(name);
    let by_host = host.map(|host| join(&stem, host)).into_iter();
    let pairs = (0..PAIRS_TRIED).map(|step| {
        let at = pick.wrapping_add(step * 7);
        let first = FIRST[usize::try_from(at % FIRST.len() as u64).unwrap_or(0)];
        let second = SECOND[usize::try_from((at / FIRST.len() as u64) % SECOND.len() as u64).unwrap_or(0)];
        join(&stem, &format!("{first}-{second}"))
    });
    let numbered = (2..100).map(|number| join(&stem, &number.to_string()));
    let mut offered = Vec::new();
    offer(&mut offered, by_host, 1, &is_free);
    offer(&mut offered, pairs, 2, &is_free);
    offer(&mut offered, numbered, 2, &is_free);
    offered
}

fn offer(
    into: &mut Vec<String>,
    from: impl Iterator<Item = String>,
    count: usize,
    is_free: impl Fn(&str) -> bool,
) {
    let wanted = into.len() + count;
    for name in from {
        if into.len() == wanted {
            return;
        }
        if !into.contains(&name) && is_free(&name) {
            into.push(name);
        }
    }
}

/// What is left of a name in `[a-z0-9-]` with alphanumeric ends, the only kind that is suggested.
fn stem(name: &str) -> String {
    let plain: String =
        name.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "agent".to_owned() } else { plain.to_owned() }
}

fn join(stem: &str, suffix: &str) -> String {
    let room = 63_usize.saturating_sub(suffix.len() + 1).max(1);
    let cut = stem.get(..room).unwrap_or(stem).trim_end_matches('-');
    format!("{cut}-{suffix}")
}

const PAIRS_TRIED: u64 = 64;
const FIRST: [&str; 16] = [
    "amber", "brisk", "calm", "cosmic", "crisp", "dapper", "eager", "gentle", "jolly", "keen", "lucky",
    "merry", "nimble", "quiet", "sunny", "swift",
];
const SECOND: [&str; 16] = [
    "badger", "falcon", "finch", "fox", "heron", "koala", "lark", "lynx", "marmot", "otter", "panda",
    "puffin", "raven", "robin", "seal", "wren",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_the_host_then_word_pairs_then_numbers() {
        let offered = suggestions("Bob", Some("laptop"), 3, |_| true);
        assert_eq!(offered.len(), 5);
        assert_eq!(offered[0], "bob-laptop");
        assert_eq!(offered[1].split('-').count(), 3);
        assert_eq!(offered[3], "bob-2");
    }

    #[test]
    fn leaves_out_names_that_are_taken() {
        let offered = suggestions("bob", None, 3, |name| name != "bob-2");
        assert!(offered.contains(&"bob-3".to_owned()) && !offered.contains(&"bob-2".to_owned()));
    }

    #[test]
    fn suggests_only_plain_names_of_legal_length() {
        for name in ["_x_", "___", &"a".repeat(63)] {
            for offered in suggestions(name, Some("host"), 9, |_| true) {
                assert!(
                    offered.len() <= 63 && !offered.starts_with('-') && !offered.contains('_'),
                    "{offered}"
                );
            }
        }
    }
}
