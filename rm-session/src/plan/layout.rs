//! Groups the nodes into stages and workers, and lays channels between them.
//!
//! Main function: [`plan`]. It relies on a manifest that has been checked.
//!
//! The level of a node counts the borders between processes on the way to it. Native nodes that
//! are connected and of one level share a stage. Any other connection leads to a higher level:
//! from or to a worker by definition, from a native node to a native one because it did not join
//! their stages. So there is no circle of stages and workers, even where the manifest has two
//! ways from one native node to another, one of them through a worker.

use std::collections::HashSet;

use rm_core::{ChannelId, NodeRegistry};

use super::check::Choice;
use super::{Consumer, Edge, Plan, PlannedChannel, PlannedNode, Producer, Route, Stage};
use crate::graph::Graph;
use crate::manifest::{ExecutorType, Manifest};

pub(super) fn plan(
    manifest: Manifest,
    registry: &NodeRegistry,
    graph: &Graph,
    choices: &[Choice],
) -> Plan {
    let is_worker = |node: usize| choices[node].0 == ExecutorType::Multiprocess;
    let native = |node: usize| {
        let metadata = registry.metadata(&manifest.nodes()[node].node_type);
        metadata.filter(|_| !is_worker(node))
    };
    let levels = levels(graph, is_worker);
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
    let (channels, channel_of) = channels(&manifest, graph, &place);
    let edge = |from: usize, to: usize| {
        let route = match channel_of[from] {
            Some(channel) if place[from] != place[to] => Route::Channel(channel),
            _ => Route::Call,
        };
        Edge { from, to, route }
    };
    let edges = manifest.connections().iter();
    Plan {
        name: manifest.name().to_owned(),
        multiprocess: manifest.multiprocess().clone(),
        base_dir: manifest.base_dir().map(ToOwned::to_owned),
        nodes: nodes(&manifest, choices, &levels),
        edges: edges.map(|edge_of| edge(edge_of.from, edge_of.to)).collect(),
        stages,
        workers,
        channels,
        inputs,
        outputs,
        warnings: manifest.warnings().to_vec(),
    }
}

fn nodes(manifest: &Manifest, choices: &[Choice], levels: &[usize]) -> Vec<PlannedNode> {
    let parts = manifest.nodes().iter().zip(choices).zip(levels);
    parts
        .map(|((spec, &(executor, reason)), &level)| PlannedNode {
            id: spec.id.clone(),
            node_type: spec.node_type.clone(),
            params: spec.params.clone(),
            executor,
            reason,
            level,
        })
        .collect()
}

fn levels(graph: &Graph, is_worker: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut levels = vec![0; graph.len()];
    for &node in graph.order() {
        let after = |&from: &usize| levels[from] + usize::from(is_worker(from) || is_worker(node));
        let level = graph.predecessors(node).iter().map(after).max();
        levels[node] = level.unwrap_or(0);
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

/// The channels, and the one of each node that has one.
fn channels(
    manifest: &Manifest,
    graph: &Graph,
    place: &[Consumer],
) -> (Vec<PlannedChannel>, Vec<Option<usize>>) {
    let is_worker = |node: usize| matches!(place[node], Consumer::Worker(_));
    let specs = manifest.nodes();
    let ids: HashSet<_> = specs.iter().map(|spec| spec.id.as_str()).collect();
    let mut channels = Vec::new();
    for node in graph.sources().filter(|&node| is_worker(node)) {
        let mut name = format!("input-{node}");
        while ids.contains(name.as_str()) {
            name.push('_');
        }
        channels.push(PlannedChannel {
            name: ChannelId::new(name).expect("short, and of letters that ids may have"),
            producer: Producer::Session,
            consumers: vec![place[node]],
        });
    }
    let mut channel_of = vec![None; graph.len()];
    for &node in graph.order() {
        let mut consumers: Vec<Consumer> = Vec::new();
        let mut seen = HashSet::new();
        for &to in graph.successors(node) {
            if place[to] != place[node] && seen.insert(place[to]) {
                consumers.push(place[to]);
            }
        }
        if is_worker(node) && graph.successors(node).is_empty() {
            consumers.push(Consumer::Session);
        }
        if !consumers.is_empty() {
            channel_of[node] = Some(channels.len());
            channels.push(PlannedChannel {
                name: ChannelId::new(specs[node].id.as_str())
                    .expect("ids of nodes and of channels follow the same rule"),
                producer: Producer::Node(node),
                consumers,
            });
        }
    }
    (channels, channel_of)
}
