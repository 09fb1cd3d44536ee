//! Bodies that are too large for a frame: written to a sealed file in memory, whose descriptor
//! travels with the frame, and mapped by the receiver.
//!
//! Main types: [`SpillWriter`] makes a [`Body`], [`Mapping`] is one that came. A seal cannot be taken
//! back, so what was checked stays as it is. When a body is let go is decided by who holds it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{FileType, MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::page::SealedMemory;
use crate::protocol::FrameError;

/// Longest body that goes within a frame unless told otherwise: 64 KiB.
pub(crate) const SPILL_THRESHOLD: usize = 64 * 1024;

/// What collects small writes to a file, in bytes. Writes of this size and more go there at once.
const FILE_BUFFER: usize = 64 * 1024;

/// A body that is complete.
#[derive(Debug)]
pub(crate) enum Body {
    /// Small enough to go within a frame.
    Inline(Vec<u8>),
    /// In a file that can never change again.
    Sealed {
        /// The file, close-on-exec.
        fd: OwnedFd,
        /// Its length in bytes, which is never zero.
        len: u64,
    },
}

impl Body {
    /// The body that `encode` writes, of at most `max` bytes; in a file if it is longer than 64 KiB.
    ///
    /// # Errors
    /// [`FrameError`], as [`SpillWriter::finish`] and of `encode`.
    pub(crate) fn build(
        max: u64,
        encode: impl FnOnce(&mut SpillWriter) -> Result<(), FrameError>,
    ) -> Result<Self, FrameError> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut writer = SpillWriter::new(SPILL_THRESHOLD, max);
        let encoded = encode(&mut writer);
        match writer.failure.take() {
            // What the encoder reports then follows from this.
            Some(failure) => Err(failure),
            None => encoded.and_then(|()| writer.finish()),
        }
    }

    /// The same body once more; a file is not copied.
    ///
    /// # Errors
    /// [`FrameError::Spill`] if there are no descriptors left.
    pub(crate) fn try_clone(&self) -> Result<Self, FrameError> {
        Ok(match self {
            Self::Inline(bytes) => Self::Inline(bytes.clone()),
            Self::Sealed { fd, len } => {
                let fd = fd.try_clone().map_err(FrameError::Spill)?;
                Self::Sealed { fd, len: *len }
            }
        })
    }

    /// A body of bytes that are there already.
    ///
    /// # Errors
    /// [`FrameError`], as [`SpillWriter::finish`].
    pub(crate) fn of(bytes: Vec<u8>, max: u64) -> Result<Self, FrameError> {
        if bytes.len() <= SPILL_THRESHOLD {
            return Ok(Self::Inline(bytes));
        }
        Self::build(max, |writer| writer.write_all(&bytes).map_err(FrameError::Spill))
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Sealed { len, .. } => *len,
        }
    }

    /// The bytes, wherever they are.
    ///
    /// # Errors
    /// [`PayloadError`] if the operating system cannot map the file.
    pub(crate) fn into_bytes(self) -> Result<Bytes, PayloadError> {
        match self {
            Self::Inline(bytes) => Ok(bytes.into()),
            Self::Sealed { fd, len } => Mapping::of(fd, len, u64::MAX).map(Bytes::from_owner),
        }
    }
}

/// Collects a body of unknown length.
#[derive(Debug)]
pub(crate) struct SpillWriter {
    /// What came, until it is too much.
    inline: Vec<u8>,
    /// Where it is then.
    file: Option<BufWriter<File>>,
    len: usize,
    threshold: usize,
    max: usize,
    /// Why nothing more is taken.
    failure: Option<FrameError>,
}

impl SpillWriter {
    /// For a body of at most `max` bytes, which goes into a file if it is longer than `threshold`.
    pub(crate) fn new(threshold: usize, max: usize) -> Self {
        Self { inline: Vec::new(), file: None, len: 0, threshold, max, failure: None }
    }

