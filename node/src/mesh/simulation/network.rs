//! The simulated network: connections that keep order and lose nothing while they live, as QUIC's do; so what packets
//! suffer (loss, doubling, a pulled cable, a host that is off) shows as delay, as silence, or as the end of a connection.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Connection {
    /// The one that dialled, the other.
    pub(super) ends: [usize; 2],
    /// Whether each end still has it.
    pub(super) open: [bool; 2],
    /// When the last bytes sent to each end will be there.
    last: [Duration; 2],
    /// Since when nothing passes.
    dark_since: Option<Duration>,
    /// What is retransmitted until something passes again.
    held: Vec<Portion>,
    /// To each end: how many portions were sent, and how many have got in.
    sent: [u64; 2],
    got_in: [u64; 2],
    /// What is there and waits for what was sent before it.
    early: Vec<Portion>,
    /// One end crashed: nothing is retransmitted any more.
    broken: bool,
}

impl Connection {
    fn place(&self, node: usize) -> usize {
        usize::from(self.ends[1] == node)
    }

    pub(super) fn other(&self, node: usize) -> usize {
        self.ends[1 - self.place(node)]
    }

    pub(super) fn is_open(&self, node: usize) -> bool {
        self.open[self.place(node)]
    }
}

/// Some bytes on their way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Portion {
    /// In the order of sending to that end, from 1 on.
    order: u64,
    pub(super) to: usize,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) connections: HashMap<u64, Connection>,
    /// Which side of a split each node is on; all on side 0 while there is none.
    sides: HashMap<usize, u8>,
    /// Pairs between whom nothing passes.
    apart: HashSet<(usize, usize)>,
    /// Who is off, or frozen.
    silent: HashSet<usize>,
}

/// What is to be done when the network has changed.
#[derive(Debug, Default)]
pub(super) struct Shift {
    /// Silent from now on: to be looked at again when their idle time is over.
    pub(super) dark: Vec<u64>,
    /// Passing again, after such a time; and what was held, in order.
    pub(super) lit: Vec<(u64, Duration, Vec<Portion>)>,
}

