//! Whether connected nodes agree on the format of their items, and what is put between those that do
//! not.
//!
//! Main function: [`formats`]. From the sources on, it follows what may come by each connection. Where
//! that is not what the node takes, the manifest's `auto_convert` decides between converters, which
//! become nodes like all others, and a problem that names them. What is not known is no problem: a
//! node says at run time what it cannot use.

mod steps;
#[cfg(test)]
mod tests;

use rm_core::{Formats, NodeContext, NodeFormats, NodeId, NodeRegistry};
use serde::Serialize;
use serde_json::Value;

use self::steps::{Step, needed};
use super::Reason;
use super::check::Choice;
use crate::graph::Graph;
use crate::manifest::{Connection, ExecutorType, Manifest, NodeSpec};
use crate::problem::{ProblemKind, Report};

/// What was put into a connection, because its ends do not agree on a format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Conversion {
    /// The node that items come from, by its place in [`Plan::nodes`](crate::Plan::nodes).
    pub from: usize,
    /// The node that they go to.
    pub to: usize,
    /// The nodes in between, in the order in which items come to them.
    pub by: Vec<usize>,
    /// What comes, in words.
    pub given: String,
    /// What it becomes, in words.
    pub taken: String,
}

/// Looks at all connections that name no port. The manifest and the choices are those with what was
/// put in; without `auto_convert` nothing is.
pub(super) fn formats(
    mut manifest: Manifest,
    registry: &NodeRegistry,
    choices: &mut Vec<Choice>,
    graph: &Graph,
    report: &mut Report,
) -> (Manifest, Vec<Conversion>) {
    let known = known(&manifest, registry, choices);
    let mut incoming = vec![Vec::new(); manifest.nodes().len()];
    for (index, connection) in manifest.connections().iter().enumerate() {
        incoming[connection.to].push(index);
    }
    let mut given: Vec<Option<Vec<Formats>>> = vec![None; known.len()];
    let mut wanted = Vec::new();
    for &node in graph.order() {
        let Some(formats) = &known[node] else { continue };
        let mut input = Vec::new();
        for &index in &incoming[node] {
            let Connection { from, from_port, to_port, .. } = &manifest.connections()[index];
            if to_port.is_some() {
                continue;
            }
            let unknown = || formats.taken().iter().map(|taken| Formats::any(taken.data_type()));
            let named =
                given[*from].as_ref().filter(|given| from_port.is_none() && !given.is_empty());
            let come = named.cloned().unwrap_or_else(|| unknown().collect());
            if fits(&come, formats.taken()) {
                input.extend(come);
                continue;
            }
            let (steps, becomes) = needed(&come, formats.taken(), registry);
            if manifest.auto_convert() && !steps.is_empty() {
                wanted.push(Wanted { index, come: come.clone(), becomes: becomes.clone(), steps });
                input.extend(becomes);
            } else {
                if !meets(&come, formats.taken()) {
                    let problem = Mismatch { index, come: &come, taken: formats.taken(), steps };
                    problem.report(&manifest, report);
                }
                input.extend(come);
            }
        }
        if input.is_empty() {
            input.extend(formats.taken().iter().cloned());
        }
        given[node] = Some(formats.given(&input));
    }
    let mut conversions = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        conversions.push(wanted.insert(&mut manifest, choices));
    }
    (manifest, conversions)
}

/// What is known of each node's formats before it is made.
fn known(
    manifest: &Manifest,
    registry: &NodeRegistry,
    choices: &[Choice],
) -> Vec<Option<NodeFormats>> {
    let base_dir = manifest.base_dir().and_then(|folder| folder.to_str());
    let base_dir = base_dir.map(|folder| (NodeContext::BASE_DIR.to_owned(), Value::from(folder)));
    let context = |(spec, choice): (&NodeSpec, &Choice)| NodeContext {
        node_id: spec.id.to_string(),
        node_type: choice.node_type.clone(),
        params: spec.params.clone(),
        session_id: None,
        metadata: base_dir.clone().into_iter().collect(),
    };
    let nodes = manifest.nodes().iter().zip(choices).map(context);
    nodes.map(|context| registry.formats(&context)).collect()
}

