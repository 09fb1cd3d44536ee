//! What the sessions of a runtime have done, also those that have ended.
//!
//! Main type: [`Ledger`]. Its sums only grow: of a session that ends they keep what it has done, and
//! forget its name; of a process that is started again, they keep what it had done when it was asked
//! last. It asks nobody; what it is told may be old, and never takes anything back.

use std::collections::BTreeMap;
use std::sync::{Mutex, Weak};

use super::figures::{CHANNEL_COUNTERS, Figure, NODE_COUNTERS, RESTARTS};
use crate::session::{Shared, lock};
use crate::statistics::{NodeSummary, SessionStatistics};

pub(super) type NodeCounts = [u64; NODE_COUNTERS.len()];
pub(super) type ChannelCounts = [u64; CHANNEL_COUNTERS.len()];

/// All sessions of a runtime.
#[derive(Default)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    living: BTreeMap<u64, Entry>,
    ended: Totals,
}

/// Sums over sessions.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) nodes: NodeCounts,
    pub(super) channels: ChannelCounts,
    /// Sessions that there have been.
    pub(super) started: u64,
    /// Sessions that have come to their end, and that have failed.
    pub(super) stopped: u64,
    pub(super) failed: u64,
}

struct Entry {
    session: Weak<Shared>,
    account: Account,
    failed: bool,
}

/// What one session has done.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    nodes: Vec<NodeAccount>,
    channels: Vec<ChannelCounts>,
}

#[derive(Debug, Clone, Default)]
struct NodeAccount {
    restarts: u32,
    /// Counts of the processes before, and of the present one.
    before: NodeCounts,
    present: NodeCounts,
}

impl Ledger {
    /// Opens the account of a session.
    pub(crate) fn open(&self, number: u64, session: Weak<Shared>) {
        let mut book = lock(&self.book);
        book.ended.started += 1;
        // Until it is known to have ended well.
        book.living.insert(number, Entry { session, account: Account::default(), failed: true });
    }

    /// Closes the account of a session: its figures stay in the sums.
    pub(crate) fn close(&self, number: u64) {
        let mut book = lock(&self.book);
        let Some(entry) = book.living.remove(&number) else { return };
        let ended = &mut book.ended;
        entry.account.add_to(ended);
        *(if entry.failed { &mut ended.failed } else { &mut ended.stopped }) += 1;
    }

    /// Notes the last that a session has to tell.
    pub(crate) fn note_end(&self, number: u64, statistics: &SessionStatistics, failed: bool) {
        if let Some(entry) = lock(&self.book).living.get_mut(&number) {
            entry.account.note(statistics);
            entry.failed = failed;
        }
    }

    /// The sessions whose accounts are open.
    pub(super) fn sessions(&self) -> Vec<(u64, Weak<Shared>)> {
        let book = lock(&self.book);
        book.living.iter().map(|(number, entry)| (*number, entry.session.clone())).collect()
    }

    /// Notes what sessions have told, and gives their accounts, in the same order, and the sums over
    /// these and all others. A session that has ended meanwhile has none.
    pub(super) fn note<'a>(
        &self,
        told: impl Iterator<Item = (u64, &'a SessionStatistics)>,
    ) -> (Vec<Option<Account>>, Totals) {
        let mut book = lock(&self.book);
        let noted = told.map(|(number, statistics)| {
            let entry = book.living.get_mut(&number)?;
            entry.account.note(statistics);
            Some(entry.account.clone())
        });
        let noted = noted.collect();
        let mut totals = book.ended.clone();
        book.living.values().for_each(|entry| entry.account.add_to(&mut totals));
        (noted, totals)
    }
}

impl Account {
    /// The counts of each node, in the order of the manifest.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeCounts> {
        self.nodes.iter().map(NodeAccount::sum)
    }

    /// The counts of each channel, in the order of the plan.
    pub(super) fn channels(&self) -> impl Iterator<Item = ChannelCounts> {
        self.channels.iter().copied()
    }

    fn note(&mut self, statistics: &SessionStatistics) {
        self.nodes.resize_with(statistics.nodes.len(), NodeAccount::default);
        for (account, told) in self.nodes.iter_mut().zip(&statistics.nodes) {
            account.note(told);
        }
        self.channels.resize(statistics.channels.len(), ChannelCounts::default());
        for (counts, told) in self.channels.iter_mut().zip(&statistics.channels) {
            raise(counts, &read(&CHANNEL_COUNTERS, told));
        }
    }

    fn add_to(&self, totals: &mut Totals) {
        self.nodes().for_each(|counts| add(&mut totals.nodes, &counts));
        self.channels().for_each(|counts| add(&mut totals.channels, &counts));
    }
}

