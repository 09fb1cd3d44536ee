//! Manifests, right and wrong, with what is said of them.

mod fields;

use super::*;
use crate::problem::ProblemKind;
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

#[track_caller]
fn parse(document: Value) -> Manifest {
    Manifest::from_json(&document.to_string()).unwrap()
}

#[track_caller]
fn problems(document: Value) -> Vec<Problem> {
    match Manifest::from_json(&document.to_string()) {
        Err(ManifestError::Invalid(problems)) => problems,
        other => panic!("expected problems, found {other:?}"),
    }
}

/// Checks the problems of a document, each as it prints.
#[track_caller]
fn check_problems(document: Value, expected: &[&str]) {
    let found: Vec<_> = problems(document).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

fn small() -> Value {
    json!({
        "version": "v1",
        "nodes": [
            {"id": "speech", "node_type": "WavSource"},
            {"id": "resample", "node_type": "ResampleNode"},
        ],
        "connections": [{"from": "speech", "to": "resample"}],
    })
}

fn full() -> Value {
    json!({
        "version": "v1",
        "metadata": {
            "name": "speech",
            "description": "says it again",
            "created_at": "2025-01-01T00:00:00Z",
            "multiprocess": {
                "max_processes_per_session": 4,
                "channel_capacity": 1_048_576,
                "init_timeout_secs": 2.5,
                "python_executable": "python3.12",
            },
        },
        "nodes": [
            {"id": "a", "node_type": "A", "params": {"gain": 1}, "executor": "native"},
            {"id": "b", "node_type": "m:B", "runtime_hint": "multiprocess"},
            {"id": "c", "node_type": "C", "params": null, "executor": null},
        ],
        "connections": [{"from": "b", "to": "c"}, {"from": "a", "to": "b"}],
    })
}

#[test]
fn every_field_is_read() {
    let manifest = parse(full());
    assert_eq!(manifest.name(), "speech");
    assert_eq!(manifest.description(), Some("says it again"));
    assert_eq!(manifest.created_at(), Some("2025-01-01T00:00:00Z"));
    let settings = manifest.multiprocess();
    assert_eq!(settings.max_processes_per_session, Some(4));
    assert_eq!(settings.channel_capacity, Some(1 << 20));
    assert_eq!(settings.init_timeout, Some(Duration::from_millis(2_500)));
    assert_eq!(settings.python_executable, Some("python3.12".into()));
    let executors: Vec<_> = manifest.nodes().iter().map(|node| node.executor).collect();
    let expected = [Some(ExecutorType::Native), Some(ExecutorType::Multiprocess), None];
    assert_eq!(executors, expected);
    assert_eq!(manifest.nodes()[0].params, json!({"gain": 1}));
    assert_eq!(manifest.nodes()[2].params, json!({}));
    let edge = |from, to| Connection::new(from, to);
    assert_eq!(manifest.connections(), [edge(1, 2), edge(0, 1)]);
    assert!(manifest.warnings().is_empty());
    assert_eq!(manifest.base_dir(), None);
}

#[test]
fn what_is_not_given_has_a_default() {
    let manifest = parse(json!({"version": "v1", "nodes": [{"id": "a", "node_type": "A"}]}));
    assert_eq!(manifest.name(), "pipeline");
    assert_eq!(*manifest.multiprocess(), MultiprocessSettings::default());
    assert_eq!(manifest.nodes()[0].params, json!({}));
    assert!(manifest.connections().is_empty());
}

#[test]
fn broken_json_is_named_with_line_and_column() {
    let error = Manifest::from_json("{\n  \"version\": \"v1\"\n  \"nodes\": []\n}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid JSON in manifest at line 3 column 3: expected `,` or `}`"
    );
    let error = Manifest::from_json("").unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid JSON in manifest at line 1 column 0: EOF while parsing a value"
    );
    let deep = "[".repeat(1_000_000);
    let error = Manifest::from_json(&deep).unwrap_err();
    assert!(matches!(error, ManifestError::Syntax { .. }), "{error}");
}

#[test]
fn a_document_that_is_no_object_is_a_problem() {
    check_problems(json!([]), &["manifest: expected an object, found an array"]);
    check_problems(json!(null), &["manifest: expected an object, found null"]);
}

