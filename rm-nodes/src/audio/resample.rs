//! `ResampleNode`: audio at another sample rate.
//!
//! What it gives does not depend on how the stream is cut. There is no delay in it: output frame `n`
//! lies at the time of input frame `n * source / target`, and an item carries the time of its first
//! frame. In total there come exactly `ceil(frames * target / source)` frames, the last of them with
//! the end of the stream; an item that completes nothing gives nothing, and its samples come with a
//! later one.
//!
//! What is waited for, and how well the frequencies that one of the rates cannot hold are kept out, is
//! chosen by `quality` (frequencies as part of the lower Nyquist frequency, from which on everything
//! is rejected; times for 48 to 16 kHz, at other rates in inverse proportion to the lower one, but up
//! to 768 frames of the lower rate for ratios of large terms; 10 ms for high from 44.1 to 48 kHz):
//!
//! | quality | pass band | ripple    | rejection | waits for |
//! |---------|-----------|-----------|-----------|-----------|
//! | high    | 0.913     | 0.0001 dB | 120 dB    | 18 ms     |
//! | medium  | 0.8       | 0.001 dB  | 100 dB    | 10 ms     |
//! | low     | 0.68      | 0.01 dB   | 80 dB     | 5 ms      |
//!
//! Where the lower of two rates in lowest terms is above 512, as from 44,101 to 48,000 Hz, the filter
//! is looked up frame by frame: as good, some fifteen times slower, and waited for as the table says.
//! Any two rates from 1 to 384 kHz can be converted, with at most 16 MiB of samples held. That is
//! enough for 10 channels at the worst; more channels are refused where it is not.
//!
//! Interleaved f32 only; it does not convert sample formats. The source rate and the channel count are
//! those of the first item, and a change of either within the stream is an error.

mod blocks;
mod converter;
mod filter;
mod table;

use std::time::Duration;

use rm_core::{
    AudioFormat, AudioFormats, AudioView, DataHeader, DataType, Formats, Node, NodeError,
    NodeFormats, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec, RegistryError,
    RuntimeData, Values,
};
use serde::Deserialize;

use crate::define::define_with_formats;
use crate::input::{StreamFormat, audio, describe, f32_samples};
use crate::pool::Pool;
use crate::stamps::Stamps;
use converter::Converter;
use filter::{Quality, Ratio};

const MIN_RATE: u32 = 1_000;
const MAX_RATE: u32 = 384_000;

#[derive(Deserialize)]
struct Params {
    target_rate: u32,
    quality: Quality,
}

struct Resample {
    params: Params,
    stream: Option<Stream>,
    pool: Pool,
}

/// A stream whose format is known.
struct Stream {
    format: StreamFormat,
    /// Whether any of it has come: after a flush or its end another one may come.
    begun: bool,
    /// `None` where the rate is right already.
    converter: Option<Converter>,
    stamps: Stamps,
}

impl Stream {
    fn new(view: &AudioView<'_>, params: &Params) -> Result<Self, NodeError> {
        let format = StreamFormat::of(view);
        let (source_rate, target_rate) = (format.sample_rate, params.target_rate);
        let refused = |expected| NodeError::Input { found: describe(view), expected };
        if !(MIN_RATE..=MAX_RATE).contains(&source_rate) {
            return Err(refused(format!("audio at {MIN_RATE} to {MAX_RATE} Hz")));
        }
        let channels = usize::from(format.channels);
        let ratio = Ratio::of(source_rate, target_rate);
        let converter = (source_rate != target_rate)
            .then(|| Converter::new(ratio, params.quality, channels))
            .transpose();
        let converter = converter.map_err(|most| {
            refused(format!(
                "audio of up to {most} channels from {source_rate} to {target_rate} Hz"
            ))
        })?;
        Ok(Self { format, begun: false, converter, stamps: Stamps::default() })
    }

    /// Makes it as new.
    fn reset(&mut self) {
        self.begun = false;
        self.stamps = Stamps::default();
        if let Some(converter) = &mut self.converter {
            converter.reset();
        }
    }

