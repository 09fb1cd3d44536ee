//! `AudioDecoderNode`: audio from the bytes of encoded streams or files.
//!
//! Streams may come in pieces of any length; what they give does not depend on it. Their format is
//! recognised by what they hold. Bytes behind the end of a stream are left out. It does not read files.

use std::time::SystemTime;

use bytes::Bytes;
use rm_core::{
    DataHeader, DataMetadata, DataType, Node, NodeContext, NodeError, NodeFormats, NodeMetadata,
    NodeRegistry, Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::Deserialize;

use super::codec::{Event, Input, Pushed, Sound, SoundError, SoundInfo, frame_bytes};
use super::file_source::{facts, time_of};
use crate::define::define_with_formats;
use crate::input::{StreamFormat, describe_item};
use crate::pool::Pool;

/// The port on which the facts of each stream come.
const TAGS: &str = "tags";

#[derive(Deserialize)]
struct Params {
    mode: Mode,
    max_item_mb: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// All items are one stream.
    Stream,
    /// Each item is a file.
    Files,
}

struct AudioDecoder {
    mode: Mode,
    /// Most bytes of audio that are made of one item.
    most: u64,
    /// The reader of the stream, from its first item on.
    reader: Option<Pushed>,
    /// Whether the stream has come to its end.
    is_over: bool,
    given: Given,
}

/// What has been given of the stream.
#[derive(Default)]
struct Given {
    pool: Pool,
    format: Option<StreamFormat>,
    /// The header of the last item, and when the first one came into being.
    header: Option<DataHeader>,
    begin: Option<SystemTime>,
    /// Frames given.
    position: u64,
    /// Bytes that may still be made of the item.
    left: u64,
}

impl Given {
    /// Notes from what the next audio is made.
    fn made_from(&mut self, header: &DataHeader, most: u64) {
        self.begin.get_or_insert(header.timestamp);
        self.header = Some(header.clone());
        self.left = most;
    }

    fn begin(&mut self, info: &SoundInfo, output: &mut Output) -> Result<(), NodeError> {
        self.format = Some(info.format);
        if let Some(header) = &self.header {
            output.push_to(TAGS, facts(None, info)?.made_from(header));
        }
        Ok(())
    }

    fn give(&mut self, samples: &[u8], output: &mut Output) -> Result<(), NodeError> {
        let (Some(format), Some(header), Some(begin)) = (self.format, &self.header, self.begin)
        else {
            return Err(failed(SoundError::Content("samples came before their header".to_owned())));
        };
        let Some(left) = self.left.checked_sub(samples.len() as u64) else {
            return Err(NodeError::Failed {
                message: "one item becomes more audio than the parameter \"max_item_mb\" allows; \
                          cut the stream into smaller items or allow more"
                    .to_owned(),
                source: None,
            });
        };
        self.left = left;
        let StreamFormat { sample_rate, channels, format: sample } = format;
        let mut buffer = self.pool.take(samples.len());
        buffer.bytes().copy_from_slice(samples);
        let item = RuntimeData::audio(self.pool.seal(buffer), sample_rate, channels, sample)?;
        let time = begin + time_of(self.position, sample_rate);
        self.position += (samples.len() / frame_bytes(format)) as u64;
        output.push(item.made_from(header).with_timestamp(time));
        Ok(())
    }
}

fn failed(error: SoundError) -> NodeError {
    let message = match error {
        SoundError::Content(problem) => format!("cannot decode the bytes: {problem}"),
        SoundError::Io(error) => format!("cannot decode the bytes: {error}"),
    };
    NodeError::Failed { message, source: None }
}

impl AudioDecoder {
    fn new(params: Params, _: &NodeContext) -> Result<Self, NodeError> {
        Ok(Self {
            mode: params.mode,
            most: params.max_item_mb << 20,
            reader: None,
            is_over: false,
            given: Given::default(),
        })
    }

    /// Forgets the stream.
    fn reset(&mut self) {
        let pool = std::mem::take(&mut self.given.pool);
        self.given = Given { pool, ..Given::default() };
        (self.reader, self.is_over) = (None, false);
    }

    fn decode_file(&mut self, file: Bytes, output: &mut Output) -> Result<(), NodeError> {
        let mut sound = Sound::open(Input::memory(file)).map_err(failed)?;
        self.given.begin(sound.info(), output)?;
        while let Some(samples) = sound.next_block().map_err(failed)? {
            self.given.give(samples, output)?;
        }
        Ok(())
    }

    /// Takes what the reader says until it wants more bytes or has ended.
    fn take_events(&mut self, output: &mut Output) -> Result<(), NodeError> {
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        loop {
            match reader.next_event() {
                Event::Begin(info) => self.given.begin(&info, output)?,
                Event::Samples(samples) => self.given.give(&samples, output)?,
                Event::Hungry => return Ok(()),
                Event::End(done) => {
                    (self.reader, self.is_over) = (None, true);
                    return done.map_err(failed);
                }
            }
        }
    }
}

impl Node for AudioDecoder {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        if input.header().metadata != DataMetadata::Binary {
            return Err(NodeError::Input {
                found: describe_item(&input),
                expected: "the bytes of encoded audio".to_owned(),
            });
        }
        let (header, bytes) = input.into_parts();
        if self.mode == Mode::Files {
            self.reset();
            self.given.made_from(&header, self.most);
            return self.decode_file(bytes, output);
        }
        self.given.made_from(&header, self.most);
        if self.is_over || bytes.is_empty() {
            return Ok(());
        }
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(Pushed::new().map_err(|error| failed(error.into()))?),
        };
        reader.push(bytes);
        let done = self.take_events(output);
        if done.is_err() {
            // What follows a failure is not the beginning of a stream.
            (self.reader, self.is_over) = (None, true);
        }
        done
    }

    fn flush(&mut self) {
        self.reset();
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        if let Some(reader) = &mut self.reader {
            reader.finish();
        }
        self.take_events(output)
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "AudioDecoderNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "decodes the bytes of sound (WAV; with the feature \"codecs\" also FLAC, MP3, \
                      Ogg Vorbis and Opus), a stream in pieces or whole files, and gives its audio in \
                      its own sample format or, of lossy formats, f32; what is known of each comes \
                      before its audio as JSON on the port \"tags\""
            .to_owned(),
        capabilities: Vec::new(),
        parameters: vec![
            ParameterSpec::optional(
                "mode",
                ParameterKind::String,
                "stream",
                "stream: all items are the pieces of one stream; files: each item is a whole file",
            )
            .choices(["stream", "files"]),
            ParameterSpec::optional(
                "max_item_mb",
                ParameterKind::Integer,
                1024,
                "most audio that may be made of one item, as few bytes can stand for much of it",
            )
            .range(1.0, 1_048_576.0)
            .unit("MiB"),
        ],
        accepts: vec![DataType::Binary],
        produces: vec![DataType::Audio, DataType::Json],
        source: false,
        output_ports: vec![TAGS.to_owned()],
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &NodeContext| {
        NodeFormats::takes([DataType::Binary]).gives([DataType::Audio])
    };
    define_with_formats(registry, metadata, formats, AudioDecoder::new)
}

#[cfg(test)]
mod tests;
