//! Manifest to plan, without starting anything: parse, graph, plan, for 10, 100 and 1,000 nodes, from
//! JSON and from YAML.
//!
//! Beside it: what serde_json and serde-saphyr alone take to parse the same text. A plan is made with
//! and without asking the machine what it has. The contract promises parse and
//! validation under 5 ms for 10 nodes and 100 ms for 100, and the graph under 1 ms for 100.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rm_session::{Graph, Machine, Manifest, Plan, RuntimeConfig};
use serde_json::{Value, json};

/// A source, then resamplers, converters and Python nodes in turn, each also fed by the node
/// before its predecessor.
fn manifest(count: usize) -> Value {
    let node = |place: usize| match place % 4 {
        _ if place == 0 => json!({"id": "n0", "node_type": "AudioFileSourceNode",
                                  "params": {"path": "speech.wav"}}),
        1 => json!({"id": format!("n{place}"), "node_type": "FormatConverterNode",
                    "params": {"format": "f32", "channels": 1}}),
        2 => json!({"id": format!("n{place}"), "node_type": "ResampleNode",
                    "params": {"target_rate": 16_000}}),
        3 => json!({"id": format!("n{place}"), "node_type": "nodes:Python",
                    "params": {"model": "small", "threshold": 0.5}}),
        _ => json!({"id": format!("n{place}"), "node_type": "PassThroughNode"}),
    };
    let edge = |from: usize, to: usize| json!({"from": format!("n{from}"), "to": format!("n{to}")});
    let nodes: Vec<_> = (0..count).map(node).collect();
    let forward = (1..count).map(|to| edge(to - 1, to));
    let skips = (2..count).map(|to| edge(to - 2, to));
    let connections: Vec<_> = forward.chain(skips).collect();
    json!({"version": "v1", "nodes": nodes, "connections": connections})
}

/// The same as YAML, as people write it.
fn yaml(manifest: &Value) -> String {
    let mut text = "version: v1\n".to_owned();
    for list in ["nodes", "connections"] {
        text += &format!("{list}:\n");
        for entry in manifest[list].as_array().into_iter().flatten() {
            let fields = entry.as_object().into_iter().flatten();
            for (place, (key, value)) in fields.enumerate() {
                let lead = if place == 0 { "- " } else { "  " };
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text += &format!("  {lead}{key}: {value}\n");
            }
        }
    }
    text
}

fn benches(criterion: &mut Criterion) {
    let registry = rm_session::builtin_nodes();
    let mut group = criterion.benchmark_group("manifest");
    for count in [10, 100, 1_000] {
        let manifest = manifest(count);
        let (text, yaml) = (manifest.to_string(), yaml(&manifest));
        let parsed = Manifest::from_json(&text).expect("the manifest is valid");
        assert_eq!(Manifest::from_yaml(&yaml).expect("the YAML is valid"), parsed);
        Plan::new(parsed.clone(), &registry).expect("the manifest can be run");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("serde_json alone", count), &text, |b, text| {
            b.iter(|| serde_json::from_str::<Value>(black_box(text)).expect("it is JSON"));
        });
        group.bench_with_input(BenchmarkId::new("parse and validate", count), &text, |b, text| {
            b.iter(|| Manifest::from_json(black_box(text)).expect("it is valid"));
        });
        group.bench_with_input(BenchmarkId::new("serde-saphyr alone", count), &yaml, |b, yaml| {
            b.iter(|| serde_saphyr::from_str::<Value>(black_box(yaml)).expect("it is YAML"));
        });
        let id = BenchmarkId::new("parse and validate YAML", count);
        group.bench_with_input(id, &yaml, |b, yaml| {
            b.iter(|| Manifest::from_yaml(black_box(yaml)).expect("it is valid"));
        });
        group.bench_with_input(BenchmarkId::new("graph", count), &parsed, |b, parsed| {
            b.iter(|| Graph::new(black_box(parsed)).expect("it has no cycle"));
        });
        group.bench_with_input(BenchmarkId::new("plan", count), &parsed, |b, parsed| {
            b.iter(|| Plan::new(black_box(parsed.clone()), &registry).expect("it can be run"));
        });
        let (config, machine) = (RuntimeConfig::default(), Machine::probe());
        let id = BenchmarkId::new("plan for a known machine", count);
        group.bench_with_input(id, &parsed, |b, parsed| {
            b.iter(|| {
                Plan::with(black_box(parsed.clone()), &registry, &config, &machine)
                    .expect("it can be run")
            });
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
