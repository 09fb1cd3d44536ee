//! `AudioFileSourceNode`: the sound of one or several WAV files, chunk by chunk.
//!
//! The audio keeps the format of the files. All files are opened and their headers read before
//! the first chunk, so that a missing or broken file fails a session before it starts. It does
//! not pace itself: chunks come as fast as they are taken.

use std::collections::VecDeque;
use std::path::PathBuf;

use rm_core::{
    AudioFormat, DataType, Node, NodeContext, NodeError, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, Produced, RegistryError, RuntimeData,
};
use serde::Deserialize;

use super::buffer::SampleBuffer;
use super::wav::WavSource;
use crate::input::StreamFormat;

const MAX_CHUNK_MS: u32 = 10_000;
const MAX_GAP_MS: u32 = 600_000;

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    path: Paths,
    chunk_ms: u32,
    gap_ms: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { path: Paths::Many(Vec::new()), chunk_ms: 20, gap_ms: 0 }
    }
}

/// What is read next.
enum Place {
    /// The next file, if there is one.
    Between,
    /// The rest of a file.
    File(WavSource),
    /// So many frames of silence.
    Gap(usize),
}

struct AudioFileSource {
    paths: VecDeque<PathBuf>,
    chunk_ms: u32,
    gap_ms: u32,
    format: Option<StreamFormat>,
    place: Place,
}

impl AudioFileSource {
    fn new(context: &NodeContext) -> Result<Self, NodeError> {
        let params: Params = context.parse_params()?;
        let paths = match params.path {
            Paths::One(path) => vec![path],
            Paths::Many(paths) => paths,
        };
        if paths.is_empty() || paths.iter().any(String::is_empty) {
            return Err(NodeError::Param {
                name: "path",
                problem: "is empty, expected the path of a WAV file or a list of them".to_owned(),
            });
        }
        let in_range = |name, value: u32, min: u32, max: u32| match (min..=max).contains(&value) {
            true => Ok(()),
            false => Err(NodeError::Param {
                name,
                problem: format!("is {value}, expected from {min} to {max} ms"),
            }),
        };
        in_range("chunk_ms", params.chunk_ms, 1, MAX_CHUNK_MS)?;
        in_range("gap_ms", params.gap_ms, 0, MAX_GAP_MS)?;
        Ok(Self {
            paths: paths.iter().map(|path| context.resolve_path(path)).collect(),
            chunk_ms: params.chunk_ms,
            gap_ms: params.gap_ms,
            format: None,
            place: Place::Between,
        })
    }

    /// The format that all files share, from the first one.
    fn check_files(&self) -> Result<StreamFormat, NodeError> {
        let first = &self.paths[0];
        let format = WavSource::open(first)?.format();
        for path in self.paths.iter().skip(1) {
            let other = WavSource::open(path)?.format();
            if other != format {
                let message = format!(
                    "{} holds {other}, but {} holds {format}; files that are read one after \
                     another must agree",
                    path.display(),
                    first.display(),
                );
                return Err(NodeError::Failed { message, source: None });
            }
        }
        Ok(format)
    }

    fn format(&self) -> Result<StreamFormat, NodeError> {
        self.format.ok_or_else(|| NodeError::Failed {
            message: "the source was not initialised".to_owned(),
            source: None,
        })
    }
}

/// Frames in `ms` milliseconds, rounded down.
fn frames_in(ms: u32, sample_rate: u32) -> usize {
    usize::try_from(u64::from(ms) * u64::from(sample_rate) / 1000).unwrap_or(usize::MAX)
}

fn silence(frames: usize, format: StreamFormat) -> SampleBuffer {
    let frame_bytes = usize::from(format.channels) * format.format.bytes_per_sample();
    let mut buffer = SampleBuffer::zeroed(frames * frame_bytes);
    if format.format == AudioFormat::U8 {
        buffer.as_mut_slice().fill(128);
    }
    buffer
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
        let format = self.format()?;
        let chunk = frames_in(self.chunk_ms, format.sample_rate).max(1);
        let samples = loop {
            match &mut self.place {
                Place::Between => {
                    let Some(path) = self.paths.pop_front() else {
                        return Ok(Produced::End);
                    };
                    let file = WavSource::open(&path)?;
                    if file.format() != format {
                        return Err(NodeError::Failed {
                            message: format!("{} has changed since the start", path.display()),
                            source: None,
                        });
                    }
                    self.place = Place::File(file);
                }
                Place::File(file) => match file.read(chunk)? {
                    Some(samples) => break samples,
                    None => self.place = Place::Gap(frames_in(self.gap_ms, format.sample_rate)),
                },
                Place::Gap(0) => self.place = Place::Between,
                Place::Gap(left) => {
                    let frames = chunk.min(*left);
                    *left -= frames;
                    break silence(frames, format);
                }
            }
        };
        let payload = samples.into_bytes();
        let (rate, channels) = (format.sample_rate, format.channels);
        output.push(RuntimeData::audio(payload, rate, channels, format.format)?);
        Ok(Produced::More)
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "AudioFileSourceNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "reads WAV files (8, 16, 24, 32-bit integer and 32-bit float) and gives \
                      their audio in chunks, in the files' own format"
            .to_owned(),
        capabilities: Vec::new(),
        parameters: vec![
            ParameterSpec::required(
                "path",
                ParameterKind::Paths,
                "a WAV file, or several that are read one after another and share one format",
            ),
            ParameterSpec::optional(
                "chunk_ms",
                ParameterKind::Integer,
                20,
                "length of one chunk; the last one of a file may be shorter",
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
        ],
        accepts: Vec::new(),
        produces: vec![DataType::Audio],
        source: true,
        ..NodeMetadata::default()
    };
    registry.register(metadata, |context| Ok(Box::new(AudioFileSource::new(context)?)))
}

#[cfg(test)]
mod tests;
