//! Whether the connections of a manifest carry anything, and whether all nodes are reached.
//!
//! Main functions: [`connections`] and [`reach`]. Ports and types of data of Python nodes are not
//! known here.

use rm_bridge::{QueuePolicy, RestartPolicy};
use rm_core::{DataType, NodeMetadata, NodeRegistry};

use super::Choice;
use crate::manifest::{ExecutorType, Manifest};
use crate::plan::layout::Layout;
use crate::problem::{ProblemKind, Report};

/// What is known of a node, if it is a native one.
fn native<'a>(
    node: usize,
    manifest: &Manifest,
    registry: &'a NodeRegistry,
    choices: &[Option<Choice>],
) -> Option<&'a NodeMetadata> {
    let choice = choices[node].as_ref()?;
    let is_native = choice.executor == ExecutorType::Native;
    registry.metadata(&manifest.nodes()[node].node_type).filter(|_| is_native)
}

/// Checks that ports exist, that no connection leads into a source or out of a sink, that connected
/// native nodes have a type of data in common, and that queues of nodes that are started again drop
/// nothing.
pub(in crate::plan) fn connections(
    manifest: &Manifest,
    registry: &NodeRegistry,
    choices: &[Option<Choice>],
    report: &mut Report,
) {
    let native = |node: usize| native(node, manifest, registry, choices);
    for (index, connection) in manifest.connections().iter().enumerate() {
        let pointer = format!("/connections/{index}");
        let (from, to) = (native(connection.from), native(connection.to));
        let named = |node: usize, metadata: &NodeMetadata| {
            format!("{:?} ({})", manifest.nodes()[node].id.as_str(), metadata.name)
        };
        let ends = [
            ("from", from, &connection.from_port, connection.from),
            ("to", to, &connection.to_port, connection.to),
        ];
        for (end, metadata, port, node) in ends {
            if let (Some(metadata), Some(port)) = (metadata, port) {
                let of = named(node, metadata);
                check_port(end, port, metadata, &of, format!("{pointer}/{end}"), report);
            }
        }
        check_queue(manifest, choices, index, report);
        let sink = from.filter(|metadata| metadata.produces.is_empty());
        let source = to.filter(|metadata| metadata.source);
        if let Some(sink) = sink {
            let name = named(connection.from, sink);
            let message = format!("{name} is a sink, it gives nothing to other nodes");
            report.problem(ProblemKind::Connection, format!("{pointer}/from"), message);
        }
        if let Some(source) = source {
            let name = named(connection.to, source);
            let message = format!("{name} is a source, it takes nothing from other nodes");
            report.problem(ProblemKind::Connection, format!("{pointer}/to"), message);
        }
        if let (Some(from), Some(to), None, None) = (from, to, sink, source)
            && !from.produces.iter().any(|kind| to.accepts.contains(kind))
        {
            let message = format!(
                "{} gives {}, but {} takes {}",
                named(connection.from, from),
                types(&from.produces),
                named(connection.to, to),
                types(&to.accepts),
            );
            report.problem(ProblemKind::DataType, pointer, message);
        }
    }
}

fn types(types: &[DataType]) -> String {
    match types {
        [] => "nothing".to_owned(),
        types => {
            let names: Vec<_> = types.iter().map(|kind| kind.name()).collect();
            names.join(" or ")
        }
    }
}

fn check_port(
    end: &str,
    port: &str,
    metadata: &NodeMetadata,
    node: &str,
    pointer: String,
    report: &mut Report,
) {
    let (ports, direction) = match end {
        "from" => (&metadata.output_ports, "output"),
        _ => (&metadata.input_ports, "input"),
    };
    if ports.iter().any(|name| name == port) {
        return;
    }
    let hint = report.hint(port, ports.iter().map(String::as_str));
    let message = if ports.is_empty() {
        format!("{node} has no {direction} ports, expected only its id")
    } else {
        let hint = if hint.is_empty() { format!("; it has {}", ports.join(", ")) } else { hint };
        format!("{node} has no {direction} port {port:?}{hint}")
    };
    report.problem(ProblemKind::Port, pointer, message);
}

/// Checks that what a restarted node has missed is still there.
fn check_queue(manifest: &Manifest, choices: &[Option<Choice>], index: usize, report: &mut Report) {
    let connection = &manifest.connections()[index];
    let target = &manifest.nodes()[connection.to];
    let is_worker = choices[connection.to]
        .as_ref()
        .is_some_and(|choice| choice.executor == ExecutorType::Multiprocess);
    if !is_worker || target.restart == RestartPolicy::Never {
        return;
    }
    let drops = |policy: &QueuePolicy| *policy != QueuePolicy::Block;
    if connection.queue.policy.is_some_and(|policy| drops(&policy)) {
        let id = target.id.as_str();
        let message = format!(
            "node {id:?} is started again after a failure, so what waits for it is kept; \
             expected \"block\""
        );
        report.problem(ProblemKind::Setting, format!("/connections/{index}/queue/policy"), message);
    }
}

/// Warns about nodes that probably get nothing: ones that are connected with nothing where others
/// are connected, and ones that only the session can feed although the pipeline has a source of its
/// own.
pub(in crate::plan) fn reach(
    manifest: &Manifest,
    registry: &NodeRegistry,
    choices: &[Choice],
    layout: &Layout,
    report: &mut Report,
) {
    let mut connected = vec![false; manifest.nodes().len()];
    for connection in manifest.connections() {
        connected[connection.from] = true;
        connected[connection.to] = true;
    }
    let id = |node: usize| manifest.nodes()[node].id.as_str();
    let is_source = |node: &usize| {
        let metadata = registry.metadata(&choices[*node].node_type);
        choices[*node].executor == ExecutorType::Native
            && metadata.is_some_and(|metadata| metadata.source)
    };
    let source = (0..connected.len()).find(is_source);
    for (node, connected) in connected.iter().enumerate() {
        let pointer = format!("/nodes/{node}");
        if !manifest.connections().is_empty() && !connected {
            let message = format!("no connection leads to node {:?} or from it", id(node));
            report.warning(pointer, message);
        } else if let (Some(source), true) = (source, layout.inputs.contains(&node)) {
            let (node, source) = (id(node), id(source));
            let message = format!(
                "no connection leads to node {node:?}: it gets only what the session is given \
                 from outside, although the pipeline has a source, {source:?}"
            );
            report.warning(pointer, message);
        }
    }
}
