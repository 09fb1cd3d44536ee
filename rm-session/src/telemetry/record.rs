//! Puts the figures of a runtime into a recorder of the crate `metrics`.
//!
//! Main function: [`Runtime::record_metrics`]. Which figures there are stands in `figures`, how they
//! are kept from going back in `ledger`.

use std::time::Duration;

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};
use rm_core::SessionId;

use super::figures::{
    CHANNEL_COUNTERS, CHANNEL_GAUGES, Figure, NODE_COUNTERS, NODE_GAUGES, NODE_TIMES,
    SESSION_GAUGES, own, total,
};
use super::ledger::{Account, Totals};
use crate::runtime::Runtime;
use crate::statistics::SessionStatistics;

/// How long the worker of a node may take to tell what that has done.
const PATIENCE: Duration = Duration::from_secs(1);

/// Everything that is put into a recorder.
pub(super) struct Reading {
    sessions: Vec<(SessionId, SessionStatistics, Account)>,
    totals: Totals,
}

impl Runtime {
    /// Asks all sessions what they have done, and puts it into the recorder of the crate `metrics` that
    /// is installed: of each session that has not ended, and sums over all that there have been. What
    /// a worker does not tell within a second stays as it was.
    ///
    /// Counters are set, not added to, so one recorder can take the sums of one runtime only. A
    /// recorder keeps what it was given under the name of a session; one that is to forget sessions
    /// that have ended needs an idle timeout.
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub async fn record_metrics(&self) {
        self.reading().await.record();
    }

    pub(super) async fn reading(&self) -> Reading {
        let mut asked = tokio::task::JoinSet::new();
        for (number, session) in self.ledger().sessions() {
            if let Some(session) = session.upgrade() {
                asked.spawn(async move {
                    let statistics = session.statistics(PATIENCE).await;
                    (number, session.id.clone(), statistics)
                });
            }
        }
        let mut told = Vec::new();
        while let Some(answer) = asked.join_next().await {
            told.extend(answer.ok());
        }
        told.sort_by_key(|(number, ..)| *number);
        let noted = told.iter().map(|(number, _, statistics)| (*number, statistics));
        let (accounts, totals) = self.ledger().note(noted);
        let living = told.into_iter().zip(accounts);
        let sessions = living.filter_map(|((_, session, statistics), account)| {
            Some((session, statistics, account?))
        });
        Reading { sessions: sessions.collect(), totals }
    }
}

impl Reading {
    /// Puts it into the recorder of this thread.
    pub(super) fn record(&self) {
        describe();
        for (session, statistics, account) in &self.sessions {
            let session = Label::new("session", session.to_string());
            set(&SESSION_GAUGES, statistics, std::slice::from_ref(&session));
            for (node, counts) in statistics.nodes.iter().zip(account.nodes()) {
                let labels = [
                    session.clone(),
                    Label::new("node", node.node.to_string()),
                    Label::new("node_type", node.node_type.clone()),
                ];
                count(&NODE_COUNTERS, own, &counts, &labels);
                set(&NODE_GAUGES, node, &labels);
                for (quantile, time) in &NODE_TIMES {
                    let mut labels = labels.to_vec();
                    labels.push(Label::from_static_parts("quantile", quantile));
                    gauge!(own(time.name), labels).set((time.read)(node));
                }
            }
            for (channel, counts) in statistics.channels.iter().zip(account.channels()) {
                let labels = [session.clone(), Label::new("channel", channel.channel_name.clone())];
                count(&CHANNEL_COUNTERS, own, &counts, &labels);
                set(&CHANNEL_GAUGES, channel, &labels);
            }
        }
        self.record_totals();
    }

    fn record_totals(&self) {
        let Totals { nodes, channels, started, stopped, failed } = &self.totals;
        count(&NODE_COUNTERS, total, nodes, &[]);
        count(&CHANNEL_COUNTERS, total, channels, &[]);
        counter!(total(STARTED.0)).absolute(*started);
        for (outcome, ended) in [("stopped", *stopped), ("failed", *failed)] {
            counter!(total(ENDED.0), "outcome" => outcome).absolute(ended);
        }
        let statistics = || self.sessions.iter().map(|(_, statistics, _)| statistics);
        let processes: usize = statistics().map(|session| session.processes).sum();
        let memory: u64 = statistics().map(|session| session.memory_bytes).sum();
        gauge!(total(SESSIONS.0)).set(self.sessions.len() as f64);
        gauge!(total(PROCESSES.0)).set(processes as f64);
        gauge!(total(MEMORY.0)).set(memory as f64);
    }
}

const STARTED: (&str, &str) = ("sessions_started_total", "Sessions that were made.");
const ENDED: (&str, &str) = ("sessions_ended_total", "Sessions that have ended, by outcome.");
const SESSIONS: (&str, &str) = ("sessions", "Sessions that have not ended.");
const PROCESSES: (&str, &str) = ("processes", "Worker processes that live.");
const MEMORY: (&str, &str) = ("memory_bytes", "Memory of these.");

fn count<T>(
    figures: &[Figure<T, u64>],
    name: fn(&str) -> String,
    counts: &[u64],
    labels: &[Label],
) {
    for (figure, count) in figures.iter().zip(counts) {
        counter!(name(figure.name), labels.to_vec()).absolute(*count);
    }
}

fn set<T>(figures: &[Figure<T, f64>], of: &T, labels: &[Label]) {
    for figure in figures {
        gauge!(own(figure.name), labels.to_vec()).set((figure.read)(of));
    }
}

/// Says what each figure means.
fn describe() {
    describe_counters(&NODE_COUNTERS);
    describe_counters(&CHANNEL_COUNTERS);
    describe_gauges(&NODE_GAUGES);
    describe_gauges(&CHANNEL_GAUGES);
    describe_gauges(&SESSION_GAUGES);
    let [(_, time), ..] = &NODE_TIMES;
    describe_gauge!(own(time.name), time.unit, time.meaning);
    for (name, meaning) in [STARTED, ENDED] {
        describe_counter!(total(name), Unit::Count, meaning);
    }
    for ((name, meaning), unit) in
        [(SESSIONS, Unit::Count), (PROCESSES, Unit::Count), (MEMORY, Unit::Bytes)]
    {
        describe_gauge!(total(name), unit, meaning);
    }
}

fn describe_counters<T>(figures: &[Figure<T, u64>]) {
    for figure in figures {
        for name in [own(figure.name), total(figure.name)] {
            describe_counter!(name, figure.unit, figure.meaning);
        }
    }
}

fn describe_gauges<T>(figures: &[Figure<T, f64>]) {
    for figure in figures {
        describe_gauge!(own(figure.name), figure.unit, figure.meaning);
    }
}
