//! FLAC: reading, and writing to a file or as a stream.
//!
//! Main types: [`FlacFile`] and [`FlacStream`] write, [`open`] reads, by the crate `flac-codec`. Samples
//! of any number of bits are given in the next larger format, shifted to its full scale. What has up to
//! 24 bits, and FLAC within Ogg, is usually read elsewhere, which is faster.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::num::NonZeroU8;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flac_codec::decode::FlacSampleReader;
use flac_codec::encode::{FlacSampleWriter, FlacStreamWriter, Options};
use flac_codec::metadata::{
    self, Block, Metadata, SeekPoint, SeekTable, Streaminfo, VorbisComment,
};
use rm_core::{AudioFormat, AudioFormats, NodeError, Values};

use super::input::Input;
use super::sound::{Blocks, Opened, SoundError, SoundInfo};
use super::tags::Tags;
use crate::input::StreamFormat;

/// Frames of one block, the usual number.
const BLOCK_FRAMES: usize = 4096;
/// Highest rate that the encoder can name in the header of a block, in tens of Hz.
const MAX_RATE: u32 = 655_340;
/// Highest rate that it can name in Hz, and higher ones that are in use.
const MAX_EXACT_RATE: u32 = 65_534;
const HIGH_RATES: [u32; 6] = [88_200, 96_000, 176_400, 192_000, 352_800, 384_000];
const MAX_CHANNELS: u16 = 8;
/// What is held in FLAC, the formats of samples and their bits.
const FORMATS: [(AudioFormat, u32); 4] =
    [(AudioFormat::I16, 16), (AudioFormat::I24, 24), (AudioFormat::I32, 32), (AudioFormat::U8, 8)];

fn flac_error(error: flac_codec::Error) -> SoundError {
    match error {
        flac_codec::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            SoundError::content("it ends in the middle of its sound")
        }
        flac_codec::Error::Io(error) => SoundError::Io(error),
        other => SoundError::content(format!("it is no valid FLAC: {other}")),
    }
}

/// Opens a FLAC file or stream.
///
/// # Errors
/// [`SoundError`] if the bytes cannot be had, or the header is none.
pub(super) fn open(mut input: Input) -> Result<Opened, SoundError> {
    let (len, limit) = (input.len(), input.limit_header());
    let reader = BufReader::new(input);
    let reader = match len {
        Some(_) => FlacSampleReader::new_seekable(reader),
        None => FlacSampleReader::new(reader),
    };
    let reader = reader.map_err(flac_error)?;
    limit.lift();
    let bits = reader.bits_per_sample();
    let format = match bits {
        0..=8 => AudioFormat::U8,
        9..=16 => AudioFormat::I16,
        17..=24 => AudioFormat::I24,
        _ => AudioFormat::I32,
    };
    let (channels, sample_rate) = (u16::from(reader.channel_count()), reader.sample_rate());
    if sample_rate == 0 {
        return Err(SoundError::content("its header says 0 Hz, so it is no sound"));
    }
    let mut tags = Tags::default();
    for comment in reader.metadata().get_all::<VorbisComment>() {
        for (name, value) in comment.fields.iter().filter_map(|field| field.split_once('=')) {
            tags.add(name, value);
        }
    }
    // Points of a broken table could lie anywhere.
    let mut tables = reader.metadata().get_all::<SeekTable>();
    let is_within = |point: &SeekPoint| match point {
        SeekPoint::Defined { byte_offset, .. } => len.is_some_and(|len| *byte_offset < len),
        SeekPoint::Placeholder => true,
    };
    let can_seek = len.is_some() && tables.all(|table| table.points.iter().all(is_within));
    drop(tables);
    let frames = reader.total_samples();
    let format = StreamFormat { sample_rate, channels, format };
    let blocks = FlacBlocks { reader, format, bits, left: frames, can_seek };
    Ok((SoundInfo { codec: "flac", format, frames, tags }, Box::new(blocks)))
}

struct FlacBlocks {
    reader: FlacSampleReader<BufReader<Input>>,
    format: StreamFormat,
    bits: u32,
    /// Frames that are to come, if that is known.
    left: Option<u64>,
    can_seek: bool,
}

