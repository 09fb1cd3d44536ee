//! Helpers of this crate's tests: make a node, run a stream through it, look at what comes out.

use rm_core::{Node, NodeContext, NodeError, NodeRegistry, Output, Produced, RuntimeData};
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
    while node.produce(&mut output)? == Produced::More {}
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
