//! Whether the connections of a manifest carry anything, and whether all nodes are reached.
//!
//! Main functions: [`connections`] and [`reach`]. Of Python nodes only those ports and types of data
//! are known that their class declares.

use rm_bridge::{QueuePolicy, RestartPolicy};
use rm_core::{DataType, NodeMetadata, NodeRegistry};

use super::Choice;
use crate::manifest::{ExecutorType, Manifest};
use crate::plan::layout::Layout;
use crate::problem::{ProblemKind, Report};

/// What is known of a node, and whether that is all there is to know: what the class of a Python node
/// does not say is open.
#[derive(Clone, Copy)]
struct Known<'a> {
    metadata: &'a NodeMetadata,
    is_native: bool,
}

impl Known<'_> {
    fn is_sink(&self) -> bool {
        self.is_native && self.metadata.produces.is_empty()
    }

    /// Whether nothing is said by this list of it.
    fn is_open<T>(&self, list: &[T]) -> bool {
        !self.is_native && list.is_empty()
    }

    fn is_source(&self) -> bool {
        self.is_native && self.metadata.source
    }
}

/// Checks that ports exist, that no connection leads into a source or out of a sink, that connected
/// nodes have a type of data in common, and that queues of nodes that are started again drop
/// nothing.
pub(in crate::plan) fn connections(
    manifest: &Manifest,
    registry: &NodeRegistry,
    choices: &[Option<Choice>],
    report: &mut Report,
) {
    let known = |node: usize| {
        let choice = choices[node].as_ref()?;
        let is_native = choice.executor == ExecutorType::Native;
        let metadata = registry.metadata(&choice.node_type)?;
        Some(Known { metadata, is_native })
    };
    for (index, connection) in manifest.connections().iter().enumerate() {
        let pointer = format!("/connections/{index}");
        let (from, to) = (known(connection.from), known(connection.to));
        let named = |node: usize, metadata: &NodeMetadata| {
            format!("{:?} ({})", manifest.nodes()[node].id.as_str(), metadata.name)
        };
        let ends = [
            ("from", from, &connection.from_port, connection.from),
            ("to", to, &connection.to_port, connection.to),
        ];
        for (end, known, port, node) in ends {
            if let (Some(known), Some(port)) = (known, port) {
                let of = named(node, known.metadata);
                check_port(end, port, known, &of, format!("{pointer}/{end}"), report);
            }
        }
        check_queue(manifest, choices, index, report);
        let sink = from.filter(Known::is_sink);
        let source = to.filter(Known::is_source);
        if let Some(sink) = sink {
            let name = named(connection.from, sink.metadata);
            let message = format!("{name} is a sink, it gives nothing to other nodes");
            report.problem(ProblemKind::Connection, format!("{pointer}/from"), message);
        }
        if let Some(source) = source {
            let name = named(connection.to, source.metadata);
            let message = format!("{name} is a source, it takes nothing from other nodes");
            report.problem(ProblemKind::Connection, format!("{pointer}/to"), message);
        }
        if let (Some(from), Some(to), None, None) = (from, to, sink, source)
            && !(from.is_open(&from.metadata.produces) || to.is_open(&to.metadata.accepts))
            && let (from, to) = (from.metadata, to.metadata)
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
    known: Known<'_>,
    node: &str,
    pointer: String,
    report: &mut Report,
) {
    let (ports, direction) = match end {
        "from" => (&known.metadata.output_ports, "output"),
        _ => (&known.metadata.input_ports, "input"),
    };
    if known.is_open(ports) || ports.iter().any(|name| name == port) {
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
