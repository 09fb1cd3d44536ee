//! Files that hold a stream of items of any type, with all that their headers say and when they came.
//!
//! Main types: [`Writer`] and [`Reader`]. A file is only ever appended to, so what a killed process has
//! written can be read up to its last whole item. All integers are little-endian, and everything stands
//! at a multiple of 64 bytes from the beginning of the file, payloads too.
//!
//! | block | bytes | content |
//! |---|---|---|
//! | opening | 0..8 | magic `RMREC` CR LF 0x1a |
//! | | 8..10, 10..12 | major and minor version: 1, 0 |
//! | | 12..16 | length of the opening: 64 |
//! | | 16..24 | when the file was begun, in nanoseconds since 1970 |
//! | | 24..60 | reserved, zero |
//! | | 60..64 | CRC-32 of bytes 0..60 |
//! | item, any number | 0..4 | magic `ITEM` |
//! | | 4..8 | CRC-32 of bytes 8..320 and of the payload |
//! | | 8..16 | number of the item, from 0 |
//! | | 16..24 | when it came, in nanoseconds since the file was begun |
//! | | 24..64 | reserved, zero |
//! | | 64..320 | its [`WireHeader`], which says how long the payload is |
//! | | 320.. | its payload, and zeros up to the next multiple of 64 |
//! | end, one | 0..4 | magic `DONE` |
//! | | 4..8 | CRC-32 of bytes 8..64 |
//! | | 8..16 | number of items in the file |
//! | | 16..24 | when the stream ended, in nanoseconds since the file was begun |
//! | | 24..64 | reserved, zero |
//!
//! The checksum is that of Ethernet and of zip files (IEEE 802.3). A file without its end is truncated. A
//! newer minor version may use what is reserved; a newer major version is refused.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use crc32fast::Hasher;
use rm_core::{DataHeader, MessageKind, RuntimeData, WIRE_HEADER_LEN, WireError, WireHeader};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::pool::Pool;

const MAGIC: [u8; 8] = *b"RMREC\r\n\x1a";
const VERSION_MAJOR: u16 = 1;
const BLOCK: usize = 64;
const ITEM: [u8; 4] = *b"ITEM";
const DONE: [u8; 4] = *b"DONE";
/// Payloads up to this length are written together with their header by one call.
const MAX_TOGETHER: usize = 256 * 1024;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Opening {
    magic: [u8; 8],
    version_major: U16,
    version_minor: U16,
    len: U32,
    begun_ns: U64,
    reserved: [u8; 36],
    crc: U32,
}

/// What stands before an item, and, alone, at the end.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Frame {
    magic: [u8; 4],
    crc: U32,
    number: U64,
    at_ns: U64,
    reserved: [u8; 40],
}

