//! What a session will start: which executor runs each node, which nodes share a thread, and
//! which channels lie between.
//!
//! Main type: [`Plan`]. It is a value that prints and serialises; making one starts nothing. It is
//! made of a manifest and of the node types that there are, so that most mistakes are found before
//! the first process starts. What Python nodes take and give is not known here.

mod check;
mod layout;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use rm_core::{ChannelId, NodeId, NodeRegistry};
use serde::Serialize;
use serde_json::Value;

use crate::graph::Graph;
use crate::manifest::{ExecutorType, Manifest, MultiprocessSettings};
use crate::problem::{Problem, ProblemKind, Report, Warning, list};

/// Why a manifest cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The manifest asks for what cannot be. These are all of its problems, and there is at least
    /// one.
    #[error("the manifest cannot be run:{}", list(.0))]
    Invalid(Vec<Problem>),
}

impl PlanError {
    /// All problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        let Self::Invalid(problems) = self;
        problems
    }

    /// The first node type that there is not. Python raises `KeyError` where there is one.
    pub fn unknown_node_type(&self) -> Option<&Problem> {
        self.problems().iter().find(|problem| problem.kind == ProblemKind::UnknownNodeType)
    }
}

/// Why a node has its executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The manifest says so.
    Explicit,
    /// Its type is a registered native one.
    Registered,
    /// Its type is the import path of a Python class.
    ImportPath,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit => "explicit",
            Self::Registered => "registered",
            Self::ImportPath => "import path",
        })
    }
}

/// One node of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedNode {
    /// Its id.
    pub id: NodeId,
    /// Its type: a registered name, or the import path of a Python class.
    pub node_type: String,
    /// Its parameters; always an object.
    pub params: Value,
    /// What runs it.
    pub executor: ExecutorType,
    /// Why that runs it.
    pub reason: Reason,
    /// How many borders between processes the data that it works on has crossed, at most.
    pub level: usize,
}

/// Native nodes that one thread runs as plain calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stage {
    /// The nodes, each after all of its predecessors in the stage.
    pub nodes: Vec<usize>,
}

/// Who writes into a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Producer {
    /// A node, by its place in [`Plan::nodes`].
    Node(usize),
    /// The session, with what it is given from outside.
    Session,
}

/// Who reads from a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Consumer {
    /// A stage, by its place in [`Plan::stages`].
    Stage(usize),
    /// A worker, by its place in [`Plan::workers`].
    Worker(usize),
    /// The session, which hands it outside.
    Session,
}

/// A queue through which one producer's items go to all of its consumers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedChannel {
    /// Its name, unique in the plan: the id of the node that writes. A channel of the session is
    /// named `input-` and the place of the worker in [`Plan::nodes`], with `_` added where a node
    /// has that id.
    pub name: ChannelId,
    /// Who writes.
    pub producer: Producer,
    /// Who reads; at least one, each once.
    pub consumers: Vec<Consumer>,
}

/// How items get from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// By a plain call within a stage.
    Call,
    /// Through a channel, by its place in [`Plan::channels`].
    Channel(usize),
}

/// One connection of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Edge {
    /// The node that items come from.
    pub from: usize,
    /// The node that they go to.
    pub to: usize,
    /// The way they take.
    pub route: Route,
}

