//! What was sent, what was promised and what arrived; and the verdict on it (DESIGN §1.1, §1.2, §1.7).

use crate::agent::{Letter, Received, TestAgent};
use crate::wait::wait_until;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Add;

/// The books of one lane: one sender, one recipient, one priority.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Subjects in the order of sending, with the id of those that were accepted.
    sent: Vec<(String, Option<String>)>,
    arrived: Vec<String>,
    statuses: BTreeMap<String, usize>,
}

/// The counts of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered with 2xx.
    pub accepted: usize,
    /// Not answered, or answered otherwise.
    pub unanswered: usize,
    /// Arrived, each once.
    pub arrived: usize,
    /// Accepted but not arrived.
    pub missing: usize,
    /// Arrived again.
    pub doubled: usize,
    /// Arrived before something that was accepted earlier.
    pub overtaking: usize,
    /// Arrived, but never sent.
    pub foreign: usize,
}

impl Ledger {
    /// Sends one letter and books what was answered; no answer is booked, too. Whether it was accepted.
    pub async fn send(&mut self, from: &TestAgent, to: &TestAgent) -> bool {
        let subject = format!("letter {:06}", self.sent.len());
        let reply =
            from.route(&Letter::new(&to.address, &subject, "hello")).await.and_then(|reply| reply.ok());
        let status = reply.as_ref().map_or("unanswered", |body| body["status"].as_str().unwrap_or("?"));
        *self.statuses.entry(status.to_owned()).or_default() += 1;
        let id = reply.ok().and_then(|body: Value| Some(body["id"].as_str()?.to_owned()));
        let accepted = id.is_some();
        self.sent.push((subject, id));
        accepted
    }

    /// Sends `count` letters, one after the other.
    pub async fn send_many(&mut self, count: usize, from: &TestAgent, to: &TestAgent) {
        for _ in 0..count {
            self.send(from, to).await;
        }
    }

    /// Books what arrived.
    pub fn receive(&mut self, mail: &[Received]) {
        self.arrived.extend(mail.iter().map(|mail| mail.subject.clone()));
    }

    /// Takes the recipient's mail and books it; whether everything accepted has arrived.
    ///
    /// # Errors
    /// When the mailbox cannot be read.
    pub async fn collect(&mut self, to: &TestAgent) -> Result<bool> {
        self.receive(&to.take().await?);
        Ok(self.counts().missing == 0)
    }

    /// Takes the recipient's mail until everything accepted has arrived, and then once more: what comes after that
    /// would be too much.
    ///
    /// # Errors
    /// When it does not arrive.
    pub async fn collect_all(&mut self, to: &TestAgent) -> Result<()> {
        let books = tokio::sync::Mutex::new(&mut *self);
        wait_until("all accepted mail", || async { books.lock().await.collect(to).await }).await?;
        self.collect(to).await?;
        Ok(())
    }

    /// How many were accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.sent.iter().filter(|(_, id)| id.is_some()).count()
    }

    /// How many were answered with each status.
    #[must_use]
    pub fn statuses(&self) -> &BTreeMap<String, usize> {
        &self.statuses
    }

    /// How many arrived, repeats included.
    #[must_use]
    pub fn arrivals(&self) -> usize {
        self.arrived.len()
    }

    /// The count of everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let place: HashMap<&str, usize> =
            self.sent.iter().enumerate().map(|(at, (s, _))| (s.as_str(), at)).collect();
        let accepted = |at: usize| self.sent[at].1.is_some();
        let mut times = vec![0_usize; self.sent.len()];
        let (mut foreign, mut overtaking, mut furthest) = (0, 0, None);
        for subject in &self.arrived {
            let Some(&at) = place.get(subject.as_str()) else {
                foreign += 1;
                continue;
            };
            times[at] += 1;
            // Order is promised for what was accepted; a letter without an answer has no place in it.
            if accepted(at) && times[at] == 1 {
                overtaking += usize::from(furthest > Some(at));
                furthest = furthest.max(Some(at));
            }
        }
        let count = |want: &dyn Fn(usize, usize) -> bool| {
            times.iter().enumerate().filter(|(at, times)| want(*at, **times)).count()
        };
        Counts {
            accepted: count(&|at, _| accepted(at)),
            unanswered: count(&|at, _| !accepted(at)),
            arrived: count(&|_, times| times > 0),
            missing: count(&|at, times| accepted(at) && times == 0),
            doubled: times.iter().map(|times| times.saturating_sub(1)).sum(),
            overtaking,
            foreign,
        }
    }

    /// Prints the counts and judges them: everything accepted exactly once and in order, everything else at most once.
    ///
    /// # Errors
    /// When a promise was broken.
    pub fn judge(&self, story: &str) -> Result<Counts> {
        let counts = self.counts();
        println!("{story}: {counts}");
        ensure!(counts.missing == 0, "{story}: accepted mail is missing: {counts}");
        ensure!(
            counts.doubled == 0 && counts.foreign == 0,
            "{story}: mail arrived that should not have: {counts}"
        );
        ensure!(counts.overtaking == 0, "{story}: mail is out of order: {counts}");
        Ok(counts)
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            unanswered: self.unanswered + other.unanswered,
            arrived: self.arrived + other.arrived,
            missing: self.missing + other.missing,
            doubled: self.doubled + other.doubled,
            overtaking: self.overtaking + other.overtaking,
            foreign: self.foreign + other.foreign,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, unanswered, arrived, missing, doubled, overtaking, foreign } = self;
        write!(f, "accepted {accepted}, unanswered {unanswered}, arrived {arrived}, missing {missing}, ")?;
        write!(f, "doubled {doubled}, out of order {overtaking}, foreign {foreign}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(sent: &[(&str, bool)], arrived: &[&str]) -> Counts {
        let sent =
            sent.iter().map(|(subject, ok)| ((*subject).to_owned(), ok.then(|| "id".to_owned()))).collect();
        let arrived = arrived.iter().map(|&subject| subject.to_owned()).collect();
        Ledger { sent, arrived, statuses: BTreeMap::new() }.counts()
    }

    #[test]
    fn accepted_mail_that_did_not_arrive_is_missing() {
        let counts = ledger(&[("a", true), ("b", false), ("c", true)], &["a"]);
        assert_eq!((counts.accepted, counts.unanswered, counts.missing), (2, 1, 1));
    }

    #[test]
    fn repeats_and_strangers_are_counted() {
        let counts = ledger(&[("a", true)], &["a", "a", "z"]);
        assert_eq!((counts.arrived, counts.doubled, counts.foreign), (1, 1, 1));
    }

    #[test]
    fn only_accepted_mail_has_an_order() {
        assert_eq!(ledger(&[("a", true), ("b", true), ("c", true)], &["b", "a", "c"]).overtaking, 1);
        assert_eq!(ledger(&[("a", false), ("b", true), ("c", true)], &["b", "a", "c"]).overtaking, 0);
    }
}
