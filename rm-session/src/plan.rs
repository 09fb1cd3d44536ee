//! What a session will start: which executor runs each node, which nodes share a thread, and
//! which channels lie between.
//!
//! Main type: [`Plan`]. It is a value that prints and serialises; making one starts nothing. It is
//! made of a manifest and of the node types that there are, so that most mistakes are found before
//! the first process starts. Of Python nodes only those are known whose class is registered.

mod check;
mod layout;
mod negotiate;
mod print;
mod sizes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rm_bridge::{ItemPolicy, Limits, QueuePolicy, RestartPolicy};
use rm_core::{ChannelId, NodeClass, NodeId, NodeRegistry};
use serde::{Serialize, Serializer};
use serde_json::Value;

pub use self::negotiate::Conversion;
use crate::config::RuntimeConfig;
use crate::graph::Graph;
use crate::machine::Machine;
use crate::manifest::{Capabilities, ExecutorType, Manifest, MultiprocessSettings};
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
    /// The manifest says so at the node.
    Explicit,
    /// The manifest says so for its type.
    Override,
    /// Its type is registered, as a native one or for a Python class.
    Registered,
    /// Its type has the form of the import path of a Python class, `package.module:Class`.
    Pattern,
    /// Nothing says anything, and its type is a dotted name that can only be meant as that of a
    /// Python class, `package.module.Class`.
    Default,
    /// It is not in the manifest: it converts between two nodes of it that do not agree on a format.
    Inserted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit => "explicit",
            Self::Override => "override",
            Self::Registered => "registered",
            Self::Pattern => "pattern",
            Self::Default => "default",
            Self::Inserted => "inserted",
        })
    }
}

/// One node of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedNode {
    /// Its id.
    pub id: NodeId,
    /// Its type: a registered name, or the import path of a Python class as `package.module:Class`.
    pub node_type: String,
    /// Its class, where the type is the registered one of a Python class.
    #[serde(skip_serializing_if = "is_default")]
    pub class: Option<NodeClass>,
    /// Its parameters; always an object.
    pub params: Value,
    /// What runs it.
    pub executor: ExecutorType,
    /// Why that runs it.
    pub reason: Reason,
    /// How many borders between stages and workers the data that it works on has crossed, at most.
    pub level: usize,
    /// What it needs of the machine.
    #[serde(skip_serializing_if = "is_default")]
    pub capabilities: Capabilities,
    /// What happens when it fails on an item.
    #[serde(skip_serializing_if = "is_default")]
    pub policy: ItemPolicy,
    /// After which ends its process is started again.
    #[serde(skip_serializing_if = "is_default")]
    pub restart: RestartPolicy,
    /// Variables of its process beyond the environment of all nodes. Only their names are
    /// serialised, for values are often secret.
    #[serde(skip_serializing_if = "is_default", serialize_with = "names")]
    pub env: BTreeMap<String, String>,
    /// The interpreter of its process that the manifest or the runtime's configuration names; `None`
    /// looks for one.
    #[serde(skip_serializing_if = "is_default")]
    pub python: Option<PathBuf>,
    /// Whether it is a native node with a thread of its own.
    #[serde(skip_serializing_if = "is_default")]
    pub own_thread: bool,
    /// Whether it is a native node that acts by the clock.
    #[serde(skip_serializing_if = "is_default")]
    pub timed: bool,
    /// What its process may use.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// The port on which its process waits for a debugger, if it does; 0 for any that is free. No time
    /// is too long for it then.
    #[serde(skip_serializing_if = "is_default")]
    pub debug: Option<u16>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn names<S: Serializer>(env: &BTreeMap<String, String>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(env.keys())
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

/// How items wait in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// What happens to an item for which there is no room.
    pub policy: QueuePolicy,
    /// Most items that wait for the slowest consumer.
    pub depth: u32,
    /// Most bytes that wait for the slowest consumer: a power of two.
    pub capacity: usize,
}