const _: () = assert!(size_of::<Opening>() == BLOCK && size_of::<Frame>() == BLOCK);

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum RecordingError {
    #[error("it is not a regular file")]
    NotAFile,
    #[error("another sink is writing it")]
    Locked,
    #[error("it is no recording: it does not begin with \"RMREC\"")]
    NotARecording,
    #[error("it is of version {found}; this reader knows version {VERSION_MAJOR}")]
    Version { found: u16 },
    #[error("it ends at byte {offset}, after {items} whole items, without its end")]
    Truncated { offset: u64, items: u64 },
    #[error("item {number} at byte {offset} is damaged: {problem}")]
    Damaged { number: u64, offset: u64, problem: &'static str },
    #[error("item {number} at byte {offset} has a header that makes no sense")]
    Header { number: u64, offset: u64, source: WireError },
    #[error("item {number} at byte {offset} has {len} bytes; at most {max} are read")]
    TooLarge { number: u64, offset: u64, len: u64, max: u64 },
    #[error("an item has a header that cannot be written")]
    Unwritable(#[source] WireError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Bytes of zeros behind a payload.
fn padding(len: u64) -> u64 {
    len.next_multiple_of(BLOCK as u64) - len
}

/// Bytes of an item with a payload of this length.
fn item_len(payload: u64) -> u64 {
    (BLOCK + WIRE_HEADER_LEN) as u64 + payload + padding(payload)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Frame {
    fn new(magic: [u8; 4], number: u64, at: Duration) -> Self {
        let mut frame = Self::new_zeroed();
        (frame.magic, frame.number, frame.at_ns) = (magic, number.into(), nanos(at).into());
        frame
    }

    /// The checksum over what follows it, together with `more`.
    fn checksum(&self, more: [&[u8]; 2]) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&self.as_bytes()[8..]);
        more.into_iter().for_each(|part| hasher.update(part));
        hasher.finalize()
    }
}

/// Writes a recording.
pub(super) struct Writer {
    file: File,
    items: u64,
    len: u64,
    /// What is written next; kept for its memory.
    scratch: Vec<u8>,
}

impl Writer {
    /// Begins a file, and makes its folder where it is missing. What an existing file holds is dropped, or,
    /// where only a `new` file will do, is an error.
    pub(super) fn create(
        path: &Path,
        new: bool,
        begun: SystemTime,
    ) -> Result<Self, RecordingError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        // Opening a pipe would wait for its other end.
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(RecordingError::NotAFile);
        }
        let mut options = OpenOptions::new();
        options.write(true).truncate(false);
        let file = if new { options.create_new(true) } else { options.create(true) }.open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => RecordingError::Locked,
            TryLockError::Error(error) => error.into(),
        })?;
        file.set_len(0)?;
        let mut writer = Self { file, items: 0, len: BLOCK as u64, scratch: Vec::new() };
        let mut opening = Opening::new_zeroed();
        opening.magic = MAGIC;
        opening.version_major = VERSION_MAJOR.into();
        opening.len = U32::new(BLOCK as u32);
        let begun = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        opening.begun_ns = nanos(begun).into();
        opening.crc = crc32fast::hash(&opening.as_bytes()[..BLOCK - 4]).into();
        writer.file.write_all(opening.as_bytes())?;
        Ok(writer)
    }

    /// Adds an item that came so long after the file was begun.
    pub(super) fn write(&mut self, item: &RuntimeData, at: Duration) -> Result<(), RecordingError> {
        let header = WireHeader::encode(item.header()).map_err(RecordingError::Unwritable)?;
        let payload = item.payload();
        let mut frame = Frame::new(ITEM, self.items, at);
        frame.crc = frame.checksum([header.as_bytes(), payload]).into();
        self.scratch.clear();
        self.scratch.extend_from_slice(frame.as_bytes());
        self.scratch.extend_from_slice(header.as_bytes());
        if let Err(error) = self.put(payload) {
            // Half an item would make what follows unreadable. That this fails too shows when it is read.
            let _ = self.file.set_len(self.len);
            let _ = self.file.seek(SeekFrom::Start(self.len));
            return Err(error.into());
        }
        self.items += 1;
        self.len += item_len(payload.len() as u64);
        Ok(())
    }

    /// Writes what stands in the scratch memory, a payload, and zeros.
    fn put(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > MAX_TOGETHER {
            self.file.write_all(&self.scratch)?;
            self.file.write_all(payload)?;
            self.scratch.clear();
        } else {
            self.scratch.extend_from_slice(payload);
        }
        // At most 63, in any case.
        let zeros = padding(payload.len() as u64) as usize;
        self.scratch.extend_from_slice(&[0; BLOCK][..zeros]);
        self.file.write_all(&self.scratch)
    }

    /// How many bytes the file would have, with its end, if this were the last item.
    pub(super) fn len_with(&self, item: &RuntimeData) -> u64 {
        self.len + item_len(item.payload().len() as u64) + BLOCK as u64
    }

    /// Writes the end.
    pub(super) fn finish(mut self, at: Duration) -> Result<(), RecordingError> {
        let mut frame = Frame::new(DONE, self.items, at);
        frame.crc = frame.checksum([&[], &[]]).into();
        Ok(self.file.write_all(frame.as_bytes())?)
    }
}

/// One item of a recording.
#[derive(Debug)]
pub(super) struct Record {
    /// When it came, since the file was begun.
    pub(super) at: Duration,
    pub(super) header: DataHeader,
    pub(super) payload: Bytes,
}

/// Reads a recording. Nothing that stands in it is trusted: memory is taken only for what the file is
/// long enough to hold.
pub(super) struct Reader {
    file: BufReader<File>,
    /// Bytes of the file when it was opened.
    len: u64,
    position: u64,
    items: u64,
    max_payload: u64,
    pool: Pool,
}

