//! How many unknown providers each source may have looked up in a minute (DESIGN §6): every one is a question to machines that
//! the source chooses. Owned by [`super::Federation`]. Times are elapsed time that the caller brings.

use amesh_store::AgentNo;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// On whose account a provider is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The node's owner.
    Owner,
    /// An agent of this node.
    Agent(AgentNo),
    /// Whoever delivers from there: an address, or a network of IPv6.
    Stranger(u64),
    /// Agents of other members, whose mail this node carries.
    Relayed,
}

#[derive(Debug)]
pub(super) struct Budget {
    each: u32,
    minute: Mutex<Minute>,
}

#[derive(Debug, Default)]
struct Minute {
    began: Duration,
    spent: HashMap<Source, u32>,
    all: u32,
    strangers: u32,
}

/// Too often; the seconds until the next minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent(pub(super) u64);

impl Budget {
    pub(super) fn new(each: u32) -> Self {
        Self { each, minute: Mutex::default() }
    }

    /// Counts one look-up, unless the source, or all together, have had theirs.
    pub(super) fn take(&self, source: Source, now: Duration) -> Result<(), Spent> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(minute.began) >= MINUTE {
            *minute = Minute { began: now, ..Minute::default() };
        }
        let spent = minute.spent.get(&source).copied().unwrap_or_default();
        let by_stranger = matches!(source, Source::Stranger(_));
        if spent >= self.each || minute.all >= ALL || by_stranger && minute.strangers >= STRANGERS {
            return Err(Spent((minute.began + MINUTE).saturating_sub(now).as_secs().max(1)));
        }
        minute.all += 1;
        minute.strangers += u32::from(by_stranger);
        minute.spent.insert(source, spent + 1);
        Ok(())
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Of all sources together: bounds the table too.
const ALL: u32 = 600;
/// Of all strangers together: they leave some to the owner and the agents.
const STRANGERS: u32 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_leave_look_ups_to_the_owner_and_the_agents() {
        let (budget, second) = (Budget::new(2), Duration::from_secs(1));
        let taken = (0..1_000).filter(|network| budget.take(Source::Stranger(*network), second).is_ok());
        assert_eq!(taken.count(), 300);
        assert_eq!(budget.take(Source::Owner, second), Ok(()));
    }

    #[test]
    fn each_source_has_its_own_budget_and_all_together_have_one() {
        let (budget, second) = (Budget::new(2), Duration::from_secs(1));
        let alice = Source::Agent(AgentNo(1));
        assert_eq!(
            [Source::Owner, Source::Owner, alice].map(|source| budget.take(source, second)),
            [Ok(()); 3]
        );
        assert_eq!(budget.take(Source::Owner, 40 * second), Err(Spent(20)));
        assert_eq!(budget.take(alice, 40 * second), Ok(()));
        assert_eq!(budget.take(Source::Owner, 61 * second), Ok(()));
        let taken = (0..2 * ALL).filter(|number| {
            budget.take(Source::Agent(AgentNo(u64::from(*number) + 10)), 62 * second).is_ok()
        });
        assert_eq!(taken.count(), 599);
    }
}
