//! What is done when a session fails: what was complete still comes out.
//!
//! Main function: [`Driver::drain`](super::driver::Driver::drain). What a node had sent before it
//! failed goes on through those behind it, for a short time; what was not sent, and what other branches
//! still make, does not matter any more.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::driver::{Driver, StageState};
use crate::error::SessionError;
use crate::plan::{Consumer, Producer};

/// How long it may take.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often is looked whether it is over: a worker that has nothing left to do tells nobody.
const LOOK: Duration = Duration::from_millis(5);
/// How long a worker behind the failed node has to end, when it has nothing left to do.
const GRACE: Duration = Duration::from_millis(300);

impl Driver {
    /// Lets what the failed node had sent come out.
    pub(super) async fn drain(&mut self, error: &SessionError) {
        self.shared.outputs.lift_limit();
        let plan = std::sync::Arc::clone(&self.shared.plan);
        let failed =
            error.node().and_then(|node| plan.nodes.iter().position(|planned| planned.id == *node));
        let Some(failed) = failed.filter(|_| self.is_started()) else { return };
        // Parts that end because their channels end, without having failed themselves.
        let mut left: HashSet<Consumer> = HashSet::new();
        let mut behind = vec![failed];
        let mut seen = HashSet::from([failed]);
        while let Some(node) = behind.pop() {
            for edge in plan.edges.iter().filter(|edge| edge.from == node) {
                left.insert(plan.place_of(edge.to));
                if seen.insert(edge.to) {
                    behind.push(edge.to);
                }
            }
        }
        left.remove(&plan.place_of(failed));
        let outputs = plan.outputs.iter().filter(|node| seen.contains(node));
        if left.is_empty() && outputs.count() == 0 {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut ended: HashSet<Consumer> = HashSet::from([plan.place_of(failed)]);
        let mut look = tokio::time::interval(LOOK);
        // A worker that has just taken an item shows neither the item nor that it works: who has nothing
        // left at two looks has nothing left.
        let mut idle: HashSet<Consumer> = HashSet::new();
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => return,
                notice = self.notices.recv() => {
                    if let Some(notice) = notice {
                        // What else fails now is an effect, or too late.
                        let _ = self.take(notice);
                    }
                    continue;
                }
                _ = look.tick() => {}
            }
            let open = left.iter().copied().filter(|part| !ended.contains(part));
            let now: HashSet<_> =
                open.filter(|part| self.has_nothing_left(*part, &left, &ended)).collect();
            for part in now.intersection(&idle) {
                self.let_go(*part);
                ended.insert(*part);
            }
            idle = now;
            if left.iter().all(|part| ended.contains(part)) && self.are_outputs_taken(&ended) {
                return;
            }
        }
    }

    fn is_started(&self) -> bool {
        !self.handles.is_empty() || self.workers.iter().any(|worker| worker.ready)
    }

    /// Whether a part of the pipeline has taken everything of those before it in `left`, which have all
    /// ended, and is done with it.
    fn has_nothing_left(
        &self,
        part: Consumer,
        left: &HashSet<Consumer>,
        ended: &HashSet<Consumer>,
    ) -> bool {
        let plan = &self.shared.plan;
        let read = plan.channels.iter().enumerate();
        let mut read = read.filter(|(_, channel)| channel.consumers.contains(&part));
        let is_empty = read.all(|(number, channel)| match channel.producer {
            Producer::Node(node) => {
                let place = plan.place_of(node);
                if ended.contains(&place) { self.is_empty(number) } else { !left.contains(&place) }
            }
            Producer::Session => true,
        });
        is_empty
            && match part {
                Consumer::Worker(worker) => {
                    let state = &self.workers[worker];
                    let process = state.handle.as_ref().map(rm_bridge::Worker::process);
                    let works = process.is_some_and(|process| {
                        process.status() == rm_bridge::ProcessStatus::Processing
                    });
                    // What it has sent goes with its process.
                    let made = plan.channels.iter().enumerate().filter(|(_, channel)| {
                        channel.producer == Producer::Node(plan.workers[worker])
                    });
                    !works && made.into_iter().all(|(number, _)| self.is_empty(number))
                }
                Consumer::Stage(stage) => {
                    !matches!(self.stages[stage], StageState::Ready | StageState::Loading)
                }
                Consumer::Session => true,
            }
    }

    /// Lets a worker that has nothing left to do end, so that those behind it see the end of its items.
    fn let_go(&mut self, part: Consumer) {
        if let Consumer::Worker(worker) = part
            && let Some(handle) = self.workers[worker].handle.clone()
        {
            self.followers.spawn(async move {
                handle.stop(GRACE).await;
            });
        }
    }

    /// Whether the channels from workers that have ended to the caller are empty, and those who carry
    /// them over have ended.
    fn are_outputs_taken(&self, ended: &HashSet<Consumer>) -> bool {
        let plan = &self.shared.plan;
        let mut carried = plan.stages.len()..self.handles.len();
        let is_over = carried.all(|stage| !matches!(self.stages[stage], StageState::Ready));
        let from_ended = plan.channels.iter().enumerate().filter(|(_, channel)| {
            matches!(channel.producer, Producer::Node(node) if ended.contains(&plan.place_of(node)))
        });
        let mut to_caller =
            from_ended.filter(|(_, channel)| channel.consumers.contains(&Consumer::Session));
        is_over || to_caller.all(|(number, _)| self.is_empty(number))
    }

    fn is_empty(&self, channel: usize) -> bool {
        self.shared.plane().is_none_or(|plane| plane.channel(channel).queued() == 0)
    }
}
