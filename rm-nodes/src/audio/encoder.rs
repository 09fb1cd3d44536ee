//! `AudioEncoderNode`: audio as the bytes of one WAV or FLAC stream.
//!
//! The first item carries the header. As nobody knows how long a stream will be, WAV says the greatest
//! length that there is (as other programs do that write to a pipe, and as `AudioDecoderNode` and
//! `AudioFileSourceNode` understand it), and FLAC says none. It does not write files.

use rm_core::{
    DataHeader, DataType, Node, NodeContext, NodeError, NodeFormats, NodeMetadata, NodeRegistry,
    Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::codec::{StreamWriter, Tags, WriteFormat};
use crate::define::{define_with_formats, wrong};
use crate::input::{StreamFormat, audio, describe, is_interleaved};
use crate::pool::Pool;

#[derive(Deserialize)]
struct Params {
    format: String,
    tags: Value,
}

struct AudioEncoder {
    write: WriteFormat,
    tags: Tags,
    writer: Option<StreamWriter>,
    /// The header of the last item, for what comes at the end.
    last: Option<DataHeader>,
    bytes: Vec<u8>,
    pool: Pool,
}

fn write_format(params: &Params) -> Result<WriteFormat, NodeError> {
    WriteFormat::named(&params.format).map_err(|expected| wrong("format", &params.format, expected))
}

impl AudioEncoder {
    fn new(params: Params, _: &NodeContext) -> Result<Self, NodeError> {
        let tags = Tags::from_json(&params.tags)
            .map_err(|problem| NodeError::Param { name: "tags", problem })?;
        Ok(Self {
            write: write_format(&params)?,
            tags,
            writer: None,
            last: None,
            bytes: Vec::new(),
            pool: Pool::default(),
        })
    }

    fn give(&mut self, header: &DataHeader, output: &mut Output) -> Result<(), NodeError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let mut buffer = self.pool.take(self.bytes.len());
        buffer.bytes().copy_from_slice(&self.bytes);
        self.bytes.clear();
        output.push(RuntimeData::binary(self.pool.seal(buffer))?.made_from(header));
        Ok(())
    }
}

impl Node for AudioEncoder {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "audio")?;
        if !is_interleaved(&view) {
            return Err(NodeError::Input {
                found: describe(&view),
                expected: "interleaved audio; put a FormatConverterNode before it".to_owned(),
            });
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let format = StreamFormat::of(&view);
                let writer = StreamWriter::new(self.write, format, &self.tags, &mut self.bytes)?;
                none.insert(writer)
            }
        };
        writer.format().check(&view)?;
        writer.write(view.bytes, &mut self.bytes)?;
        self.give(input.header(), output)?;
        self.last = Some(input.into_parts().0);
        Ok(())
    }

    fn flush(&mut self) {
        self.writer = None;
        self.bytes.clear();
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        if let (Some(mut writer), Some(header)) = (self.writer.take(), self.last.take()) {
            writer.finish(&mut self.bytes)?;
            self.give(&header, output)?;
        }
        Ok(())
    }
}

fn formats(params: &Params, _: &NodeContext) -> NodeFormats {
    match write_format(params) {
        Ok(write) => NodeFormats::takes(write.takes()),
        Err(_) => NodeFormats::takes([DataType::Audio]),
    }
    .gives([DataType::Binary])
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "AudioEncoderNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "gives audio as the bytes of one stream: WAV of any sample format or, with the \
                      feature \"codecs\", FLAC of i16, i24, i32 or u8"
            .to_owned(),
        capabilities: Vec::new(),
        parameters: vec![
            ParameterSpec::optional(
                "format",
                ParameterKind::String,
                "wav",
                "format of the stream; WAV says an unknown length, FLAC is in blocks of 4096 frames",
            )
            .choices(["wav", "flac"]),
            ParameterSpec::optional(
                "tags",
                ParameterKind::Object,
                json!({}),
                "title, artist and so on: texts, or lists of texts, by name",
            ),
        ],
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Binary],
        source: false,
        ..NodeMetadata::default()
    };
    define_with_formats(registry, metadata, formats, AudioEncoder::new)
}

#[cfg(test)]
mod tests;
