//! Whether the nodes of a manifest can be run, and by what.
//!
//! Main function: [`nodes`], which chooses the executors. Everything that is wrong is reported;
//! nothing is laid out here.

mod edges;
mod needs;
#[cfg(test)]
mod tests;

use rm_bridge::{Limits, RestartPolicy};
use rm_core::NodeRegistry;

pub(super) use self::edges::{connections, reach};
pub(super) use self::needs::{needs, shared_memory};
use super::Reason;
use crate::manifest::{ExecutorType, Manifest, MultiprocessSettings, NodeSpec};
use crate::problem::{ProblemKind, Report};

/// An executor, why, and the node type as that executor writes it.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) executor: ExecutorType,
    pub(super) reason: Reason,
    pub(super) node_type: String,
}

/// Chooses the executor of each node and checks the parameters of those whose type is known. A node
/// without a choice has been reported.
pub(super) fn nodes(
    manifest: &Manifest,
    registry: &NodeRegistry,
    report: &mut Report,
) -> Vec<Option<Choice>> {
    let settings = manifest.multiprocess();
    let mut choices = Vec::with_capacity(manifest.nodes().len());
    for (index, node) in manifest.nodes().iter().enumerate() {
        let choice = choose(node, index, settings, registry, report);
        if let Some(choice) = &choice {
            check_settings(node, index, choice.executor, report);
            check_params(node, &choice.node_type, index, registry, report);
        }
        choices.push(choice);
    }
    for pattern in settings.executor_overrides.keys() {
        let applies = |node: &NodeSpec| {
            settings.override_for(&node.node_type).is_some_and(|(name, _)| name == pattern)
        };
        if !manifest.nodes().iter().any(applies) {
            let types = manifest.nodes().iter().map(|node| node.node_type.as_str());
            let hint = report.hint(pattern, types);
            let name = pattern.replace('~', "~0").replace('/', "~1");
            let pointer = format!("/metadata/multiprocess/executor_overrides/{name}");
            report.warning(pointer, format!("there is no node of type {pattern:?}{hint}"));
        }
    }
    choices
}

fn check_params(
    node: &NodeSpec,
    node_type: &str,
    index: usize,
    registry: &NodeRegistry,
    report: &mut Report,
) {
    let Some(metadata) = registry.metadata(node_type) else { return };
    for problem in metadata.check_params(&node.params) {
        let name = problem.name().unwrap_or_default().replace('~', "~0").replace('/', "~1");
        let pointer = format!("/nodes/{index}/params/{name}");
        report.problem(ProblemKind::Parameter, pointer, problem.to_string());
    }
}

/// Checks that a node has no setting that its executor cannot follow.
fn check_settings(node: &NodeSpec, index: usize, executor: ExecutorType, report: &mut Report) {
    let mut odd = |field: &str, is_set: bool, why: &str| {
        if is_set {
            let message = format!("node {:?} is {}, {why}", node.id.as_str(), executor.name());
            report.problem(ProblemKind::Setting, format!("/nodes/{index}/{field}"), message);
        }
    };
    let no_process = "so it has no process of its own; expected only at a node in a worker";
    match executor {
        ExecutorType::Native => {
            odd("restart", node.restart != RestartPolicy::Never, no_process);
            odd("env", !node.env.is_empty(), no_process);
            odd("python", node.python.is_some(), no_process);
            odd("limits", node.limits != Limits::default(), no_process);
            odd("debug", node.debug.is_some(), no_process);
        }
        ExecutorType::Multiprocess => {
            let why = "so it has a process of its own; expected only at a native node";
            odd("own_thread", node.own_thread, why);
        }
    }
}

fn choose(
    node: &NodeSpec,
    index: usize,
    settings: &MultiprocessSettings,
    registry: &NodeRegistry,
    report: &mut Report,
) -> Option<Choice> {
    let name = &node.node_type;
    let by_override = settings.override_for(name);
    let asked = node.executor.map(|executor| (executor, Reason::Explicit));
    let asked = asked.or_else(|| by_override.map(|(_, executor)| (executor, Reason::Override)));
    let class = registry.class_of(name);
    let registered = registry.metadata(name).is_some() && class.is_none();
    let import_path = import_path(name);
    let is_path = import_path.is_some();
    let choice = |executor, reason, node_type| Some(Choice { executor, reason, node_type });
    match (asked, import_path) {
        (Some((ExecutorType::Native, reason)), _) if registered => {
            return choice(ExecutorType::Native, reason, name.clone());
        }
        (Some((ExecutorType::Multiprocess, reason)), _) if class.is_some() => {
            return choice(ExecutorType::Multiprocess, reason, name.clone());
        }
        (None, _) if class.is_some() => {
            return choice(ExecutorType::Multiprocess, Reason::Registered, name.clone());
        }
        (Some((ExecutorType::Multiprocess, reason)), Some((path, _))) => {
            return choice(ExecutorType::Multiprocess, reason, path);
        }
        (None, _) if registered => {
            return choice(ExecutorType::Native, Reason::Registered, name.clone());
        }
        (None, Some((path, reason))) => {
            return choice(ExecutorType::Multiprocess, reason, path);
        }
        _ => {}
    }
    let by = match (asked, by_override) {
        (Some((_, Reason::Override)), Some((pattern, _))) => {
            format!(", which executor_overrides asks for by {pattern:?}")
        }
        _ => String::new(),
    };
    let pointer = format!("/nodes/{index}/node_type");
    let importing = "the import path of a Python class is written \"package.module:Class\"";
    let asked = asked.map(|(executor, _)| executor);
    if asked == Some(ExecutorType::Multiprocess) {
        let message = format!("{name:?} cannot run as multiprocess{by}; {importing}");
        report.problem(ProblemKind::Executor, pointer, message);
        return None;
    }
    let mut hint = report.hint(name, registry.names());
    let kind = if asked == Some(ExecutorType::Native) {
        if let Some(class) = class {
            hint = format!("; it is the Python class {class}, which runs as multiprocess");
        } else if is_path {
            hint = "; the import path of a Python class runs as multiprocess".to_owned();
        }
        "native node type"
    } else {
        if hint.is_empty() {
            hint = format!("; {importing}");
        }
        "node type"
    };
    let message = format!("unknown {kind} {name:?}{by}{hint}");
    report.problem(ProblemKind::UnknownNodeType, pointer, message);
    None
}

/// A node type as the import path of a Python class, if it can be one: as it stands, or a dotted
/// name whose last part begins with a capital, as classes' do. Others are mistakes more often.
fn import_path(name: &str) -> Option<(String, Reason)> {
    if is_import_path(name) {
        return Some((name.to_owned(), Reason::Pattern));
    }
    let (module, class) = name.rsplit_once('.')?;
    let path = format!("{module}:{class}");
    let capital = class.starts_with(char::is_uppercase);
    (capital && is_import_path(&path)).then_some((path, Reason::Default))
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