impl Blocks for FlacBlocks {
    fn next(&mut self, block: &mut Vec<u8>) -> Result<bool, SoundError> {
        if self.left == Some(0) {
            return Ok(false);
        }
        let samples = self.reader.fill_buf().map_err(flac_error)?;
        let count = samples.len();
        block.clear();
        let shift = 8 * self.format.format.bytes_per_sample() as u32 - self.bits;
        match self.format.format {
            AudioFormat::U8 => block.extend(samples.iter().map(|s| ((s << shift) as u8) ^ 0x80)),
            AudioFormat::I16 => put(block, samples, |s| ((s << shift) as i16).to_le_bytes()),
            AudioFormat::I24 => put(block, samples, |s| {
                let [low, mid, high, _] = (s << shift).to_le_bytes();
                [low, mid, high]
            }),
            _ => put(block, samples, |s| (s << shift).to_le_bytes()),
        }
        self.reader.consume(count);
        let frames = (count / usize::from(self.format.channels)) as u64;
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(frames)
                .ok_or_else(|| SoundError::content("it holds more frames than its header says"))?;
        }
        Ok(count > 0)
    }

    fn skip(&mut self, frames: u64) -> Result<u64, SoundError> {
        let Some(left) = self.left.filter(|_| self.can_seek) else {
            return Ok(0);
        };
        let skipped = frames.min(left);
        if skipped < left {
            self.reader.seek(skipped).map_err(flac_error)?;
        }
        self.left = Some(left - skipped);
        Ok(skipped)
    }
}

fn put<const N: usize>(block: &mut Vec<u8>, samples: &[i32], bytes: impl Fn(i32) -> [u8; N]) {
    block.resize(samples.len() * N, 0);
    for (place, sample) in block.as_chunks_mut::<N>().0.iter_mut().zip(samples) {
        *place = bytes(*sample);
    }
}

/// The formats that FLAC holds, and that its blocks can name. Of the tens of Hz that those can name
/// beyond 16 bits it lists what is in use.
pub(super) fn taken() -> [AudioFormats; 2] {
    let rates = [Values::Range(1, MAX_EXACT_RATE), Values::OneOf(HIGH_RATES.to_vec())];
    rates.map(|sample_rate| AudioFormats {
        sample_rate,
        channels: Values::Range(1, MAX_CHANNELS),
        format: Values::OneOf(FORMATS.map(|(format, _)| format).to_vec()),
        ..AudioFormats::ANY
    })
}

fn bits_of(format: AudioFormat) -> Option<u32> {
    FORMATS.iter().find(|(known, _)| *known == format).map(|(_, bits)| *bits)
}

/// Refuses what FLAC does not hold.
///
/// # Errors
/// [`NodeError::Input`] saying what would be right.
pub(super) fn check(format: StreamFormat) -> Result<(), NodeError> {
    let StreamFormat { sample_rate, channels, format: sample } = format;
    let refused = |expected: &str| {
        let (found, expected) = (format!("audio in {format}"), expected.to_owned());
        Err(NodeError::Input { found, expected })
    };
    if bits_of(sample).is_none() {
        return refused("i16, i24, i32 or u8 for FLAC; put a FormatConverterNode before it");
    }
    if channels > MAX_CHANNELS {
        return refused("at most 8 channels for FLAC");
    }
    if sample_rate > MAX_RATE || (sample_rate > MAX_EXACT_RATE && !sample_rate.is_multiple_of(10)) {
        return refused("for FLAC less than 65535 Hz, or tens of Hz up to 655340 Hz");
    }
    Ok(())
}

/// Samples as numbers of so many bits, appended to `samples`.
fn unpack(bytes: &[u8], format: AudioFormat, samples: &mut Vec<i32>) {
    match format {
        AudioFormat::U8 => samples.extend(bytes.iter().map(|b| i32::from((b ^ 0x80) as i8))),
        AudioFormat::I16 => {
            let pairs = bytes.as_chunks::<2>().0;
            samples.extend(pairs.iter().map(|b| i32::from(i16::from_le_bytes(*b))));
        }
        AudioFormat::I24 => {
            let threes = bytes.as_chunks::<3>().0;
            samples.extend(threes.iter().map(|[a, b, c]| i32::from_le_bytes([0, *a, *b, *c]) >> 8));
        }
        _ => {
            let fours = bytes.as_chunks::<4>().0;
            samples.extend(fours.iter().map(|b| i32::from_le_bytes(*b)));
        }
    }
}

/// How hard the encoder tries. To code each pair of channels in every way before it chooses would take
/// twice as long for 0.2 % fewer bytes of PCM.
fn options() -> Options {
    Options::default().fast_channel_correlation(true)
}

fn comment(tags: &Tags) -> VorbisComment {
    let fields = tags.iter().map(|(name, value)| format!("{}={value}", name.to_uppercase()));
    VorbisComment { fields: fields.collect(), ..VorbisComment::default() }
}

/// A file that says when its last bytes could not be written, which a dropped buffer does not.
struct Reporting {
    file: BufWriter<File>,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Write for Reporting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Reporting {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        *lock(&self.failure) = self.file.flush().err();
    }
}

/// Nothing that is locked here is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A FLAC file being written, with its length, checksum and seek table.
pub(super) struct FlacFile {
    writer: FlacSampleWriter<Reporting>,
    failure: Arc<Mutex<Option<io::Error>>>,
    format: AudioFormat,
    samples: Vec<i32>,
    is_empty: bool,
}

