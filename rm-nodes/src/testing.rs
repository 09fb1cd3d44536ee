//! Helpers of this crate's tests: make a node, run a stream through it, look at what comes out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rm_core::{
    DataMetadata, DataType, Node, NodeContext, NodeError, NodeRegistry, Output, Produced,
    RuntimeData,
};
use serde_json::Value;

/// A node made as a session makes it.
pub(crate) fn make(node_type: &str, params: Value) -> Result<Box<dyn Node>, NodeError> {
    let mut registry = NodeRegistry::new();
    crate::register_all(&mut registry).unwrap();
    let context = NodeContext {
        node_id: "under_test".into(),
        node_type: node_type.into(),
        params,
        ..NodeContext::default()
    };
    registry.factory(node_type).unwrap()(&context)
}

/// Everything that a node gives for a whole stream.
pub(crate) fn run(
    node: &mut dyn Node,
    input: impl IntoIterator<Item = RuntimeData>,
) -> Result<Vec<RuntimeData>, NodeError> {
    let mut output = Output::default();
    node.initialize()?;
    for item in input {
        node.process(item, &mut output)?;
    }
    node.finish(&mut output)?;
    Ok(output.drain().collect())
}

/// Everything that a source gives.
pub(crate) fn run_source(node: &mut dyn Node) -> Result<Vec<RuntimeData>, NodeError> {
    let mut output = Output::default();
    node.initialize()?;
    while node.produce(&mut output)? != Produced::End {}
    node.finish(&mut output)?;
    Ok(output.drain().collect())
}

/// The samples of all items, one after another.
pub(crate) fn samples(items: &[RuntimeData]) -> Vec<f32> {
    let parts = items.iter().map(|item| item.as_audio().unwrap());
    parts.flat_map(|audio| audio.as_f32().unwrap()).copied().collect()
}

/// The payloads of all items, one after another.
pub(crate) fn bytes(items: &[RuntimeData]) -> Vec<u8> {
    items.iter().flat_map(|item| item.payload()).copied().collect()
}

/// Cuts `samples` of `channels` channels into items; the lengths (in frames) repeat.
pub(crate) fn cut(
    samples: &[f32],
    rate: u32,
    channels: u16,
    lengths: &[usize],
) -> Vec<RuntimeData> {
    let mut rest = samples;
    let mut items = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at(rest.len().min(length * usize::from(channels)));
        items.push(RuntimeData::audio_f32(chunk.to_vec(), rate, channels).unwrap());
        rest = after;
    }
    items
}

/// A sine of `frequency` Hz and amplitude 1.
pub(crate) fn sine(frequency: f64, rate: u32, frames: usize) -> Vec<f32> {
    let step = std::f64::consts::TAU * frequency / f64::from(rate);
    (0..frames).map(|n| (n as f64 * step).sin() as f32).collect()
}

/// Everything that a node has given, without times: by port, items of audio and bytes put together
/// where they follow each other in one format, all others as they are.
pub(crate) type Content = BTreeMap<Option<&'static str>, Vec<(DataMetadata, Vec<u8>)>>;

/// What a node gives for a whole stream.
pub(crate) fn content(
    node: &mut dyn Node,
    input: impl IntoIterator<Item = RuntimeData>,
) -> Result<Content, NodeError> {
    let mut output = Output::default();
    node.initialize()?;
    for item in input {
        node.process(item, &mut output)?;
    }
    node.finish(&mut output)?;
    let mut content = Content::new();
    for (port, item) in output.drain_ports() {
        let (header, payload) = item.into_parts();
        let flows = matches!(header.data_type, DataType::Audio | DataType::Binary);
        let parts = content.entry(port).or_default();
        match parts.last_mut() {
            Some((metadata, bytes)) if flows && *metadata == header.metadata => {
                bytes.extend_from_slice(&payload);
            }
            _ => parts.push((header.metadata, payload.to_vec())),
        }
    }
    Ok(content)
}

/// Asserts that a node gives the same for a stream of audio in one piece and cut anyhow; the lengths
/// (in frames) repeat.
pub(crate) fn check_cuts(
    node_type: &str,
    params: &Value,
    (samples, rate, channels): (&[f32], u32, u16),
    lengths: &[usize],
) {
    let given = |lengths: &[usize]| {
        let mut node = make(node_type, params.clone()).unwrap();
        content(node.as_mut(), cut(samples, rate, channels, lengths)).unwrap()
    };
    let whole = given(&[samples.len() / usize::from(channels)]);
    assert!(whole.values().any(|parts| !parts.is_empty()), "{node_type} gave nothing");
    // Not `assert_eq`: nobody reads a million samples.
    assert!(
        given(lengths) == whole,
        "{node_type} {params} cut into {lengths:?} gives another result"
    );
}

/// Lengths of chunks in frames, from 1 up.
pub(crate) fn lengths() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1..50_usize, 50..3_000_usize], 1..12)
}

/// Allocations that a node makes for an item of this kind once it has seen many of them, its results
/// being dropped as it goes.
pub(crate) fn allocations_per_item(node: &mut dyn Node, item: &RuntimeData) -> f64 {
    let mut output = Output::default();
    node.initialize().unwrap();
    let mut work = |items: u32| {
        for _ in 0..items {
            node.process(item.clone(), &mut output).unwrap();
            output.clear();
        }
    };
    work(200);
    let counted = allocation_counter::measure(|| work(200));
    counted.count_total as f64 / 200.0
}

/// Asserts that a node allocates nothing for an item of this kind in steady state.
pub(crate) fn check_no_allocation(node_type: &str, params: &Value, item: &RuntimeData) {
    let mut node = make(node_type, params.clone()).unwrap();
    let allocations = allocations_per_item(node.as_mut(), item);
    assert_eq!(allocations, 0.0, "{node_type} {params} allocates");
}
