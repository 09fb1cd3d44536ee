//! `AudioFileSourceNode`: the sound of one or several files, chunk by chunk.
//!
//! The files' formats are recognised by what they hold. The audio keeps the format of the files where
//! they are lossless, and is f32 where they are not. All files are opened and their headers read before
//! the first chunk, so that a missing or broken file fails a session before it starts. It does not pace
//! itself: chunks come as fast as they are taken.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rm_core::{
    AudioFormat, AudioFormats, AudioLayout, DataType, Formats, Node, NodeContext, NodeError,
    NodeFormats, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec, Produced,
    RegistryError, RuntimeData, Values,
};
use serde::Deserialize;
use serde_json::json;

use super::codec::{Input, Sound, SoundError, SoundInfo, frame_bytes};
use crate::define::{define_with_formats, wrong};
use crate::files::file_error;
use crate::input::StreamFormat;
use crate::pool::Pool;

const MAX_CHUNK_MS: u32 = 10_000;
const MAX_GAP_MS: u32 = 600_000;
/// Most bytes of one chunk, whatever format the header of a file names: headers are not trusted.
const MAX_CHUNK_BYTES: usize = 64 << 20;
/// The port on which each file's facts come.
const TAGS: &str = "tags";

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Params {
    path: Paths,
    chunk_ms: u32,
    gap_ms: u32,
    start_ms: u64,
    duration_ms: Option<u64>,
}

impl Params {
    fn paths(&self) -> &[String] {
        match &self.path {
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Many(paths) => paths,
        }
    }
}

/// What is read next.
enum Place {
    /// The next file, if there is one.
    Between,
    /// The rest of a file, at most so many frames.
    File(Box<Sound>, PathBuf, u64),
    /// So many frames of silence.
    Gap(u64),
}

struct AudioFileSource {
    paths: VecDeque<PathBuf>,
    params: Params,
    format: Option<StreamFormat>,
    place: Place,
    pool: Pool,
    /// When the first chunk was given.
    begin: Option<SystemTime>,
    /// Frames that have been given.
    position: u64,
}

fn read_error(path: &Path, error: SoundError) -> NodeError {
    match error {
        // A failing system call has a number; a file that ends early has none.
        SoundError::Io(error) if error.raw_os_error().is_some() => file_error("read", path, error),
        SoundError::Io(error) => file_error("decode", path, error),
        SoundError::Content(problem) => file_error("decode", path, problem),
    }
}

fn open(path: &Path) -> Result<Sound, NodeError> {
    let file = File::open(path).map_err(|error| file_error("open", path, error))?;
    Sound::open(Input::file(file)).map_err(|error| read_error(path, error))
}

/// Frames in `ms` milliseconds, rounded down.
fn frames_in(ms: u64, sample_rate: u32) -> u64 {
    u64::try_from(u128::from(ms) * u128::from(sample_rate) / 1000).unwrap_or(u64::MAX)
}

