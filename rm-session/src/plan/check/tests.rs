//! Nodes and connections that cannot be run, with what is said of them.

mod mistakes;
mod needs;

use super::*;
use crate::plan::Plan;
use crate::plan::tests::{manifest, parse, registry};
use serde_json::json;

/// Checks the problems of a manifest that cannot be run, each with its kind and as it prints.
#[track_caller]
fn check_problems(manifest: Manifest, expected: &[(ProblemKind, &str)]) {
    let error = Plan::new(manifest, &registry()).unwrap_err();
    let found: Vec<_> =
        error.problems().iter().map(|problem| (problem.kind, problem.to_string())).collect();
    let found: Vec<_> = found.iter().map(|(kind, text)| (*kind, text.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn import_paths_are_modules_and_a_class() {
    for name in ["m:C", "a.b:C", "a._b2.c:_C1", "größe.x:Ä"] {
        assert!(is_import_path(name), "{name}");
    }
    for name in [
        "", ":", "m", "m:", ":C", "a.b.C", "a..b:C", ".a:C", "a.:C", "1a:C", "a:1C", "a-b:C",
        "a:B:C", "a:B.C", "a b:C", "../a:C", "a/b:C",
    ] {
        assert!(!is_import_path(name), "{name}");
    }
}

#[test]
fn a_node_type_that_cannot_be_run_is_named_with_what_can() {
    let unknown = ProblemKind::UnknownNodeType;
    let manifest = parse(json!({"version": "v1", "nodes": [
        {"id": "a", "node_type": "ResmapleNode"},
        {"id": "b", "node_type": "speech.nodes.recogniser"},
        {"id": "c", "node_type": "PassThruNode", "executor": "native"},
        {"id": "d", "node_type": "speech.nodes:Recogniser", "executor": "native"},
        {"id": "e", "node_type": "ResampleNode", "executor": "multiprocess"},
    ]}));
    let error = Plan::new(manifest.clone(), &registry()).unwrap_err();
    assert_eq!(error.unknown_node_type(), Some(&error.problems()[0]));
    check_problems(
        manifest,
        &[
            (
                unknown,
                "/nodes/0/node_type: unknown node type \"ResmapleNode\"; did you mean \"ResampleNode\"?",
            ),
            (
                unknown,
                "/nodes/1/node_type: unknown node type \"speech.nodes.recogniser\"; the import path of a Python class is written \"package.module:Class\"",
            ),
            (
                unknown,
                "/nodes/2/node_type: unknown native node type \"PassThruNode\"; did you mean \"PassThroughNode\"?",
            ),
            (
                unknown,
                "/nodes/3/node_type: unknown native node type \"speech.nodes:Recogniser\"; the import path of a Python class runs as multiprocess",
            ),
            (
                ProblemKind::Executor,
                "/nodes/4/node_type: \"ResampleNode\" cannot run as multiprocess; the import path of a Python class is written \"package.module:Class\"",
            ),
        ],
    );
}

#[test]
fn parameters_of_native_nodes_are_checked_and_those_of_workers_are_not() {
    let parameter = ProblemKind::Parameter;
    check_problems(
        parse(json!({"version": "v1", "nodes": [
            {"id": "py", "node_type": "m:C", "params": {"any": "thing"}},
            {"id": "a", "node_type": "ResampleNode", "params": {"target_rat": 1, "a/b": 1}},
            {"id": "b", "node_type": "ResampleNode", "params": {"target_rate": "high"}},
        ]})),
        &[
            (
                parameter,
                "/nodes/1/params/a~1b: unknown parameter \"a/b\"; ResampleNode takes: target_rate",
            ),
            (
                parameter,
                "/nodes/1/params/target_rat: unknown parameter \"target_rat\"; did you mean \"target_rate\"?",
            ),
            (
                parameter,
                "/nodes/2/params/target_rate: parameter \"target_rate\" is \"high\", expected a whole number",
            ),
        ],
    );
}

#[test]
fn connections_that_carry_nothing_are_problems() {
    let nodes = [
        ("in", "WavSource"),
        ("rate", "ResampleNode"),
        ("text", "TextNode"),
        ("py", "m:C"),
        ("out", "WavSink"),
    ];
    let connections =
        [("rate", "in"), ("out", "py"), ("in", "text"), ("py", "text"), ("rate", "out")];
    check_problems(
        manifest(&nodes, &connections),
        &[
            (
                ProblemKind::Connection,
                "/connections/0/to: \"in\" (WavSource) is a source, it takes nothing from other nodes",
            ),
            (
                ProblemKind::Connection,
                "/connections/1/from: \"out\" (WavSink) is a sink, it gives nothing to other nodes",
            ),
            (
                ProblemKind::DataType,
                "/connections/2: \"in\" (WavSource) gives audio, but \"text\" (TextNode) takes text",
            ),
        ],
    );
}

#[test]
fn a_cycle_is_reported_beside_other_problems() {
    check_problems(
        manifest(
            &[("a", "m:A"), ("b", "PassThroughNode"), ("c", "TextNod")],
            &[("a", "b"), ("b", "a")],
        ),
        &[
            (
                ProblemKind::UnknownNodeType,
                "/nodes/2/node_type: unknown node type \"TextNod\"; did you mean \"TextNode\"?",
            ),
            (ProblemKind::Cycle, "/connections: cycle: a -> b -> a"),
        ],
    );
}

#[test]
fn more_workers_than_the_manifest_allows_are_a_problem() {
    let document = |max: usize| {
        json!({
            "version": "v1",
            "metadata": {"multiprocess": {"max_processes_per_session": max}},
            "nodes": [{"id": "a", "node_type": "m:A"}, {"id": "b", "node_type": "m:B"}],
        })
    };
    assert!(Plan::new(parse(document(2)), &registry()).is_ok());
    let error = Plan::new(parse(document(1)), &registry()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the manifest cannot be run: /metadata/multiprocess/max_processes_per_session: \
         the pipeline has 2 worker processes, the limit is 1"
    );
}
