//! `ResampleNode`: audio at another sample rate.
//!
//! A synchronous FFT resampler (the `rubato` crate) works on blocks that are aligned to the start
//! of the stream, so the result does not depend on how the stream is cut. Its delay is taken out:
//! output frame `n` lies at the time of input frame `n * source / target`. In total there come
//! exactly `ceil(frames * target / source)` frames; the last of them with the end of the stream.
//! An item that completes no block gives nothing; its samples come with a later one.
//!
//! Interleaved f32 only; it does not convert sample formats. The source rate and the channel
//! count are those of the first item, and a change of either within the stream is an error.

use audioadapter_buffers::direct::InterleavedSlice;
use rm_core::{
    AudioView, DataHeader, DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use rubato::{Fft, FixedSync, Resampler};
use serde::Deserialize;

use crate::input::{StreamFormat, audio, describe, f32_samples};

const MIN_RATE: u32 = 1_000;
const MAX_RATE: u32 = 384_000;
const MAX_CHANNELS: u16 = 256;
/// Least frames of a block, on the side with the lower rate. It sets the sharpness of the
/// anti-alias filter (pass band up to 0.89 of the lower Nyquist frequency) and its delay (half a
/// block, 8 ms where the lower rate is 16 kHz).
const MIN_BLOCK: u32 = 256;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    target_rate: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { target_rate: 16_000 }
    }
}

struct Resample {
    target_rate: u32,
    stream: Option<Stream>,
}

/// A stream whose format is known.
struct Stream {
    format: StreamFormat,
    /// Header of the latest item.
    header: DataHeader,
    /// `None` where the rate is right already.
    converter: Option<Converter>,
}

/// Turns a stream of one rate into a stream of another.
struct Converter {
    resampler: Fft<f32>,
    channels: usize,
    source_rate: u64,
    target_rate: u64,
    /// The block being filled, interleaved, and how many of its samples are filled.
    block: Vec<f32>,
    filled: usize,
    /// Where a block's result is written before it is given on.
    result: Vec<f32>,
    /// Frames at the front of the result that still belong to the resampler's delay.
    skip: usize,
    frames_in: u64,
    frames_out: u64,
}

/// Frames of one block, in and out: the least even multiples of the reduced ratio (even, so that
/// the delay of half a block is a whole number of frames on both sides) from [`MIN_BLOCK`] up.
fn block_frames(source_rate: u32, target_rate: u32) -> (usize, usize) {
    let (mut gcd, mut rest) = (source_rate, target_rate);
    while rest != 0 {
        (gcd, rest) = (rest, gcd % rest);
    }
    let (source, target) = (source_rate / gcd, target_rate / gcd);
    let times = MIN_BLOCK.div_ceil(source.min(target)).next_multiple_of(2);
    ((source * times) as usize, (target * times) as usize)
}

impl Converter {
    fn new(format: StreamFormat, target_rate: u32) -> Result<Self, NodeError> {
        let (source_rate, channels) = (format.sample_rate, usize::from(format.channels));
        let (block_in, block_out) = block_frames(source_rate, target_rate);
        let resampler = Fft::new(
            source_rate as usize,
            target_rate as usize,
            block_in,
            channels,
            FixedSync::Both,
        );
        let resampler = resampler.map_err(|error| NodeError::Failed {
            message: format!("cannot resample from {source_rate} to {target_rate} Hz"),
            source: Some(Box::new(error)),
        })?;
        Ok(Self {
            skip: resampler.output_delay(),
            resampler,
            channels,
            source_rate: u64::from(source_rate),
            target_rate: u64::from(target_rate),
            block: vec![0.0; block_in * channels],
            filled: 0,
            result: vec![0.0; block_out * channels],
            frames_in: 0,
            frames_out: 0,
        })
    }

