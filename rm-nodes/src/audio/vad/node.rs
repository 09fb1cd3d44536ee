//! `VADNode`: cuts a stream of mono f32 audio into segments of speech.
//!
//! Each frame gets a score ([`Scorer`]; that of a model is known some frames later), the scores become segments ([`Segmenter`]), and what is
//! asked for is given: JSON that says where a segment lies, its audio, or the whole stream with
//! silence outside of the segments ([`Gate`]). Frames are aligned to the start of the stream, so the
//! result does not depend on how it is cut. An item carries the time of its own first sample.
//!
//! Beside it, the port `segments` has the JSON of every segment whatever the output is, and the port
//! `events` says at once that speech begins (after `onset_ms` of it) and ends (after
//! `min_silence_ms` without it), before it is known what the segment will be.
//!
//! It keeps as headers and audio what segments to come may still contain: the padding, and for their
//! audio the segment that is open; for gated output only until it is long enough not to be dropped.

use std::collections::VecDeque;

use rm_core::{
    AudioFormat, DataHeader, DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output,
    RegistryError, RuntimeData,
};
use serde_json::{Value, json};

use super::frames::Frames;
use super::gate::{Gate, Held};
use super::params::{Give, MAX_RATE, MIN_RATE, Mode, Params, specs};
use super::scorer::{Scorer, energy, level_db};
use super::segmenter::{Segment, Segmenter, Step, Turn};
use crate::define::{changed, define_with_formats};
use crate::input::{audio, describe, f32_samples};
use crate::pool::Pool;
use crate::stamps::Stamps;

/// The output ports.
const SEGMENTS: &str = "segments";
const EVENTS: &str = "events";

struct Vad {
    params: Params,
    stream: Option<Stream>,
    pool: Pool,
}

/// A stream whose sample rate is known.
struct Stream {
    sample_rate: u32,
    output: Give,
    frames: Frames,
    scorer: Scorer,
    segmenter: Segmenter,
    /// The frame being filled, where an item ends within it, and its number.
    piece: Vec<f32>,
    frame: u64,
    /// Samples taken so far, without those of the piece.
    taken: u64,
    /// Energies of the last frames, which have no score yet.
    waiting: VecDeque<f64>,
    /// The latest score.
    score: f32,
    /// Headers of the inputs that are still needed.
    stamps: Stamps,
    /// The header of the first sample of the segment that is open.
    opened: Option<DataHeader>,
    /// The samples that are still needed, where audio is given.
    held: Held,
    gate: Gate,
}

impl Stream {
    fn new(params: &Params, sample_rate: u32) -> Self {
        let frames = Frames::new(params.frame_ms(), sample_rate);
        Self {
            sample_rate,
            output: params.output,
            frames,
            scorer: match params.mode {
                Mode::Energy => Scorer::Energy,
                Mode::Model => Scorer::model(),
            },
            segmenter: Segmenter::new(params.rules()),
            piece: Vec::with_capacity(frames.len(0)),
            frame: 0,
            taken: 0,
            waiting: VecDeque::new(),
            score: f32::NEG_INFINITY,
            stamps: Stamps::default(),
            opened: None,
            held: Held::default(),
            gate: Gate::new(params.fade(sample_rate)),
        }
    }

    fn push(
        &mut self,
        mut samples: &[f32],
        header: &DataHeader,
        pool: &mut Pool,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        if !samples.is_empty() {
            self.stamps.note(self.taken + self.piece.len() as u64, header);
        }
        loop {
            let missing = self.frames.len(self.frame) - self.piece.len();
            let Some((now, later)) = samples.split_at_checked(missing) else { break };
            samples = later;
            if self.piece.is_empty() {
                self.judge(now, pool, output)?;
            } else {
                let mut frame = std::mem::take(&mut self.piece);
                frame.extend_from_slice(now);
                self.judge(&frame, pool, output)?;
                frame.clear();
                self.piece = frame;
            }
        }
        self.piece.extend_from_slice(samples);
        self.let_through(pool, output)
    }

