//! WAV files as this crate's nodes see them: which sample formats they hold, and samples in and
//! out.
//!
//! Main types: [`WavSource`] and [`WavSink`] over the `hound` crate. They do not convert: what a
//! file holds is what comes out, and the other way round.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use rm_core::{AudioFormat, NodeError};

use super::buffer::SampleBuffer;
use crate::input::StreamFormat;

/// Bytes of the shortest WAV header.
const HEADER_LEN: u64 = 44;
/// Most bytes of samples in one file: its length fields have 32 bits, and count some of the
/// header too.
const MAX_DATA_LEN: u64 = u32::MAX as u64 - 1024;

/// A failure with a file.
pub(super) fn file_error(
    action: &'static str,
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> NodeError {
    NodeError::File { action, path: path.to_owned(), source: source.into() }
}

/// A failure to read a file, or to understand what it holds.
fn read_error(path: &Path, error: hound::Error) -> NodeError {
    let action = match &error {
        // A failing system call has a number; a file that ends early has none.
        hound::Error::IoError(error) if error.raw_os_error().is_some() => "read",
        _ => "decode",
    };
    file_error(action, path, error)
}

/// An open WAV file, standing at its next sample.
pub(super) struct WavSource {
    reader: WavReader<BufReader<File>>,
    path: PathBuf,
    format: StreamFormat,
    samples_left: usize,
}

impl WavSource {
    /// Opens a WAV file and checks that it can hold what its header says.
    ///
    /// # Errors
    /// [`NodeError::File`] if it cannot be opened, is no WAV file, holds samples of an unknown
    /// format, or is shorter than its header says.
    pub(super) fn open(path: &Path) -> Result<Self, NodeError> {
        let file = File::open(path).map_err(|error| file_error("open", path, error))?;
        let length = file.metadata().map_err(|error| file_error("read", path, error))?.len();
        let reader = WavReader::new(BufReader::new(file));
        let reader = reader.map_err(|error| read_error(path, error))?;
        let spec = reader.spec();
        let undecodable = |problem: String| Err(file_error("decode", path, problem));
        let format = match (spec.sample_format, spec.bits_per_sample) {
            (SampleFormat::Int, 8) => AudioFormat::U8,
            (SampleFormat::Int, 16) => AudioFormat::I16,
            (SampleFormat::Int, 24) => AudioFormat::I24,
            (SampleFormat::Int, 32) => AudioFormat::I32,
            (SampleFormat::Float, 32) => AudioFormat::F32,
            (_, bits) => {
                return undecodable(format!(
                    "it holds samples of {bits} bits; integers of 8, 16, 24 and 32 bits and \
                     floats of 32 bits can be read"
                ));
            }
        };
        if spec.channels == 0 || spec.sample_rate == 0 {
            let (channels, rate) = (spec.channels, spec.sample_rate);
            return undecodable(format!("its header says {channels} channels at {rate} Hz"));
        }
        let needed = u64::from(reader.len()) * format.bytes_per_sample() as u64 + HEADER_LEN;
        if needed > length {
            return undecodable(format!(
                "its header promises at least {needed} bytes, but it has {length}"
            ));
        }
        Ok(Self {
            samples_left: usize::try_from(reader.len()).expect("32 bits fit"),
            reader,
            path: path.to_owned(),
            format: StreamFormat { sample_rate: spec.sample_rate, channels: spec.channels, format },
        })
    }

    /// The format of what the file holds.
    pub(super) fn format(&self) -> StreamFormat {
        self.format
    }

    /// The next samples, at most `frames` per channel; `None` after the last one.
    ///
    /// # Errors
    /// [`NodeError::File`] if the file cannot be read on.
    pub(super) fn read(&mut self, frames: usize) -> Result<Option<SampleBuffer>, NodeError> {
        let channels = usize::from(self.format.channels);
        let count = self.samples_left.min(frames.saturating_mul(channels));
        if count == 0 {
            return Ok(None);
        }
        self.samples_left -= count;
        let width = self.format.format.bytes_per_sample();
        let mut buffer = SampleBuffer::zeroed(count * width);
        let places = buffer.as_mut_slice().chunks_exact_mut(width);
        let done = if self.format.format == AudioFormat::F32 {
            let mut samples = places.zip(self.reader.samples::<f32>());
            samples.try_for_each(|(place, sample)| {
                sample.map(|sample| place.copy_from_slice(&sample.to_le_bytes()))
            })
        } else {
            // The reader gives 8-bit samples around 0; they lie around 128.
            let shift = if width == 1 { 128 } else { 0 };
            let mut samples = places.zip(self.reader.samples::<i32>());
            samples.try_for_each(|(place, sample)| {
                let place_len = place.len();
                let fill = |sample: i32| {
                    let bytes = (sample + shift).to_le_bytes();
                    place.copy_from_slice(&bytes[..place_len]);
                };
                sample.map(fill)
            })
        };
        done.map_err(|error| read_error(&self.path, error))?;
        Ok(Some(buffer))
    }
}

/// A WAV file being written.
pub(super) struct WavSink {
    writer: WavWriter<BufWriter<File>>,
    path: PathBuf,
    format: StreamFormat,
    bytes: u64,
}

impl WavSink {
    /// Writes to `file`, which `path` names in errors.
    ///
    /// # Errors
    /// [`NodeError::Input`] if WAV files of this crate do not hold that format;
    /// [`NodeError::File`] if the header cannot be written.
    pub(super) fn new(file: File, path: &Path, format: StreamFormat) -> Result<Self, NodeError> {
        let (sample_format, bits_per_sample) = match format.format {
            AudioFormat::F32 => (SampleFormat::Float, 32),
            AudioFormat::I16 => (SampleFormat::Int, 16),
            AudioFormat::I24 => (SampleFormat::Int, 24),
            AudioFormat::I32 => (SampleFormat::Int, 32),
            AudioFormat::U8 => (SampleFormat::Int, 8),
            other => {
                return Err(NodeError::Input {
                    found: format!("audio in {other}"),
                    expected: "f32, i16, i24, i32 or u8; put a FormatConverterNode before it"
                        .to_owned(),
                });
            }
        };
        let spec = WavSpec {
            channels: format.channels,
            sample_rate: format.sample_rate,
            bits_per_sample,
            sample_format,
        };
        let writer = WavWriter::new(BufWriter::new(file), spec);
        Ok(Self {
            writer: writer.map_err(|error| file_error("write", path, error))?,
            path: path.to_owned(),
            format,
            bytes: 0,
        })
    }

    /// The format that the file has.
    pub(super) fn format(&self) -> StreamFormat {
        self.format
    }

    /// Adds interleaved samples of the file's format.
    ///
    /// # Errors
    /// [`NodeError::File`] if they cannot be written, or the file would pass 4 GiB.
    pub(super) fn write(&mut self, samples: &[u8]) -> Result<(), NodeError> {
        self.bytes += samples.len() as u64;
        if self.bytes > MAX_DATA_LEN {
            let problem = format!("a WAV file holds at most {MAX_DATA_LEN} bytes of samples");
            return Err(file_error("write", &self.path, problem));
        }
        let width = self.format.format.bytes_per_sample();
        for sample in samples.chunks_exact(width) {
            let written = match *sample {
                // The writer takes 8-bit samples around 0.
                [byte] => self.writer.write_sample(i32::from(byte) - 128),
                [a, b] => self.writer.write_sample(i16::from_le_bytes([a, b])),
                [a, b, c] => {
                    let value = i32::from_le_bytes([0, a, b, c]) >> 8;
                    self.writer.write_sample(value)
                }
                [a, b, c, d] if self.format.format == AudioFormat::F32 => {
                    self.writer.write_sample(f32::from_le_bytes([a, b, c, d]))
                }
                [a, b, c, d] => self.writer.write_sample(i32::from_le_bytes([a, b, c, d])),
                _ => unreachable!("samples of other widths were refused with the format"),
            };
            written.map_err(|error| file_error("write", &self.path, error))?;
        }
        Ok(())
    }

    /// Completes the header.
    ///
    /// # Errors
    /// [`NodeError::File`] if the rest cannot be written.
    pub(super) fn complete(self) -> Result<(), NodeError> {
        let Self { writer, path, .. } = self;
        let completed = writer.finalize();
        completed.map_err(|error| file_error("write", &path, error))
    }
}
