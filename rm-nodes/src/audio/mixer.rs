//! `AudioMixerNode`: the sum of several inputs, aligned in time.
//!
//! An input is whatever comes from one node by one port of this one. All have one sample rate and one
//! channel count. The sum goes out in blocks of `block_ms` on one timeline; it is not clipped, so put
//! a LimiterNode behind it.
//!
//! **Where a sample lies.** With `align` = `timestamp` an item lies where its timestamp says, to the
//! nearest frame. An item that begins within `tolerance_ms` of the end of the one before continues it,
//! so rounding and jitter leave no seams. After a gap there is silence in between; of an item that
//! begins earlier, what overlaps is dropped. With `align` = `start` the first sample of every input
//! lies at time 0 and items follow each other without looking at timestamps; an input that comes or
//! goes on when the mix is further goes on where the mix is. So two files that are read from their
//! start lie on each other to the sample, whenever their sources began.
//!
//! **What is waited for.** A block is mixed once every input has audio up to its end. How fast that
//! comes does not matter, so the result is the same in every run, as long as inputs keep coming: one
//! that has given nothing for `max_wait_ms`, by the clock, while the mix had to wait for it, is given
//! up until it gives again. What it then gives for blocks that are gone is dropped. Nor is an input
//! waited for that is more than 10 s behind the mix, and when 256 MiB are held there is no waiting at
//! all. How many inputs there are is said by `inputs`; where it is not known, the first `max_wait_ms`
//! are given to inputs to show themselves. Where `max_wait_ms` is null the clock plays no part. At the
//! end everything that is left is mixed. If no input has audio for more than 10 s, the mix goes on
//! behind that gap instead of filling it.

mod track;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use rm_core::{
    AudioView, DataHeader, DataType, InputSite, Node, NodeContext, NodeError, NodeFormats,
    NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::track::Track;
use super::grid::Grid;
use super::level::amplitude;
use super::stream::{EXPECTED, admit, stream_formats};
use crate::define::{changed, define_with_formats, wrong};
use crate::input::{StreamFormat, audio, describe, f32_samples};
use crate::pool::Pool;

/// The ports of inputs that do not come from different nodes.
const PORTS: [&str; 8] = ["in1", "in2", "in3", "in4", "in5", "in6", "in7", "in8"];
/// Longest silence that is filled, and furthest behind the mix that an input is waited for.
const MAX_GAP: Duration = Duration::from_secs(10);
/// Most samples that are held, of all inputs: 256 MiB.
const MAX_HELD: usize = 64 << 20;
/// Places beyond this are taken for it, so that sums of places cannot overflow.
const FAR: i128 = 1 << 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Align {
    Timestamp,
    Start,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    inputs: usize,
    align: Align,
    block_ms: u32,
    max_wait_ms: Option<u64>,
    tolerance_ms: f64,
    gains_db: BTreeMap<String, f64>,
}

impl Params {
    fn check(&self) -> Result<(), NodeError> {
        match self.gains_db.values().find(|gain| !(-120.0..=60.0).contains(*gain)) {
            Some(gain) => Err(wrong("gains_db", gain, "gains from -120 to 60 dB by node id")),
            None => Ok(()),
        }
    }

    /// The factor of an input: that of its port, if it has one, or of the node that it comes from.
    fn factor(&self, from: &str, port: &str) -> f32 {
        let gain = self.gains_db.get(port).or_else(|| self.gains_db.get(from));
        amplitude(gain.copied().unwrap_or(0.0)) as f32
    }
}

/// What all inputs have in common.
struct Stream {
    format: StreamFormat,
    channels: usize,
    blocks: Grid,
    /// The time of place 0, at the first frame that came.
    origin: SystemTime,
    /// Header of the item that came last.
    header: DataHeader,
    /// When the first item came.
    since: Instant,
}

/// How far the mix has come: to block `block`, counted from a place.
#[derive(Debug, Clone, Copy)]
struct Mixed {
    from: i64,
    block: u64,
}

struct Mixer {
    params: Params,
    /// Number of inputs that there will be; 0 where it is not known.
    expected: usize,
    /// Whether inputs that have not given anything are not waited for any more.
    is_settled: bool,
    stream: Option<Stream>,
    /// In the order of their names, so that sums are rounded the same way in every run.
    tracks: Vec<Track>,
    mixed: Option<Mixed>,
    /// When the mix first had to wait for an input with its next block; `None` where it does not.
    waiting_since: Option<Instant>,
    /// Most samples that are held before there is no waiting any more.
    max_held: usize,
    pool: Pool,
}

impl Stream {
    fn new(view: &AudioView<'_>, header: &DataHeader, block_ms: u32) -> Result<Self, NodeError> {
        let format = admit(None, view)?;
        Ok(Self {
            format,
            channels: usize::from(format.channels),
            blocks: Grid::every_ms(block_ms, format.sample_rate),
            origin: header.timestamp,
            header: header.clone(),
            since: Instant::now(),
        })
    }

