//! The mistakes that people make in manifests, and how many of them are found before anything is
//! started.
//!
//! What cannot be known without running something is in the table as well, and counts as not found.

use crate::config::RuntimeConfig;
use crate::manifest::{Manifest, ManifestError};
use crate::plan::Plan;
use crate::plan::tests::{machine, registry};

use serde_json::{Value, json};

/// A pipeline as it should be, into which the mistakes are made.
fn right() -> Value {
    json!({
        "version": "v1",
        "metadata": {"name": "speech", "multiprocess": {"init_timeout_secs": 60}},
        "nodes": [
            {"id": "mic", "node_type": "WavSource"},
            {"id": "rate", "node_type": "ResampleNode", "params": {"target_rate": 16_000}},
            {"id": "split", "node_type": "SplitNode"},
            {"id": "asr", "node_type": "speech.nodes:Recogniser", "params": {"model": "small"}},
            {"id": "out", "node_type": "WavSink"},
        ],
        "connections": [
            {"from": "mic", "to": "rate"},
            {"from": "rate", "to": "split"},
            {"from": "split.left", "to": "asr"},
            {"from": "asr", "to": "out"},
        ],
    })
}

/// All that is said of a document before anything is started, with its places.
fn said(document: &str) -> Vec<(String, String)> {
    let manifest = match Manifest::from_json(document) {
        Ok(manifest) => manifest,
        Err(ManifestError::Invalid(problems)) => {
            let pair = |problem: crate::Problem| (problem.pointer, problem.message);
            return problems.into_iter().map(pair).collect();
        }
        Err(error) => return vec![(String::new(), error.to_string())],
    };
    match Plan::with(manifest, &registry(), &RuntimeConfig::default(), &machine()) {
        Ok(plan) => {
            let warnings = plan.warnings.into_iter();
            warnings.map(|warning| (warning.pointer, warning.message)).collect()
        }
        Err(error) => {
            let pair =
                |problem: &crate::Problem| (problem.pointer.clone(), problem.message.clone());
            error.problems().iter().map(pair).collect()
        }
    }
}

/// A mistake: what is put where in the manifest; where it is reported and what the report holds, if
/// it can be known.
struct Mistake {
    at: &'static str,
    value: Value,
    told: Option<(&'static str, &'static str)>,
}

fn found(at: &'static str, value: Value, pointer: &'static str, part: &'static str) -> Mistake {
    Mistake { at, value, told: Some((pointer, part)) }
}

/// A mistake that shows only when the pipeline runs.
fn unknowable(at: &'static str, value: Value) -> Mistake {
    Mistake { at, value, told: None }
}