/// Whether whatever comes is taken.
fn fits(come: &[Formats], taken: &[Formats]) -> bool {
    come.iter().all(|come| taken.iter().any(|taken| come.is_within(taken)))
}

/// Whether something of what comes may be taken.
fn meets(come: &[Formats], taken: &[Formats]) -> bool {
    come.iter().any(|come| taken.iter().any(|taken| come.and(taken).is_some()))
}

fn words(formats: &[Formats]) -> String {
    let words: Vec<_> = formats.iter().map(ToString::to_string).collect();
    words.join(" or ")
}

/// A connection whose ends have no format in common.
struct Mismatch<'a> {
    index: usize,
    come: &'a [Formats],
    taken: &'a [Formats],
    steps: Vec<Step>,
}

impl Mismatch<'_> {
    fn report(self, manifest: &Manifest, report: &mut Report) {
        let connection = &manifest.connections()[self.index];
        let shares_type =
            |come: &Formats| self.taken.iter().any(|taken| taken.data_type() == come.data_type());
        let pointer = format!("/connections/{}", self.index);
        let end = |node: usize| {
            let node = &manifest.nodes()[node];
            format!("{:?} ({})", node.id.as_str(), node.node_type)
        };
        let (from, to) = (end(connection.from), end(connection.to));
        let (come, taken) = (words(self.come), words(self.taken));
        let mut message = format!("{from} gives {come}, but {to} takes {taken}");
        if !self.steps.is_empty() {
            let steps: Vec<_> = self.steps.iter().map(ToString::to_string).collect();
            let steps = steps.join(", then ");
            message += &format!("; put {steps} between them, or set \"auto_convert\": true");
        }
        let kind = match self.come.iter().any(shares_type) {
            true => ProblemKind::Format,
            false => ProblemKind::DataType,
        };
        report.problem(kind, pointer, message);
    }
}

/// Converters to be put into a connection.
struct Wanted {
    index: usize,
    come: Vec<Formats>,
    becomes: Vec<Formats>,
    steps: Vec<Step>,
}

impl Wanted {
    fn insert(self, manifest: &mut Manifest, choices: &mut Vec<Choice>) -> Conversion {
        let Connection { from, to, .. } = manifest.connections()[self.index];
        let begin = manifest.nodes().len();
        let mut specs = Vec::with_capacity(self.steps.len());
        for Step { node_type, what, params } in self.steps {
            let id = id(manifest, &specs, from, to, what);
            choices.push(Choice {
                executor: ExecutorType::Native,
                reason: Reason::Inserted,
                node_type: node_type.to_owned(),
            });
            specs.push(NodeSpec::plain(id, node_type, params));
        }
        let by = (begin..begin + specs.len()).collect();
        manifest.insert(self.index, specs);
        let (given, taken) = (words(&self.come), words(&self.becomes));
        Conversion { from, to, by, given, taken }
    }
}

/// An id that says what a converter is for: `source-vad-rate`, with a number where that is taken.
fn id(manifest: &Manifest, new: &[NodeSpec], from: usize, to: usize, what: &str) -> NodeId {
    let short = |node: usize| -> String {
        // Two of them and the rest stay below the longest id.
        manifest.nodes()[node].id.as_str().chars().filter(|c| *c != '.').take(24).collect()
    };
    let name = format!("{}-{}-{what}", short(from), short(to));
    let mut numbered =
        std::iter::once(name.clone()).chain((2_usize..).map(|number| format!("{name}-{number}")));
    let is_free = |id: &String| {
        manifest.nodes().iter().chain(new).all(|node| node.id.as_str() != id.as_str())
    };
    let free = numbered.find(is_free).expect("there are more numbers than nodes");
    NodeId::new(free).expect("made of the characters of two ids, below their greatest length")
}
