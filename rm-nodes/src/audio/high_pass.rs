//! `HighPassNode`: a Butterworth high-pass, flat above the cutoff and steep below it.
//!
//! -3 dB at the cutoff, and 6 dB per octave and order below it. How it is built stands in
//! `filter.rs`.

use rm_core::{
    Node, NodeError, NodeRegistry, Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::Section;
use super::filter_stream::{self, FilterStream};
use crate::define::{changed, define_with_formats, wrong};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    cutoff_hz: f64,
    order: u8,
}

struct HighPass {
    params: Params,
    stream: FilterStream,
}

impl Node for HighPass {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let order = self.params.order;
        let design = |cutoff_hz, rate| Section::butterworth(cutoff_hz, order, rate);
        self.stream.process(input, design, output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, params)?;
        if params.order != self.params.order {
            let expected = format!("{} as before; only the cutoff can change", self.params.order);
            return Err(wrong("order", params.order, expected));
        }
        self.stream.change(params.cutoff_hz)?;
        self.params = params;
        Ok(())
    }

    fn flush(&mut self) {
        self.stream.flush();
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let order = ParameterSpec::optional(
        "order",
        ParameterKind::Integer,
        2,
        "steepness: 6 dB per octave for each",
    );
    let metadata = filter_stream::metadata(
        "HighPassNode",
        "removes what lies below a frequency by a Butterworth high-pass",
        vec![filter_stream::cutoff(80.0, 1.0), order.choices([2, 4, 6, 8])],
    );
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| filter_stream::formats(params.cutoff_hz),
        |params: Params, _| {
            let stream = FilterStream::new(params.cutoff_hz);
            Ok(HighPass { params, stream })
        },
    )
}
