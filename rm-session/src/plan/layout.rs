//! Groups the nodes into stages and workers, and lays channels between them.
//!
//! Main function: [`plan`]. It relies on a manifest that has been checked. How large the channels are
//! is decided in `sizes`.
//!
//! The level of a node counts the borders on the way to it. There is a border at each side of a
//! worker, at each side of a native node with a thread of its own, and before a native node at a
//! connection with a queue. Native nodes that are connected and of one level share a stage. Any other
//! connection leads to a higher level: over a border by definition, from a native node to a native
//! one because it did not join their stages. So there is no circle of stages and workers, even where
//! the manifest has two ways from one native node to another, one of them over a border.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use rm_bridge::{QueuePolicy, RestartPolicy};
use rm_core::{ChannelId, NodeRegistry};

use super::check::Choice;
use super::sizes::Wanted;
use super::{Consumer, Edge, PlannedNode, Producer, Route, Stage};
use crate::config::RuntimeConfig;
use crate::graph::Graph;
use crate::manifest::{Connection, ExecutorType, Manifest, NodeSpec, QueueSpec};

/// Most subscribers of a channel. Further consumers read another channel of the same producer.
const MAX_CONSUMERS: usize = 16;

/// What runs where, and the ways between.
pub(super) struct Layout {
    pub(super) nodes: Vec<PlannedNode>,
    pub(super) stages: Vec<Stage>,
    pub(super) workers: Vec<usize>,
    pub(super) channels: Vec<Wanted>,
    pub(super) edges: Vec<Edge>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
}

pub(super) fn plan(
    manifest: &Manifest,
    registry: &NodeRegistry,
    config: &RuntimeConfig,
    graph: &Graph,
    choices: &[Choice],
) -> Layout {
    let is_worker = |node: usize| choices[node].executor == ExecutorType::Multiprocess;
    let native = |node: usize| {
        let metadata = registry.metadata(&manifest.nodes()[node].node_type);
        metadata.filter(|_| !is_worker(node))
    };
    let levels = levels(manifest, graph, is_worker);
    let stages = stages(graph, &levels, is_worker);
    let mut workers: Vec<_> = graph.order().to_vec();
    workers.retain(|&node| is_worker(node));
    workers.sort_by_key(|&node| levels[node]);

    let inputs: Vec<_> = graph
        .sources()
        .filter(|&node| !native(node).is_some_and(|metadata| metadata.source))
        .collect();
    let outputs: Vec<_> = graph
        .sinks()
        .filter(|&node| !native(node).is_some_and(|metadata| metadata.produces.is_empty()))
        .collect();

    let mut place = vec![Consumer::Session; graph.len()];
    for (index, stage) in stages.iter().enumerate() {
        for &node in &stage.nodes {
            place[node] = Consumer::Stage(index);
        }
    }
    for (index, &node) in workers.iter().enumerate() {
        place[node] = Consumer::Worker(index);
    }
    let mut channels = Channels::new(manifest, place);
    for node in graph.sources().filter(|&node| is_worker(node)) {
        channels.add_input(node);
    }
    for &node in graph.order() {
        channels.add_outputs(node, graph.successors(node).is_empty() && is_worker(node));
    }
    let parts = manifest.nodes().iter().zip(choices).zip(&levels);
    Layout {
        nodes: parts
            .map(|((spec, choice), &level)| {
                let class = registry.class(&choice.node_type).cloned();
                let metadata = registry.metadata(&choice.node_type);
                let is_native = choice.executor == ExecutorType::Native;
                let timed = is_native && metadata.is_some_and(|metadata| metadata.timed);
                PlannedNode { class, timed, ..planned(spec, choice, level, manifest, config) }
            })
            .collect(),
        edges: manifest.connections().iter().zip(channels.routes).map(edge).collect(),
        channels: channels.channels,
        stages,
        workers,
        inputs,
        outputs,
    }
}

fn edge((connection, route): (&Connection, Route)) -> Edge {
    let Connection { from, to, from_port, to_port, .. } = connection.clone();
    Edge { from, to, from_port, to_port, route }
}

fn planned(
    spec: &NodeSpec,
    choice: &Choice,
    level: usize,
    manifest: &Manifest,
    config: &RuntimeConfig,
) -> PlannedNode {
    let mut spec = spec.clone();
    if spec.debug.is_some() {
        // It stands at a breakpoint for as long as somebody thinks.
        spec.policy.timeout = None;
    }
    let python = interpreter(&spec, manifest, config).map(|(python, _)| python);
    PlannedNode {
        id: spec.id,
        node_type: choice.node_type.clone(),
        class: None,
        params: spec.params,
        executor: choice.executor,
        reason: choice.reason,
        level,
        capabilities: spec.capabilities,
        policy: spec.policy,
        restart: spec.restart,
        env: spec.env,
        python: python.filter(|_| choice.executor == ExecutorType::Multiprocess),
        own_thread: spec.own_thread,
        timed: false,
        limits: spec.limits,
        debug: spec.debug,
    }
}