    fn frames(&self, duration: Duration) -> i64 {
        let frames = duration.as_nanos() * u128::from(self.format.sample_rate);
        i128::try_from((frames + 500_000_000) / 1_000_000_000).map_or(FAR, |n| n.min(FAR)) as i64
    }

    /// The place at which a time lies, to the nearest frame.
    fn place(&self, time: SystemTime) -> i64 {
        match time.duration_since(self.origin) {
            Ok(after) => self.frames(after),
            Err(error) => -self.frames(error.duration()),
        }
    }

    /// The time of a place.
    fn time(&self, place: i64) -> SystemTime {
        let rate = u64::from(self.format.sample_rate);
        let (seconds, rest) = (place.unsigned_abs() / rate, place.unsigned_abs() % rate);
        let nanos = rest * 1_000_000_000 / rate;
        let distance = Duration::from_secs(seconds) + Duration::from_nanos(nanos);
        let time = match place {
            0.. => self.origin.checked_add(distance),
            _ => self.origin.checked_sub(distance),
        };
        time.unwrap_or(self.origin)
    }

    /// Where block `mixed.block` begins and ends.
    fn block(&self, mixed: Mixed) -> (i64, i64) {
        let at = |index| mixed.from + self.blocks.at(index) as i64;
        (at(mixed.block), at(mixed.block + 1))
    }
}

impl Mixer {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        params.check()?;
        let known = context.metadata.get(NodeContext::INPUTS).and_then(Value::as_u64);
        let known = known.and_then(|inputs| usize::try_from(inputs).ok()).unwrap_or(0);
        Ok(Self {
            expected: if params.inputs > 0 { params.inputs } else { known },
            params,
            is_settled: false,
            stream: None,
            tracks: Vec::new(),
            mixed: None,
            waiting_since: None,
            max_held: MAX_HELD,
            pool: Pool::default(),
        })
    }

    /// The input of this name, which there is from now on.
    fn track(&mut self, from: &str, port: &str) -> &mut Track {
        let found = self.tracks.binary_search_by(|track| track.name().cmp(&(from, port)));
        let place = found.unwrap_or_else(|place| {
            self.tracks.insert(place, Track::new(from, port, self.params.factor(from, port)));
            place
        });
        &mut self.tracks[place]
    }

    /// Holds the samples of an item where they belong.
    fn hold(&mut self, name: (&str, &str), samples: &[f32], header: &DataHeader) {
        let (align, tolerance) = (self.params.align, self.params.tolerance_ms / 1000.0);
        let Some(stream) = &mut self.stream else {
            return;
        };
        stream.header.clone_from(header);
        let channels = stream.channels;
        let (stamped, tolerance) = (
            stream.place(header.timestamp),
            stream.frames(Duration::from_secs_f64(tolerance)).max(1),
        );
        let reached = self.mixed.map(|mixed| stream.block(mixed).0);
        let track = self.track(name.0, name.1);
        let start = match (align, track.end()) {
            (Align::Start, end) => end.max(reached).unwrap_or(0),
            (Align::Timestamp, None) => stamped,
            (Align::Timestamp, Some(end)) if (stamped - end).abs() <= tolerance => end,
            (Align::Timestamp, Some(_)) => stamped,
        };
        // Before this place there is something of this input already, or the mix is over.
        let free = track.end().max(reached).unwrap_or(start);
        let gone = usize::try_from(free - start).unwrap_or(0).saturating_mul(channels);
        let end = start + (samples.len() / channels) as i64;
        track.hold(free.max(start), samples.get(gone..).unwrap_or(&[]), channels, end);
    }