    /// Judges the last, shorter frame and those that wait for a score, and gives what is open.
    fn finish(&mut self, pool: &mut Pool, output: &mut Output) -> Result<(), NodeError> {
        let rest = std::mem::take(&mut self.piece);
        if !rest.is_empty() {
            self.judge(&rest, pool, output)?;
        }
        while let Some(energy) = self.waiting.pop_front() {
            let step = self.segmenter.push(self.score, energy);
            self.follow(step, pool, output)?;
        }
        let step = self.segmenter.finish();
        self.follow(step, pool, output)?;
        self.gate.learn(false, self.taken);
        self.let_through(pool, output)
    }

    /// Drops what is open. Frames without a score and what there is of the next one count as silence,
    /// so that the frames stay where they are.
    fn flush(&mut self) {
        self.scorer.reset();
        self.segmenter.reset();
        for _ in self.waiting.drain(..) {
            self.segmenter.push(f32::NEG_INFINITY, 0.0);
        }
        self.segmenter.reset();
        self.piece.fill(0.0);
        self.opened = None;
        self.held.restart_at(self.taken);
        self.gate.restart_at(self.taken);
    }

    fn judge(
        &mut self,
        frame: &[f32],
        pool: &mut Pool,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let energy = energy(frame);
        self.score = self.scorer.score(frame, energy);
        self.waiting.push_back(energy);
        if self.output != Give::Segments {
            self.held.extend(frame);
        }
        self.taken += frame.len() as u64;
        self.frame += 1;
        if self.waiting.len() > self.scorer.lag()
            && let Some(energy) = self.waiting.pop_front()
        {
            let step = self.segmenter.push(self.score, energy);
            self.follow(step, pool, output)?;
            self.forget();
        }
        Ok(())
    }

    /// Gives what follows from a frame.
    fn follow(
        &mut self,
        Step { segment, turn }: Step,
        pool: &mut Pool,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        if let Some(turn) = turn {
            self.tell(turn, output)?;
        }
        if let Some(segment) = segment {
            self.give(&segment, pool, output)?;
        }
        match self.segmenter.opened().map(|frame| self.sample(frame)) {
            None => self.opened = None,
            // The segment may go on from a cut behind what has come so far.
            Some(first) if self.opened.is_none() && first < self.taken => {
                self.opened = self.stamps.at(first, self.sample_rate);
            }
            Some(_) => {}
        }
        if self.output == Give::Gated {
            let certain = self.segmenter.certain();
            if let Some(start) = certain.speech_from {
                self.gate.learn(false, self.sample(start));
            }
            self.gate.learn(certain.speech_from.is_some(), self.sample(certain.until));
        }
        Ok(())
    }

    fn tell(&self, turn: Turn, output: &mut Output) -> Result<(), NodeError> {
        let (Turn::Begin { at } | Turn::End { at, .. }) = turn;
        let at_ms = self.ms(at);
        let event = match turn {
            Turn::Begin { .. } => json!({"speech": true, "at_ms": at_ms}),
            Turn::End { kept, .. } => json!({"speech": false, "at_ms": at_ms, "kept": kept}),
        };
        let header = self.stamps.at(self.sample(at), self.sample_rate);
        output.push_to(EVENTS, stamped(RuntimeData::json(&event)?, header.as_ref()));
        Ok(())
    }

    fn give(
        &mut self,
        segment: &Segment,
        pool: &mut Pool,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let (start, end) = (self.sample(segment.start), self.sample(segment.end));
        let header = self.opened.take().or_else(|| self.stamps.at(start, self.sample_rate));
        let speech = self.sample(segment.speech_end) - self.sample(segment.speech_start);
        let place = RuntimeData::json(&json!({
            "start_ms": self.ms(segment.start),
            "end_ms": self.ms(segment.end),
            "energy_db": level_db(segment.energy / speech as f64),
        }))?;
        let place = stamped(place, header.as_ref());
        match self.output {
            Give::Segments => output.push(place.clone()),
            Give::Speech => {
                let count = usize::try_from(end - start).expect("what is held fits in memory");
                let mut buffer = pool.take(count * size_of::<f32>());
                self.held.copy_to(start, buffer.samples());
                let speech =
                    RuntimeData::audio(pool.seal(buffer), self.sample_rate, 1, AudioFormat::F32)?;
                output.push(stamped(speech, header.as_ref()));
            }
            Give::Gated => {
                self.gate.learn(false, start);
                self.gate.learn(true, end);
            }
        }
        output.push_to(SEGMENTS, place);
        Ok(())
    }