/// Whose word an interpreter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedBy {
    Node,
    Manifest,
    Config,
}

/// The interpreter of a node: its own, its manifest's or the runtime's. One that the manifest names
/// by a relative path with a `/` lies beside the manifest.
pub(super) fn interpreter(
    spec: &NodeSpec,
    manifest: &Manifest,
    config: &RuntimeConfig,
) -> Option<(PathBuf, NamedBy)> {
    let beside = |path: &Path| match manifest.base_dir() {
        Some(folder) if path.components().count() > 1 => folder.join(path),
        _ => path.to_owned(),
    };
    let of_node = spec.python.as_deref().map(|path| (beside(path), NamedBy::Node));
    let of_all = manifest.multiprocess().python_executable.as_deref();
    of_node
        .or_else(|| of_all.map(|path| (beside(path), NamedBy::Manifest)))
        .or_else(|| config.python.clone().map(|path| (path, NamedBy::Config)))
}

fn levels(manifest: &Manifest, graph: &Graph, is_worker: impl Fn(usize) -> bool) -> Vec<usize> {
    let nodes = manifest.nodes();
    let mut incoming = vec![Vec::new(); nodes.len()];
    for connection in manifest.connections() {
        incoming[connection.to].push(connection);
    }
    let apart = |node: usize| is_worker(node) || nodes[node].own_thread;
    let mut levels = vec![0; graph.len()];
    for &node in graph.order() {
        let after = |edge: &&Connection| {
            let border =
                apart(edge.from) || apart(node) || !edge.queue.or(nodes[node].queue).is_empty();
            levels[edge.from] + usize::from(border)
        };
        levels[node] = incoming[node].iter().map(after).max().unwrap_or(0);
    }
    levels
}

/// The stages, lowest level first. Channels lead to higher levels only, so this is also the order
/// in which data meets them.
fn stages(graph: &Graph, levels: &[usize], is_worker: impl Fn(usize) -> bool) -> Vec<Stage> {
    // Each node points towards the one that stands for its stage.
    let mut leader: Vec<usize> = (0..graph.len()).collect();
    for from in (0..graph.len()).filter(|&node| !is_worker(node)) {
        for &to in graph.successors(from) {
            // Over a border the level rises, so that there is none here.
            if !is_worker(to) && levels[from] == levels[to] {
                let (a, b) = (find(&mut leader, from), find(&mut leader, to));
                leader[a] = b;
            }
        }
    }
    let mut stage_of = vec![None; graph.len()];
    let mut stages: Vec<Stage> = Vec::new();
    for &node in graph.order().iter().filter(|&&node| !is_worker(node)) {
        let stage = *stage_of[find(&mut leader, node)].get_or_insert_with(|| {
            stages.push(Stage { nodes: Vec::new() });
            stages.len() - 1
        });
        stages[stage].nodes.push(node);
    }
    stages.sort_by_key(|stage| levels[stage.nodes[0]]);
    stages
}

fn find(leader: &mut [usize], mut node: usize) -> usize {
    while leader[node] != node {
        leader[node] = leader[leader[node]];
        node = leader[node];
    }
    node
}

/// The channels as they are laid, and the way of each connection.
struct Channels<'a> {
    manifest: &'a Manifest,
    place: Vec<Consumer>,
    /// The connections that each node gives items to, by their place in the manifest.
    outgoing: Vec<Vec<usize>>,
    names: HashSet<String>,
    channels: Vec<Wanted>,
    routes: Vec<Route>,
}

impl<'a> Channels<'a> {
    fn new(manifest: &'a Manifest, place: Vec<Consumer>) -> Self {
        let mut outgoing = vec![Vec::new(); place.len()];
        for (index, connection) in manifest.connections().iter().enumerate() {
            outgoing[connection.from].push(index);
        }
        Self {
            manifest,
            place,
            outgoing,
            names: manifest.nodes().iter().map(|spec| spec.id.as_str().to_owned()).collect(),
            channels: Vec::new(),
            routes: vec![Route::Call; manifest.connections().len()],
        }
    }