    /// Mixes the blocks that are complete.
    fn mix(&mut self, output: &mut Output) -> Result<(), NodeError> {
        while !self.waits_for_others() && self.first().is_some() && self.late().next().is_none() {
            self.mix_block(i64::MAX, output)?;
        }
        if self.late().next().is_some() {
            self.waiting_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// The next block: that behind the last one, or behind a long gap that in which there is sound
    /// again. `None` where nothing is held.
    fn next(&self) -> Option<Mixed> {
        let (stream, first) = (self.stream.as_ref()?, self.first()?);
        let is_near = |mixed: &Mixed| first - stream.block(*mixed).0 <= stream.frames(MAX_GAP);
        Some(self.mixed.filter(is_near).unwrap_or(Mixed { from: first, block: 0 }))
    }

    /// Forgets the stream, so that another one may come.
    fn begin_anew(&mut self) {
        (self.stream, self.mixed, self.waiting_since) = (None, None, None);
        self.is_settled = false;
    }

    /// The first place of what is held.
    fn first(&self) -> Option<i64> {
        self.tracks.iter().filter_map(Track::start).min()
    }

    /// Whether there may be inputs that have not given anything yet.
    fn waits_for_others(&self) -> bool {
        let all = self.expected > 0 && self.tracks.len() >= self.expected;
        !self.is_settled && !all
    }

    /// The ends of the inputs that the next block has to wait for; `None` where nothing is held.
    fn awaited_ends(&self) -> Option<Range<i64>> {
        let stream = self.stream.as_ref()?;
        // Behind a long gap it still counts where the mix stood before.
        let reached = self.mixed.map(|mixed| stream.block(mixed).0);
        let far = reached.map_or(i64::MIN, |reached| reached - stream.frames(MAX_GAP));
        Some(far..stream.block(self.next()?).1)
    }

    /// The inputs that the next block has to wait for.
    fn late(&self) -> impl Iterator<Item = &Track> {
        let ends = self.awaited_ends();
        let tracks = self.tracks.iter();
        tracks.filter(move |track| ends.as_ref().is_some_and(|ends| track.is_late(ends)))
    }

    /// Mixes the next block, which ends at `most` at the latest.
    fn mix_block(&mut self, most: i64, output: &mut Output) -> Result<(), NodeError> {
        let (Some(stream), Some(mixed)) = (&self.stream, self.next()) else {
            return Ok(());
        };
        let (start, end) = stream.block(mixed);
        let frames = usize::try_from(end.min(most) - start).expect("something is held before");
        let mut buffer = self.pool.take(frames * stream.channels * size_of::<f32>());
        let out: &mut [f32] = buffer.samples();
        out.fill(0.0);
        for track in &mut self.tracks {
            track.mix(start, out, stream.channels);
        }
        let StreamFormat { sample_rate, channels, format } = stream.format;
        let item = RuntimeData::audio(self.pool.seal(buffer), sample_rate, channels, format)?;
        output.push(item.made_from(&stream.header).with_timestamp(stream.time(start)));
        self.mixed = Some(Mixed { block: mixed.block + 1, ..mixed });
        self.waiting_since = None;
        Ok(())
    }
}

impl Node for Mixer {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        self.process_from(InputSite::default(), input, output)
    }

    fn process_from(
        &mut self,
        site: InputSite<'_>,
        input: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let view = audio(&input, EXPECTED)?;
        let samples = f32_samples(&view)?;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(Stream::new(&view, input.header(), self.params.block_ms)?),
        };
        let name = (site.from.map_or("", |from| from.as_str()), site.port.unwrap_or(""));
        if stream.format != StreamFormat::of(&view) {
            return Err(NodeError::Input {
                found: format!("{} from {}", describe(&view), Named(name)),
                expected: format!("{} as from the first input", stream.format),
            });
        }
        self.hold(name, &samples, input.header());
        while self.tracks.iter().map(Track::held).sum::<usize>() > self.max_held {
            self.mix_block(i64::MAX, output)?;
        }
        self.mix(output)
    }

