//! `AudioFileSinkNode`: writes what it gets to a WAV file.
//!
//! The file has the format of the first item. It is written under a temporary name beside its
//! place and moved there once it is complete, so nobody ever sees half a file; a sink that is
//! dropped before the end removes what it has written. A stream without any audio leaves a WAV
//! file without samples (mono f32 at 48 kHz, since nothing tells its format), so that the result
//! of an earlier run is not taken for this one's.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rm_core::{
    AudioFormat, DataType, Node, NodeContext, NodeError, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::Deserialize;

use super::wav::{WavSink, file_error};
use crate::input::{StreamFormat, audio, describe, is_interleaved};

/// Most sinks that write to the same place at the same time.
const MAX_SINKS: u32 = 64;

/// The format of a file about whose stream nothing is known.
const EMPTY: StreamFormat =
    StreamFormat { sample_rate: 48_000, channels: 1, format: AudioFormat::F32 };

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    path: String,
}

/// A file under a temporary name, removed unless it is kept.
///
/// It is locked while it is in use. What a killed process has left is not, and is used again by
/// the next sink for the same place, so that such files do not pile up.
struct TemporaryFile {
    path: PathBuf,
    /// Holds the lock until the file has its final name.
    _lock: File,
    kept: bool,
}

impl TemporaryFile {
    /// Makes a new file beside `target`, and the folder for both where it is missing.
    fn create(target: &Path) -> Result<(Self, File), NodeError> {
        let folder = target.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(folder).map_err(|error| file_error("create", folder, error))?;
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        for attempt in 0..MAX_SINKS {
            let path = folder.join(format!(".{name}.{attempt}.part"));
            let claimed = Self::claim(path);
            if let Some(made) = claimed.map_err(|error| file_error("create", target, error))? {
                return Ok(made);
            }
        }
        let problem = format!("{MAX_SINKS} others are writing it at the same time");
        Err(file_error("create", target, problem))
    }

    /// The file at `path`, empty; `None` if another sink has it.
    fn claim(path: PathBuf) -> io::Result<Option<(Self, File)>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Before it was locked here, its owner may have moved it to its place, or removed it.
        let (opened, found) = (file.metadata()?, fs::metadata(&path));
        if !found.is_ok_and(|found| (found.dev(), found.ino()) == (opened.dev(), opened.ino())) {
            return Ok(None);
        }
        file.set_len(0)?;
        let temporary = Self { path, _lock: file.try_clone()?, kept: false };
        Ok(Some((temporary, file)))
    }

    /// Moves it to its final place.
    fn keep_as(mut self, target: &Path) -> Result<(), NodeError> {
        fs::rename(&self.path, target).map_err(|error| file_error("create", target, error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to be told of a failure here.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How far the file is.
enum State {
    /// Nothing on the disk.
    Idle,
    /// A file without a header: no item has come yet.
    Created(TemporaryFile, File),
    /// A file that grows.
    Writing(TemporaryFile, WavSink),
}

struct AudioFileSink {
    path: PathBuf,
    state: State,
}

impl AudioFileSink {
    fn new(context: &NodeContext) -> Result<Self, NodeError> {
        let Params { path } = context.parse_params()?;
        let path = context.resolve_path(&path);
        if path.file_name().is_none() || path.is_dir() {
            let problem = format!(
                "is {}, which names no file; expected where to write a WAV file",
                path.display()
            );
            return Err(NodeError::Param { name: "path", problem });
        }
        Ok(Self { path, state: State::Idle })
    }

    /// The file with its header written for `format`.
    fn writing(&mut self, format: StreamFormat) -> Result<&mut WavSink, NodeError> {
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                let (temporary, file) = TemporaryFile::create(&self.path)?;
                let sink = WavSink::new(file, &self.path, format)?;
                State::Writing(temporary, sink)
            }
            State::Created(temporary, file) => {
                let sink = WavSink::new(file, &self.path, format)?;
                State::Writing(temporary, sink)
            }
            writing => writing,
        };
        match &mut self.state {
            State::Writing(_, sink) => Ok(sink),
            _ => unreachable!("the state was set above"),
        }
    }
}

impl Node for AudioFileSink {
    fn initialize(&mut self) -> Result<(), NodeError> {
        let (temporary, file) = TemporaryFile::create(&self.path)?;
        self.state = State::Created(temporary, file);
        Ok(())
    }

    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "audio")?;
        if !is_interleaved(&view) {
            return Err(NodeError::Input {
                found: describe(&view),
                expected: "interleaved audio; put a FormatConverterNode before it".to_owned(),
            });
        }
        let sink = self.writing(StreamFormat::of(&view))?;
        sink.format().check(&view)?;
        sink.write(view.bytes)
    }

    fn finish(&mut self, _: &mut Output) -> Result<(), NodeError> {
        self.writing(EMPTY)?;
        if let State::Writing(temporary, sink) = std::mem::replace(&mut self.state, State::Idle) {
            sink.complete()?;
            temporary.keep_as(&self.path)?;
        }
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "AudioFileSinkNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "writes audio to a WAV file of the same format (f32, i16, i24, i32, u8)"
            .to_owned(),
        capabilities: Vec::new(),
        parameters: vec![ParameterSpec::required(
            "path",
            ParameterKind::String,
            "the WAV file to write; a missing folder is made, an existing file is replaced once \
             the new one is complete",
        )],
        accepts: vec![DataType::Audio],
        produces: Vec::new(),
        source: false,
        ..NodeMetadata::default()
    };
    registry.register(metadata, |context| Ok(Box::new(AudioFileSink::new(context)?)))
}

#[cfg(test)]
mod tests;