#[test]
fn another_version_is_a_problem() {
    let mut document = small();
    document["version"] = json!("v2");
    let found = problems(document);
    assert_eq!(found[0].kind, ProblemKind::Version);
    assert_eq!(found[0].to_string(), "/version: version \"v2\" is not supported, expected \"v1\"");
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    check_problems(
        json!({
            "node": [],
            "metadata": {"name": "", "description": 1, "multiprocess": []},
            "nodes": [
                {"id": "a", "nodetype": "A"},
                {"id": 7, "node_type": ""},
                {"id": "b c", "node_type": "B", "params": [1], "executor": "rust"},
                {"id": "a", "node_type": "C"},
                "d",
                {"id": "e", "node_type": "E", "executor": "native", "runtime_hint": "multiprocess"},
            ],
            "connections": [{"from": "a"}, {"from": "b c", "to": 1}, 5],
        }),
        &[
            "/version: missing, expected \"v1\"",
            "/metadata/name: expected a string that is not empty, found \"\"",
            "/metadata/description: expected a string, found 1",
            "/metadata/multiprocess: expected an object, found an array",
            "/nodes/0/node_type: missing, expected a string; there is an unknown field \"nodetype\"",
            "/nodes/1/id: expected a string, found 7",
            "/nodes/1/node_type: expected a string that is not empty, found \"\"",
            "/nodes/2/id: node id \"b c\" holds ' '; allowed are letters, digits, '_', '-', '.' and ':'",
            "/nodes/2/executor: expected \"native\" or \"multiprocess\", found \"rust\"",
            "/nodes/2/params: expected an object, found an array",
            "/nodes/3/id: node id \"a\" is taken by /nodes/0/id",
            "/nodes/4: expected an object, found \"d\"",
            "/nodes/5/runtime_hint: \"multiprocess\" contradicts \"executor\", which is \"native\"; they mean the same",
            "/connections/0/to: missing, expected the id of a node",
            "/connections/1/to: expected a string, found 1",
            "/connections/2: expected an object, found 5",
        ],
    );
}

#[test]
fn an_error_with_several_problems_prints_one_on_each_line() {
    let error = Manifest::from_json("{}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid manifest:\n  /version: missing, expected \"v1\"\n  \
         /nodes: missing, expected an array of nodes"
    );
}

#[test]
fn a_list_of_nodes_that_is_empty_or_no_list_is_a_problem() {
    check_problems(
        json!({"version": "v1", "nodes": []}),
        &["/nodes: the list is empty, expected at least one node"],
    );
    check_problems(
        json!({"version": "v1", "nodes": {}, "connections": {}}),
        &[
            "/nodes: expected an array, found an object",
            "/connections: expected an array, found an object",
        ],
    );
}

#[test]
fn a_dangling_connection_names_the_nearest_node() {
    let mut document = small();
    document["connections"] = json!([
        {"from": "speech", "to": "resmaple"},
        {"from": "x".repeat(10_000), "to": "resample"},
    ]);
    let long = "x".repeat(60);
    check_problems(
        document,
        &[
            "/connections/0/to: there is no node \"resmaple\"; did you mean \"resample\"?",
            &format!("/connections/1/from: there is no node \"{long}…\""),
        ],
    );
}

#[test]
fn a_connection_to_itself_or_given_twice_is_a_problem() {
    let mut document = small();
    document["connections"] = json!([
        {"from": "speech", "to": "resample"},
        {"from": "speech", "to": "speech"},
        {"from": "resample", "to": "speech"},
        {"from": "speech", "to": "resample"},
    ]);
    let found = problems(document.clone());
    assert_eq!(found[0].kind, ProblemKind::SelfConnection);
    assert_eq!(found[1].kind, ProblemKind::DuplicateConnection);
    check_problems(
        document,
        &[
            "/connections/1: node \"speech\" is connected to itself",
            "/connections/3: connection \"speech\" -> \"resample\" is given by /connections/0",
        ],
    );
}

#[test]
fn settings_out_of_range_are_problems() {
    let count = "a whole number of at least 1";
    let bytes = "a number of bytes that is a power of two";
    let seconds = "a number of seconds above 0, at most 86400";
    for (name, value, expected) in [
        ("max_processes_per_session", json!(0), count),
        ("max_processes_per_session", json!(-1), count),
        ("max_processes_per_session", json!("2"), count),
        ("channel_capacity", json!(1_000), bytes),
        ("channel_capacity", json!(0), bytes),
        ("channel_capacity", json!(1.5), bytes),
        ("init_timeout_secs", json!(0), seconds),
        ("init_timeout_secs", json!(86_401), seconds),
        ("init_timeout_secs", json!(true), seconds),
        ("python_executable", json!(""), "a string that is not empty"),
    ] {
        let mut document = small();
        let place = format!("/metadata/multiprocess/{name}");
        let problem = format!("{place}: expected {expected}, found {value}");
        document["metadata"] = json!({"multiprocess": {name: value}});
        check_problems(document, &[&problem]);
    }
}