    /// Gives what is known of the gated stream.
    fn let_through(&mut self, pool: &mut Pool, output: &mut Output) -> Result<(), NodeError> {
        let (first, count) = (self.gate.next(), self.gate.ready());
        if self.output != Give::Gated || count == 0 {
            return Ok(());
        }
        let mut buffer = pool.take(count * size_of::<f32>());
        self.gate.write(&self.held, buffer.samples());
        self.held.forget_before(self.gate.next());
        let item = RuntimeData::audio(pool.seal(buffer), self.sample_rate, 1, AudioFormat::F32)?;
        let header = self.stamps.at(first, self.sample_rate);
        output.push(stamped(item, header.as_ref()));
        Ok(())
    }

    /// Drops what nothing that is to come needs any more.
    fn forget(&mut self) {
        let turn = self.sample(self.segmenter.turn_from());
        match self.output {
            Give::Segments => self.stamps.forget_before(turn),
            Give::Speech => {
                self.stamps.forget_before(turn);
                self.held.forget_before(self.sample(self.segmenter.keep_from()));
            }
            // Its samples are dropped as they are given.
            Give::Gated => self.stamps.forget_before(turn.min(self.gate.next())),
        }
    }

    /// The number of the first sample of a frame, or of the end of the stream so far.
    fn sample(&self, frame: u64) -> u64 {
        self.frames.sample(frame, self.taken)
    }

    /// The same in milliseconds.
    fn ms(&self, frame: u64) -> f64 {
        self.frames.ms(frame, self.taken)
    }
}

fn stamped(item: RuntimeData, header: Option<&DataHeader>) -> RuntimeData {
    match header {
        Some(header) => item.made_from(header),
        None => item,
    }
}

impl Node for Vad {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "mono f32 audio")?;
        let wrong = |expected: String| NodeError::Input { found: describe(&view), expected };
        if view.channels != 1 {
            let advice = "mono audio; put a FormatConverterNode with channels 1 before it";
            return Err(wrong(advice.to_owned()));
        }
        let samples = f32_samples(&view)?;
        let begun_with = self.stream.as_ref().map(|stream| stream.sample_rate);
        let expected_rate = begun_with.or(self.params.rate());
        if let Some(rate) = expected_rate.filter(|rate| *rate != view.sample_rate) {
            return Err(wrong(format!("{rate} Hz; put a ResampleNode before it")));
        }
        if !(MIN_RATE..=MAX_RATE).contains(&view.sample_rate) {
            return Err(wrong(format!("audio of {MIN_RATE} to {MAX_RATE} Hz")));
        }
        let new = || Stream::new(&self.params, view.sample_rate);
        let stream = self.stream.get_or_insert_with(new);
        stream.push(&samples, input.header(), &mut self.pool, output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, params)?;
        self.params = params.checked_change(&self.params)?;
        if let Some(stream) = &mut self.stream {
            stream.segmenter.set_rules(self.params.rules());
        }
        Ok(())
    }

    fn flush(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.flush();
        }
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        match self.stream.take() {
            Some(mut stream) => stream.finish(&mut self.pool, output),
            None => Ok(()),
        }
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "VADNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "finds speech in mono f32 audio, and gives its segments, their audio, or the \
                      audio with silence outside of them"
            .to_owned(),
        parameters: specs(),
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Json, DataType::Audio],
        output_ports: vec![SEGMENTS.to_owned(), EVENTS.to_owned()],
        ..NodeMetadata::default()
    };
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| params.formats(),
        |params, _| Ok(Vad { params: params.checked()?, stream: None, pool: Pool::default() }),
    )
}

#[cfg(test)]
mod tests;
