//! From JSON to [`Connection`]s.
//!
//! Main function: [`connections`]. An end is the id of a node or `node.port`; which ports a node has
//! is not known here.

use std::collections::{BTreeMap, HashMap, hash_map};

use rm_core::NodeId;

use super::Connection;
use super::cursor::{Cursor, Object, describe};
use super::node::queue;
use crate::problem::{ProblemKind, Report};

const CONNECTION: &[&str] = &["from", "to", "queue"];

/// Reads the connections. `places` has the place of each node's id.
pub(super) fn connections(
    root: &Object<'_>,
    report: &mut Report,
    places: &BTreeMap<&str, usize>,
) -> Vec<Connection> {
    let mut connections = Vec::new();
    let Some(items) = root.optional("connections").and_then(|list| list.array(report)) else {
        return connections;
    };
    let mut seen = HashMap::new();
    for (index, item) in items.enumerate() {
        let Some(fields) = item.object(report, CONNECTION) else {
            continue;
        };
        let mut end = |name| {
            let at = fields.required(report, name, "the id of a node")?;
            Some((end_at(&at, report, places)?, describe(at.value)))
        };
        let (from, to) = (end("from"), end("to"));
        let queue = queue(&fields, report);
        let (Some(((from, from_port), shown_from)), Some(((to, to_port), shown_to))) = (from, to)
        else {
            continue;
        };
        if from == to {
            let message = format!("node {shown_from} is connected to itself");
            report.problem(ProblemKind::SelfConnection, fields.pointer, message);
            continue;
        }
        match seen.entry((from, from_port, to, to_port)) {
            hash_map::Entry::Vacant(free) => {
                free.insert(index);
            }
            hash_map::Entry::Occupied(first) => {
                let first = first.get();
                let message = format!(
                    "connection {shown_from} -> {shown_to} is given by /connections/{first}"
                );
                report.problem(ProblemKind::DuplicateConnection, fields.pointer, message);
                continue;
            }
        }
        let port = |port: Option<&str>| port.map(ToOwned::to_owned);
        let (from_port, to_port) = (port(from_port), port(to_port));
        connections.push(Connection { from, to, from_port, to_port, queue });
    }
    connections
}

/// The node that an end names, and the port. An id may hold dots, so one that is there as it stands
/// goes before one with a port.
fn end_at<'a>(
    at: &Cursor<'a>,
    report: &mut Report,
    places: &BTreeMap<&str, usize>,
) -> Option<(usize, Option<&'a str>)> {
    let text = at.string(report)?;
    if let Some(place) = places.get(text) {
        return Some((*place, None));
    }
    let split = text.rsplit_once('.');
    if let Some((id, port)) = split
        && let Some(place) = places.get(id)
    {
        if port.is_empty() {
            let message = format!("expected the name of a port after the dot, found {text:?}");
            report.problem(ProblemKind::Port, &at.pointer, message);
            return None;
        }
        return Some((*place, Some(port)));
    }
    let near = |id: &str| report.hint(id, places.keys().copied());
    let mut hint = String::new();
    if text.len() <= NodeId::MAX_LEN {
        hint = near(text);
        // Where the end has a port, its node may be what is written wrong.
        if let (true, Some((id, _))) = (hint.is_empty(), split) {
            hint = near(id);
        }
    }
    let message = format!("there is no node {}{hint}", describe(at.value));
    report.problem(ProblemKind::DanglingConnection, &at.pointer, message);
    None
}
