//! From JSON to a [`Manifest`], collecting every problem on the way.
//!
//! Main function: [`manifest`]. It knows the fields of version 1 and what each may hold; it does
//! not know node types.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, hash_map};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rm_core::NodeId;
use serde_json::{Map, Value};

use super::cursor::{Cursor, Object, describe};
use super::{Connection, ExecutorType, Manifest, ManifestError, MultiprocessSettings, NodeSpec};
use crate::problem::{ProblemKind, Report};

const ROOT: &[&str] = &["version", "metadata", "nodes", "connections"];
const METADATA: &[&str] = &["name", "description", "created_at", "multiprocess"];
const MULTIPROCESS: &[&str] =
    &["max_processes_per_session", "channel_capacity", "init_timeout_secs", "python_executable"];
const NODE: &[&str] = &["id", "node_type", "params", "executor", "runtime_hint"];
const CONNECTION: &[&str] = &["from", "to"];

/// Longest time that a worker may be given to get ready: a day.
const MAX_INIT_TIMEOUT_SECS: f64 = 86_400.0;

pub(super) fn manifest(text: &[u8], file: Option<&Path>) -> Result<Manifest, ManifestError> {
    if text.len() > Manifest::MAX_LEN {
        return Err(ManifestError::TooLong { max: Manifest::MAX_LEN });
    }
    let document: Value = serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        ManifestError::Syntax {
            file: file.map(Path::to_owned),
            line,
            column,
            message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
        }
    })?;
    let mut manifest = Manifest {
        name: Manifest::DEFAULT_NAME.to_owned(),
        description: None,
        created_at: None,
        multiprocess: MultiprocessSettings::default(),
        nodes: Vec::new(),
        connections: Vec::new(),
        warnings: Vec::new(),
        base_dir: None,
    };
    let mut report = Report::default();
    if let Some(root) = Cursor::root(&document).object(&mut report, ROOT) {
        version(&root, &mut report);
        metadata(&root, &mut report, &mut manifest);
        let places = nodes(&root, &mut report, &mut manifest.nodes);
        manifest.connections = connections(&root, &mut report, &places);
    }
    manifest.warnings = report.finish().map_err(ManifestError::Invalid)?;
    Ok(manifest)
}

fn version(root: &Object<'_>, report: &mut Report) {
    let expected = format!("{:?}", Manifest::VERSION);
    let Some(version) = root.required(report, "version", &expected) else {
        return;
    };
    if version.value.as_str() != Some(Manifest::VERSION) {
        let found = describe(version.value);
        let message = format!("version {found} is not supported, expected {expected}");
        report.problem(ProblemKind::Version, version.pointer, message);
    }
}

fn metadata(root: &Object<'_>, report: &mut Report, manifest: &mut Manifest) {
    let Some(metadata) = root.optional("metadata") else {
        return;
    };
    let Some(metadata) = metadata.object(report, METADATA) else {
        return;
    };
    if let Some(name) = metadata.optional("name").and_then(|at| at.text(report)) {
        manifest.name = name.to_owned();
    }
    let mut string = |name| {
        let text = metadata.optional(name)?.string(report)?;
        Some(text.to_owned())
    };
    manifest.description = string("description");
    manifest.created_at = string("created_at");
    if let Some(settings) = metadata.optional("multiprocess")
        && let Some(settings) = settings.object(report, MULTIPROCESS)
    {
        manifest.multiprocess = multiprocess(&settings, report);
    }
}

fn multiprocess(settings: &Object<'_>, report: &mut Report) -> MultiprocessSettings {
    let at = |name| settings.optional(name);
    MultiprocessSettings {
        max_processes_per_session: at("max_processes_per_session")
            .and_then(|at| at.size(report, "a whole number of at least 1", |n| n > 0)),
        channel_capacity: at("channel_capacity").and_then(|at| {
            let expected = "a number of bytes that is a power of two";
            at.size(report, expected, usize::is_power_of_two)
        }),
        init_timeout: at("init_timeout_secs").and_then(|at| seconds(&at, report)),
        python_executable: at("python_executable")
            .and_then(|at| at.text(report))
            .map(PathBuf::from),
    }
}

fn seconds(at: &Cursor<'_>, report: &mut Report) -> Option<Duration> {
    let seconds = at
        .value
        .as_f64()
        .filter(|secs| *secs > 0.0 && *secs <= MAX_INIT_TIMEOUT_SECS)
        .and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    if seconds.is_none() {
        let expected = format!("a number of seconds above 0, at most {MAX_INIT_TIMEOUT_SECS}");
        at.mistyped(report, &expected);
    }
    seconds
}

