//! From JSON to a [`Manifest`], collecting every problem on the way.
//!
//! Main function: [`manifest`]. It knows the fields of version 1 and what each may hold; it does
//! not know node types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::connections::connections;
use super::cursor::{Cursor, Object, describe};
use super::node::{EXECUTORS, POWER_OF_TWO, node, seconds};
use super::text::{Format, document};
use super::{ExecutorType, Manifest, ManifestError, MultiprocessSettings, NodeSpec};
use crate::problem::{ProblemKind, Report};

const ROOT: &[&str] = &["version", "metadata", "modules", "auto_convert", "nodes", "connections"];
const METADATA: &[&str] = &["name", "description", "created_at", "multiprocess"];
const MULTIPROCESS: &[&str] = &[
    "max_processes_per_session",
    "channel_capacity",
    "init_timeout_secs",
    "python_executable",
    "enable_backpressure",
    "executor_overrides",
];

pub(super) fn manifest(
    text: &[u8],
    format: Format,
    file: Option<&Path>,
) -> Result<Manifest, ManifestError> {
    let document = document(text, format, file)?;
    let mut manifest = Manifest {
        name: Manifest::DEFAULT_NAME.to_owned(),
        description: None,
        created_at: None,
        multiprocess: MultiprocessSettings::default(),
        modules: Vec::new(),
        auto_convert: false,
        nodes: Vec::new(),
        connections: Vec::new(),
        warnings: Vec::new(),
        base_dir: None,
    };
    let mut report = Report::default();
    if let Some(root) = Cursor::root(&document).object(&mut report, ROOT) {
        version(&root, &mut report);
        metadata(&root, &mut report, &mut manifest);
        if let Some(list) = root.optional("modules").and_then(|at| at.array(&mut report)) {
            for at in list {
                manifest.modules.extend(at.text(&mut report).map(ToOwned::to_owned));
            }
        }
        let auto_convert = root.optional("auto_convert").and_then(|at| at.boolean(&mut report));
        manifest.auto_convert = auto_convert.unwrap_or(false);
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
        channel_capacity: at("channel_capacity")
            .and_then(|at| at.size(report, POWER_OF_TWO, usize::is_power_of_two)),
        init_timeout: at("init_timeout_secs").and_then(|at| seconds(&at, report)),
        python_executable: at("python_executable")
            .and_then(|at| at.text(report))
            .map(PathBuf::from),
        enable_backpressure: at("enable_backpressure")
            .and_then(|at| at.boolean(report))
            .unwrap_or(true),
        executor_overrides: at("executor_overrides")
            .map(|at| overrides(&at, report))
            .unwrap_or_default(),
    }
}

fn overrides(at: &Cursor<'_>, report: &mut Report) -> BTreeMap<String, ExecutorType> {
    let entries = at.entries(report).unwrap_or_default().into_iter();
    let read = |(name, at): (&str, Cursor<'_>)| {
        at.one_of(report, EXECUTORS).map(|executor| (name.to_owned(), executor))
    };
    entries.filter_map(read).collect()
}

/// Reads the nodes, and gives the place of each id.
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
        nodes.extend(node(item, report, place, &mut places));
    }
    if count == 0 {
        let message = "the list is empty, expected at least one node";
        report.problem(ProblemKind::Value, "/nodes", message);
    }
    places
}