fn mistakes() -> Vec<Mistake> {
    vec![
        // Fields: mistyped, missing, of a wrong type, out of range.
        found("/version", json!("1.0"), "/version", "expected \"v1\""),
        found("/version", json!(null), "/version", "expected \"v1\""),
        found("/nodes", json!([]), "/nodes", "at least one node"),
        found("/conections", json!([]), "/conections", "did you mean \"connections\"?"),
        found("/nodes/3", json!({"id": "asr", "type": "m:C"}), "/nodes/3/node_type", "missing"),
        found("/nodes/3/executer", json!("native"), "/nodes/3/executer", "mean \"executor\"?"),
        found("/nodes/3/executor", json!("python"), "/nodes/3/executor", "\"multiprocess\""),
        found("/nodes/3/runtime_hint", json!("multi"), "/nodes/3/runtime_hint", "\"multiprocess\""),
        found("/nodes/1/params", json!([16_000]), "/nodes/1/params", "expected an object"),
        found(
            "/metadata/multiprocess/init_timeout_secs",
            json!("60s"),
            "/metadata/multiprocess/init_timeout_secs",
            "a number of seconds",
        ),
        found(
            "/metadata/multiprocess/channel_capacity",
            json!(1_000_000),
            "/metadata/multiprocess/channel_capacity",
            "power of two",
        ),
        found(
            "/metadata/multiprocess/init_timeout",
            json!(60),
            "/metadata/multiprocess/init_timeout",
            "init_timeout_secs",
        ),
        found("/nodes/3/on_error", json!("ignore"), "/nodes/3/on_error", "\"skip\""),
        found("/nodes/3/timeout_secs", json!(-1), "/nodes/3/timeout_secs", "above 0"),
        found("/nodes/3/timeout_ms", json!(500), "/nodes/3/timeout_ms", "timeout_secs"),
        found("/nodes/3/retry", json!(3), "/nodes/3/retry", "expected an object"),
        found("/nodes/3/restart", json!("on-failure"), "/nodes/3/restart", "on_failure"),
        found("/nodes/3/restart", json!("always"), "/nodes/3/restart", "{\"always\": {}}"),
        found("/nodes/3/env", json!({"THREADS": 2}), "/nodes/3/env/THREADS", "expected a string"),
        found("/nodes/3/queue", json!({"policy": "drop"}), "/nodes/3/queue/policy", "drop_oldest"),
        found("/nodes/3/queue", json!({"size": 5}), "/nodes/3/queue/size", "unknown field"),
        // Ids and connections.
        found("/nodes/3/id", json!("a s r"), "/nodes/3/id", "allowed are letters"),
        found("/nodes/4/id", json!("mic"), "/nodes/4/id", "is taken by /nodes/0/id"),
        found("/connections/1/to", json!("splt"), "/connections/1/to", "did you mean \"split\"?"),
        found(
            "/connections/1/from",
            json!("rate "),
            "/connections/1/from",
            "did you mean \"rate\"?",
        ),
        found("/connections/1/to", json!("rate"), "/connections/1", "connected to itself"),
        found(
            "/connections/1",
            json!({"from": "mic", "to": "rate"}),
            "/connections/1",
            "is given by",
        ),
        found(
            "/connections/1",
            json!({"source": "mic", "to": "rate"}),
            "/connections/1/from",
            "missing",
        ),
        found("/connections/3/to", json!("rate"), "/connections", "rate -> split -> asr -> rate"),
        found("/connections/2/from", json!("split.lft"), "/connections/2/from", "mean \"left\"?"),
        found(
            "/connections/2/from",
            json!("mic.left"),
            "/connections/2/from",
            "has no output ports",
        ),
        found("/connections/3/to", json!("mic"), "/connections/3/to", "is a source"),
        found("/connections/3/from", json!("out"), "/connections/3", "connected to itself"),
        found("/nodes/1/node_type", json!("TextNode"), "/connections/0", "takes text"),
        found("/connections/3", json!({"from": "rate", "to": "asr"}), "/nodes/4", "no connection"),
        found(
            "/connections/0",
            json!({"from": "rate", "to": "out"}),
            "/nodes/1",
            "only what the session",
        ),
        // Node types and parameters.
        found(
            "/nodes/1/node_type",
            json!("ResamplerNode"),
            "/nodes/1/node_type",
            "\"ResampleNode\"?",
        ),
        found(
            "/nodes/3/node_type",
            json!("speech/nodes.py:Recogniser"),
            "/nodes/3/node_type",
            "package.module:Class",
        ),
        found(
            "/nodes/3/node_type",
            json!("Recogniser"),
            "/nodes/3/node_type",
            "package.module:Class",
        ),
        found("/nodes/3/executor", json!("native"), "/nodes/3/node_type", "runs as multiprocess"),
        found(
            "/nodes/1/executor",
            json!("multiprocess"),
            "/nodes/1/node_type",
            "cannot run as multiprocess",
        ),
        found("/nodes/1/params/rate", json!(8_000), "/nodes/1/params/rate", "target_rate"),
        found(
            "/nodes/1/params/target_rate",
            json!("16k"),
            "/nodes/1/params/target_rate",
            "a whole number",
        ),
        found(
            "/metadata/multiprocess/executor_overrides",
            json!({"Recog": "native"}),
            "/metadata/multiprocess/executor_overrides/Recog",
            "no node of type",
        ),
        // Settings that make no sense for the node.
        found(
            "/nodes/1/restart",
            json!({"always": {}}),
            "/nodes/1/restart",
            "no process of its own",
        ),
        found(
            "/nodes/1/limits",
            json!({"memory_gb": 1}),
            "/nodes/1/limits",
            "no process of its own",
        ),
        found(
            "/nodes/3/own_thread",
            json!(true),
            "/nodes/3/own_thread",
            "expected only at a native node",
        ),
        found(
            "/nodes/3",
            json!({"id": "asr", "node_type": "m:C", "restart": {"always": {}}, "queue": {"policy": "latest"}}),
            "/nodes/3/queue/policy",
            "expected \"block\"",
        ),
        // What the machine lacks, and what is not allowed.
        found(
            "/nodes/3/python",
            json!("/opt/none/bin/python"),
            "/nodes/3/python",
            "no interpreter",
        ),
        found(
            "/metadata/multiprocess/python_executable",
            json!("python9"),
            "/metadata/multiprocess/python_executable",
            "no interpreter",
        ),
        found(
            "/nodes/3/capabilities",
            json!({"gpu": true}),
            "/nodes/3/capabilities/gpu",
            "the machine has none",
        ),
        found("/nodes/3/capabilities", json!({"memory_gb": 64}), "/nodes", "8 GiB can be had"),
        found(
            "/nodes/3/capabilities",
            json!({"cpu": 32}),
            "/nodes/3/capabilities/cpu",
            "the machine has 2",
        ),
        found(
            "/nodes/3/capabilities",
            json!({"cpu": {"arch": "arm64"}}),
            "/nodes/3/capabilities/cpu/arch",
            "x86_64",
        ),
        found(
            "/metadata/multiprocess/channel_capacity",
            json!(1 << 30),
            "/metadata/multiprocess/channel_capacity",
            "the limit is 256 MiB",
        ),
        found("/nodes/3/limits", json!({"cpus": [9]}), "/nodes/3/limits/cpus", "CPU 9"),
        // What only running it shows.
        unknowable("/nodes/3/node_type", json!("speech.nodes:Recognizer")),
        unknowable("/nodes/3/params/modell", json!("small")),
        unknowable("/nodes/0/params", json!({})),
        unknowable("/metadata/multiprocess/init_timeout_secs", json!(1)),
        unknowable("/nodes/3/limits", json!({"memory_gb": 0.001})),
    ]
}

