//! The fields of nodes and connections, right and wrong, in JSON and in YAML.

use super::super::*;
use super::{check_problems, parse, problems};
use crate::problem::ProblemKind;

use rm_bridge::{
    Backoff, CircuitBreaker, ItemPolicy, Limits, OnError, QueuePolicy, RestartPolicy, RetryPolicy,
};
use serde_json::json;
use std::time::Duration;

/// A manifest of one node with these fields.
fn with(fields: Value) -> Value {
    let mut node = json!({"id": "a", "node_type": "A"});
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    node.as_object_mut().expect("it is one").extend(fields);
    json!({"version": "v1", "nodes": [node]})
}

#[track_caller]
fn check_field(field: &str, value: Value, expected: &[&str]) {
    let found: Vec<_> =
        problems(with(json!({field: value}))).iter().map(ToString::to_string).collect();
    let expected: Vec<_> = expected.iter().map(|text| format!("/nodes/0/{text}")).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_field_of_a_node_is_read() {
    let manifest = parse(with(json!({
        "runtime_hint": "multiprocess",
        "executor": "multiprocess",
        "capabilities": {
            "gpu": {"type": "cuda", "min_memory_gb": 2}, "cpu": {"cores": 1.5, "arch": "arm64"},
            "memory_gb": 0.5,
        },
        "on_error": "skip",
        "retry": {"max": 5, "initial_ms": 10, "factor": 3, "max_ms": 50},
        "timeout_secs": 1.5,
        "circuit_breaker": {"failures": 2, "reset_after_secs": 0.25},
        "restart": {"on_failure": {"max": 3, "backoff": {"initial_ms": 500}}},
        "queue": {"policy": "drop_newest", "depth": 7, "capacity": 4_096},
        "env": {"HF_HOME": "/models"},
        "python": "venv",
        "own_thread": true,
        "limits": {"memory_gb": 1, "cpus": [1, 0], "niceness": 5, "open_files": 64},
    })));
    assert!(manifest.warnings().is_empty());
    let node = &manifest.nodes()[0];
    assert_eq!(node.executor, Some(ExecutorType::Multiprocess));
    let gpu =
        GpuSpec { required: true, kind: Some("cuda".into()), min_memory: Some(2_000_000_000) };
    assert_eq!(
        node.capabilities,
        Capabilities {
            gpu: Some(gpu),
            cores: Some(1.5),
            arch: Some("arm64".to_owned()),
            memory: Some(500_000_000),
        }
    );
    let ms = Duration::from_millis;
    assert_eq!(
        node.policy,
        ItemPolicy {
            on_error: OnError::Skip,
            retry: RetryPolicy { max: 5, initial: ms(10), factor: 3.0, max_delay: ms(50) },
            timeout: Some(ms(1_500)),
            circuit_breaker: CircuitBreaker { failures: 2, reset_after: ms(250) },
        }
    );
    let backoff = Backoff { initial: ms(500), ..Backoff::default() };
    assert_eq!(node.restart, RestartPolicy::OnFailure { max: 3, backoff });
    let (policy, depth, capacity) = (Some(QueuePolicy::DropNewest), Some(7), Some(4_096));
    assert_eq!(node.queue, QueueSpec { policy, depth, capacity });
    assert_eq!(node.env["HF_HOME"], "/models");
    assert_eq!(node.python, Some("venv".into()));
    assert!(node.own_thread);
    assert_eq!(
        node.limits,
        Limits {
            max_memory: Some(1_000_000_000),
            cpus: Some([0, 1].into()),
            niceness: Some(5),
            open_files: Some(64),
        }
    );
}

#[test]
fn a_node_that_says_nothing_has_the_defaults() {
    let manifest = parse(with(json!({"queue": null, "retry": {}, "capabilities": {"gpu": false}})));
    let node = &manifest.nodes()[0];
    assert_eq!(node.policy, ItemPolicy::default());
    assert_eq!(node.capabilities, Capabilities::default());
    assert_eq!(node.restart, RestartPolicy::Never);
    assert!(node.queue.is_empty() && node.env.is_empty() && !node.own_thread);
    assert_eq!(node.limits, Limits::default());
}

#[test]
fn a_first_delay_above_the_default_bound_raises_it() {
    let manifest = parse(with(json!({"retry": {"initial_ms": 60_000}})));
    let retry = manifest.nodes()[0].policy.retry;
    assert_eq!(
        (retry.initial, retry.max_delay),
        (Duration::from_secs(60), Duration::from_secs(60))
    );
}

#[test]
fn wrong_values_are_named_with_what_would_be_right() {
    check_field(
        "on_error",
        json!("skp"),
        &[
            "on_error: expected \"fail\", \"skip\" or \"retry\", found \"skp\"; did you mean \"skip\"?",
        ],
    );
    check_field(
        "queue",
        json!({"policy": "drop-oldest", "depth": 0, "capacity": 1_000}),
        &[
            "queue/policy: expected \"block\", \"drop_oldest\", \"drop_newest\" or \"latest\", \
             found \"drop-oldest\"; did you mean \"drop_oldest\"?",
            "queue/depth: expected a whole number from 1 to 65536, found 0",
            "queue/capacity: expected a number of bytes that is a power of two, found 1000",
        ],
    );
    check_field(
        "queue",
        json!({"policy": "latest", "depth": 3}),
        &["queue/depth: a queue of policy \"latest\" keeps one item, expected 1 or nothing"],
    );
    check_field(
        "retry",
        json!({"max": "3", "initial_ms": 500, "max_ms": 100}),
        &[
            "retry/max: expected a whole number of at least 0, found \"3\"",
            "retry/max_ms: 100 is below initial_ms, which is 500",
        ],
    );
    check_field(
        "capabilities",
        json!({"gpu": "cuda", "cpu": [], "memory_gb": "8"}),
        &[
            "capabilities/gpu: expected true, false or an object, found \"cuda\"",
            "capabilities/cpu: expected a number of cores above 0 or an object, found an array",
            "capabilities/memory_gb: expected a number of gigabytes above 0, at most 1000000, \
             found \"8\"",
        ],
    );
    check_field(
        "limits",
        json!({"cpus": [], "niceness": 20, "open_files": 3}),
        &[
            "limits/cpus: expected a list of numbers of CPUs from 0, not empty, found an array",
            "limits/niceness: expected a whole number from -20 to 19, found 20",
            "limits/open_files: expected a whole number of at least 16, found 3",
        ],
    );
    check_field(
        "env",
        json!({"A/B": 1, "C=D": "x"}),
        &[
            "env/A~1B: expected a string without NUL, found 1",
            "env/C=D: cannot be the name of a variable: it is empty or holds '=' or NUL",
        ],
    );
    let seconds = "expected a number of seconds above 0, at most 86400";
    check_field("timeout_secs", json!(0), &[&format!("timeout_secs: {seconds}, found 0")]);
    check_field("own_thread", json!("yes"), &["own_thread: expected true or false, found \"yes\""]);
    check_field("python", json!(""), &["python: expected a string that is not empty, found \"\""]);
}

#[test]
fn a_wrong_restart_policy_says_how_one_is_written() {
    let forms = "expected \"never\", {\"on_failure\": {…}} or {\"always\": {…}}, found";
    check_field("restart", json!(true), &[&format!("restart: {forms} true")]);
    let hint = "; did you mean \"on_failure\"?";
    check_field("restart", json!("onfailure"), &[&format!("restart: {forms} \"onfailure\"{hint}")]);
    check_field(
        "restart",
        json!("on_failure"),
        &["restart: expected {\"on_failure\": {\"max\": …}}, with the most restarts in a row, \
           found \"on_failure\""],
    );
    check_field(
        "restart",
        json!("always"),
        &["restart: expected {\"always\": {}}, found \"always\""],
    );
    check_field(
        "restart",
        json!({"on_failure": {"backoff": {}}}),
        &["restart/on_failure: missing field `max`"],
    );
    let found = problems(with(json!({"restart": {"always": {"backoff": {"jitter": 2}}}})));
    assert_eq!(found[0].pointer, "/nodes/0/restart/always");
    assert!(found[0].message.contains("jitter"), "{}", found[0]);
}

/// A manifest of nodes with these ids and connections between these ends.
fn connected(ids: &[&str], ends: &[(&str, &str)]) -> Value {
    let nodes: Vec<_> = ids.iter().map(|id| json!({"id": id, "node_type": "A"})).collect();
    let connections: Vec<_> =
        ends.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    json!({"version": "v1", "nodes": nodes, "connections": connections})
}

#[test]
fn an_end_is_an_id_or_a_node_and_its_port() {
    let manifest = parse(connected(
        &["a", "a.b", "c"],
        &[("a", "c"), ("a.b", "c"), ("a.x", "c.left"), ("a.b.y", "c.left"), ("a.x", "c.right")],
    ));
    let end = |place, port: Option<&str>| (place, port.map(ToOwned::to_owned));
    let found = manifest.connections().iter().cloned().map(|connection| {
        let Connection { from, to, from_port, to_port, .. } = connection;
        ((from, from_port), (to, to_port))
    });
    let found: Vec<_> = found.collect();
    assert_eq!(
        found,
        [
            (end(0, None), end(2, None)),
            (end(1, None), end(2, None)),
            (end(0, Some("x")), end(2, Some("left"))),
            (end(1, Some("y")), end(2, Some("left"))),
            (end(0, Some("x")), end(2, Some("right"))),
        ]
    );
}

#[test]
fn connections_are_the_same_when_their_ports_are() {
    check_problems(
        connected(&["a", "b"], &[("a.x", "b"), ("a", "b"), ("a.x", "b"), ("a.x", "a.y")]),
        &[
            "/connections/2: connection \"a.x\" -> \"b\" is given by /connections/0",
            "/connections/3: node \"a.x\" is connected to itself",
        ],
    );
}

#[test]
fn a_dangling_end_with_a_port_names_the_nearest_node() {
    check_problems(
        connected(&["speech", "b"], &[("speach.out", "b"), ("qq.out", "b"), ("speech.", "b")]),
        &[
            "/connections/0/from: there is no node \"speach.out\"; did you mean \"speech\"?",
            "/connections/1/from: there is no node \"qq.out\"",
            "/connections/2/from: expected the name of a port after the dot, found \"speech.\"",
        ],
    );
}

#[test]
fn settings_of_worker_processes_are_read() {
    let mut document = with(json!({}));
    document["metadata"] = json!({"multiprocess": {
        "enable_backpressure": false, "executor_overrides": {"Echo*": "native"},
    }});
    let settings = parse(document.clone()).multiprocess().clone();
    assert!(!settings.enable_backpressure);
    assert_eq!(settings.override_for("EchoNode"), Some(("Echo*", ExecutorType::Native)));
    document["metadata"] = json!({"multiprocess": {"executor_overrides": {"a/b": "nativ"}}});
    check_problems(
        document,
        &["/metadata/multiprocess/executor_overrides/a~1b: expected \"native\" or \
           \"multiprocess\", found \"nativ\"; did you mean \"native\"?"],
    );
}

const YAML: &str = "
# A comment.
version: v1
metadata: &same {name: speech}
nodes:
  - id: in
    node_type: AudioFileSourceNode
    params: {path: speech.wav, gain: 1.5, loud: yes}
  - id: asr
    node_type: 'speech.nodes:Recogniser'
    restart: {on_failure: {max: 2}}
connections:
  - {from: in, to: asr, queue: {policy: latest}}
";

#[test]
fn yaml_is_read_as_the_same_json() {
    let yaml = Manifest::from_yaml(YAML).unwrap();
    let json = parse(json!({
        "version": "v1",
        "metadata": {"name": "speech"},
        "nodes": [
            {
                "id": "in", "node_type": "AudioFileSourceNode",
                "params": {"path": "speech.wav", "gain": 1.5, "loud": "yes"},
            },
            {
                "id": "asr", "node_type": "speech.nodes:Recogniser",
                "restart": {"on_failure": {"max": 2}},
            },
        ],
        "connections": [{"from": "in", "to": "asr", "queue": {"policy": "latest"}}],
    }));
    assert_eq!(yaml, json);
}

#[test]
fn problems_in_yaml_are_those_in_json() {
    let error = Manifest::from_yaml("version: v1\nnodes: [{id: 1, node_type: A}]").unwrap_err();
    assert_eq!(error.to_string(), "invalid manifest: /nodes/0/id: expected a string, found 1");
}

#[test]
fn broken_yaml_is_named_with_line_and_column() {
    for (text, place) in [
        ("version: v1\nnodes: [a, b\nmetadata: {}\n", 3),
        ("version: v1\nversion: v1\n", 2),
        // The reader names where the value began in which it found the tab.
        ("version: v1\n\tnodes: []\n", 1),
        ("version: *nobody\n", 1),
    ] {
        let error = Manifest::from_yaml(text).unwrap_err();
        let ManifestError::Syntax { format, line, ref message, .. } = error else {
            panic!("expected a syntax error, found {error}");
        };
        assert_eq!((format, line), (Format::Yaml, place), "{message}");
        assert!(!message.is_empty() && !message.contains("line"), "{message}");
        let start = format!("invalid YAML in manifest at line {line} column ");
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

#[test]
fn a_short_yaml_cannot_become_a_large_document() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let list = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb += &format!("a{n}: &a{n} [{list}]\n");
    }
    let error = Manifest::from_yaml(&bomb).unwrap_err();
    assert!(matches!(error, ManifestError::Syntax { .. }), "{error}");
    let deep = Manifest::from_yaml(&"[".repeat(100_000)).unwrap_err();
    assert!(matches!(deep, ManifestError::Syntax { .. }), "{deep}");
}

#[test]
fn a_file_is_yaml_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, is_yaml) in [("a.yaml", true), ("a.YML", true), ("a.json", false), ("a", false)] {
        let path = folder.path().join(name);
        std::fs::write(&path, YAML).unwrap();
        match Manifest::from_file(&path) {
            Ok(manifest) => assert!(is_yaml && manifest.base_dir() == Some(folder.path())),
            Err(error) => {
                assert!(!is_yaml && error.to_string().contains("invalid JSON"), "{error}");
            }
        }
    }
}

#[test]
fn contradicting_names_of_the_executor_are_a_problem() {
    let both = with(json!({"executor": "native", "runtime_hint": "multiprocess"}));
    assert_eq!(problems(both)[0].kind, ProblemKind::Value);
}
