//! `AudioBufferNode`: gathers items of audio and gives them as one.
//!
//! It gives as soon as it holds `min_ms`, `max_items` items, or what came first `max_wait_ms` ago,
//! and the rest at the end. Items are never split: what it gives ends where an item ended. An item
//! that is enough by itself passes untouched. Chunks of an exact size come from the
//! AudioChunkerNode.

use std::time::{Duration, Instant};

use rm_core::{
    DataHeader, DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chunker::interleaved;
use super::grid::Grid;
use super::stream::admit;
use crate::define::{changed, define_with_formats};
use crate::input::{StreamFormat, audio, describe, is_interleaved};
use crate::pool::Pool;

/// Most bytes that it holds; it gives before there are more.
const MAX_BYTES: usize = 256 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    min_ms: u32,
    max_items: Option<u64>,
    max_wait_ms: Option<u64>,
}

/// What the items that are held have in common.
struct Held {
    /// Header of the first one, and when it came.
    header: DataHeader,
    since: Instant,
    items: u64,
}

struct AudioBuffer {
    params: Params,
    format: Option<StreamFormat>,
    bytes: Vec<u8>,
    held: Option<Held>,
    pool: Pool,
}

impl AudioBuffer {
    /// Gives what is held, if there is anything.
    fn give(&mut self, output: &mut Output) -> Result<(), NodeError> {
        if let (Some(Held { header, .. }), Some(format)) = (self.held.take(), self.format) {
            let mut buffer = self.pool.take(self.bytes.len());
            buffer.bytes().copy_from_slice(&self.bytes);
            self.bytes.clear();
            let payload = self.pool.seal(buffer);
            let StreamFormat { sample_rate, channels, format } = format;
            let item = RuntimeData::audio(payload, sample_rate, channels, format)?;
            output.push(item.made_from(&header));
        }
        Ok(())
    }

    fn is_enough(&self, bytes: usize, items: u64, format: &StreamFormat) -> bool {
        let frame = usize::from(format.channels) * format.format.bytes_per_sample();
        let least = Grid::every_ms(self.params.min_ms, format.sample_rate);
        (bytes / frame) as u64 >= least.at_least(1)
            || self.params.max_items.is_some_and(|most| items >= most)
    }
}

