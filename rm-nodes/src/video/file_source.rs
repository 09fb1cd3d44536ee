//! `VideoFileSourceNode`: the frames of a Y4M file.
//!
//! The frames have the file's own format. The first is stamped with the time at which it is given, each
//! later one exactly so many periods after it. The file is read frame by frame, straight into the memory
//! of the payloads. A file that is broken fails the node at the frame that is broken, and the header is
//! read before the session starts. It does not decode compressed video.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use rm_core::{
    DataType, Node, NodeContext, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, Produced, RegistryError, RuntimeData, Values, VideoFormat,
    VideoFormats,
};
use serde::Deserialize;
use serde_json::Value;

use super::frames::{frame_bytes, metadata};
use super::rate::{Pace, Rate};
use super::y4m::{Header, Y4mReader};
use crate::define::{define_with_formats, wrong};
use crate::files::file_error;
use crate::pool::Pool;

/// The rate of a file that does not tell its own: that of FFmpeg.
const DEFAULT_FPS: u32 = 25;

#[derive(Deserialize)]
struct Params {
    path: String,
    fps: Value,
    realtime: bool,
    repeat: u64,
}

struct VideoFileSource {
    path: PathBuf,
    rate: Option<Rate>,
    realtime: bool,
    /// How often the file is still to be read from its beginning; `None` for ever.
    repeats: Option<u64>,
    header: Option<Header>,
    pace: Option<Pace>,
    reader: Option<Y4mReader<BufReader<File>>>,
    pool: Pool,
}

fn open(path: &Path) -> Result<Y4mReader<BufReader<File>>, NodeError> {
    let file = File::open(path).map_err(|error| file_error("open", path, error))?;
    Y4mReader::new(BufReader::new(file)).map_err(|error| cannot_read(path, error))
}

fn cannot_read(path: &Path, error: io::Error) -> NodeError {
    let malformed = error.kind() == io::ErrorKind::InvalidData;
    file_error(if malformed { "decode" } else { "read" }, path, error)
}

impl VideoFileSource {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        let rate = match &params.fps {
            Value::Null => None,
            fps => Some(Rate::parse(fps).ok_or_else(|| {
                wrong("fps", fps, "from 0.001 to 1000 frames a second, or a fraction, or null")
            })?),
        };
        Ok(Self {
            path: context.resolve_path(&params.path),
            rate,
            realtime: params.realtime,
            repeats: params.repeat.checked_sub(1),
            header: None,
            pace: None,
            reader: None,
            pool: Pool::default(),
        })
    }

    fn open(&mut self) -> Result<(), NodeError> {
        let reader = open(&self.path)?;
        let header = reader.header();
        if self.header.is_some_and(|first| first != header) {
            let problem = "its header has changed since it was read first";
            return Err(file_error("read", &self.path, problem));
        }
        let default = || Rate::new(DEFAULT_FPS, 1).expect("it is within the limits");
        let rate = self.rate.or(header.rate).unwrap_or_else(default);
        self.pace.get_or_insert_with(|| Pace::new(rate, self.realtime));
        (self.header, self.reader) = (Some(header), Some(reader));
        Ok(())
    }
}

impl Node for VideoFileSource {
    fn initialize(&mut self) -> Result<(), NodeError> {
        self.open()
    }

    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        Err(NodeError::Input {
            found: input.data_type().to_string(),
            expected: "nothing; it is a source".to_owned(),
        })
    }

    fn produce(&mut self, output: &mut Output) -> Result<Produced, NodeError> {
        let Some((reader, pace)) = self.reader.as_mut().zip(self.pace.as_mut()) else {
            return Ok(Produced::End);
        };
        let wrong = |error| cannot_read(&self.path, error);
        if !reader.next_frame().map_err(wrong)? {
            self.reader = None;
            // A file without frames would be read for ever.
            let any = pace.frames() > 0;
            if !any || self.repeats == Some(0) {
                return Ok(Produced::End);
            }
            self.repeats = self.repeats.map(|repeats| repeats - 1);
            self.open()?;
            return Ok(Produced::More);
        }
        let Header { size, format, .. } = reader.header();
        let mut buffer = self.pool.take(frame_bytes(format, size)?);
        reader.read_pixels(buffer.bytes()).map_err(wrong)?;
        let payload = self.pool.seal(buffer);
        let frame = RuntimeData::video(payload, size[0], size[1], format, pace.rate().fps())?;
        output.push(frame.with_timestamp(pace.stamp()));
        Ok(pace.next())
    }
}

fn formats(params: &Params, context: &NodeContext) -> NodeFormats {
    let path = context.resolve_path(&params.path);
    let any = || VideoFormats {
        format: Values::OneOf(vec![
            VideoFormat::Yuv420p,
            VideoFormat::Yuv422p,
            VideoFormat::Yuv444p,
            VideoFormat::Gray8,
        ]),
        ..VideoFormats::ANY
    };
    // Reading from a pipe would take from it what the node is to read.
    let header = path.is_file().then(|| open(&path).ok()).flatten().map(|file| file.header());
    NodeFormats::source([header.map_or_else(any, |header| VideoFormats {
        width: Values::only(header.size[0]),
        height: Values::only(header.size[1]),
        format: Values::only(header.format),
    })])
}

/// The parameters that sources of video share.
pub(crate) fn source_specs() -> [ParameterSpec; 2] {
    [
        ParameterSpec::optional(
            "realtime",
            ParameterKind::Boolean,
            false,
            "whether frames are given when their time has come; otherwise they come as fast as they \
             are taken",
        ),
        ParameterSpec::optional(
            "repeat",
            ParameterKind::Integer,
            1,
            "how often all of it is given; 0 is for ever",
        )
        .range(0.0, f64::from(u32::MAX)),
    ]
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let mut parameters = vec![
        ParameterSpec::required("path", ParameterKind::String, "a Y4M file"),
        ParameterSpec::optional(
            "fps",
            ParameterKind::Any,
            None::<f64>,
            "frames a second, as a number or as a fraction such as \"30000/1001\", in place of what \
             the file says; 25 where it says nothing",
        )
        .unit("frames/s"),
    ];
    parameters.extend(source_specs());
    let metadata = NodeMetadata {
        produces: vec![DataType::Video],
        source: true,
        ..metadata(
            "VideoFileSourceNode",
            "reads a Y4M file and gives its frames, in the file's own format",
            parameters,
        )
    };
    define_with_formats(registry, metadata, formats, VideoFileSource::new)
}

#[cfg(test)]
mod tests;
