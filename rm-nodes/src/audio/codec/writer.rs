//! Sound written as WAV or FLAC, to a file or as a stream.
//!
//! Main types: [`FileWriter`], which completes what it has written with its length and tags, and
//! [`StreamWriter`], which gives bytes as they come about and says no length. They do not convert.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use rm_core::{AudioFormats, NodeError, Values};

#[cfg(feature = "codecs")]
use super::flac;
use super::tags::Tags;
use super::{riff_info, wav};
use crate::files::file_error;
use crate::input::StreamFormat;

/// Most bytes of samples in one WAV file: its length fields have 32 bits, and count some of the
/// header and the tags too.
const MAX_WAV_LEN: u64 = u32::MAX as u64 - (256 << 10);

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audio) enum WriteFormat {
    /// WAV: samples of any format.
    Wav,
    /// FLAC: integers.
    #[cfg(feature = "codecs")]
    Flac,
}

impl WriteFormat {
    /// The format of this name, `"wav"` or `"flac"`.
    ///
    /// # Errors
    /// What would be right, where it cannot be written.
    pub(in crate::audio) fn named(name: &str) -> Result<Self, &'static str> {
        match name {
            "wav" => Ok(Self::Wav),
            #[cfg(feature = "codecs")]
            "flac" => Ok(Self::Flac),
            #[cfg(not(feature = "codecs"))]
            "flac" => Err("wav; flac can be written by a build with the feature \"codecs\""),
            _ => Err("wav or flac"),
        }
    }

    /// The formats of samples that it holds.
    pub(in crate::audio) fn takes(self) -> Vec<AudioFormats> {
        let layout = Values::only(rm_core::AudioLayout::Interleaved);
        match self {
            Self::Wav => {
                let channels = Values::Range(1, wav::MAX_CHANNELS);
                vec![AudioFormats { channels, layout, ..AudioFormats::ANY }]
            }
            #[cfg(feature = "codecs")]
            Self::Flac => {
                flac::taken().map(|taken| AudioFormats { layout: layout.clone(), ..taken }).into()
            }
        }
    }
}

/// A file being written.
pub(in crate::audio) struct FileWriter {
    kind: FileKind,
    path: PathBuf,
    format: StreamFormat,
    /// The tags that are in it.
    tags: Tags,
}

enum FileKind {
    Wav(WavFile),
    #[cfg(feature = "codecs")]
    Flac(Box<flac::FlacFile>),
}

impl FileWriter {
    /// Writes to `file`, which `path` names in errors.
    ///
    /// # Errors
    /// [`NodeError::Input`] if that format of samples cannot be written; [`NodeError::File`] if the
    /// header cannot be written.
    pub(in crate::audio) fn new(
        file: File,
        path: &Path,
        write: WriteFormat,
        format: StreamFormat,
        tags: Tags,
    ) -> Result<Self, NodeError> {
        let kind = match write {
            WriteFormat::Wav => {
                wav::check(format)?;
                WavFile::new(file, format, &tags).map(FileKind::Wav)
            }
            #[cfg(feature = "codecs")]
            WriteFormat::Flac => {
                flac::check(format)?;
                flac::FlacFile::new(file, format, &tags).map(|flac| FileKind::Flac(Box::new(flac)))
            }
        };
        let kind = kind.map_err(|error| file_error("write", path, error))?;
        Ok(Self { kind, path: path.to_owned(), format, tags })
    }

    /// The format that the file holds.
    pub(in crate::audio) fn format(&self) -> StreamFormat {
        self.format
    }

    /// Appends interleaved samples.
    ///
    /// # Errors
    /// [`NodeError::File`] if they do not fit, or cannot be written.
    pub(in crate::audio) fn write(&mut self, samples: &[u8]) -> Result<(), NodeError> {
        let done = match &mut self.kind {
            FileKind::Wav(wav) => {
                if wav.data_len + samples.len() as u64 > MAX_WAV_LEN {
                    let problem = "a WAV file holds no more than 4 GiB";
                    return Err(file_error("write", &self.path, problem));
                }
                wav.write(samples)
            }
            #[cfg(feature = "codecs")]
            FileKind::Flac(flac) => flac.write(samples),
        };
        done.map_err(|error| file_error("write", &self.path, error))
    }