    /// Takes the next samples, and gives what they complete.
    fn push(&mut self, mut samples: &[f32]) -> Result<Vec<f32>, NodeError> {
        let blocks = (self.filled + samples.len()) / self.block.len();
        let mut out = Vec::with_capacity(blocks * self.result.len());
        self.frames_in += (samples.len() / self.channels) as u64;
        while !samples.is_empty() {
            let free = &mut self.block[self.filled..];
            let (now, later) = samples.split_at(samples.len().min(free.len()));
            free[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            samples = later;
            if self.filled == self.block.len() {
                self.convert_block(&mut out)?;
            }
        }
        Ok(out)
    }

    /// Gives the rest, up to the exact length.
    fn finish(&mut self) -> Result<Vec<f32>, NodeError> {
        let total = (self.frames_in * self.target_rate).div_ceil(self.source_rate);
        let mut out = Vec::new();
        while self.frames_out < total {
            self.block[self.filled..].fill(0.0);
            self.convert_block(&mut out)?;
        }
        let surplus = usize::try_from(self.frames_out - total).expect("less than a block");
        out.truncate(out.len() - surplus * self.channels);
        Ok(out)
    }

    /// Adds the result of the full block to `out`.
    fn convert_block(&mut self, out: &mut Vec<f32>) -> Result<(), NodeError> {
        let frames_in = self.block.len() / self.channels;
        let frames_out = self.result.len() / self.channels;
        let input = InterleavedSlice::new(&self.block, self.channels, frames_in)
            .expect("the block has this many frames");
        let mut result = InterleavedSlice::new_mut(&mut self.result, self.channels, frames_out)
            .expect("the result has this many frames");
        let converted = self.resampler.process_into_buffer(&input, &mut result, None);
        converted.map_err(|error| NodeError::Failed {
            message: "resampling failed".to_owned(),
            source: Some(Box::new(error)),
        })?;
        self.filled = 0;
        let skipped = self.skip.min(frames_out);
        self.skip -= skipped;
        self.frames_out += (frames_out - skipped) as u64;
        out.extend_from_slice(&self.result[skipped * self.channels..]);
        Ok(())
    }
}

impl Resample {
    fn new(params: Params) -> Result<Self, NodeError> {
        let target_rate = params.target_rate;
        if !(MIN_RATE..=MAX_RATE).contains(&target_rate) {
            return Err(NodeError::Param {
                name: "target_rate",
                problem: format!("is {target_rate}, expected from {MIN_RATE} to {MAX_RATE} Hz"),
            });
        }
        Ok(Self { target_rate, stream: None })
    }
}

impl Stream {
    fn new(view: &AudioView<'_>, header: &DataHeader, target_rate: u32) -> Result<Self, NodeError> {
        let format = StreamFormat::of(view);
        let rate_fits = (MIN_RATE..=MAX_RATE).contains(&format.sample_rate);
        if !rate_fits || format.channels > MAX_CHANNELS {
            return Err(NodeError::Input {
                found: describe(view),
                expected: format!(
                    "audio of up to {MAX_CHANNELS} channels at {MIN_RATE} to {MAX_RATE} Hz"
                ),
            });
        }
        let same = format.sample_rate == target_rate;
        let converter = (!same).then(|| Converter::new(format, target_rate));
        Ok(Self { format, header: header.clone(), converter: converter.transpose()? })
    }

    /// `samples` as an item, if there are any.
    fn item(&self, samples: Vec<f32>, rate: u32) -> Result<Option<RuntimeData>, NodeError> {
        if samples.is_empty() {
            return Ok(None);
        }
        let item = RuntimeData::audio_f32(samples, rate, self.format.channels)?;
        Ok(Some(item.made_from(&self.header)))
    }
}

impl Node for Resample {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "interleaved f32 audio")?;
        let samples = f32_samples(&view)?;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = Stream::new(&view, input.header(), self.target_rate)?;
                self.stream.insert(stream)
            }
        };
        stream.format.check(&view)?;
        stream.header.clone_from(input.header());
        let Some(converter) = &mut stream.converter else {
            output.push(input);
            return Ok(());
        };
        let out = converter.push(&samples)?;
        if let Some(item) = stream.item(out, self.target_rate)? {
            output.push(item);
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        if let Some(mut stream) = self.stream.take()
            && let Some(converter) = &mut stream.converter
        {
            let rest = converter.finish()?;
            if let Some(item) = stream.item(rest, self.target_rate)? {
                output.push(item);
            }
        }
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "ResampleNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "changes the sample rate of f32 audio, without delay and with exact length"
            .to_owned(),
        capabilities: Vec::new(),
        parameters: vec![
            ParameterSpec::optional(
                "target_rate",
                ParameterKind::Integer,
                16_000,
                "sample rate to convert to; audio that has it already is given on untouched",
            )
            .range(f64::from(MIN_RATE), f64::from(MAX_RATE))
            .unit("Hz"),
        ],
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        source: false,
        ..NodeMetadata::default()
    };
    registry.register(metadata, |context| Ok(Box::new(Resample::new(context.parse_params()?)?)))
}

#[cfg(test)]
mod tests;
