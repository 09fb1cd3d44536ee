//! What a session keeps of the time of its nodes and items, where a timeline is wanted.
//!
//! Main type: [`Timeline`]. What is recorded, and how it gets here from stages and workers, is
//! [`rm_bridge`]'s; how it is shown is for others to say.

use std::sync::{Arc, Mutex};

use rm_bridge::{ExecutorType, Stage, TimedItems, TimelineSink, monotonic_ns};
use rm_core::{NodeId, SessionId};
use serde::Serialize;

use crate::plan::Plan;
use crate::progress::InitStatus;
use crate::session::lock;
use crate::wiring;

/// When the nodes of a session were started and what they worked on. All times are in nanoseconds of
/// the machine's monotonic clock, which all processes share.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timeline {
    /// The session.
    pub session: SessionId,
    /// The process of the session and of its native nodes.
    pub process_id: u32,
    /// When the session was made.
    pub began_ns: u64,
    /// The nodes, in the order of the manifest.
    pub nodes: Vec<NodeTimeline>,
}

/// What one node did, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeTimeline {
    /// The node.
    pub node: NodeId,
    /// Its type.
    pub node_type: String,
    /// What ran it.
    pub executor: ExecutorType,
    /// By the number of each of its inputs, the node that items come from; `None` for items from
    /// outside.
    pub inputs: Vec<Option<NodeId>>,
    /// The runs of a worker's process, of which there are several if it was started again; one for a
    /// native node.
    pub runs: Vec<NodeRun>,
}

/// What a node did from one start to the next.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeRun {
    /// Its process; 0 where there came to be none.
    pub process_id: u32,
    /// Its way from start to readiness, in order.
    pub steps: Vec<Step>,
    /// What it worked on. At most 100,000 records a node are kept: the first.
    #[serde(flatten)]
    pub timed: TimedItems,
    /// How its process ended, if that was before its time.
    pub end: Option<RunEnd>,
}

/// A step of a node's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// When it began, in nanoseconds.
    pub at_ns: u64,
    /// What it is.
    pub status: InitStatus,
}

/// The early end of a node's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunEnd {
    /// When it was noticed, in nanoseconds.
    pub at_ns: u64,
    /// Why, as far as it is known.
    pub reason: String,
}

impl NodeRun {
    fn new(process_id: u32) -> Self {
        Self { process_id, steps: Vec::new(), timed: TimedItems::default(), end: None }
    }
}

impl NodeTimeline {
    /// The run under way.
    fn run(&mut self) -> &mut NodeRun {
        if self.runs.is_empty() {
            self.runs.push(NodeRun::new(0));
        }
        self.runs.last_mut().expect("there is one")
    }
}

/// A timeline that is being written; `None` inside where none is wanted.
#[derive(Clone, Default)]
pub(crate) struct Writer(Option<Arc<Mutex<Timeline>>>);

impl Writer {
    /// One for a session of this plan, whose stages are told to write to it.
    pub(crate) fn new(plan: &Plan, session: &SessionId, stages: &mut [Stage]) -> Self {
        if !plan.timeline {
            return Self::default();
        }
        let process_id = std::process::id();
        let node = |(place, planned): (usize, &crate::plan::PlannedNode)| {
            let worker = plan.workers.iter().position(|node| *node == place);
            let (inputs, runs) = match worker {
                Some(worker) => {
                    let inputs = wiring::inputs(plan, worker).into_iter();
                    (inputs.map(|input| input.from).collect(), Vec::new())
                }
                None => (native_inputs(stages, &planned.id), vec![NodeRun::new(process_id)]),
            };
            NodeTimeline {
                node: planned.id.clone(),
                node_type: planned.node_type.clone(),
                executor: planned.executor,
                inputs,
                runs,
            }
        };
        let nodes = plan.nodes.iter().enumerate().map(node).collect();
        let (session, began_ns) = (session.clone(), monotonic_ns());
        let writer =
            Self(Some(Arc::new(Mutex::new(Timeline { session, process_id, began_ns, nodes }))));
        let to_stages = writer.clone();
        let sink: TimelineSink = Arc::new(move |node, times| to_stages.note_items(node, times));
        for stage in stages {
            stage.timeline = Some(Arc::clone(&sink));
        }
        writer
    }

    /// Whether a timeline is wanted.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// What is known so far.
    pub(crate) fn so_far(&self) -> Option<Timeline> {
        self.0.as_ref().map(|timeline| lock(timeline).clone())
    }

    /// Notes what a node has worked on.
    pub(crate) fn note_items(&self, node: &NodeId, times: TimedItems) {
        self.with(node, |timeline| {
            let kept = timeline.runs.iter().map(|run| run.timed.items.len()).sum();
            timeline.run().timed.extend(times, TimedItems::MAX.saturating_sub(kept));
        });
    }

    /// Notes that a node has come a step further, if it has.
    pub(crate) fn note_step(&self, node: &NodeId, status: &InitStatus) {
        self.with(node, |timeline| {
            if timeline.runs.last().is_some_and(|run| run.end.is_some()) {
                timeline.runs.push(NodeRun::new(0));
            }
            let steps = &mut timeline.run().steps;
            if steps.last().is_none_or(|last| last.status != *status) {
                steps.push(Step { at_ns: monotonic_ns(), status: status.clone() });
            }
        });
    }

    /// Notes the process of a node that has just been started.
    pub(crate) fn note_process(&self, node: &NodeId, process_id: u32) {
        self.with(node, |timeline| timeline.run().process_id = process_id);
    }

    /// Notes that the process of a node has ended before its time.
    pub(crate) fn note_end(&self, node: &NodeId, reason: &dyn std::fmt::Display) {
        self.with(node, |timeline| {
            let (at_ns, reason) = (monotonic_ns(), reason.to_string());
            timeline.run().end = Some(RunEnd { at_ns, reason });
        });
    }

    fn with(&self, node: &NodeId, note: impl FnOnce(&mut NodeTimeline)) {
        let Some(timeline) = &self.0 else { return };
        if let Some(found) = lock(timeline).nodes.iter_mut().find(|known| known.node == *node) {
            note(found);
        }
    }
}

/// The nodes that the items of a native node come from, by its inlets.
fn native_inputs(stages: &[Stage], node: &NodeId) -> Vec<Option<NodeId>> {
    let mut inputs = Vec::new();
    for stage in stages {
        if let Some(place) = stage.nodes.iter().position(|known| known.id == *node) {
            let inlets = stage.inlets.iter().filter(|inlet| inlet.node == place);
            inputs.extend(inlets.map(|inlet| inlet.from.clone()));
        }
    }
    inputs
}
