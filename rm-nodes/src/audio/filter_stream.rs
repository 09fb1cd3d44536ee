//! A stream of audio through a filter whose cutoff can change.
//!
//! Main type: [`FilterStream`], which the high-pass nodes share. It does not design filters. A change
//! of the cutoff is a glide of 20 ms, at the same frames however the stream is cut.

use rm_core::{
    AudioFormats, DataType, NodeError, NodeFormats, NodeMetadata, Output, ParameterKind,
    ParameterSpec, RuntimeData, Values,
};

use super::filter::{Cascade, Section};
use super::stream::{EXPECTED, MAX_RATE, admit, finite, stream_formats};
use crate::define::wrong;
use crate::input::{StreamFormat, audio, describe, f32_samples};
use crate::pool::Pool;

/// Steps in which a cutoff goes to another one, and how many of them a second has: 20 ms in all. With
/// one step a filter would ring louder than the sound.
const STEPS: u32 = 30;
const STEPS_PER_SECOND: u32 = 1_500;

/// The stream, once it has begun, and what writes its items.
pub(super) struct FilterStream {
    cutoff_hz: f64,
    glide: Option<Glide>,
    stream: Option<(StreamFormat, Cascade)>,
    pool: Pool,
    scratch: Vec<f32>,
}

/// The way from one cutoff to another.
struct Glide {
    from: f64,
    to: f64,
    /// Steps that have been made, and frames until the next one.
    step: u32,
    left: usize,
}

impl FilterStream {
    pub(super) fn new(cutoff_hz: f64) -> Self {
        let (glide, stream) = (None, None);
        Self { cutoff_hz, glide, stream, pool: Pool::default(), scratch: Vec::new() }
    }

    /// Gives the item filtered. `design` makes the sections of a cutoff at a sample rate.
    pub(super) fn process(
        &mut self,
        input: RuntimeData,
        design: impl Fn(f64, u32) -> Vec<Section>,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let view = audio(&input, EXPECTED)?;
        let samples = f32_samples(&view)?;
        let format = admit(self.stream.as_ref().map(|(format, _)| *format), &view)?;
        let StreamFormat { sample_rate, channels, format: samples_as } = format;
        if !is_below_nyquist(self.cutoff_hz, sample_rate) {
            let least = 2.0 * self.cutoff_hz;
            return Err(NodeError::Input {
                found: describe(&view),
                expected: format!("a sample rate above {least} Hz, which is twice cutoff_hz"),
            });
        }
        let (_, filter) = self.stream.get_or_insert_with(|| {
            let sections = design(self.cutoff_hz, sample_rate);
            (format, Cascade::new(sections, usize::from(channels)))
        });
        let mut buffer = self.pool.take(size_of_val(&*samples));
        let mut rest = finite(&samples, &mut self.scratch);
        let mut out: &mut [f32] = buffer.samples();
        while !rest.is_empty() {
            let frames = match &mut self.glide {
                None => rest.len(),
                Some(glide) => {
                    if glide.left == 0 {
                        self.cutoff_hz = glide.make_step(sample_rate);
                        filter.change(design(self.cutoff_hz, sample_rate));
                    }
                    glide.left
                }
            };
            let now = rest.len().min(frames * usize::from(channels));
            let (out_now, out_rest) = out.split_at_mut(now);
            filter.run(&rest[..now], out_now);
            (rest, out) = (&rest[now..], out_rest);
            if let Some(glide) = &mut self.glide {
                glide.left -= now / usize::from(channels);
                if glide.step == STEPS {
                    self.glide = None;
                }
            }
        }
        let payload = self.pool.seal(buffer);
        let item = RuntimeData::audio(payload, sample_rate, channels, samples_as)?;
        output.push(item.made_from(input.header()));
        Ok(())
    }

    /// Forgets the stream; one that comes then begins with the cutoff that was to be reached.
    pub(super) fn flush(&mut self) {
        if let Some(glide) = self.glide.take() {
            self.cutoff_hz = glide.to;
        }
        self.stream = None;
    }

    /// Goes to another cutoff, beginning with the next frame.
    pub(super) fn change(&mut self, cutoff_hz: f64) -> Result<(), NodeError> {
        let Some((StreamFormat { sample_rate, .. }, _)) = self.stream else {
            self.cutoff_hz = cutoff_hz;
            return Ok(());
        };
        if !is_below_nyquist(cutoff_hz, sample_rate) {
            let expected = format!("less than half of the sample rate, which is {sample_rate} Hz");
            return Err(wrong("cutoff_hz", cutoff_hz, expected));
        }
        self.glide = Some(Glide { from: self.cutoff_hz, to: cutoff_hz, step: 0, left: 0 });
        Ok(())
    }
}

impl Glide {
    /// The cutoff after the next step; they are even in pitch.
    fn make_step(&mut self, sample_rate: u32) -> f64 {
        self.step += 1;
        self.left = (sample_rate / STEPS_PER_SECOND).max(1) as usize;
        if self.step == STEPS {
            return self.to;
        }
        self.from * (self.to / self.from).powf(f64::from(self.step) / f64::from(STEPS))
    }
}

/// What a filter of a cutoff takes and gives.
pub(super) fn formats(cutoff_hz: f64) -> NodeFormats {
    let rates = Values::Range((2.0 * cutoff_hz) as u32 + 1, MAX_RATE);
    let all = stream_formats();
    let sample_rate = all.sample_rate.and(&rates).expect("cutoffs are below half of the highest");
    NodeFormats::takes([AudioFormats { sample_rate, ..all }])
}

fn is_below_nyquist(cutoff_hz: f64, sample_rate: u32) -> bool {
    2.0 * cutoff_hz < f64::from(sample_rate)
}

/// The parameter `cutoff_hz`.
pub(super) fn cutoff(default: f64, min: f64) -> ParameterSpec {
    ParameterSpec::optional(
        "cutoff_hz",
        ParameterKind::Float,
        default,
        "where the level has fallen by 3 dB; below half of the sample rate",
    )
    .range(min, 190_000.0)
    .unit("Hz")
}

/// What is known of a node that filters.
pub(super) fn metadata(
    name: &str,
    description: &str,
    parameters: Vec<ParameterSpec>,
) -> NodeMetadata {
    NodeMetadata {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: description.to_owned(),
        parameters,
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        ..NodeMetadata::default()
    }
}

#[cfg(test)]
mod tests;