impl Queue {
    /// Bytes of the largest item that fits: all of the capacity, or its share where the last `depth`
    /// items are kept whatever their size.
    fn max_message(&self, retained: bool) -> usize {
        match self.policy {
            QueuePolicy::DropOldest => self.capacity / self.depth.max(1) as usize,
            QueuePolicy::Block if retained => self.capacity / self.depth.max(1) as usize,
            _ => self.capacity,
        }
    }
}

/// A queue through which one producer's items go to all of its consumers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedChannel {
    /// Its name, unique in the plan: the id of the node that writes, with the port or a number behind
    /// it where the node has several channels. A channel of the session is named `input-` and the
    /// place of the worker in [`Plan::nodes`]. Where something else has the name, `_` and a number
    /// are added.
    pub name: ChannelId,
    /// Who writes.
    pub producer: Producer,
    /// The output port whose items it carries; `None` where the connections name none.
    #[serde(skip_serializing_if = "is_default")]
    pub port: Option<String>,
    /// Who reads; at least one, each once.
    pub consumers: Vec<Consumer>,
    /// How items wait.
    pub queue: Queue,
    /// Whether it keeps its last [`depth`](Queue::depth) items for a consumer that is started again.
    /// Its policy is to block then.
    #[serde(skip_serializing_if = "is_default")]
    pub retained: bool,
    /// Bytes of the largest item that fits.
    pub max_message: usize,
}