/// Reads the nodes, and gives the place of each id. Ids of nodes with problems are among them,
/// so that one mistake is not reported again at every connection.
fn nodes<'a>(
    root: &Object<'a>,
    report: &mut Report,
    nodes: &mut Vec<NodeSpec>,
) -> BTreeMap<&'a str, usize> {
    let mut places = BTreeMap::new();
    let Some(list) = root.required(report, "nodes", "an array of nodes") else {
        return places;
    };
    let Some(items) = list.array(report) else {
        return places;
    };
    let mut count = 0;
    for (place, item) in items.enumerate() {
        count += 1;
        if let Some(fields) = item.object(report, NODE) {
            nodes.extend(node(&fields, report, place, &mut places));
        }
    }
    if count == 0 {
        let message = "the list is empty, expected at least one node";
        report.problem(ProblemKind::Value, "/nodes", message);
    }
    places
}

fn node<'a>(
    fields: &Object<'a>,
    report: &mut Report,
    place: usize,
    places: &mut BTreeMap<&'a str, usize>,
) -> Option<NodeSpec> {
    let id = fields
        .required(report, "id", "a string")
        .and_then(|at| node_id(&at, report, place, places));
    let node_type = fields.required(report, "node_type", "a string").and_then(|at| at.text(report));
    let executor = executor(fields, report);
    let params = match fields.optional("params") {
        Some(at) if !at.value.is_object() => {
            at.mistyped(report, "an object");
            return None;
        }
        Some(at) => at.value.clone(),
        None => Value::Object(Map::new()),
    };
    Some(NodeSpec { id: id?, node_type: node_type?.to_owned(), params, executor })
}

fn node_id<'a>(
    at: &Cursor<'a>,
    report: &mut Report,
    place: usize,
    places: &mut BTreeMap<&'a str, usize>,
) -> Option<NodeId> {
    let text = at.string(report)?;
    match places.entry(text) {
        Entry::Vacant(free) => {
            free.insert(place);
        }
        Entry::Occupied(first) => {
            let shown = describe(at.value);
            let message = format!("node id {shown} is taken by /nodes/{}/id", first.get());
            report.problem(ProblemKind::DuplicateNode, &at.pointer, message);
            return None;
        }
    }
    match NodeId::new(text) {
        Ok(id) => Some(id),
        Err(error) => {
            report.problem(ProblemKind::NodeId, &at.pointer, error.to_string());
            None
        }
    }
}

fn executor(fields: &Object<'_>, report: &mut Report) -> Option<ExecutorType> {
    let at = match (fields.optional("executor"), fields.optional("runtime_hint")) {
        (Some(_), Some(alias)) => {
            let message = "is another name of \"executor\", expected only one of the two";
            report.problem(ProblemKind::Value, alias.pointer, message);
            return None;
        }
        (first, second) => first.or(second)?,
    };
    let names = [ExecutorType::Native, ExecutorType::Multiprocess];
    let found = names.into_iter().find(|executor| at.value.as_str() == Some(executor.name()));
    if found.is_none() {
        at.mistyped(report, "\"native\" or \"multiprocess\"");
    }
    found
}

fn connections(
    root: &Object<'_>,
    report: &mut Report,
    places: &BTreeMap<&str, usize>,
) -> Vec<Connection> {
    let Some(list) = root.optional("connections") else {
        return Vec::new();
    };
    let Some(items) = list.array(report) else {
        return Vec::new();
    };
    let mut seen = HashMap::new();
    for (index, item) in items.enumerate() {
        let Some(fields) = item.object(report, CONNECTION) else {
            continue;
        };
        let mut end = |name| {
            let at = fields.required(report, name, "the id of a node")?;
            Some((node_place(&at, report, places)?, describe(at.value)))
        };
        let (from, to) = (end("from"), end("to"));
        let (Some((from, from_id)), Some((to, to_id))) = (from, to) else {
            continue;
        };
        if from == to {
            let message = format!("node {from_id} is connected to itself");
            report.problem(ProblemKind::SelfConnection, fields.pointer, message);
            continue;
        }
        match seen.entry(Connection { from, to }) {
            hash_map::Entry::Vacant(free) => {
                free.insert(index);
            }
            hash_map::Entry::Occupied(first) => {
                let first = first.get();
                let message =
                    format!("connection {from_id} -> {to_id} is given by /connections/{first}");
                report.problem(ProblemKind::DuplicateConnection, fields.pointer, message);
            }
        }
    }
    let mut connections: Vec<_> = seen.into_iter().collect();
    connections.sort_unstable_by_key(|(_, index)| *index);
    connections.into_iter().map(|(end, _)| end).collect()
}

fn node_place(
    at: &Cursor<'_>,
    report: &mut Report,
    places: &BTreeMap<&str, usize>,
) -> Option<usize> {
    let id = at.string(report)?;
    let place = places.get(id).copied();
    if place.is_none() {
        let hint = if id.len() > NodeId::MAX_LEN {
            String::new()
        } else {
            report.hint(id, places.keys().copied())
        };
        let message = format!("there is no node {}{hint}", describe(at.value));
        report.problem(ProblemKind::DanglingConnection, &at.pointer, message);
    }
    place
}
