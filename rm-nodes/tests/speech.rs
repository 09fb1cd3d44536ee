//! The native half of `examples/speech`: from its recording to utterances, with the parameters of
//! its manifest.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::path::{Path, PathBuf};

use rm_core::{Node, NodeContext, NodeRegistry, Output, Produced, RuntimeData};
use serde_json::Value;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/speech")
}

/// The nodes of the manifest with these ids, made with its parameters.
fn nodes<const N: usize>(ids: [&str; N]) -> [Box<dyn Node>; N] {
    nodes_with(ids, |_| {})
}

/// The same with changed parameters.
fn nodes_with<const N: usize>(ids: [&str; N], change: impl Fn(&mut Value)) -> [Box<dyn Node>; N] {
    let text = std::fs::read_to_string(example().join("pipeline.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let mut registry = NodeRegistry::new();
    rm_nodes::register_all(&mut registry).unwrap();
    ids.map(|id| {
        let mut all = manifest["nodes"].as_array().unwrap().iter();
        let node = all.find(|node| node["id"] == id).unwrap();
        let node_type = node["node_type"].as_str().unwrap();
        let mut params = node["params"].clone();
        change(&mut params);
        let metadata = registry.metadata(node_type).unwrap();
        assert_eq!(metadata.check_params(&params), [], "{id}");
        let mut context = NodeContext {
            node_id: id.to_owned(),
            node_type: node_type.to_owned(),
            params,
            ..NodeContext::default()
        };
        let base = Value::from(example().to_str().unwrap());
        context.metadata.insert(NodeContext::BASE_DIR.to_owned(), base);
        registry.factory(node_type).unwrap()(&context).unwrap()
    })
}

/// Puts `items` through a chain of nodes, and ends the stream if asked to.
fn pass(chain: &mut [Box<dyn Node>], items: Vec<RuntimeData>, end: bool) -> Vec<RuntimeData> {
    let mut items = items;
    for node in chain {
        let mut output = Output::default();
        for item in items {
            node.process(item, &mut output).unwrap();
        }
        if end {
            node.finish(&mut output).unwrap();
        }
        let made = output.drain_ports().filter(|(port, _)| port.is_none());
        items = made.map(|(_, item)| item).collect();
    }
    items
}

/// The utterances that the chain finds in the recording.
fn utterances(vad: Box<dyn Node>) -> Vec<RuntimeData> {
    let [mut source, to_mono, to_16k] = nodes(["source", "to_mono", "to_16k"]);
    let mut chain = [to_mono, to_16k, vad];
    source.initialize().unwrap();
    for node in &mut chain {
        node.initialize().unwrap();
    }
    let mut found = Vec::new();
    let mut output = Output::default();
    while source.produce(&mut output).unwrap() == Produced::More {
        let audio = output.drain_ports().filter(|(port, _)| port.is_none());
        let audio = audio.map(|(_, item)| item).collect();
        found.extend(pass(&mut chain, audio, false));
    }
    found.extend(pass(&mut chain, Vec::new(), true));
    found
}

fn number_of_commands() -> usize {
    let commands = std::fs::read_to_string(example().join("commands.txt")).unwrap();
    commands.lines().count()
}

#[test]
fn every_command_becomes_one_utterance_and_the_noise_none() {
    let [vad] = nodes(["utterances"]);
    let found = utterances(vad);
    assert_eq!(found.len(), number_of_commands());
    for utterance in &found {
        let view = utterance.as_audio().unwrap();
        assert_eq!((view.sample_rate, view.channels), (16_000, 1));
        let seconds = view.frames() as f64 / 16_000.0;
        assert!((1.0..1.8).contains(&seconds), "{seconds} s");
    }
}

#[test]
fn the_level_alone_takes_the_noise_for_speech() {
    let [vad] = nodes_with(["utterances"], |params| {
        params["mode"] = "energy".into();
        params["min_silence_ms"] = 200.into();
    });
    assert!(utterances(vad).len() > number_of_commands());
}