/// The shared memory of a plan, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SharedMemoryPlan {
    /// What the channels take when all queues are full. It is not reserved.
    pub needed: u64,
    /// What they may take by the runtime's configuration.
    pub limit: u64,
    /// What was free in `/dev/shm` when the plan was made, where that is known.
    pub free: Option<u64>,
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Edge {
    /// The node that items come from.
    pub from: usize,
    /// The node that they go to.
    pub to: usize,
    /// The output port of the source, where the connection names one.
    #[serde(skip_serializing_if = "is_default")]
    pub from_port: Option<String>,
    /// The input port of the target, where the connection names one.
    #[serde(skip_serializing_if = "is_default")]
    pub to_port: Option<String>,
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
/// assert!(plan.to_string().starts_with(
///     "pipeline: nodes 1, stages 0, workers 1, channels 2
///   worker 0: asr (speech.nodes:Recogniser, multiprocess: pattern)
///   channel input-0: session -> worker 0 (blocks, items 100, 64 MiB, largest 64 MiB)
///   channel asr: worker 0 -> session (blocks, items 100, 64 MiB, largest 64 MiB)
///   level 0: worker 0
///   shared memory: at most 128 MiB of 256 MiB"
/// ));
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
    /// All nodes, in the order of the manifest; behind them those that were put in between.
    pub nodes: Vec<PlannedNode>,
    /// The native nodes, by the thread that runs them: each in one stage. A stage comes after
    /// those whose items reach it.
    pub stages: Vec<Stage>,
    /// The nodes that each have a process of their own; a worker comes after those whose items
    /// reach it.
    pub workers: Vec<usize>,
    /// The channels: first those into which the session writes, then those of the nodes.
    pub channels: Vec<PlannedChannel>,
    /// The connections, in the order of the manifest; behind them those to and from nodes that were put
    /// in between.
    pub edges: Vec<Edge>,
    /// What was put into connections whose ends do not agree on a format.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conversions: Vec<Conversion>,
    /// The nodes that get the session's input: those without predecessors that are no sources.
    /// A worker gets it through a channel of its own.
    pub inputs: Vec<usize>,
    /// The nodes whose items are the session's output: those without successors that are no
    /// sinks. A worker gives it through its channel.
    pub outputs: Vec<usize>,
    /// The shared memory of the channels.
    pub shared_memory: SharedMemoryPlan,
    /// Whether its session keeps on what the time of each item goes, as the runtime's configuration
    /// says where nobody has set it.
    #[serde(skip_serializing_if = "is_default")]
    pub timeline: bool,
    /// What is odd about the manifest, or scarce on this machine.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Plans a manifest for this machine and a runtime of default settings that knows the node types
    /// of `registry`.
    ///
    /// # Errors
    /// Those of [`with`](Self::with).
    pub fn new(manifest: Manifest, registry: &NodeRegistry) -> Result<Self, PlanError> {
        Self::with(manifest, registry, &RuntimeConfig::default(), &Machine::probe())
    }

    /// Plans a manifest for a machine and a runtime that knows the node types of `registry`. Nothing
    /// is asked of this machine but whether the interpreters are there that are named.
    ///
    /// # Errors
    /// [`PlanError`] with all problems: unknown types, executors that cannot run a node, settings
    /// that make no sense for one, parameters that a node of a registered type does not take, connections and ports
    /// that cannot be, formats that do not agree, circles, needs that the machine does not meet, more processes, memory or
    /// shared memory than is allowed.
    pub fn with(
        mut manifest: Manifest,
        registry: &NodeRegistry,
        config: &RuntimeConfig,
        machine: &Machine,
    ) -> Result<Self, PlanError> {
        let mut report = Report::default();
        let choices = check::nodes(&manifest, registry, &mut report);
        check::connections(&manifest, registry, &choices, &mut report);
        check::needs(&manifest, &choices, config, machine, &mut report);
        let graph = match Graph::new(&manifest) {
            Ok(graph) => Some(graph),
            Err(error) => {
                report.problem(ProblemKind::Cycle, "/connections", error.to_string());
                None
            }
        };
        let chosen: Option<Vec<_>> = choices.into_iter().collect();
        let (Some(mut graph), Some(mut choices)) = (graph, chosen) else {
            let problems = report.finish().expect_err("what is missing has been reported");
            return Err(PlanError::Invalid(problems));
        };
        let mut conversions = Vec::new();
        if report.is_clean() {
            (manifest, conversions) =
                negotiate::formats(manifest, registry, &mut choices, &graph, &mut report);
            if !conversions.is_empty() {
                graph = Graph::new(&manifest).expect("what is put into a line makes no circle");
            }
        }
        let layout = layout::plan(&manifest, registry, config, &graph, &choices);
        check::reach(&manifest, registry, &choices, &layout, &mut report);
        let channels = sizes::channels(layout.channels, &manifest, config, &mut report);
        let sizes = channels.iter().map(|channel| channel.queue.capacity as u64);
        let shared_memory = SharedMemoryPlan {
            needed: sizes.fold(0, u64::saturating_add),
            limit: config.shm_segment_size as u64,
            free: machine.shared_memory.map(|shm| shm.free),
        };
        check::shared_memory(shared_memory, &mut report);
        let found = report.finish().map_err(PlanError::Invalid)?;
        let mut warnings = manifest.warnings().to_vec();
        warnings.extend(found);
        Ok(Self {
            name: manifest.name().to_owned(),
            multiprocess: manifest.multiprocess().clone(),
            base_dir: manifest.base_dir().map(ToOwned::to_owned),
            nodes: layout.nodes,
            stages: layout.stages,
            workers: layout.workers,
            channels,
            edges: layout.edges,
            conversions,
            inputs: layout.inputs,
            outputs: layout.outputs,
            shared_memory,
            timeline: config.timeline,
            warnings,
        })
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

    /// The node of the manifest whose items a node gives on: itself, unless it was put in between.
    pub(crate) fn origin(&self, node: usize) -> usize {
        let mut conversions = self.conversions.iter();
        conversions
            .find(|conversion| conversion.by.contains(&node))
            .map_or(node, |found| found.from)
    }

    /// What runs at the same time: for each level, its stages and workers. An item is in one place
    /// of a level while the next one is in a place before it.
    pub fn waves(&self) -> Vec<Vec<Consumer>> {
        let mut waves = Vec::new();
        let mut put = |node: usize, place| {
            let level = self.nodes[node].level;
            waves.resize(waves.len().max(level + 1), Vec::new());
            waves[level].push(place);
        };
        for (index, stage) in self.stages.iter().enumerate() {
            put(stage.nodes[0], Consumer::Stage(index));
        }
        for (index, &worker) in self.workers.iter().enumerate() {
            put(worker, Consumer::Worker(index));
        }
        waves
    }

    /// Bytes of shared memory that the channels take when all queues are full.
    pub fn shared_memory(&self) -> u64 {
        self.shared_memory.needed
    }
}