    /// Completes the file, which lies at `place`, with these tags.
    ///
    /// # Errors
    /// [`NodeError::File`] if that fails.
    pub(in crate::audio) fn complete(self, place: &Path, tags: &Tags) -> Result<(), NodeError> {
        let new_tags = (*tags != self.tags).then_some(tags);
        let done = match self.kind {
            FileKind::Wav(wav) => {
                let _ = place;
                wav.complete(self.format, &self.tags, new_tags)
            }
            #[cfg(feature = "codecs")]
            FileKind::Flac(flac) => flac.complete(place, new_tags),
        };
        done.map_err(|error| file_error("write", &self.path, error))
    }
}

struct WavFile {
    file: BufWriter<File>,
    data_len: u64,
}

impl WavFile {
    fn new(file: File, format: StreamFormat, tags: &Tags) -> std::io::Result<Self> {
        let mut file = BufWriter::new(file);
        file.write_all(&wav::header(format, Some(0), &riff_info::write(tags), 0))?;
        Ok(Self { file, data_len: 0 })
    }

    fn write(&mut self, samples: &[u8]) -> std::io::Result<()> {
        self.data_len += samples.len() as u64;
        self.file.write_all(samples)
    }

    fn complete(
        mut self,
        format: StreamFormat,
        tags: &Tags,
        new_tags: Option<&Tags>,
    ) -> std::io::Result<()> {
        if self.data_len % 2 == 1 {
            self.file.write_all(&[0])?;
        }
        let behind = new_tags.map(riff_info::write).unwrap_or_default();
        self.file.write_all(&behind)?;
        let data_len = u32::try_from(self.data_len).expect("what does not fit was refused");
        let behind = u32::try_from(behind.len()).expect("tags are limited to less");
        self.file.rewind()?;
        let list = riff_info::write(tags);
        self.file.write_all(&wav::header(format, Some(data_len), &list, behind))?;
        self.file.flush()
    }
}

/// Sound as a stream of bytes.
pub(in crate::audio) struct StreamWriter {
    kind: StreamKind,
    format: StreamFormat,
}

enum StreamKind {
    Wav,
    #[cfg(feature = "codecs")]
    Flac(Box<flac::FlacStream>),
}

impl StreamWriter {
    /// Begins a stream, whose first bytes are appended to `out`.
    ///
    /// # Errors
    /// [`NodeError::Input`] if that format of samples cannot be written.
    pub(in crate::audio) fn new(
        write: WriteFormat,
        format: StreamFormat,
        tags: &Tags,
        out: &mut Vec<u8>,
    ) -> Result<Self, NodeError> {
        let kind = match write {
            WriteFormat::Wav => {
                wav::check(format)?;
                out.extend(wav::header(format, None, &riff_info::write(tags), 0));
                StreamKind::Wav
            }
            #[cfg(feature = "codecs")]
            WriteFormat::Flac => {
                flac::check(format)?;
                StreamKind::Flac(Box::new(flac::FlacStream::new(format, tags, out)?))
            }
        };
        Ok(Self { kind, format })
    }

    /// The format of the samples.
    pub(in crate::audio) fn format(&self) -> StreamFormat {
        self.format
    }

    /// Appends the bytes of interleaved samples to `out`; some may be held back.
    ///
    /// # Errors
    /// [`NodeError::Failed`] if they cannot be coded.
    pub(in crate::audio) fn write(
        &mut self,
        samples: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NodeError> {
        match &mut self.kind {
            StreamKind::Wav => out.extend_from_slice(samples),
            #[cfg(feature = "codecs")]
            StreamKind::Flac(flac) => flac.write(samples, out)?,
        }
        Ok(())
    }

    /// Appends what was held back.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(in crate::audio) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), NodeError> {
        match &mut self.kind {
            StreamKind::Wav => {
                let _ = out;
            }
            #[cfg(feature = "codecs")]
            StreamKind::Flac(flac) => flac.finish(out)?,
        }
        Ok(())
    }
}
