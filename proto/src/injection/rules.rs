//! The rules as people write them. Called by the node at its start, and by the client with the built-in ones.
//!
//! ```text
//! # a comment
//! [data_exfiltration]
//! our-vault: open|print|send .. vault .. content*
//! off: a-rule-that-does-not-suit-us
//! ```

use super::compile::{Builder, Compiled};
use super::{Category, pattern};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Rules, ready to be used. They are compiled once and only read then.
#[derive(Debug)]
pub struct Rules {
    pub(super) compiled: Compiled,
    names: usize,
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {why}", name.as_ref().map(|name| format!(", rule {name:?}")).unwrap_or_default())]
pub struct RuleError {
    /// Where it stands.
    pub line: usize,
    /// What it is called, as far as that could be read.
    pub name: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

struct Rule {
    category: Category,
    pattern: String,
    line: usize,
}

type Named = BTreeMap<String, Vec<Rule>>;

impl Rules {
    /// The rules that come with amesh.
    #[must_use]
    pub fn built_in() -> &'static Self {
        // A test reads the same text, so that what does not compile is not released.
        static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::with("").unwrap_or_else(|_| Rules::none()));
        &RULES
    }

    /// The built-in rules and those of `text`, which may also switch built-in ones off.
    ///
    /// # Errors
    /// [`RuleError`], naming the line and the rule.
    pub fn with(text: &str) -> Result<Self, RuleError> {
        let mut rules = Named::new();
        read(BUILT_IN, &mut rules)?;
        read(text, &mut rules)?;
        let mut builder = Builder::default();
        for (name, patterns) in &rules {
            for rule in patterns {
                let error = |why| RuleError { line: rule.line, name: Some(name.clone()), why };
                let variants = pattern::parse(&rule.pattern).map_err(error)?;
                builder.add(rule.category, &variants).map_err(error)?;
            }
        }
        Ok(Self { compiled: builder.finish(), names: rules.len() })
    }

    fn none() -> Self {
        Self { compiled: Builder::default().finish(), names: 0 }
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names == 0
    }
}

/// Adds the rules of `text` to `rules`. Several lines of one name are one rule; a name is either built in or added.
fn read(text: &str, rules: &mut Named) -> Result<(), RuleError> {
    let mut category = None;
    let mut added = Named::new();
    for (number, line) in text.lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        let error = |name: Option<&str>, why: &str| {
            Err(RuleError { line: number, name: name.map(str::to_owned), why: why.to_owned() })
        };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(id) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            category = Category::parse(id.trim());
            if category.is_none() {
                let ids = Category::ALL.map(Category::as_str).join(", ");
                return error(None, &format!("{id:?} is no category; there are {ids}"));
            }
            continue;
        }
        let Some((name, pattern)) = line.split_once(':') else {
            return error(None, "write `name: words`, or `[category]`");
        };
        let (name, pattern) = (name.trim(), pattern.trim());
        if name == "off" {
            if rules.remove(pattern).is_none() {
                return error(Some(pattern), "there is no built-in rule of this name to switch off");
            }
            continue;
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return error(Some(name), "a name has lower-case letters, digits and hyphens");
        }
        let Some(category) = category else { return error(Some(name), "it stands before any [category]") };
        if rules.contains_key(name) {
            return error(Some(name), "a built-in rule has this name; switch it off first, or take another");
        }
        let rule = Rule { category, pattern: pattern.to_owned(), line: number };
        added.entry(name.to_owned()).or_default().push(rule);
    }
    rules.append(&mut added);
    Ok(())
}

const BUILT_IN: &str = include_str!("rules.txt");
