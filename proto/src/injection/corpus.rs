//! The labelled corpus: attacks by category, ordinary messages, and ordinary messages made from templates. Called by the
//! tests, which print how well the rules tell them apart.

use super::Category;
use std::collections::BTreeSet;

/// Attacks that the rules were adjusted to, with the category that has to be flagged.
pub(super) fn attacks() -> Vec<(Category, String)> {
    labelled(include_str!("corpus/attacks.txt"))
}

/// Attacks that they were not adjusted to.
pub(super) fn unseen_attacks() -> Vec<(Category, String)> {
    labelled(include_str!("corpus/unseen_attacks.txt"))
}

/// Ordinary messages, written by hand.
pub(super) fn ordinary() -> Vec<String> {
    lines(include_str!("corpus/ordinary.txt")).map(unescaped).collect()
}

fn labelled(text: &str) -> Vec<(Category, String)> {
    let mut category = None;
    let mut attacks = Vec::new();
    for line in lines(text) {
        let heading = line.strip_prefix('[').and_then(|rest| Category::parse(rest.strip_suffix(']')?));
        match heading {
            Some(next) => category = Some(next),
            None => attacks.push((category.unwrap(), unescaped(line))),
        }
    }
    attacks
}

/// `count` different ordinary messages, made from templates; always the same.
pub(super) fn generated(count: usize) -> Vec<String> {
    let (mut lists, mut templates) = (Vec::new(), Vec::new());
    for line in lines(include_str!("corpus/templates.txt")) {
        match line.strip_prefix("= ").and_then(|list| list.split_once(": ")) {
            Some((name, words)) => {
                lists.push((format!("{{{name}}}"), words.split(" | ").collect::<Vec<_>>()));
            }
            None => templates.push(line),
        }
    }
    let mut state = 7_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut made = BTreeSet::new();
    while made.len() < count {
        let mut text = templates[next(templates.len())].to_owned();
        for (name, words) in &lists {
            while text.contains(name.as_str()) {
                text = text.replacen(name.as_str(), words[next(words.len())], 1);
            }
        }
        made.insert(text);
    }
    made.into_iter().collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with("# ") && !line.is_empty())
}

/// `\n`, `\\` and `\u{…}` as what they mean.
fn unescaped(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        rest = if let Some(code) = after.strip_prefix("u{") {
            let (hex, rest) = code.split_once('}').unwrap();
            out.push(char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap());
            rest
        } else {
            out.push(if after.starts_with('n') { '\n' } else { '\\' });
            after.strip_prefix(['n', '\\']).unwrap_or(after)
        };
    }
    out + rest
}
