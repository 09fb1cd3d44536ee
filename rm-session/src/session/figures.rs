//! What a session has done, asked while it runs or after its end.
//!
//! Main functions: [`Session::statistics`] and [`Session::timeline`].

use std::time::Duration;

use rm_bridge::{NodeProcess, NodeStatistics, Worker};

use super::{Session, Shared, lock};
use crate::plan::Consumer;
#[cfg(doc)]
use crate::plan::Plan;
use crate::statistics::{NodeSummary, SessionStatistics};
use crate::timeline::Timeline;

/// What a worker has told, and after how many restarts.
type Told = (u32, NodeStatistics);

impl Session {
    /// What it has done so far. Workers are asked, and answer also while they compute.
    pub async fn statistics(&self) -> SessionStatistics {
        self.shared.statistics(Duration::MAX).await
    }

    /// On what the time of its nodes and items went so far, if its [plan](Plan::timeline) asks for it.
    /// It is complete when the session has ended; before, the last tenth of a second may be missing.
    pub fn timeline(&self) -> Option<Timeline> {
        self.shared.timeline.so_far()
    }
}

impl Shared {
    /// What the session has done so far. A worker that does not answer in time has done nothing.
    pub(crate) async fn statistics(&self, patience: Duration) -> SessionStatistics {
        let mut asked = tokio::task::JoinSet::new();
        for (index, restarts, worker) in self.living() {
            asked.spawn(async move {
                let told = tokio::time::timeout(patience, worker.statistics()).await;
                Some((index, (restarts, told.ok()?.ok()?)))
            });
        }
        let mut told = vec![None; self.plan.workers.len()];
        while let Some(answer) = asked.join_next().await {
            if let Ok(Some((index, statistics))) = answer {
                told[index] = Some(statistics);
            }
        }
        let nodes: Vec<_> =
            (0..self.plan.nodes.len()).map(|place| self.summary(place, &mut told)).collect();
        SessionStatistics {
            status: self.status.borrow().clone(),
            uptime: self.began.elapsed(),
            processes: nodes.iter().filter(|node| node.process_id.is_some()).count(),
            memory_bytes: nodes.iter().map(|node| node.memory_bytes).sum(),
            nodes,
            channels: self.channels(),
            waiting_outputs: self.outputs.len(),
            flushed_outputs: self.outputs.flushed(),
        }
    }

    fn summary(&self, place: usize, told: &mut [Option<Told>]) -> NodeSummary {
        let planned = &self.plan.nodes[place];
        let mut summary = NodeSummary {
            node: planned.id.clone(),
            node_type: planned.node_type.clone(),
            executor: planned.executor,
            process_id: None,
            memory_bytes: 0,
            restarts: 0,
            statistics: NodeStatistics::default(),
        };
        match self.plan.place_of(place) {
            Consumer::Worker(worker) => {
                let workers = lock(&self.workers);
                let live = &workers[worker];
                let process = live.handle.as_ref().map(Worker::process);
                summary.process_id = process.map(NodeProcess::process_id);
                summary.memory_bytes = process.map_or(0, NodeProcess::memory_usage);
                summary.restarts = live.restarts;
                // What an earlier process has told is not the present one's.
                let told = told[worker].take().filter(|(restarts, _)| *restarts == live.restarts);
                let statistics = live.finished.clone().or(told.map(|(_, statistics)| statistics));
                summary.statistics = statistics.unwrap_or_default();
            }
            Consumer::Stage(stage) => {
                let nodes = &self.plan.stages[stage].nodes;
                let of_stage = nodes.iter().position(|node| *node == place);
                let stages = lock(&self.stages);
                if let (Some(remote), Some(of_stage)) = (stages.get(stage), of_stage) {
                    summary.statistics = remote.statistics(of_stage);
                } else {
                    let reports = lock(&self.reports);
                    let report = reports.0.iter().find(|done| done.node == planned.id.as_str());
                    let statistics = report.map(|report| report.statistics.clone());
                    summary.statistics = statistics.unwrap_or_default();
                }
            }
            Consumer::Session => {}
        }
        summary
    }
}