impl Reader {
    /// Opens a file. Items of more than `max_payload` bytes are refused when they come.
    pub(super) fn open(path: &Path, max_payload: u64) -> Result<Self, RecordingError> {
        // Opening a pipe would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return Err(RecordingError::NotAFile);
        }
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let file = BufReader::with_capacity(64 * 1024, file);
        let pool = Pool::default();
        let mut reader = Self { file, len, position: 0, items: 0, max_payload, pool };
        reader.begin()?;
        Ok(reader)
    }

    /// Goes back to the first item.
    pub(super) fn rewind(&mut self) -> Result<(), RecordingError> {
        self.file.rewind()?;
        (self.position, self.items) = (0, 0);
        self.begin()
    }

    fn begin(&mut self) -> Result<(), RecordingError> {
        let mut opening = Opening::new_zeroed();
        let magic_len = MAGIC.len() as u64;
        if self.len < magic_len {
            return Err(RecordingError::NotARecording);
        }
        let there = self.len.min(BLOCK as u64) as usize;
        self.file.read_exact(&mut opening.as_mut_bytes()[..there])?;
        if opening.magic != MAGIC {
            return Err(RecordingError::NotARecording);
        }
        if there < BLOCK {
            return Err(self.truncated());
        }
        let found = opening.version_major.get();
        if found != VERSION_MAJOR {
            return Err(RecordingError::Version { found });
        }
        let crc = crc32fast::hash(&opening.as_bytes()[..BLOCK - 4]);
        if crc != opening.crc.get() || opening.len.get() as usize != BLOCK {
            return Err(self.damaged("the opening of the file has another checksum"));
        }
        self.position = BLOCK as u64;
        Ok(())
    }

    /// The next item; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record>, RecordingError> {
        let left = self.len - self.position;
        if left < BLOCK as u64 {
            return Err(self.truncated());
        }
        let mut frame = Frame::new_zeroed();
        self.read(frame.as_mut_bytes())?;
        if frame.magic == DONE {
            return self.end(&frame, left).map(|()| None);
        }
        if frame.magic != ITEM {
            return Err(self.damaged("it begins neither with \"ITEM\" nor with \"DONE\""));
        }
        if left < (BLOCK + WIRE_HEADER_LEN) as u64 {
            return Err(self.truncated());
        }
        let mut wire = WireHeader::new_zeroed();
        self.read(wire.as_mut_bytes())?;
        let (number, offset) = (self.items, self.position);
        let header =
            wire.decode().map_err(|source| RecordingError::Header { number, offset, source })?;
        let len = u64::from(header.payload_size);
        let whole = item_len(len);
        if whole > left {
            return Err(self.truncated());
        }
        if len > self.max_payload {
            return Err(RecordingError::TooLarge { number, offset, len, max: self.max_payload });
        }
        let mut buffer = self.pool.take(header.payload_size as usize);
        let mut zeros = [0; BLOCK];
        let read =
            self.read(buffer.bytes()).and_then(|()| self.read(&mut zeros[..padding(len) as usize]));
        let payload = self.pool.seal(buffer);
        read?;
        if frame.crc.get() != frame.checksum([wire.as_bytes(), &payload]) {
            return Err(self.damaged("it has another checksum"));
        }
        if frame.number.get() != self.items {
            return Err(self.damaged("it has another number"));
        }
        if header.kind != MessageKind::Data {
            return Err(self.damaged("it is a message about the stream, not an item"));
        }
        self.position += whole;
        self.items += 1;
        Ok(Some(Record { at: Duration::from_nanos(frame.at_ns.get()), header, payload }))
    }

    /// Checks the end, of which `left` bytes are there.
    fn end(&self, frame: &Frame, left: u64) -> Result<(), RecordingError> {
        if frame.crc.get() != frame.checksum([&[], &[]]) {
            return Err(self.damaged("the end of the file has another checksum"));
        }
        if frame.number.get() != self.items {
            return Err(self.damaged("the end of the file counts another number of items"));
        }
        if left != BLOCK as u64 {
            return Err(self.damaged("something follows the end of the file"));
        }
        Ok(())
    }

    fn read(&mut self, place: &mut [u8]) -> Result<(), RecordingError> {
        self.file.read_exact(place).map_err(|error| match error.kind() {
            // It has become shorter since it was opened.
            io::ErrorKind::UnexpectedEof => self.truncated(),
            _ => error.into(),
        })
    }

    fn truncated(&self) -> RecordingError {
        RecordingError::Truncated { offset: self.len, items: self.items }
    }

    fn damaged(&self, problem: &'static str) -> RecordingError {
        RecordingError::Damaged { number: self.items, offset: self.position, problem }
    }
}

#[cfg(test)]
pub(super) mod tests;