    /// The complete body.
    ///
    /// # Errors
    /// [`FrameError::ValueTooLarge`] if more than the maximum was written, [`FrameError::Spill`] if
    /// the operating system has no such file or no room in it.
    pub(crate) fn finish(self) -> Result<Body, FrameError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let Some(file) = self.file else { return Ok(Body::Inline(self.inline)) };
        let file = file.into_inner().map_err(|error| FrameError::Spill(error.into_error()))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)
            .map_err(|error| FrameError::Spill(error.into()))?;
        Ok(Body::Sealed { fd: file.into(), len: self.len as u64 })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let len = self.len.saturating_add(bytes.len());
        if len > self.max {
            return Err(FrameError::ValueTooLarge { max: self.max });
        }
        self.len = len;
        match &mut self.file {
            None if len <= self.threshold => self.inline.extend_from_slice(bytes),
            None => {
                let file = File::from(create().map_err(FrameError::Spill)?);
                let file = self.file.insert(BufWriter::with_capacity(FILE_BUFFER, file));
                let inline = std::mem::take(&mut self.inline);
                file.write_all(&inline).map_err(FrameError::Spill)?;
                file.write_all(bytes).map_err(FrameError::Spill)?;
            }
            Some(file) => file.write_all(bytes).map_err(FrameError::Spill)?,
        }
        Ok(())
    }
}

impl Write for SpillWriter {
    /// Takes all bytes or none. After an error none are taken any more, and
    /// [`finish`](SpillWriter::finish) gives the reason.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_none()
            && let Err(error) = self.put(bytes)
        {
            self.failure = Some(error);
        }
        match &self.failure {
            None => Ok(bytes.len()),
            Some(failure) => Err(io::Error::other(failure.to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An empty file in memory that can be sealed.
fn create() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("remotemedia-payload", flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create("remotemedia-payload", flags)?),
        result => Ok(result?),
    }
}

/// Why a descriptor that came is not the body that was announced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It was announced as longer than allowed.
    #[error("payload of {len} bytes announced, at most {max} are allowed")]
    TooLarge {
        /// Bytes announced.
        len: u64,
        /// Most that is allowed.
        max: u64,
    },
    /// It was announced as empty, for which no file is needed.
    #[error("empty payload announced with a descriptor, which belongs into the frame")]
    Empty,
    /// It is a pipe, a socket, a folder or a device.
    #[error("descriptor of a payload is not a regular file")]
    NotAFile,
    /// The sender could still change it.
    #[error("file of a payload is not sealed against shrinking, growing and writing")]
    NotSealed,
    /// It is not as long as announced.
    #[error("file of a payload has {found} bytes where {announced} are announced")]
    WrongLength {
        /// Bytes announced.
        announced: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// The operating system failed.
    #[error("payload cannot be mapped: {0}")]
    Map(#[source] io::Error),
}

/// A body that came by descriptor. It cannot change, and is freed when the last process lets go of it.
#[derive(Debug)]
pub(crate) struct Mapping {
    memory: SealedMemory,
}

impl Mapping {
    /// Maps the file of which the peer says that it is a sealed body of `len` bytes, if it is one and
    /// `len` is at most `max`.
    ///
    /// # Errors
    /// [`PayloadError`]. The descriptor is closed in any case.
    pub(crate) fn of(fd: OwnedFd, len: u64, max: u64) -> Result<Self, PayloadError> {
        let bytes = usize::try_from(len).ok().filter(|_| len <= max);
        let bytes = bytes.ok_or(PayloadError::TooLarge { len, max })?;
        if bytes == 0 {
            return Err(PayloadError::Empty);
        }
        let stat = rustix::fs::fstat(&fd).map_err(|error| PayloadError::Map(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(PayloadError::NotAFile);
        }
        let memory = SealedMemory::map(fd.as_fd(), bytes)?;
        Ok(Self { memory })
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.bytes()
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests;
