//! Many lanes under load at once: each its own sender, recipient and ledger.

use crate::agent::TestAgent;
use crate::ledger::{Counts, Ledger};
use crate::node::Node;
use crate::wait::wait_until;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// A running load.
#[derive(Debug)]
pub struct Load {
    lanes: JoinSet<(Ledger, TestAgent)>,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts `lanes` senders at `from`, each writing to a recipient of its own at `to`, one letter after the other.
    ///
    /// # Errors
    /// When an agent cannot be registered.
    pub async fn start(lanes: usize, from: &Node, to: &Node) -> Result<Self> {
        let (accepted, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut running = JoinSet::new();
        for lane in 0..lanes {
            let sender = from.agent(&format!("sender-{lane}")).await?;
            let recipient = to.agent(&format!("recipient-{lane}")).await?;
            running.spawn(send_until_told(sender, recipient, accepted.clone(), stop.clone()));
        }
        Ok(Self { lanes: running, accepted, stop })
    }

    /// Waits until `more` further letters were accepted.
    ///
    /// # Errors
    /// When they are not.
    pub async fn goes_on(&self, more: usize) -> Result<()> {
        let goal = self.accepted.load(Ordering::SeqCst) + more;
        wait_until("the load to go on", || async { Ok(self.accepted.load(Ordering::SeqCst) >= goal) }).await
    }

    /// Ends the load, waits until everything accepted has arrived, and judges every lane; the counts of all together.
    ///
    /// # Errors
    /// When a promise was broken in a lane.
    pub async fn settle(mut self, story: &str) -> Result<Counts> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Counts::default();
        while let Some(ended) = self.lanes.join_next().await {
            let (mut ledger, recipient) = ended.context("a lane panicked")?;
            ledger.collect_all(&recipient).await?;
            all = all + ledger.judge(&format!("{story}, {}", recipient.address))?;
        }
        println!("{story}, all lanes: {all}");
        Ok(all)
    }
}

async fn send_until_told(
    sender: TestAgent,
    recipient: TestAgent,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> (Ledger, TestAgent) {
    let mut ledger = Ledger::default();
    while !stop.load(Ordering::SeqCst) && ledger.accepted() < MAILBOX {
        if ledger.send(&sender, &recipient).await {
            accepted.fetch_add(1, Ordering::SeqCst);
        } else {
            // The node is away; a client that hammers it would only fill the ledger.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    (ledger, recipient)
}

/// Short of what [`ROOMY`] lets a mailbox hold: nobody reads before the load ends, however long that takes.
const MAILBOX: usize = 19_000;

/// Settings for the nodes under load.
pub const ROOMY: &str = "[store]\nmailbox_new = 20000\n";