impl NodeAccount {
    fn note(&mut self, told: &NodeSummary) {
        if told.restarts < self.restarts {
            // Told of an earlier process, and late.
            return;
        }
        if told.restarts > self.restarts {
            self.restarts = told.restarts;
            add(&mut self.before, &self.present);
            self.present = NodeCounts::default();
        }
        raise(&mut self.present, &read(&NODE_COUNTERS, told));
    }

    fn sum(&self) -> NodeCounts {
        let mut sum = self.before;
        add(&mut sum, &self.present);
        sum[RESTARTS] = self.restarts.into();
        sum
    }
}

fn read<T, const COUNT: usize>(figures: &[Figure<T, u64>; COUNT], of: &T) -> [u64; COUNT] {
    std::array::from_fn(|place| (figures[place].read)(of))
}

/// Counts do not go back, whatever a worker says.
fn raise(counts: &mut [u64], told: &[u64]) {
    counts.iter_mut().zip(told).for_each(|(count, told)| *count = (*count).max(*told));
}

fn add(sum: &mut [u64], counts: &[u64]) {
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rm_bridge::{ExecutorType, NodeStatistics};
    use rm_core::NodeId;

    use super::*;
    use crate::status::SessionStatus;

    /// A session of one node that has been given so many items since its last restart.
    fn told(restarts: u32, items_in: u64) -> SessionStatistics {
        let mut statistics = NodeStatistics::default();
        statistics.items_in = items_in;
        let node = NodeSummary {
            node: NodeId::new("a").expect("a short name"),
            node_type: "A".to_owned(),
            executor: ExecutorType::Multiprocess,
            process_id: None,
            memory_bytes: 0,
            restarts,
            statistics,
        };
        SessionStatistics {
            status: SessionStatus::Running,
            uptime: Duration::ZERO,
            nodes: vec![node],
            channels: Vec::new(),
            processes: 0,
            memory_bytes: 0,
            waiting_outputs: 0,
            flushed_outputs: 0,
        }
    }

    /// Items and restarts of one session, after it has told all this.
    fn check(told_of: &[(u32, u64)], items_in: u64, restarts: u64) {
        let ledger = Ledger::default();
        ledger.open(7, Weak::new());
        let mut last = Totals::default();
        for (restarts, items_in) in told_of {
            let statistics = told(*restarts, *items_in);
            let (accounts, totals) = ledger.note([(7, &statistics)].into_iter());
            assert!(totals.nodes.iter().zip(&last.nodes).all(|(now, before)| now >= before));
            let account = accounts[0].as_ref().expect("it is open");
            assert_eq!(account.nodes().next(), Some(totals.nodes));
            last = totals;
        }
        assert_eq!((last.nodes[0], last.nodes[RESTARTS]), (items_in, restarts), "{told_of:?}");
    }

    #[test]
    fn counts_of_a_process_are_as_it_tells_them_and_never_lower() {
        check(&[(0, 0), (0, 3)], 3, 0);
        check(&[(0, 3), (0, 2)], 3, 0);
        check(&[(0, 3), (0, 0)], 3, 0);
    }

    #[test]
    fn counts_of_processes_that_follow_one_another_are_added() {
        check(&[(0, 3), (1, 0), (1, 2)], 5, 1);
        check(&[(0, 3), (2, 4)], 7, 2);
    }

    #[test]
    fn what_an_earlier_process_tells_late_changes_nothing() {
        check(&[(0, 3), (1, 1), (0, 4)], 4, 1);
    }

    #[test]
    fn a_session_that_ends_stays_in_the_sums_and_is_told_of_no_more() {
        let ledger = Ledger::default();
        ledger.open(1, Weak::new());
        ledger.open(2, Weak::new());
        ledger.note_end(1, &told(0, 3), false);
        ledger.close(1);
        ledger.close(2);
        let late = told(0, 9);
        let (accounts, totals) = ledger.note([(1, &late)].into_iter());
        assert!(accounts[0].is_none());
        assert_eq!((totals.started, totals.stopped, totals.failed), (2, 1, 1));
        assert_eq!(totals.nodes[0], 3);
        assert!(ledger.sessions().is_empty());
    }
}
