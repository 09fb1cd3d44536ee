//! Nodes for sound, and what they share.

mod accumulator;
mod channel_mixer;
mod chunker;
mod clipping_detector;
mod codec;
mod dc_block;
mod decoder;
mod encoder;
mod events;
mod file_sink;
mod file_source;
mod filter;
mod filter_stream;
mod format_converter;
mod gain;
mod grid;
mod high_pass;
mod level;
mod level_meter;
mod limiter;
mod loudness;
mod mixer;
mod resample;
mod sample;
mod silence_detector;
mod stream;
mod vad;

use rm_core::{NodeRegistry, RegistryError};

/// Adds the nodes of this folder.
pub(crate) fn register_all(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    file_source::register(registry)?;
    file_sink::register(registry)?;
    decoder::register(registry)?;
    encoder::register(registry)?;
    format_converter::register(registry)?;
    resample::register(registry)?;
    channel_mixer::register(registry)?;
    gain::register(registry)?;
    mixer::register(registry)?;
    chunker::register(registry)?;
    accumulator::register(registry)?;
    limiter::register(registry)?;
    dc_block::register(registry)?;
    high_pass::register(registry)?;
    level_meter::register(registry)?;
    silence_detector::register(registry)?;
    clipping_detector::register(registry)?;
    vad::register(registry)
}