impl Node for AudioBuffer {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "interleaved audio")?;
        if !is_interleaved(&view) {
            return Err(NodeError::Input {
                found: describe(&view),
                expected: "interleaved audio; put a FormatConverterNode before it".to_owned(),
            });
        }
        let format = admit(self.format, &view)?;
        self.format = Some(format);
        let len = input.payload().len();
        if self.bytes.len() + len > MAX_BYTES {
            self.give(output)?;
        }
        if self.held.is_none() && (self.is_enough(len, 1, &format) || len > MAX_BYTES) {
            output.push(input);
            return Ok(());
        }
        self.bytes.extend_from_slice(input.payload());
        let held = self.held.get_or_insert_with(|| Held {
            header: input.header().clone(),
            since: Instant::now(),
            items: 0,
        });
        held.items += 1;
        let items = held.items;
        if self.is_enough(self.bytes.len(), items, &format) {
            self.give(output)?;
        }
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        self.params = changed(&self.params, params)?;
        Ok(())
    }

    fn flush(&mut self) {
        self.bytes.clear();
        self.held = None;
    }

    fn due(&self) -> Option<Instant> {
        let wait = Duration::from_millis(self.params.max_wait_ms?);
        Some(self.held.as_ref()?.since + wait)
    }

    fn on_time(&mut self, now: Instant, output: &mut Output) -> Result<(), NodeError> {
        match self.due() {
            Some(due) if due <= now => self.give(output),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        let given = self.give(output);
        self.format = None;
        given
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    use ParameterKind::Integer;
    let metadata = NodeMetadata {
        name: "AudioBufferNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "gathers items of audio until they are long enough, and gives them as one"
            .to_owned(),
        parameters: vec![
            ParameterSpec::optional("min_ms", Integer, 1_000, "how much audio is gathered")
                .range(1.0, 600_000.0)
                .unit("ms"),
            ParameterSpec::optional(
                "max_items",
                Integer,
                Value::Null,
                "number of items that is enough however short they are; null for any number",
            )
            .range(1.0, 1_000_000.0),
            ParameterSpec::optional(
                "max_wait_ms",
                Integer,
                Value::Null,
                "longest time by the clock that an item is held; null for any time",
            )
            .range(0.0, 3_600_000.0)
            .unit("ms"),
        ],
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        timed: true,
        ..NodeMetadata::default()
    };
    define_with_formats(
        registry,
        metadata,
        |_: &Params, _| NodeFormats::takes([interleaved()]),
        |params, _| {
            let (format, held) = (None, None);
            Ok(AudioBuffer { params, format, bytes: Vec::new(), held, pool: Pool::default() })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, samples, sine};
    use proptest::prelude::*;
    use serde_json::json;

    /// Lengths in frames of what is given for items of these lengths, at 1000 Hz.
    fn given(params: Value, items: &[usize]) -> Vec<usize> {
        let mut node = make("AudioBufferNode", params).unwrap();
        let sound = sine(10.0, 1_000, items.iter().sum());
        let items = run(node.as_mut(), cut(&sound, 1_000, 1, items)).unwrap();
        assert_eq!(samples(&items), sound);
        items.iter().map(|item| item.payload().len() / 4).collect()
    }

    #[test]
    fn items_are_gathered_until_they_are_long_enough() {
        let least = json!({"min_ms": 50});
        assert_eq!(given(least.clone(), &[20, 20, 20, 20, 20]), [60, 40]);
        assert_eq!(given(least.clone(), &[25, 25, 50, 49]), [50, 50, 49]);
        assert_eq!(given(least, &[200, 10]), [200, 10]);
        assert_eq!(given(json!({"max_items": 2}), &[20, 20, 20]), [40, 20]);
    }

    #[test]
    fn an_item_that_is_enough_passes_untouched_and_others_carry_the_first_header() {
        let mut node = make("AudioBufferNode", json!({"min_ms": 50})).unwrap();
        let items = cut(&sine(10.0, 1_000, 130), 1_000, 1, &[30, 30, 70]);
        let given = run(node.as_mut(), items.clone()).unwrap();
        assert_eq!(given[0].header().timestamp, items[0].header().timestamp);
        assert_eq!(given[1], items[2]);
    }

    #[test]
    fn what_has_waited_long_enough_is_given_by_the_clock() {
        let params = json!({"min_ms": 50, "max_wait_ms": 300});
        let mut node = make("AudioBufferNode", params).unwrap();
        let mut output = Output::default();
        assert_eq!(node.due(), None);
        for item in cut(&[0.5; 20], 1_000, 1, &[10]) {
            node.process(item, &mut output).unwrap();
        }
        let due = node.due().unwrap();
        node.on_time(due - Duration::from_millis(1), &mut output).unwrap();
        assert!(output.is_empty());
        node.on_time(due, &mut output).unwrap();
        assert_eq!(samples(&output.drain().collect::<Vec<_>>()), [0.5; 20]);
        assert_eq!(node.due(), None);
    }

    #[test]
    fn what_is_held_is_dropped_by_a_flush() {
        let mut node = make("AudioBufferNode", json!({})).unwrap();
        let mut output = Output::default();
        node.process(cut(&[1.0; 5], 1_000, 1, &[5]).remove(0), &mut output).unwrap();
        node.flush();
        node.finish(&mut output).unwrap();
        assert!(output.is_empty());
    }

    #[test]
    fn steady_work_allocates_nothing() {
        let item = RuntimeData::audio_f32(sine(440.0, 48_000, 1_920), 48_000, 2).unwrap();
        check_no_allocation("AudioBufferNode", &json!({"min_ms": 100}), &item);
        check_no_allocation("AudioBufferNode", &json!({"min_ms": 1}), &item);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_however_the_stream_is_cut(lengths in lengths(), least in 1..100_u32) {
            let sound = sine(440.0, 48_000, 10_000);
            let params = json!({"min_ms": least});
            check_cuts("AudioBufferNode", &params, (&sound, 48_000, 2), &lengths);
        }
    }
}