/// How long so many frames are, rounded down to nanoseconds.
pub(super) fn time_of(frames: u64, sample_rate: u32) -> Duration {
    let nanos = u128::from(frames) * 1_000_000_000 / u128::from(sample_rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl AudioFileSource {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        let paths = params.paths();
        if paths.is_empty() || paths.iter().any(String::is_empty) {
            return Err(wrong("path", "empty", "the path of a file or a list of them"));
        }
        Ok(Self {
            paths: paths.iter().map(|path| context.resolve_path(path)).collect(),
            params,
            format: None,
            place: Place::Between,
            pool: Pool::default(),
            begin: None,
            position: 0,
        })
    }

    /// The format that all files share, from the first one.
    fn check_files(&self) -> Result<StreamFormat, NodeError> {
        let first = &self.paths[0];
        let mut shared = None;
        for path in &self.paths {
            let sound = open(path)?;
            let SoundInfo { format, frames, .. } = *sound.info();
            let shared = *shared.get_or_insert(format);
            if format != shared {
                let message = format!(
                    "{} holds {format}, but {} holds {shared}; files that are read one after \
                     another must agree",
                    path.display(),
                    first.display(),
                );
                return Err(NodeError::Failed { message, source: None });
            }
            let start = self.params.start_ms;
            if let Some(frames) = frames
                && start > 0
                && frames_in(start, format.sample_rate) >= frames
            {
                let length = time_of(frames, format.sample_rate).as_millis();
                let expected = format!("less than the {length} ms of {}", path.display());
                return Err(wrong("start_ms", start, expected));
            }
        }
        shared.ok_or_else(not_initialised)
    }

    /// Opens the next file where reading begins, and says what is known of it.
    fn begin_file(&self, path: &Path, format: StreamFormat) -> Result<(Sound, u64), NodeError> {
        let mut sound = open(path)?;
        if sound.info().format != format {
            return Err(NodeError::Failed {
                message: format!("{} has changed since the start", path.display()),
                source: None,
            });
        }
        let Params { start_ms, duration_ms, .. } = self.params;
        if start_ms > 0 {
            let start = frames_in(start_ms, format.sample_rate);
            sound.skip(start).map_err(|error| read_error(path, error))?;
        }
        let most = duration_ms.map_or(u64::MAX, |ms| frames_in(ms, format.sample_rate));
        Ok((sound, most))
    }

    /// The next chunk, of at most `chunk` frames; `None` where all is read.
    fn next_chunk(
        &mut self,
        chunk: u64,
        format: StreamFormat,
        output: &mut Output,
    ) -> Result<Option<bytes::Bytes>, NodeError> {
        let frame_len = frame_bytes(format);
        let bytes_of = |frames: u64| frames as usize * frame_len;
        loop {
            match &mut self.place {
                Place::Between => {
                    let Some(path) = self.paths.pop_front() else {
                        return Ok(None);
                    };
                    let (sound, most) = self.begin_file(&path, format)?;
                    output.push_to(TAGS, facts(Some(&path), sound.info())?);
                    self.place = Place::File(Box::new(sound), path, most);
                }
                Place::File(sound, path, left) => {
                    let wanted = bytes_of(chunk.min(*left));
                    let mut buffer = self.pool.take(wanted);
                    let filled = sound.fill(buffer.bytes());
                    let filled = filled.map_err(|error| read_error(path, error))?;
                    *left -= (filled / frame_len) as u64;
                    let payload = self.pool.seal_first(buffer, filled);
                    if filled > 0 {
                        return Ok(Some(payload));
                    }
                    let gap = u64::from(self.params.gap_ms);
                    self.place = Place::Gap(frames_in(gap, format.sample_rate));
                }
                Place::Gap(0) => self.place = Place::Between,
                Place::Gap(left) => {
                    let frames = chunk.min(*left);
                    *left -= frames;
                    let mut buffer = self.pool.take(bytes_of(frames));
                    let silence = if format.format == AudioFormat::U8 { 128 } else { 0 };
                    buffer.bytes().fill(silence);
                    return Ok(Some(self.pool.seal(buffer)));
                }
            }
        }
    }
}

fn not_initialised() -> NodeError {
    NodeError::Failed { message: "the source was not initialised".to_owned(), source: None }
}

/// What the header of a sound says, for those who want more than its audio.
pub(super) fn facts(path: Option<&Path>, info: &SoundInfo) -> Result<RuntimeData, NodeError> {
    let SoundInfo { codec, format, frames, tags } = info;
    Ok(RuntimeData::json(&json!({
        "path": path.map(Path::to_string_lossy),
        "format": codec,
        "sample_rate": format.sample_rate,
        "channels": format.channels,
        "sample_format": format.format.name(),
        "frames": frames,
        "tags": tags.to_json(),
    }))?)
}

impl Node for AudioFileSource {
    fn initialize(&mut self) -> Result<(), NodeError> {
        self.format = Some(self.check_files()?);
        Ok(())
    }

    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        Err(NodeError::Input {
            found: input.data_type().to_string(),
            expected: "nothing; it is a source".to_owned(),
        })
    }

    fn produce(&mut self, output: &mut Output) -> Result<Produced, NodeError> {
        let format = self.format.ok_or_else(not_initialised)?;
        let StreamFormat { sample_rate, channels, format: sample } = format;
        let most = (MAX_CHUNK_BYTES / frame_bytes(format)).max(1) as u64;
        let chunk = frames_in(u64::from(self.params.chunk_ms), sample_rate).clamp(1, most);
        let Some(payload) = self.next_chunk(chunk, format, output)? else {
            return Ok(Produced::End);
        };
        let begin = *self.begin.get_or_insert_with(SystemTime::now);
        let time = begin + time_of(self.position, sample_rate);
        self.position += (payload.len() / frame_bytes(format)) as u64;
        let item = RuntimeData::audio(payload, sample_rate, channels, sample)?;
        output.push(item.with_timestamp(time));
        Ok(Produced::More)
    }
}

/// What the source gives: exactly that, where the first file can be looked at.
fn formats(params: &Params, context: &NodeContext) -> NodeFormats {
    let path = params.paths().first().map(|path| context.resolve_path(path));
    let sound = path.filter(|path| path.is_file()).and_then(|path| open(&path).ok());
    NodeFormats::source([match sound {
        Some(sound) => Formats::Audio(exactly(sound.info().format)),
        None => Formats::any(DataType::Audio),
    }])
}

fn exactly(format: StreamFormat) -> AudioFormats {
    AudioFormats {
        sample_rate: Values::only(format.sample_rate),
        channels: Values::only(format.channels),
        format: Values::only(format.format),
        layout: Values::only(AudioLayout::Interleaved),
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "AudioFileSourceNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "reads sound files (WAV; with the feature \"codecs\" also FLAC, MP3, Ogg Vorbis \
                      and Opus) and gives their audio in chunks, in the files' own sample format or, \
                      of lossy files, f32; what is known of each file comes before its audio as JSON \
                      on the port \"tags\""
            .to_owned(),
        capabilities: Vec::new(),
        parameters: vec![
            ParameterSpec::required(
                "path",
                ParameterKind::Paths,
                "a sound file, or several that are read one after another and share one format",
            ),
            ParameterSpec::optional(
                "chunk_ms",
                ParameterKind::Integer,
                20,
                "length of one chunk, at most 64 MiB; the last one of a file may be shorter",
            )
            .range(1.0, f64::from(MAX_CHUNK_MS))
            .unit("ms"),
            ParameterSpec::optional(
                "gap_ms",
                ParameterKind::Integer,
                0,
                "silence given after each file, also after the last one",
            )
            .range(0.0, f64::from(MAX_GAP_MS))
            .unit("ms"),
            ParameterSpec::optional(
                "start_ms",
                ParameterKind::Integer,
                0,
                "how much of the beginning of each file is left out",
            )
            .range(0.0, f64::from(u32::MAX))
            .unit("ms"),
            ParameterSpec::optional(
                "duration_ms",
                ParameterKind::Integer,
                serde_json::Value::Null,
                "how much of each file is read from there; null for all",
            )
            .range(0.0, f64::from(u32::MAX))
            .unit("ms"),
        ],
        accepts: Vec::new(),
        produces: vec![DataType::Audio, DataType::Json],
        source: true,
        output_ports: vec![TAGS.to_owned()],
        ..NodeMetadata::default()
    };
    define_with_formats(registry, metadata, formats, AudioFileSource::new)
}

#[cfg(test)]
mod tests;