    /// The header of an item that begins with this frame of the result.
    fn header(&self, converter: &Converter, frame: u64) -> Option<DataHeader> {
        let rate = self.format.sample_rate;
        let (begin, later) = converter.place(frame);
        let mut header = self.stamps.at(begin, rate)?;
        header.timestamp += Duration::from_secs_f64(later / f64::from(rate));
        Some(header)
    }
}

impl Resample {
    /// `frames` frames of a stream as an item, written by `write`.
    fn give(
        &mut self,
        frames: u64,
        output: &mut Output,
        write: impl FnOnce(&mut Converter, &mut [f32]),
    ) -> Result<(), NodeError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let Some(converter) = &mut stream.converter else { return Ok(()) };
        let channels = stream.format.channels;
        let bytes = frames.saturating_mul(u64::from(channels) * size_of::<f32>() as u64);
        if bytes > RuntimeData::MAX_PAYLOAD as u64 {
            return Err(NodeError::Input {
                found: format!("audio that becomes {frames} frames of {channels} channels"),
                expected: format!("items that become at most {} bytes", RuntimeData::MAX_PAYLOAD),
            });
        }
        if frames == 0 {
            write(converter, &mut []);
            return Ok(());
        }
        let mut buffer = self.pool.take(bytes as usize);
        let first = converter.frames_out();
        write(converter, buffer.samples());
        let payload = self.pool.seal(buffer);
        let rate = self.params.target_rate;
        let item = RuntimeData::audio(payload, rate, channels, AudioFormat::F32)?;
        let converter = stream.converter.as_ref().expect("it has just converted");
        output.push(match stream.header(converter, first) {
            Some(header) => item.made_from(&header),
            None => item,
        });
        let (begin, _) = converter.place(converter.frames_out());
        stream.stamps.forget_before(begin);
        Ok(())
    }
}

impl Node for Resample {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "interleaved f32 audio")?;
        let samples = f32_samples(&view)?;
        let stream = match &mut self.stream {
            Some(stream) if stream.begun || stream.format == StreamFormat::of(&view) => stream,
            none => none.insert(Stream::new(&view, &self.params)?),
        };
        stream.format.check(&view)?;
        stream.begun = true;
        let Some(converter) = &stream.converter else {
            output.push(input);
            return Ok(());
        };
        let ready = converter.ready(view.frames());
        stream.stamps.note(converter.frames_in(), input.header());
        self.give(ready, output, |converter, out| converter.push(&samples, out))
    }

    fn flush(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.reset();
        }
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        let converter = self.stream.as_ref().and_then(|stream| stream.converter.as_ref());
        let rest = converter.map_or(0, Converter::rest);
        self.give(rest, output, Converter::finish)?;
        self.flush();
        Ok(())
    }
}

/// What it takes and gives.
fn formats(params: &Params) -> NodeFormats {
    let target_rate = Values::only(params.target_rate);
    let sample_rate = Values::Range(MIN_RATE, MAX_RATE);
    NodeFormats::takes([AudioFormats { sample_rate, ..AudioFormats::f32() }]).gives_from(
        move |input| match input {
            Formats::Audio(audio) => {
                vec![AudioFormats { sample_rate: target_rate.clone(), ..audio.clone() }.into()]
            }
            _ => Vec::new(),
        },
    )
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "ResampleNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "changes the sample rate of f32 audio, without delay and with exact length"
            .to_owned(),
        parameters: vec![
            ParameterSpec::optional(
                "target_rate",
                ParameterKind::Integer,
                16_000,
                "sample rate to convert to; audio that has it already is given on untouched",
            )
            .range(f64::from(MIN_RATE), f64::from(MAX_RATE))
            .unit("Hz"),
            ParameterSpec::optional(
                "quality",
                ParameterKind::String,
                "high",
                "how much of the band is kept and how well the rest is rejected: 91 % and 120 dB \
                 (high), 80 % and 100 dB (medium), 68 % and 80 dB (low); less is waited for less",
            )
            .choices(["low", "medium", "high"]),
        ],
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        ..NodeMetadata::default()
    };
    define_with_formats(
        registry,
        metadata,
        |params, _| formats(params),
        |params, _| Ok(Resample { params, stream: None, pool: Pool::default() }),
    )
}

#[cfg(test)]
mod tests;