    /// The channel by which a worker gets the session's input.
    fn add_input(&mut self, node: usize) {
        let queue = self.manifest.nodes()[node].queue;
        let retained = self.restarts(node);
        let name = self.new_name(format!("input-{node}"));
        let policy = self.policy(queue, retained);
        let consumer = self.place[node];
        let queue = QueueSpec { policy: Some(policy), ..queue };
        let mut wanted = Wanted::new(name, Producer::Session, None, queue);
        (wanted.retained, wanted.consumers) = (retained, vec![consumer]);
        self.channels.push(wanted);
    }

    /// The channels into which a node writes: one for each of its ports and for each kind of queue.
    /// A worker without successors gives its items to the session.
    fn add_outputs(&mut self, node: usize, to_session: bool) {
        let manifest = self.manifest;
        let mut found = HashMap::new();
        let mut read = HashMap::new();
        let first = self.channels.len();
        for index in std::mem::take(&mut self.outgoing[node]) {
            let connection = &manifest.connections()[index];
            let consumer = self.place[connection.to];
            if consumer == self.place[node] {
                continue;
            }
            let queue = connection.queue.or(manifest.nodes()[connection.to].queue);
            let retained = self.restarts(connection.to);
            let policy = self.policy(queue, retained);
            let port = connection.from_port.as_deref();
            let key = (port, discriminant(&policy), queue.depth, queue.capacity);
            if let Some(channel) = read.get(&(key, consumer)) {
                self.routes[index] = Route::Channel(*channel);
                self.channels[*channel].retained |= retained;
                continue;
            }
            let full = |channel: &usize| self.channels[*channel].consumers.len() >= MAX_CONSUMERS;
            let channel = match found.get(&key).filter(|channel| !full(channel)) {
                Some(channel) => *channel,
                None => {
                    let name = self.output_name(node, port, first);
                    let queue = QueueSpec { policy: Some(policy), ..queue };
                    let port = port.map(ToOwned::to_owned);
                    self.channels.push(Wanted::new(name, Producer::Node(node), port, queue));
                    found.insert(key, self.channels.len() - 1);
                    self.channels.len() - 1
                }
            };
            read.insert((key, consumer), channel);
            self.routes[index] = Route::Channel(channel);
            self.channels[channel].consumers.push(consumer);
            self.channels[channel].retained |= retained;
        }
        if to_session {
            let name = self.output_name(node, None, first);
            let policy = Some(self.policy(QueueSpec::default(), false));
            let queue = QueueSpec { policy, ..QueueSpec::default() };
            let mut wanted = Wanted::new(name, Producer::Node(node), None, queue);
            wanted.consumers.push(Consumer::Session);
            self.channels.push(wanted);
        }
    }

    fn restarts(&self, node: usize) -> bool {
        let is_worker = matches!(self.place[node], Consumer::Worker(_));
        is_worker && self.manifest.nodes()[node].restart != RestartPolicy::Never
    }

    /// What happens when a queue is full. Messages that are kept for a successor are not dropped.
    fn policy(&self, queue: QueueSpec, retained: bool) -> QueuePolicy {
        let blocks = retained || self.manifest.multiprocess().enable_backpressure;
        let default = if blocks { QueuePolicy::Block } else { QueuePolicy::DropOldest };
        queue.policy.unwrap_or(default)
    }

    /// The first channel of a node, unless it is one of a port, is named as the node.
    fn output_name(&mut self, node: usize, port: Option<&str>, first: usize) -> ChannelId {
        let id = &self.manifest.nodes()[node].id;
        match port {
            None if self.channels[first..].iter().all(|channel| channel.port.is_some()) => {
                ChannelId::new(id.as_str()).expect("ids of nodes and of channels follow one rule")
            }
            None => self.new_name(format!("{id}.{}", self.channels.len() - first)),
            Some(port) => self.new_name(format!("{id}.{port}")),
        }
    }

    /// The name, or where something else has it, one with a number behind. Ports may have any name,
    /// and long ids leave no room for one: then the name is a number.
    fn new_name(&mut self, name: String) -> ChannelId {
        let fits = name.len() <= ChannelId::MAX_LEN / 2 && ChannelId::new(name.as_str()).is_ok();
        let name = if fits { name } else { format!("channel-{}", self.channels.len()) };
        let others = (1_usize..).map(|number| format!("{name}_{number}"));
        let mut names = std::iter::once(name.clone()).chain(others);
        let free = names.find(|name| !self.names.contains(name)).expect("there is no end of them");
        self.names.insert(free.clone());
        ChannelId::new(free).expect("short, and of letters that ids may have")
    }
}
