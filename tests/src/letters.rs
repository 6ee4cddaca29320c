//! Two agents on two nodes who write to each other, whatever happens between them. Used by the stories of
//! `tests/tests/laptops.rs` and `tests/tests/rolling_upgrade.rs`.

use crate::agent::TestAgent;
use crate::ledger::{Counts, Ledger};
use crate::node::Node;
use crate::wait::wait_until;
use anyhow::{Result, ensure};
use std::time::Instant;

/// The two, and the books of both directions.
#[derive(Debug)]
pub struct Letters {
    one: TestAgent,
    other: TestAgent,
    there: Ledger,
    back: Ledger,
}

impl Letters {
    /// An agent on each node; each has had a letter from the other.
    ///
    /// # Errors
    /// When they do not find each other.
    pub async fn between(one: &Node, other: &Node) -> Result<Self> {
        let name = |node: &Node, other: &Node| format!("{}-to-{}", node.host, other.host);
        let (one, other) = (one.agent(&name(one, other)).await?, other.agent(&name(other, one)).await?);
        for (from, to) in [(&one, &other), (&other, &one)] {
            let known = || async { Ok(from.send(&to.address, "hello").await.is_ok()) };
            wait_until("the other's name", known).await?;
            wait_until("the first letter", || async { Ok(!to.take().await?.is_empty()) }).await?;
        }
        Ok(Self { one, other, there: Ledger::default(), back: Ledger::default() })
    }

    /// Each writes `count` letters, one after the other, both at the same time.
    pub async fn write(&mut self, count: usize) {
        let Self { one, other, there, back } = self;
        tokio::join!(there.send_many(count, one, other), back.send_many(count, other, one));
    }

    /// Only the first writes.
    pub async fn write_there(&mut self, count: usize) {
        self.there.send_many(count, &self.one, &self.other).await;
    }

    /// Each finds its node where it is now, after a restart.
    ///
    /// # Errors
    /// When a node never started.
    pub fn find(&mut self, one: &Node, other: &Node) -> Result<()> {
        (self.one, self.other) = (one.found_by(&self.one)?, other.found_by(&self.other)?);
        Ok(())
    }

    /// Takes what has arrived so far.
    ///
    /// # Errors
    /// When a mailbox cannot be read.
    pub async fn take(&mut self) -> Result<()> {
        self.there.collect(&self.other).await?;
        self.back.collect(&self.one).await?;
        Ok(())
    }

    /// Waits for everything so far.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn arrive(&mut self) -> Result<()> {
        self.there.collect_all(&self.other).await?;
        self.back.collect_all(&self.one).await
    }

    /// The path is back since `healed`: waits for the first letter that waited at the first node, then for all, writes
    /// `more` each way, and judges both lanes.
    ///
    /// # Errors
    /// When a promise was broken, or a letter was not even accepted.
    pub async fn heal(mut self, story: &str, healed: Instant, more: usize) -> Result<()> {
        wait_until("the first letter", || async { Ok(!self.other.pending().await?.is_empty()) }).await?;
        println!("{story}: the first letter {} ms after the path was back", healed.elapsed().as_millis());
        self.arrive().await?;
        println!("{story}: the last letter {} ms after the path was back", healed.elapsed().as_millis());
        self.write(more).await;
        self.settle(story).await
    }

    /// Waits for everything, and judges both lanes.
    ///
    /// # Errors
    /// As [`Self::heal`].
    pub async fn settle(mut self, story: &str) -> Result<()> {
        self.arrive().await?;
        let (there, back) =
            (self.there.judge(&format!("{story}, there"))?, self.back.judge(&format!("{story}, back"))?);
        let whole = |counts: &Counts| counts.unanswered == 0 && counts.arrived == counts.accepted;
        ensure!(whole(&there) && whole(&back), "{story}: not every letter was accepted: {there}; {back}");
        Ok(())
    }
}
