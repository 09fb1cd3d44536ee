//! Whether the nodes of a manifest can be run, and by what.
//!
//! Main function: [`nodes`], which chooses the executors. Everything that is wrong is reported;
//! nothing is laid out here.

#[cfg(test)]
mod tests;

use rm_core::{DataType, NodeMetadata, NodeRegistry};

use super::Reason;
use crate::manifest::{ExecutorType, Manifest, NodeSpec};
use crate::problem::{ProblemKind, Report};

/// An executor, and why.
pub(super) type Choice = (ExecutorType, Reason);

/// Chooses the executor of each node and checks the parameters of the native ones. A node without
/// a choice has been reported.
pub(super) fn nodes(
    manifest: &Manifest,
    registry: &NodeRegistry,
    report: &mut Report,
) -> Vec<Option<Choice>> {
    let mut choices = Vec::with_capacity(manifest.nodes().len());
    for (index, node) in manifest.nodes().iter().enumerate() {
        let choice = choose(node, index, registry, report);
        if let Some((ExecutorType::Native, _)) = choice
            && let Some(metadata) = registry.metadata(&node.node_type)
        {
            for problem in metadata.check_params(&node.params) {
                let name = problem.name().unwrap_or_default();
                let name = name.replace('~', "~0").replace('/', "~1");
                let pointer = format!("/nodes/{index}/params/{name}");
                report.problem(ProblemKind::Parameter, pointer, problem.to_string());
            }
        }
        choices.push(choice);
    }
    choices
}

fn choose(
    node: &NodeSpec,
    index: usize,
    registry: &NodeRegistry,
    report: &mut Report,
) -> Option<Choice> {
    let name = &node.node_type;
    let registered = registry.metadata(name).is_some();
    let importable = is_import_path(name);
    match node.executor {
        Some(ExecutorType::Native) if registered => {
            return Some((ExecutorType::Native, Reason::Explicit));
        }
        Some(ExecutorType::Multiprocess) if importable => {
            return Some((ExecutorType::Multiprocess, Reason::Explicit));
        }
        None if registered => return Some((ExecutorType::Native, Reason::Registered)),
        None if importable => return Some((ExecutorType::Multiprocess, Reason::ImportPath)),
        _ => {}
    }
    let pointer = format!("/nodes/{index}/node_type");
    let importing = "the import path of a Python class is written \"package.module:Class\"";
    if node.executor == Some(ExecutorType::Multiprocess) {
        let message = format!("{name:?} cannot run as multiprocess; {importing}");
        report.problem(ProblemKind::Executor, pointer, message);
        return None;
    }
    let mut hint = report.hint(name, registry.names());
    let kind = if node.executor == Some(ExecutorType::Native) {
        if importable {
            hint = "; the import path of a Python class runs as multiprocess".to_owned();
        }
        "native node type"
    } else {
        if hint.is_empty() {
            hint = format!("; {importing}");
        }
        "node type"
    };
    let message = format!("unknown {kind} {name:?}{hint}");
    report.problem(ProblemKind::UnknownNodeType, pointer, message);
    None
}

/// Whether a node type has the form `package.module:Class`.
fn is_import_path(name: &str) -> bool {
    let identifier = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || c == '_')
    };
    name.split_once(':')
        .is_some_and(|(module, class)| module.split('.').all(identifier) && identifier(class))
}

/// Checks that no connection leads into a source or out of a sink, and that connected native
/// nodes have a type of data in common.
pub(super) fn connections(
    manifest: &Manifest,
    registry: &NodeRegistry,
    choices: &[Option<Choice>],
    report: &mut Report,
) {
    let native = |node: usize| match choices[node] {
        Some((ExecutorType::Native, _)) => registry.metadata(&manifest.nodes()[node].node_type),
        _ => None,
    };
    for (index, connection) in manifest.connections().iter().enumerate() {
        let pointer = format!("/connections/{index}");
        let (from, to) = (native(connection.from), native(connection.to));
        let named = |node: usize, metadata: &NodeMetadata| {
            format!("{:?} ({})", manifest.nodes()[node].id.as_str(), metadata.name)
        };
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

/// Checks that the pipeline has no more workers than the manifest allows.
pub(super) fn limits(manifest: &Manifest, choices: &[Option<Choice>], report: &mut Report) {
    let is_worker =
        |choice: &&Option<Choice>| matches!(choice, Some((ExecutorType::Multiprocess, _)));
    let workers = choices.iter().filter(is_worker).count();
    if let Some(max) = manifest.multiprocess().max_processes_per_session
        && workers > max
    {
        let pointer = "/metadata/multiprocess/max_processes_per_session";
        let message = format!("the pipeline has {workers} worker processes, the limit is {max}");
        report.problem(ProblemKind::Limit, pointer, message);
    }
}
