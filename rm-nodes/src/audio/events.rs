//! How nodes that watch audio give what they find beside the audio itself.
//!
//! Main type: [`Events`]. All of them follow one convention, the parameter `output`: with `events`
//! (the default) they give JSON and no audio, so they end a plain chain or feed what reads JSON. With
//! `audio` they stand within a chain: audio passes untouched, and the JSON goes out by the port
//! `events`. An event carries the time of the first frame that it is about.

use std::time::Duration;

use rm_core::{
    DataHeader, DataMetadata, DataType, NodeError, NodeFormats, NodeMetadata, Output,
    ParameterKind, ParameterSpec, RuntimeData,
};
use serde::{Deserialize, Serialize};

use super::stream::stream_formats;
use crate::pool::Pool;

/// The port by which events go out beside audio.
const PORT: &str = "events";

/// What goes out by connections that name no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Give {
    Events,
    Audio,
}

/// The way out of a node that watches audio.
pub(super) struct Events {
    give: Give,
    text: Vec<u8>,
    pool: Pool,
}

impl Events {
    pub(super) fn new(give: Give) -> Self {
        Self { give, text: Vec::new(), pool: Pool::default() }
    }

    /// Gives an event that is about the time of `header`.
    pub(super) fn give(
        &mut self,
        event: &impl Serialize,
        header: &DataHeader,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        self.text.clear();
        serde_json::to_writer(&mut self.text, event).map_err(|error| NodeError::Failed {
            message: "an event cannot be written as JSON".to_owned(),
            source: Some(Box::new(error)),
        })?;
        let mut buffer = self.pool.take(self.text.len());
        buffer.bytes().copy_from_slice(&self.text);
        let item = RuntimeData::new(DataMetadata::Json, self.pool.seal(buffer))?;
        let item = item.made_from(header);
        match self.give {
            Give::Events => output.push(item),
            Give::Audio => output.push_to(PORT, item),
        }
        Ok(())
    }

    /// Passes audio on where it is wanted.
    pub(super) fn pass(&self, input: RuntimeData, output: &mut Output) {
        if self.give == Give::Audio {
            output.push(input);
        }
    }
}

/// What such a node takes and gives.
pub(super) fn formats(give: Give) -> NodeFormats {
    let takes = NodeFormats::takes([stream_formats()]);
    match give {
        Give::Events => takes.gives([DataType::Json]),
        Give::Audio => takes,
    }
}

/// What is known of such a node; `output` comes behind its own parameters.
pub(super) fn metadata(
    name: &str,
    description: &str,
    mut parameters: Vec<ParameterSpec>,
) -> NodeMetadata {
    let output = ParameterSpec::optional(
        "output",
        ParameterKind::String,
        "events",
        "what is given: JSON and no audio, or the audio untouched and JSON by the port \"events\"",
    );
    parameters.push(output.choices(["events", "audio"]));
    NodeMetadata {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: description.to_owned(),
        parameters,
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Json, DataType::Audio],
        output_ports: vec![PORT.to_owned()],
        ..NodeMetadata::default()
    }
}

/// The header for what begins so many frames behind the first one of an input.
pub(super) fn later(input: &DataHeader, frames: u64, sample_rate: u32) -> DataHeader {
    let seconds = frames / u64::from(sample_rate);
    let rest = frames % u64::from(sample_rate) * 1_000_000_000 / u64::from(sample_rate);
    let mut header = input.clone();
    header.timestamp += Duration::from_secs(seconds) + Duration::from_nanos(rest);
    header
}

/// The time of a frame, in milliseconds from the begin of its stream.
pub(super) fn milliseconds(frame: u64, sample_rate: u32) -> f64 {
    frame as f64 * 1000.0 / f64::from(sample_rate)
}