/// The document with a value in place of another, or as a new field.
fn with(at: &str, value: Value) -> Value {
    let mut document = right();
    if let Some(place) = document.pointer_mut(at) {
        *place = value;
        return document;
    }
    let (parent, field) = at.rsplit_once('/').expect("a pointer has a slash");
    document.pointer_mut(parent).expect("the parent is there")[field] = value;
    document
}

#[test]
fn the_pipeline_without_mistakes_has_nothing_to_say_of() {
    assert_eq!(said(&right().to_string()), []);
}

#[test]
fn nine_of_ten_mistakes_are_found_before_the_first_process_starts() {
    let mistakes = mistakes();
    let mut count = 0;
    for Mistake { at, value, told } in &mistakes {
        let found = said(&with(at, value.clone()).to_string());
        let Some((pointer, part)) = told else {
            assert!(found.is_empty(), "{at} = {value} can be known: {found:?}");
            continue;
        };
        let fits = |(place, text): &(String, String)| place == pointer && text.contains(part);
        assert!(found.iter().any(fits), "{at} = {value}: expected {pointer}: …{part}…, {found:?}");
        count += 1;
    }
    assert!(mistakes.len() >= 30);
    assert!(count * 10 >= mistakes.len() * 9, "{count} of {}", mistakes.len());
}

#[test]
fn broken_text_is_found_with_its_place() {
    for (text, place) in [
        ("{\"version\": \"v1\",}", "line 1 column 18"),
        ("{'version': 'v1'}", "line 1 column 2"),
        ("{\"version\": \"v1\"", "line 1 column 16"),
    ] {
        let found = said(text);
        assert!(found[0].1.contains(place), "{found:?}");
    }
}
