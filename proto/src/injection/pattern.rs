//! The language of a rule: words and signs in a row, with gaps. Called by [`super::rules`].
//!
//! ```text
//! ignore|disregard .. previous|prior .. instruction*     three sets of words, up to six other words in each gap
//! curl|wget ..12 \| sh|bash                              a wider gap; `\` takes a sign by itself
//! act as an? admin*                                      an optional word
//! ```

/// One place of a pattern: whatever of these comes there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Step {
    /// How many other words may stand before it; `None`: it follows at once, with no blank or sign between.
    pub(super) gap: Option<u32>,
    /// Words and signs, sorted.
    pub(super) tokens: Vec<Token>,
}

/// What a text is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Token {
    /// A whole word, in lower case.
    Word(String),
    /// Every word that begins so.
    Stem(String),
    /// A sign.
    Sign(u8),
}

/// Every way to read `pattern`: one sequence for each choice of what is optional or longer than a word.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(pattern: &str) -> Result<Vec<Vec<Step>>, String> {
    let mut variants: Vec<Vec<Step>> = vec![Vec::new()];
    let mut gap = 0;
    let mut gap_is_last = false;
    for element in pattern.split_whitespace() {
        if let Some(width) = gap_of(element)? {
            if variants[0].is_empty() || gap_is_last {
                return Err("a gap must stand between two words".to_owned());
            }
            (gap, gap_is_last) = (width, true);
            continue;
        }
        let (element, optional) = match element.strip_suffix('?') {
            Some(shorter) if !shorter.ends_with('\\') && !shorter.is_empty() => (shorter, true),
            _ => (element, false),
        };
        let choices = choices(element)?;
        variants = extended(&variants, &choices, gap, optional)?;
        (gap, gap_is_last) = (0, false);
    }
    if gap_is_last {
        return Err("a gap must stand between two words".to_owned());
    }
    if variants.iter().any(Vec::is_empty) {
        return Err("it needs a word that is not optional".to_owned());
    }
    if variants.iter().any(|steps| steps.len() > MAX_STEPS) {
        return Err(format!("more than {MAX_STEPS} words in a row"));
    }
    Ok(variants)
}

/// The width of a gap, if `element` is one.
fn gap_of(element: &str) -> Result<Option<u32>, String> {
    let Some(width) = element.strip_prefix("..") else { return Ok(None) };
    if width.is_empty() {
        return Ok(Some(DEFAULT_GAP));
    }
    match width.parse() {
        Ok(width) if (1..=MAX_GAP).contains(&width) => Ok(Some(width)),
        _ => Err(format!("{element:?} is no gap: write `..` or `..1` to `..{MAX_GAP}`")),
    }
}

/// The alternatives of an element, each one or more tokens in a row.
fn choices(element: &str) -> Result<Vec<Vec<Token>>, String> {
    let (mut choices, mut current, mut escaped) = (Vec::new(), Vec::new(), false);
    let mut word = String::new();
    let bad = |what: String| Err(format!("{what} in {element:?}"));
    for c in element.chars() {
        match c {
            'a'..='z' | '0'..='9' => word.push(c),
            'A'..='Z' => return bad("write words in lower case:".to_owned() + " capitals"),
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '*' if !escaped && !word.is_empty() => {
                if word.len() < MIN_STEM {
                    return bad(format!("fewer than {MIN_STEM} letters before *"));
                }
                current.push(Token::Stem(std::mem::take(&mut word)));
            }
            '|' if !escaped => {
                finish_word(&mut word, &mut current);
                if current.is_empty() {
                    return bad("an empty alternative".to_owned());
                }
                choices.push(std::mem::take(&mut current));
            }
            '\'' if !escaped && !word.is_empty() => {}
            '!'..='~' => {
                finish_word(&mut word, &mut current);
                current.push(Token::Sign(u8::try_from(c).unwrap_or(b'?')));
            }
            other => return bad(format!("{other:?} is not ASCII, which texts are folded to,")),
        }
        escaped = false;
    }
    finish_word(&mut word, &mut current);
    if current.is_empty() || escaped {
        return bad("an empty alternative".to_owned());
    }
    choices.push(current);
    Ok(choices)
}

fn finish_word(word: &mut String, current: &mut Vec<Token>) {
    if !word.is_empty() {
        current.push(Token::Word(std::mem::take(word)));
    }
}

/// `variants`, each followed by each of `choices`. Single tokens share one step.
fn extended(
    variants: &[Vec<Step>],
    choices: &[Vec<Token>],
    gap: u32,
    optional: bool,
) -> Result<Vec<Vec<Step>>, String> {
    let (single, longer): (Vec<_>, Vec<_>) = choices.iter().partition(|choice| choice.len() == 1);
    let mut tails: Vec<Vec<Step>> = Vec::new();
    if !single.is_empty() {
        let mut tokens: Vec<Token> = single.into_iter().flatten().cloned().collect();
        tokens.sort();
        tokens.dedup();
        tails.push(vec![Step { gap: Some(gap), tokens }]);
    }
    tails.extend(longer.into_iter().map(|choice| {
        let step = |(at, token): (usize, &Token)| Step {
            gap: (at == 0).then_some(gap),
            tokens: vec![token.clone()],
        };
        choice.iter().enumerate().map(step).collect()
    }));
    let mut all: Vec<Vec<Step>> = Vec::new();
    for variant in variants {
        all.extend(tails.iter().map(|tail| [variant.as_slice(), tail].concat()));
        if optional {
            all.push(variant.clone());
        }
    }
    if all.len() > MAX_VARIANTS {
        return Err(format!("more than {MAX_VARIANTS} ways to read it: split the rule"));
    }
    Ok(all)
}

/// How many other words fit a plain `..`.
const DEFAULT_GAP: u32 = 6;
const MAX_GAP: u32 = 40;
const MAX_STEPS: usize = 16;
const MAX_VARIANTS: usize = 256;
/// A shorter stem would be found in half of all words.
const MIN_STEM: usize = 2;