impl Network {
    pub(super) fn is_dark(&self, a: usize, b: usize) -> bool {
        let side = |node| self.sides.get(&node).copied().unwrap_or(0);
        let silent = self.silent.contains(&a) || self.silent.contains(&b);
        silent || side(a) != side(b) || self.apart.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn open(&mut self, connection: u64, dialer: usize, listener: usize) {
        let (ends, open, last) = ([dialer, listener], [true; 2], [Duration::ZERO; 2]);
        let fresh = Connection {
            ends,
            open,
            last,
            dark_since: None,
            held: Vec::new(),
            sent: [0; 2],
            got_in: [0; 2],
            early: Vec::new(),
            broken: false,
        };
        self.connections.insert(connection, fresh);
    }

    /// Sends bytes: when they are there, if that takes `delay`; nothing where they are not, or not yet.
    pub(super) fn send(
        &mut self,
        connection: u64,
        to: usize,
        bytes: Vec<u8>,
        now: Duration,
        delay: Duration,
    ) -> Option<(Duration, Portion)> {
        let known = self.connections.get_mut(&connection)?;
        let place = known.place(to);
        known.sent[place] += 1;
        let portion = Portion { order: known.sent[place], to, bytes };
        self.forward(connection, portion, now, delay)
    }

    /// The same, for what was held.
    pub(super) fn forward(
        &mut self,
        connection: u64,
        portion: Portion,
        now: Duration,
        delay: Duration,
    ) -> Option<(Duration, Portion)> {
        let known = self.connections.get_mut(&connection)?;
        let place = known.place(portion.to);
        if !known.open[place] || known.broken {
            return None;
        }
        if known.dark_since.is_some() {
            known.held.push(portion);
            return None;
        }
        let at = known.last[place].max(now + delay);
        known.last[place] = at;
        Some((at, portion))
    }

    /// What gets in of what is there now; what comes while nothing passes is held. What was held may come behind what was
    /// sent after it and was under way all the time: that waits for it.
    pub(super) fn arrives(&mut self, connection: u64, portion: Portion) -> Option<Vec<u8>> {
        let known = self.connections.get_mut(&connection)?;
        if known.broken || !known.is_open(portion.to) {
            return None;
        }
        if known.dark_since.is_some() {
            known.held.push(portion);
            return None;
        }
        let place = known.place(portion.to);
        known.early.push(portion);
        let mut bytes = Vec::new();
        loop {
            let (to, next) = (known.ends[place], known.got_in[place] + 1);
            let found = known.early.iter().position(|portion| portion.to == to && portion.order == next);
            let Some(found) = found else { break };
            bytes.extend(known.early.swap_remove(found).bytes);
            known.got_in[place] = next;
        }
        (!bytes.is_empty()).then_some(bytes)
    }

    /// One end has it no more. Says whether the other end has it still.
    pub(super) fn close(&mut self, connection: u64, node: usize) -> bool {
        let Some(known) = self.connections.get_mut(&connection) else { return false };
        let place = known.place(node);
        known.open[place] = false;
        if known.open[1 - place] {
            return true;
        }
        self.connections.remove(&connection);
        false
    }

    /// Whether nothing has passed over it since `since`.
    pub(super) fn is_idle(&self, connection: u64, since: Duration) -> bool {
        self.connections.get(&connection).is_some_and(|known| known.dark_since == Some(since))
    }

    /// The machine forgets all its connections: what it had not got through is retransmitted no more.
    pub(super) fn crashed(&mut self, node: usize) {
        for known in self.connections.values_mut().filter(|known| known.ends.contains(&node)) {
            let place = known.place(node);
            known.open[place] = false;
            known.held.clear();
            known.broken = true;
        }
    }

    pub(super) fn silence(&mut self, node: usize, silent: bool, now: Duration) -> Shift {
        if silent {
            self.silent.insert(node)
        } else {
            self.silent.remove(&node)
        };
        self.shift(now)
    }

    pub(super) fn part(&mut self, a: usize, b: usize, apart: bool, now: Duration) -> Shift {
        let pair = (a.min(b), a.max(b));
        if apart {
            self.apart.insert(pair)
        } else {
            self.apart.remove(&pair)
        };
        self.shift(now)
    }

    /// The nodes of `away` and the others hear nothing of each other.
    pub(super) fn split(&mut self, away: &[usize], now: Duration) -> Shift {
        self.sides = away.iter().map(|node| (*node, 1)).collect();
        self.shift(now)
    }

    fn shift(&mut self, now: Duration) -> Shift {
        let mut shift = Shift::default();
        let mut order: Vec<u64> = self.connections.keys().copied().collect();
        order.sort_unstable();
        for connection in order {
            let [a, b] = self.connections[&connection].ends;
            let dark = self.is_dark(a, b);
            let Some(known) = self.connections.get_mut(&connection) else { continue };
            match (dark, known.dark_since) {
                (true, None) => {
                    known.dark_since = Some(now);
                    shift.dark.push(connection);
                }
                (false, Some(since)) => {
                    known.dark_since = None;
                    let mut held = std::mem::take(&mut known.held);
                    held.sort();
                    shift.lit.push((connection, now - since, held));
                }
                _ => {}
            }
        }
        shift
    }
}

/// After so long without a packet an end gives a connection up.
pub(super) const IDLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_held_gets_in_before_what_was_sent_after_it_and_was_under_way_all_the_time() {
        let mut network = Network::default();
        network.open(1, 0, 1);
        let send = |network: &mut Network, byte, delay| network.send(1, 1, vec![byte], S, delay).unwrap().1;
        let first = send(&mut network, 1, S);
        let second = send(&mut network, 2, S * 10);
        network.part(0, 1, true, S);
        assert_eq!(network.arrives(1, first), None, "it is held");
        let (_, _, held) = network.part(0, 1, false, S * 3).lit.remove(0);
        assert_eq!(network.arrives(1, second), None);
        let first = held.into_iter().next().unwrap();
        let (_, first) = network.forward(1, first, S * 3, S).unwrap();
        assert_eq!(network.arrives(1, first), Some(vec![1, 2]));
    }
}
