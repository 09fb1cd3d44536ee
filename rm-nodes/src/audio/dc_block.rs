//! `DcBlockNode`: takes the constant part out of audio and leaves the rest.
//!
//! A high-pass of first order, the analogue RC filter taken over by the bilinear transform: -3 dB at
//! the cutoff exactly, 0 dB at the upper end, nothing of a constant. A steeper one is the
//! HighPassNode.

use rm_core::{Node, NodeError, NodeRegistry, Output, RegistryError, RuntimeData};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::Section;
use super::filter_stream::{self, FilterStream};
use crate::define::{changed, define_with_formats};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    cutoff_hz: f64,
}

struct DcBlock {
    params: Params,
    stream: FilterStream,
}

impl Node for DcBlock {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let design = |cutoff_hz, rate| vec![Section::high_pass_1(cutoff_hz, rate)];
        self.stream.process(input, design, output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, params)?;
        self.stream.change(params.cutoff_hz)?;
        self.params = params;
        Ok(())
    }

    fn flush(&mut self) {
        self.stream.flush();
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = filter_stream::metadata(
        "DcBlockNode",
        "removes a constant offset from audio by a high-pass of first order",
        vec![filter_stream::cutoff(5.0, 0.1)],
    );
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| filter_stream::formats(params.cutoff_hz),
        |params: Params, _| {
            let stream = FilterStream::new(params.cutoff_hz);
            Ok(DcBlock { params, stream })
        },
    )
}