/// How a pipeline will run. Numbers of nodes are places in [`nodes`](Self::nodes).
///
/// Channels lead from lower to higher [levels](PlannedNode::level) only, so stages and workers
/// can wait for each other without ever waiting in a circle.
///
/// ```
/// use rm_core::NodeRegistry;
/// use rm_session::{ExecutorType, Manifest, Plan};
///
/// let manifest = Manifest::from_json(
///     r#"{"version": "v1", "nodes": [{"id": "asr", "node_type": "speech.nodes:Recogniser"}]}"#,
/// )?;
/// let plan = Plan::new(manifest, &NodeRegistry::new())?;
/// assert_eq!(plan.nodes[0].executor, ExecutorType::Multiprocess);
/// assert_eq!(
///     plan.to_string(),
///     "pipeline: nodes 1, stages 0, workers 1, channels 2
///   worker 0: asr (speech.nodes:Recogniser, multiprocess: import path)
///   channel input-0: session -> worker 0
///   channel asr: worker 0 -> session"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The pipeline's name.
    pub name: String,
    /// What the manifest says of worker processes.
    pub multiprocess: MultiprocessSettings,
    /// The absolute folder from which relative paths start, where there is one.
    pub base_dir: Option<PathBuf>,
    /// All nodes, in the order of the manifest.
    pub nodes: Vec<PlannedNode>,
    /// The native nodes, by the thread that runs them: each in one stage. A stage comes after
    /// those whose items reach it.
    pub stages: Vec<Stage>,
    /// The nodes that each have a process of their own; a worker comes after those whose items
    /// reach it.
    pub workers: Vec<usize>,
    /// The channels: first those into which the session writes, then those of the nodes.
    pub channels: Vec<PlannedChannel>,
    /// The connections, in the order of the manifest.
    pub edges: Vec<Edge>,
    /// The nodes that get the session's input: those without predecessors that are no sources.
    /// A worker gets it through a channel of its own.
    pub inputs: Vec<usize>,
    /// The nodes whose items are the session's output: those without successors that are no
    /// sinks. A worker gives it through its channel.
    pub outputs: Vec<usize>,
    /// What is odd about the manifest.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Plans a manifest for a runtime that knows the node types of `registry`.
    ///
    /// # Errors
    /// [`PlanError`] with all problems: unknown types, executors that cannot run a node,
    /// parameters that a native node does not take, connections that cannot be, circles, more
    /// workers than the manifest allows.
    pub fn new(manifest: Manifest, registry: &NodeRegistry) -> Result<Self, PlanError> {
        let mut report = Report::default();
        let choices = check::nodes(&manifest, registry, &mut report);
        check::connections(&manifest, registry, &choices, &mut report);
        check::limits(&manifest, &choices, &mut report);
        let graph = match Graph::new(&manifest) {
            Ok(graph) => Some(graph),
            Err(error) => {
                report.problem(ProblemKind::Cycle, "/connections", error.to_string());
                None
            }
        };
        report.finish().map_err(PlanError::Invalid)?;
        let graph = graph.expect("a cycle has been reported as a problem");
        let choices: Vec<_> = choices.into_iter().flatten().collect();
        Ok(layout::plan(manifest, registry, &graph, &choices))
    }

    /// The stage or worker that runs a node.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn place_of(&self, node: usize) -> Consumer {
        let in_stage = |stage: &Stage| stage.nodes.contains(&node);
        match self.nodes[node].executor {
            ExecutorType::Native => self.stages.iter().position(in_stage).map(Consumer::Stage),
            ExecutorType::Multiprocess => {
                let place = self.workers.iter().position(|&worker| worker == node);
                place.map(Consumer::Worker)
            }
        }
        .expect("every node is in a stage or a worker")
    }

    fn write_node(&self, f: &mut fmt::Formatter<'_>, node: usize) -> fmt::Result {
        let node = &self.nodes[node];
        let (executor, reason) = (node.executor.name(), node.reason);
        write!(f, "{} ({}, {executor}: {reason})", node.id, node.node_type)
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => write!(f, "stage {stage}"),
            Self::Worker(worker) => write!(f, "worker {worker}"),
            Self::Session => f.write_str("session"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, stages) = (self.nodes.len(), self.stages.len());
        let (workers, channels) = (self.workers.len(), self.channels.len());
        write!(f, "{}: nodes {nodes}, stages {stages}, ", self.name)?;
        write!(f, "workers {workers}, channels {channels}")?;
        for (index, stage) in self.stages.iter().enumerate() {
            write!(f, "\n  stage {index}: ")?;
            for (place, &node) in stage.nodes.iter().enumerate() {
                f.write_str(if place == 0 { "" } else { ", " })?;
                self.write_node(f, node)?;
            }
        }
        for (index, &worker) in self.workers.iter().enumerate() {
            write!(f, "\n  worker {index}: ")?;
            self.write_node(f, worker)?;
        }
        for channel in &self.channels {
            write!(f, "\n  channel {}: ", channel.name)?;
            match channel.producer {
                Producer::Node(node) => write!(f, "{}", self.place_of(node))?,
                Producer::Session => f.write_str("session")?,
            }
            f.write_str(" -> ")?;
            for (place, consumer) in channel.consumers.iter().enumerate() {
                f.write_str(if place == 0 { "" } else { ", " })?;
                write!(f, "{consumer}")?;
            }
        }
        Ok(())
    }
}