#[test]
fn unknown_fields_are_warnings_with_the_nearest_name() {
    let manifest = parse(json!({
        "version": "v1",
        "metadata": {"multiprocess": {"enable_back_pressure": true}},
        "nodes": [{"id": "a", "node_type": "A", "exectuor": "native", "params": {"any": 1}},
                  {"id": "b", "node_type": "B"}],
        "connections": [{"from": "a", "to": "b", "~/": 1}],
    }));
    let found: Vec<_> = manifest.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "/metadata/multiprocess/enable_back_pressure: unknown field \"enable_back_pressure\"; did you mean \"enable_backpressure\"?",
            "/nodes/0/exectuor: unknown field \"exectuor\"; did you mean \"executor\"?",
            "/connections/0/~0~1: unknown field \"~/\"",
        ]
    );
}

#[test]
fn a_file_is_read_and_its_folder_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.json");
    std::fs::write(&path, small().to_string()).unwrap();
    let manifest = Manifest::from_file(&path).unwrap();
    assert_eq!(manifest.base_dir(), Some(folder.path()));
    assert!(manifest.base_dir().unwrap().is_absolute());
}

#[test]
fn a_file_that_is_missing_or_broken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.json");
    let error = Manifest::from_file(&path).unwrap_err();
    let shown = path.display();
    assert_eq!(error.to_string(), format!("cannot read manifest {shown}"));
    assert!(std::error::Error::source(&error).is_some());

    std::fs::write(&path, b"{\"version\": \"\xff\"}").unwrap();
    let error = Manifest::from_file(&path).unwrap_err();
    let place = format!("invalid JSON in {shown} at line 1 column ");
    assert!(error.to_string().starts_with(&place), "{error}");
}

#[test]
fn a_text_that_is_too_long_is_refused_unread() {
    let text = " ".repeat(Manifest::MAX_LEN + 1);
    let error = Manifest::from_json(&text).unwrap_err();
    assert_eq!(error.to_string(), "manifest is longer than 16777216 bytes");
    let error = Manifest::from_file("/dev/zero").unwrap_err();
    assert!(matches!(error, ManifestError::TooLong { .. }), "{error}");
}

#[test]
fn a_parameter_is_set_on_the_node_that_is_named() {
    let id = |id| NodeId::new(id).unwrap();
    let manifest = parse(small())
        .with_param(&id("resample"), "target_rate", json!(8_000))
        .and_then(|manifest| manifest.with_param(&id("resample"), "target_rate", json!(16_000)))
        .unwrap();
    assert_eq!(manifest.nodes()[0].params, json!({}));
    assert_eq!(manifest.nodes()[1].params, json!({"target_rate": 16_000}));

    let error = manifest.with_param(&id("speach"), "path", json!("x")).unwrap_err();
    assert_eq!(error.to_string(), "no node \"speach\" in the manifest; did you mean \"speech\"?");
}

fn chain(len: usize) -> Value {
    let nodes: Vec<_> =
        (0..len).map(|n| json!({"id": format!("n{n}"), "node_type": "N"})).collect();
    let connections: Vec<_> =
        (1..len).map(|n| json!({"from": format!("n{}", n - 1), "to": format!("n{n}")})).collect();
    json!({"version": "v1", "nodes": nodes, "connections": connections})
}

#[test]
fn a_hundred_thousand_wrong_connections_do_not_cost_a_search_each() {
    let mut document = chain(1_000);
    let wrong = |n: usize| json!({"from": format!("m{n}"), "to": format!("o{n}")});
    document["connections"] = (0..100_000).map(wrong).collect();
    let found = problems(document);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].message, "199900 further problems");
}

/// A small piece of JSON, often with names and texts that a manifest has.
fn piece() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec!["version", "id", "params", "from", "v1", "a", "b", "/~"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        let field = (text.clone().prop_map(str::to_owned), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::hash_map(field.0, field.1, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The places in a document, each after the place that holds it.
fn places(value: &Value, pointer: String, found: &mut Vec<String>) {
    let child = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| places(value, child(key), found)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| places(value, child(&index.to_string()), found));
        }
        _ => {}
    }
    found.push(pointer);
}

proptest! {
    #[test]
    fn a_spoilt_manifest_gives_problems_with_places_that_are_there(
        changes in prop::collection::vec((any::<prop::sample::Index>(), piece()), 0..4),
    ) {
        let mut document = full();
        for (index, piece) in changes {
            let mut found = Vec::new();
            places(&document, String::new(), &mut found);
            let place = document.pointer_mut(&found[index.index(found.len())]);
            *place.expect("is in the document") = piece;
        }
        match Manifest::from_json(&document.to_string()) {
            Ok(manifest) => {
                prop_assert!(!manifest.nodes().is_empty());
                for warning in manifest.warnings() {
                    prop_assert!(document.pointer(&warning.pointer).is_some());
                }
            }
            Err(ManifestError::Invalid(problems)) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    let place = match problem.kind {
                        ProblemKind::Missing => problem.pointer.rsplit_once('/').unwrap().0,
                        _ => problem.pointer.as_str(),
                    };
                    prop_assert!(document.pointer(place).is_some(), "{}", problem);
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
