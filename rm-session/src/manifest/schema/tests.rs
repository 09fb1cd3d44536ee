//! The schema that is published, and that it judges as the reader does.

use serde_json::{Value, json};

use super::manifest_schema;
use crate::{Manifest, ManifestError, ProblemKind};

const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/manifest-v1.schema.json");

#[test]
fn the_published_schema_is_that_of_the_types() {
    let text = serde_json::to_string_pretty(&manifest_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(PUBLISHED, &text).unwrap();
    }
    let published = std::fs::read_to_string(PUBLISHED).unwrap();
    assert!(published == text, "run the test with UPDATE_SCHEMA=1 and commit {PUBLISHED}");
}

/// The names of all fields in a schema.
fn names(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                found.extend(properties.keys().cloned());
            }
            fields.values().for_each(|value| names(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        _ => {}
    }
}

#[test]
fn the_readme_names_every_field() {
    let readme = include_str!("../../../README.md");
    let mut found = Vec::new();
    names(&manifest_schema(), &mut found);
    assert!(found.len() > 40);
    let missing: Vec<_> = found.iter().filter(|name| !readme.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A field with values that are right and values that are wrong.
type Field = (&'static str, Vec<Value>, Vec<Value>);

/// What a reader says about a document on its own: whether ids are taken, and whether one value fits
/// another, is beyond a schema.
fn reader_accepts(document: &Value) -> bool {
    match Manifest::from_json(&document.to_string()) {
        Ok(_) => true,
        Err(ManifestError::Invalid(problems)) => {
            assert!(problems.iter().all(|problem| {
                matches!(
                    problem.kind,
                    ProblemKind::Value
                        | ProblemKind::Missing
                        | ProblemKind::Version
                        | ProblemKind::NodeId
                )
            }));
            false
        }
        Err(other) => panic!("expected problems, found {other}"),
    }
}

#[test]
fn the_schema_judges_as_the_reader_does() {
    let validator = jsonschema::validator_for(&manifest_schema()).unwrap();
    let check = |document: &Value, expected: bool| {
        assert_eq!(reader_accepts(document), expected, "reader: {document}");
        assert_eq!(validator.is_valid(document), expected, "schema: {document}");
    };
    let small = || json!({"version": "v1", "nodes": [{"id": "a", "node_type": "A"}]});
    check(&small(), true);
    for wrong in [
        json!([]),
        json!({}),
        json!({"version": "v1"}),
        json!({"version": "v1", "nodes": []}),
        json!({"version": "v1", "nodes": [5]}),
        json!({"version": "v1", "nodes": [{}]}),
        json!({"version": "v1", "nodes": [{"id": "a"}]}),
        json!({"version": "v2", "nodes": [{"id": "a", "node_type": "A"}]}),
        json!({"version": 1, "nodes": [{"id": "a", "node_type": "A"}]}),
    ] {
        check(&wrong, false);
    }
    // A field of the root, of the metadata, of the multiprocess settings or of the node, with values
    // that are right and values that are wrong.
    let long = "x".repeat(129);
    let tables: [(&str, Vec<Field>); 4] = [
        (
            "",
            vec![
                ("metadata", vec![json!({}), Value::Null], vec![json!([]), json!("x")]),
                ("connections", vec![json!([]), Value::Null], vec![json!({}), json!([1])]),
                (
                    "modules",
                    vec![json!([]), json!(["a.b", "./c.py"]), Value::Null],
                    vec![json!("a"), json!([""]), json!([1])],
                ),
                (
                    "auto_convert",
                    vec![json!(true), json!(false), Value::Null],
                    vec![json!(1), json!("yes")],
                ),
                ("other", vec![json!(1), json!({})], vec![]),
            ],
        ),
        (
            "/metadata",
            vec![
                ("name", vec![json!("x"), Value::Null], vec![json!(""), json!(1)]),
                ("description", vec![json!("")], vec![json!(1), json!([])]),
                ("created_at", vec![json!("now")], vec![json!(1)]),
                ("multiprocess", vec![json!({})], vec![json!([]), json!(true)]),
            ],
        ),
        (
            "/metadata/multiprocess",
            vec![
                (
                    "max_processes_per_session",
                    vec![json!(1)],
                    vec![json!(0), json!(-1), json!(1.5), json!("1")],
                ),
                (
                    "channel_capacity",
                    vec![json!(1), json!(1 << 20)],
                    vec![json!(0), json!(1_000), json!(1.5)],
                ),
                (
                    "init_timeout_secs",
                    vec![json!(0.5), json!(86_400)],
                    vec![json!(0), json!(86_401), json!("1")],
                ),
                ("python_executable", vec![json!("python3")], vec![json!(""), json!(3)]),
                ("enable_backpressure", vec![json!(false)], vec![json!(0), json!("false")]),
                (
                    "executor_overrides",
                    vec![json!({}), json!({"a*": "native"})],
                    vec![json!([]), json!({"a": "rust"}), json!({"a": null})],
                ),
            ],
        ),
        (
            "/nodes/0",
            vec![
                (
                    "id",
                    vec![json!("a"), json!("ä.b-c:d_1"), json!("x".repeat(128))],
                    vec![json!(""), json!("a b"), json!("a/b"), json!(1), json!(long), Value::Null],
                ),
                ("node_type", vec![json!("m:C")], vec![json!(""), json!(1), Value::Null]),
                (
                    "params",
                    vec![json!({}), json!({"a": [1]}), Value::Null],
                    vec![json!([]), json!("")],
                ),
                ("executor", vec![json!("native"), Value::Null], vec![json!("Native"), json!(1)]),
                ("runtime_hint", vec![json!("multiprocess")], vec![json!("wasm")]),
                (
                    "on_error",
                    vec![json!("fail"), json!("skip"), json!("retry")],
                    vec![json!("ignore"), json!(1)],
                ),
                (
                    "retry",
                    vec![
                        json!({}),
                        json!({"max": 0, "initial_ms": 0, "factor": 1, "max_ms": 86_400_000}),
                        json!({"factor": 1.5, "x": 1}),
                    ],
                    vec![
                        json!(3),
                        json!({"max": -1}),
                        json!({"max": 1.5}),
                        json!({"initial_ms": -1}),
                        json!({"factor": 0.5}),
                        json!({"factor": "2"}),
                        json!({"max_ms": 86_400_001}),
                    ],
                ),
                (
                    "debug",
                    vec![json!(true), json!(5678), Value::Null],
                    vec![json!(0), json!(65_536), json!(1.5), json!("yes")],
                ),
                ("timeout_secs", vec![json!(0.1), json!(3)], vec![json!(0), json!(-1), json!("3")]),
                (
                    "circuit_breaker",
                    vec![json!({}), json!({"failures": 0, "reset_after_secs": 0.5})],
                    vec![json!(5), json!({"failures": -1}), json!({"reset_after_secs": 0})],
                ),
                (
                    "restart",
                    vec![
                        json!("never"),
                        json!({"on_failure": {"max": 3}}),
                        json!({"on_failure": {"max": 3, "backoff": {"initial_ms": 500}}}),
                        json!({"always": {}}),
                        json!({"always": {"backoff": {"jitter": 0.5, "factor": 1, "max_ms": 1_000}}}),
                    ],
                    vec![
                        json!("always"),
                        json!("on_failure"),
                        json!("sometimes"),
                        json!({"on_failure": {}}),
                        json!({"on_failure": {"max": -1}}),
                        json!({"on_failure": {"max": 1, "delay": 2}}),
                        json!({"always": {"backoff": {"initial_ms": 0}}}),
                        json!({"always": {"backoff": {"jitter": 2}}}),
                        json!({"always": {"backoff": {"wait": 2}}}),
                        json!({"always": {}, "never": {}}),
                        json!({"never_ever": {}}),
                        json!({}),
                        json!([]),
                        json!(true),
                    ],
                ),
                (
                    "queue",
                    vec![
                        json!({}),
                        json!({"policy": "drop_oldest", "depth": 65_536, "capacity": 4_096}),
                        json!({"policy": "latest", "depth": 1}),
                    ],
                    vec![
                        json!("block"),
                        json!({"policy": "drop"}),
                        json!({"depth": 0}),
                        json!({"depth": 65_537}),
                        json!({"capacity": 1_000}),
                    ],
                ),
                (
                    "env",
                    vec![json!({}), json!({"A": "", "b.c": "x"})],
                    vec![json!([]), json!({"A": 1}), json!({"A=B": "x"}), json!({"": "x"})],
                ),
                ("python", vec![json!("venv/bin/python")], vec![json!(""), json!(3)]),
                ("own_thread", vec![json!(true)], vec![json!(1), json!("yes")]),
                (
                    "limits",
                    vec![
                        json!({}),
                        json!({"memory_gb": 0.5, "cpus": [0, 1], "niceness": -20, "open_files": 16}),
                    ],
                    vec![
                        json!(1),
                        json!({"memory_gb": 0}),
                        json!({"memory_gb": 1_000_001}),
                        json!({"cpus": []}),
                        json!({"cpus": [-1]}),
                        json!({"cpus": 2}),
                        json!({"niceness": 20}),
                        json!({"open_files": 15}),
                    ],
                ),
                (
                    "capabilities",
                    vec![
                        json!({}),
                        json!({"gpu": true, "cpu": 2, "memory_gb": 1.5}),
                        json!({"gpu": {"required": false, "type": "cuda", "min_memory_gb": 8}}),
                        json!({"cpu": {"cores": 0.5, "arch": "aarch64"}}),
                        json!({"gpu": false, "cpu": {}}),
                    ],
                    vec![
                        json!([]),
                        json!({"gpu": "yes"}),
                        json!({"gpu": {"required": 1}}),
                        json!({"gpu": {"type": ""}}),
                        json!({"gpu": {"min_memory_gb": 0}}),
                        json!({"cpu": 0}),
                        json!({"cpu": "2"}),
                        json!({"cpu": {"cores": -1}}),
                        json!({"cpu": {"arch": 64}}),
                        json!({"memory_gb": -1}),
                    ],
                ),
            ],
        ),
    ];
    for (place, fields) in tables {
        for (field, right, wrong) in fields {
            let with = |value: Value| {
                let mut document = small();
                document["metadata"] = json!({"multiprocess": {}});
                document.pointer_mut(place).expect("it is there")[field] = value;
                document
            };
            right.into_iter().for_each(|value| check(&with(value), true));
            wrong.into_iter().for_each(|value| check(&with(value), false));
        }
    }
    let connected = |connection: Value| {
        json!({
            "version": "v1",
            "nodes": [{"id": "a", "node_type": "A"}, {"id": "b", "node_type": "B"}],
            "connections": [connection],
        })
    };
    for right in [
        json!({"from": "a", "to": "b"}),
        json!({"from": "a.out", "to": "b.in", "queue": {"policy": "latest"}, "x": 1}),
    ] {
        check(&connected(right), true);
    }
    for wrong in [
        json!("a -> b"),
        json!({"from": "a"}),
        json!({"from": "a", "to": 1}),
        json!({"from": "a", "to": "b", "queue": []}),
        json!({"from": "a", "to": "b", "queue": {"depth": 0}}),
    ] {
        check(&connected(wrong), false);
    }
}