impl FlacFile {
    /// Begins a file of a format that [`check`] allows.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn new(file: File, format: StreamFormat, tags: &Tags) -> io::Result<Self> {
        let StreamFormat { sample_rate, channels, format } = format;
        let failure = Arc::<Mutex<_>>::default();
        let file = Reporting { file: BufWriter::new(file), failure: failure.clone() };
        let bits = bits_of(format).expect("was checked");
        let channels = u8::try_from(channels).expect("was checked");
        let options = options().comment(comment(tags));
        let writer = FlacSampleWriter::new(file, options, sample_rate, bits, channels, None);
        let writer = writer.map_err(io::Error::from)?;
        Ok(Self { writer, failure, format, samples: Vec::new(), is_empty: true })
    }

    /// Appends interleaved samples.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.samples.clear();
        unpack(bytes, self.format, &mut self.samples);
        self.is_empty &= bytes.is_empty();
        self.writer.write(&self.samples).map_err(io::Error::from)
    }

    /// Completes the file, which lies at `place`, with new tags where there are some.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn complete(self, place: &Path, new_tags: Option<&Tags>) -> io::Result<()> {
        if self.is_empty {
            // The header that was written at the beginning is right.
            drop(self.writer);
        } else {
            self.writer.finalize().map_err(io::Error::from)?;
        }
        if let Some(error) = lock(&self.failure).take() {
            return Err(error);
        }
        if let Some(tags) = new_tags {
            let update = |blocks: &mut metadata::BlockList| {
                blocks.insert(comment(tags));
                Ok::<_, flac_codec::Error>(())
            };
            metadata::update(place, update).map_err(io::Error::from)?;
        }
        Ok(())
    }
}

/// Bytes that the encoder gives and the stream takes.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A FLAC stream, whose header says neither length nor checksum.
pub(super) struct FlacStream {
    writer: FlacStreamWriter<Shared>,
    coded: Shared,
    format: StreamFormat,
    /// Samples that do not fill a block.
    samples: Vec<i32>,
}

impl FlacStream {
    /// Begins a stream of a format that [`check`] allows, whose header is appended to `out`.
    ///
    /// # Errors
    /// [`NodeError::Failed`] if the tags do not fit.
    pub(super) fn new(
        format: StreamFormat,
        tags: &Tags,
        out: &mut Vec<u8>,
    ) -> Result<Self, NodeError> {
        let bits = bits_of(format.format).expect("was checked");
        let block_size = BLOCK_FRAMES as u16;
        let info = Streaminfo {
            minimum_block_size: block_size,
            maximum_block_size: block_size,
            minimum_frame_size: None,
            maximum_frame_size: None,
            sample_rate: format.sample_rate,
            channels: NonZeroU8::new(format.channels as u8).expect("was checked"),
            bits_per_sample: bits.try_into().expect("is at most 32"),
            total_samples: None,
            md5: None,
        };
        let blocks = [Block::Streaminfo(info), Block::VorbisComment(comment(tags))];
        metadata::write_blocks(&mut *out, blocks).map_err(|error| failed(&error))?;
        let coded = Shared::default();
        let writer = FlacStreamWriter::new(coded.clone(), options());
        Ok(Self { writer, coded, format, samples: Vec::new() })
    }

    /// Appends the bytes of whole blocks to `out`.
    ///
    /// # Errors
    /// [`NodeError::Failed`] if they cannot be coded.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NodeError> {
        unpack(bytes, self.format.format, &mut self.samples);
        let block = BLOCK_FRAMES * usize::from(self.format.channels);
        let whole = self.samples.len() - self.samples.len() % block;
        for begin in (0..whole).step_by(block) {
            self.code(begin..begin + block)?;
        }
        self.samples.drain(..whole);
        out.append(&mut lock(&self.coded.0));
        Ok(())
    }

    /// Appends the last block, which may be shorter.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), NodeError> {
        if !self.samples.is_empty() {
            self.code(0..self.samples.len())?;
            self.samples.clear();
        }
        out.append(&mut lock(&self.coded.0));
        Ok(())
    }

    fn code(&mut self, range: std::ops::Range<usize>) -> Result<(), NodeError> {
        let StreamFormat { sample_rate, channels, format } = self.format;
        let channels = u8::try_from(channels).expect("was checked");
        let bits = bits_of(format).expect("was checked");
        let done = self.writer.write(sample_rate, channels, bits, &self.samples[range]);
        done.map_err(|error| failed(&error))
    }
}

fn failed(error: &flac_codec::Error) -> NodeError {
    NodeError::Failed { message: format!("cannot code FLAC: {error}"), source: None }
}
