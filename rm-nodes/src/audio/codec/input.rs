//! Where the bytes of a sound come from.
//!
//! Main type: [`Input`], an open file, bytes in memory, or a stream that can only be read forward.
//! It knows nothing of what the bytes mean.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// Most bytes that are read before the first sample: room for several embedded pictures of the
/// largest size that FLAC has (16 MiB).
const MAX_HEADER_LEN: u64 = 64 << 20;

enum Source {
    File(File),
    Memory(Cursor<Bytes>),
    Stream(Box<dyn Read + Send + Sync>),
}

/// Bytes to be read.
pub(in crate::audio) struct Input {
    source: Source,
    /// Bytes of a stream that were looked at, and are to be read again.
    looked_at: Cursor<Vec<u8>>,
    /// How many bytes may still be read.
    allowed: Arc<AtomicU64>,
}

/// Lifts the limit of an [`Input`] that has been handed to a reader.
pub(super) struct HeaderLimit(Arc<AtomicU64>);

impl HeaderLimit {
    /// Lets any number of bytes be read, because the header is complete.
    pub(super) fn lift(self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

impl Input {
    fn new(source: Source) -> Self {
        let allowed = Arc::new(AtomicU64::new(u64::MAX));
        Self { source, looked_at: Cursor::default(), allowed }
    }

    /// An open file, from its beginning.
    pub(in crate::audio) fn file(file: File) -> Self {
        Self::new(Source::File(file))
    }

    /// Bytes in memory.
    pub(in crate::audio) fn memory(bytes: Bytes) -> Self {
        Self::new(Source::Memory(Cursor::new(bytes)))
    }

    /// What can only be read forward.
    pub(in crate::audio) fn stream(stream: impl Read + Send + Sync + 'static) -> Self {
        Self::new(Source::Stream(Box::new(stream)))
    }

    /// The first bytes, at most `count`, which will be read once more; fewer where there are no more.
    ///
    /// # Errors
    /// What reading them gives.
    pub(super) fn look(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        self.by_ref().take(count as u64).read_to_end(&mut bytes)?;
        match &mut self.source {
            Source::Stream(_) => self.looked_at = Cursor::new(bytes.clone()),
            _ => self.rewind()?,
        }
        Ok(bytes)
    }

    /// Limits what may be read from now on to what a header may have.
    pub(super) fn limit_header(&mut self) -> HeaderLimit {
        self.allowed.store(MAX_HEADER_LEN, Ordering::Relaxed);
        HeaderLimit(self.allowed.clone())
    }

    /// A second reader of the same bytes, from their beginning; `None` of a stream. Only one of the
    /// two may be used, as they share a position.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(feature = "codecs")]
    pub(super) fn again(&self) -> io::Result<Option<Self>> {
        Ok(match &self.source {
            Source::File(file) => Some(Self::file(file.try_clone()?)),
            Source::Memory(bytes) => Some(Self::memory(bytes.get_ref().clone())),
            Source::Stream(_) => None,
        })
    }

    /// Whether it has a known length and can be read anywhere.
    pub(super) fn is_seekable(&self) -> bool {
        !matches!(self.source, Source::Stream(_))
    }

    /// Its length in bytes, where it is known.
    pub(super) fn len(&self) -> Option<u64> {
        match &self.source {
            Source::File(file) => file.metadata().ok().map(|metadata| metadata.len()),
            Source::Memory(bytes) => Some(bytes.get_ref().len() as u64),
            Source::Stream(_) => None,
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = self.allowed.load(Ordering::Relaxed);
        if allowed == 0 {
            let problem = format!("no sound begins within {MAX_HEADER_LEN} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let most = usize::try_from(allowed).map_or(buffer.len(), |most| most.min(buffer.len()));
        let buffer = &mut buffer[..most];
        let looked_at = self.looked_at.read(buffer)?;
        let count = match &mut self.source {
            _ if looked_at > 0 => looked_at,
            Source::File(file) => file.read(buffer)?,
            Source::Memory(bytes) => bytes.read(buffer)?,
            Source::Stream(stream) => stream.read(buffer)?,
        };
        if allowed != u64::MAX {
            self.allowed.store(allowed.saturating_sub(count as u64), Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.source {
            Source::File(file) => file.seek(to),
            Source::Memory(bytes) => bytes.seek(to),
            Source::Stream(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }
}