    fn set_params(&mut self, change: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, change)?;
        params.check()?;
        let old = &self.params;
        let fixed = [
            ("inputs", params.inputs == old.inputs),
            ("align", params.align == old.align),
            ("block_ms", params.block_ms == old.block_ms),
        ];
        if let Some((name, _)) = fixed.iter().find(|(_, is_same)| !is_same) {
            return Err(wrong(name, &change[*name], "what it was; it cannot change in a mix"));
        }
        for track in &mut self.tracks {
            let (from, port) = track.name();
            track.change_gain(params.factor(from, port));
        }
        self.params = params;
        Ok(())
    }

    fn flush(&mut self) {
        self.tracks.iter_mut().for_each(Track::clear);
        self.begin_anew();
    }

    fn due(&self) -> Option<Instant> {
        let wait = Duration::from_millis(self.params.max_wait_ms?);
        let stream = self.stream.as_ref()?;
        if self.tracks.iter().all(|track| track.start().is_none()) {
            return None;
        }
        if self.waits_for_others() {
            return Some(stream.since + wait);
        }
        let since = self.late().map(|track| track.awaited_since(self.waiting_since));
        Some(since.min()? + wait)
    }

    fn on_time(&mut self, now: Instant, output: &mut Output) -> Result<(), NodeError> {
        let Some(wait) = self.params.max_wait_ms.map(Duration::from_millis) else {
            return Ok(());
        };
        if self.stream.as_ref().is_some_and(|stream| stream.since + wait <= now) {
            self.is_settled = true;
        }
        if let Some(ends) = self.awaited_ends() {
            let since = self.waiting_since;
            let is_over = |track: &Track| track.awaited_since(since) + wait <= now;
            let late = self.tracks.iter_mut().filter(|track| track.is_late(&ends));
            late.filter(|track| is_over(track)).for_each(Track::give_up);
        }
        self.mix(output)
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        while self.first().is_some() {
            let held = self.tracks.iter().filter(|track| track.start().is_some());
            let end = held.filter_map(Track::end).max().unwrap_or(0);
            self.mix_block(end, output)?;
        }
        self.tracks.clear();
        self.begin_anew();
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    use ParameterKind::{Float, Integer, Object, String};
    let max_wait = ParameterSpec::optional(
        "max_wait_ms",
        Integer,
        200,
        "how long, by the clock, the mix waits for an input that gives nothing; null for ever",
    )
    .range(0.0, 3_600_000.0)
    .unit("ms");
    let metadata = NodeMetadata {
        name: "AudioMixerNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "adds up several inputs, aligned by their timestamps or by their start"
            .to_owned(),
        parameters: vec![
            ParameterSpec::optional(
                "inputs",
                Integer,
                0,
                "number of inputs to wait for at the start; 0 where it is not known",
            )
            .range(0.0, 1_000.0),
            ParameterSpec::optional(
                "align",
                String,
                "timestamp",
                "where items lie: where their timestamps say, or one after another from the \
                 first sample of each input",
            )
            .choices(["timestamp", "start"]),
            ParameterSpec::optional("block_ms", Integer, 20, "length of the items that it gives")
                .range(1.0, 1_000.0)
                .unit("ms"),
            ParameterSpec { nullable: true, ..max_wait },
            ParameterSpec::optional(
                "tolerance_ms",
                Float,
                0.5,
                "how far the timestamp of an item may be from the end of the one before and the \
                 item still follow it without a seam; at least one frame",
            )
            .range(0.0, 1_000.0)
            .unit("ms"),
            ParameterSpec::optional(
                "gains_db",
                Object,
                Map::new(),
                "gain in dB of each input by the id of the node that it comes from, or by the \
                 port that it comes to",
            ),
        ],
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        input_ports: PORTS.map(str::to_owned).to_vec(),
        timed: true,
        ..NodeMetadata::default()
    };
    define_with_formats(
        registry,
        metadata,
        |_: &Params, _| NodeFormats::takes([stream_formats()]),
        Mixer::new,
    )
}

/// An input in messages.
struct Named<'a>((&'a str, &'a str));

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, port) = self.0;
        match (from.is_empty(), port.is_empty()) {
            (true, true) => f.write_str("outside"),
            (true, false) => write!(f, "outside by port {port:?}"),
            (false, true) => write!(f, "node {from:?}"),
            (false, false) => write!(f, "node {from:?} by port {port:?}"),
        }
    }
}

#[cfg(test)]
mod tests;
