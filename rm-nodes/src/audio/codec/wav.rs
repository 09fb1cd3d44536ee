//! WAV: reading, and the header that is written.
//!
//! Main functions: [`open`] and [`header`]. Known are RIFF and its long form RF64, integers of 8, 16,
//! 24 and 32 bits and floats of 32 and 64 bits, with plain and extensible format chunks, and tags in a
//! list `INFO` before or behind the samples. Samples are given as they lie in the file.

use std::io::{BufReader, Read, Seek, SeekFrom};

use rm_core::{AudioFormat, NodeError};

use super::input::Input;
use super::riff_info;
use super::sound::{Blocks, Opened, SoundError, SoundInfo, frame_bytes};
use super::tags::Tags;
use crate::input::StreamFormat;

/// Bytes that are read at once.
const BLOCK_LEN: usize = 16 << 10;
/// Longest list of tags that is read.
const MAX_LIST_LEN: u64 = 128 << 10;
/// The length of what is written without knowing how long it will be.
const UNKNOWN: u32 = u32::MAX;
/// What follows the number of a format in the GUID that stands for it.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;
/// Most channels that are written: the header has 16 bits for the bytes of a frame, whose samples
/// have up to eight.
pub(super) const MAX_CHANNELS: u16 = u16::MAX / 8;

/// Fills `buffer`, or says that there are not as many bytes.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), SoundError> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => SoundError::content("it ends within its header"),
        _ => error.into(),
    })
}

/// The name and the length of the next chunk.
fn read_chunk(reader: &mut impl Read) -> Result<([u8; 4], u64), SoundError> {
    let mut head = [0; 8];
    fill(reader, &mut head)?;
    let [a, b, c, d, len @ ..] = head;
    Ok(([a, b, c, d], u64::from(u32::from_le_bytes(len))))
}

/// The body of a chunk, at most `most` bytes of it; the next chunk begins at an even place.
fn read_body(reader: &mut impl Read, len: u64, most: u64) -> Result<Vec<u8>, SoundError> {
    let mut body = vec![0; len.min(most) as usize];
    fill(reader, &mut body)?;
    let rest = len + len % 2 - body.len() as u64;
    match std::io::copy(&mut reader.by_ref().take(rest), &mut std::io::sink())? {
        passed if passed == rest => Ok(body),
        _ => Err(SoundError::content("it ends within its header")),
    }
}

/// The format that the body of a format chunk names.
fn read_format(body: &[u8]) -> Result<StreamFormat, SoundError> {
    let short = |at: usize| body.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (Some(tag), Some(channels), Some(bits)) = (short(0), short(2), short(14)) else {
        return Err(SoundError::content("its format chunk is too short"));
    };
    let sample_rate = u32::from_le_bytes([body[4], body[5], body[6], body[7]]);
    let tag = match (tag, short(24)) {
        (EXTENSIBLE, Some(tag)) if body.get(26..40) == Some(&GUID_TAIL) => tag,
        _ => tag,
    };
    let format = match (tag, bits) {
        (PCM, 1..=8) => AudioFormat::U8,
        (PCM, 9..=16) => AudioFormat::I16,
        (PCM, 17..=24) => AudioFormat::I24,
        (PCM, 25..=32) => AudioFormat::I32,
        (FLOAT, 32) => AudioFormat::F32,
        (FLOAT, 64) => AudioFormat::F64,
        (tag, bits) => {
            return Err(SoundError::content(format!(
                "it holds samples of {bits} bits in the format {tag:#x}; integers (0x1) of 8, 16, \
                 24 and 32 bits and floats (0x3) of 32 and 64 bits can be read"
            )));
        }
    };
    if channels == 0 || sample_rate == 0 {
        let problem = format!("its header says {channels} channels at {sample_rate} Hz");
        return Err(SoundError::content(problem));
    }
    Ok(StreamFormat { sample_rate, channels, format })
}

/// Opens a WAV file or stream and checks that it can hold what its header says.
///
/// # Errors
/// [`SoundError`] if the bytes cannot be had, are no WAV, or are fewer than the header says.
pub(super) fn open(mut input: Input) -> Result<Opened, SoundError> {
    let (len, limit) = (input.len(), input.limit_header());
    let mut reader = BufReader::new(input);
    let mut head = [0; 12];
    fill(&mut reader, &mut head)?;
    let is_long = head.starts_with(b"RF64");
    let no_riff_len = matches!(&head[4..8], [0, 0, 0, 0] | [255, 255, 255, 255]);
    let mut long_len = None;
    let mut format = None;
    let mut tags = Tags::default();
    let data_len = loop {
        let (id, len) = read_chunk(&mut reader)?;
        match &id {
            b"ds64" => {
                let body = read_body(&mut reader, len, 28)?;
                long_len = body.get(8..16).and_then(|len| len.first_chunk().copied());
            }
            b"fmt " => format = Some(read_format(&read_body(&mut reader, len, 64)?)?),
            b"LIST" => read_list(&read_body(&mut reader, len, MAX_LIST_LEN)?, &mut tags),
            b"data" => match (len, long_len) {
                (len, Some(long)) if is_long && len == u64::from(UNKNOWN) => {
                    break Some(u64::from_le_bytes(long));
                }
                (len, _) if len == u64::from(UNKNOWN) || (len == 0 && no_riff_len) => break None,
                (len, _) => break Some(len),
            },
            _ => drop(read_body(&mut reader, len, 0)?),
        }
    };
    limit.lift();
    let Some(format) = format else {
        return Err(SoundError::content("it has no format chunk before its samples"));
    };
    if let (Some(len), Some(data_len)) = (len, data_len) {
        let begin = reader.stream_position()?;
        let needed = begin.saturating_add(data_len);
        if needed > len {
            return Err(SoundError::content(format!(
                "its header promises at least {needed} bytes, but it has {len}"
            )));
        }
        reader.seek(SeekFrom::Start(needed + data_len % 2))?;
        read_trailing_tags(&mut reader, &mut tags);
        reader.seek(SeekFrom::Start(begin))?;
    }
    let frame_len = frame_bytes(format) as u64;
    let frames = data_len.map(|len| len / frame_len);
    let left = frames.map(|frames| frames * frame_len);
    let blocks = WavBlocks { reader, left, frame_len: frame_len as usize, part: Vec::new() };
    Ok((SoundInfo { codec: "wav", format, frames, tags }, Box::new(blocks)))
}

fn read_list(body: &[u8], tags: &mut Tags) {
    if let Some(info) = body.strip_prefix(b"INFO") {
        let mut found = Tags::default();
        riff_info::read(info, &mut found);
        tags.replace_by(&found);
    }
}

/// Reads lists behind the samples. Whatever else is there is no concern of the sound.
fn read_trailing_tags(reader: &mut impl Read, tags: &mut Tags) {
    for _ in 0..16 {
        let Ok((id, len)) = read_chunk(reader) else {
            return;
        };
        let most = if id == *b"LIST" { MAX_LIST_LEN } else { 0 };
        let Ok(body) = read_body(reader, len, most) else {
            return;
        };
        read_list(&body, tags);
    }
}

/// The samples of a WAV file or stream.
struct WavBlocks {
    reader: BufReader<Input>,
    /// Bytes of samples that are left, if that is known.
    left: Option<u64>,
    frame_len: usize,
    /// The beginning of a frame whose rest has not come.
    part: Vec<u8>,
}

impl Blocks for WavBlocks {
    fn next(&mut self, block: &mut Vec<u8>) -> Result<bool, SoundError> {
        block.clear();
        block.append(&mut self.part);
        while block.len() < self.frame_len {
            let have = block.len();
            let room = (BLOCK_LEN - BLOCK_LEN % self.frame_len).max(self.frame_len) - have;
            let wanted = self.left.map_or(room, |left| room.min(left as usize));
            if wanted == 0 {
                return Ok(false);
            }
            block.resize(have + wanted, 0);
            let count = match self.reader.read(&mut block[have..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => 0,
                Ok(0) => return Ok(false),
                result => result?,
            };
            block.truncate(have + count);
            if let Some(left) = &mut self.left {
                *left -= count as u64;
            }
        }
        let whole = block.len() - block.len() % self.frame_len;
        self.part.extend_from_slice(&block[whole..]);
        block.truncate(whole);
        Ok(true)
    }

    fn skip(&mut self, frames: u64) -> Result<u64, SoundError> {
        let frame_len = self.frame_len as u64;
        let Some(left) = self.left.as_mut().filter(|_| self.reader.get_ref().is_seekable()) else {
            return Ok(0);
        };
        let bytes = frames.saturating_mul(frame_len).min(*left);
        *left -= bytes;
        self.reader.seek_relative(bytes as i64)?;
        Ok(bytes / frame_len)
    }
}

/// The places of the loudspeakers for so many channels, as WAVE files order them; 0 for none in
/// particular. (`ksmedia.h`: mono, stereo, 3.0, quad, 5.0, 5.1, 7.1. It has no layout of seven, which
/// are those of FLAC: front left, right and centre, low frequencies, back centre, side left and right.)
const fn channel_mask(channels: u16) -> u32 {
    match channels {
        1 => 0x4,
        2 => 0x3,
        3 => 0x7,
        4 => 0x33,
        5 => 0x37,
        6 => 0x3f,
        7 => 0x70f,
        8 => 0x63f,
        _ => 0,
    }
}

/// Refuses what the header of a WAV cannot say.
///
/// # Errors
/// [`NodeError::Input`] saying what would be right.
pub(super) fn check(format: StreamFormat) -> Result<(), NodeError> {
    if format.channels > MAX_CHANNELS {
        let expected = format!("at most {MAX_CHANNELS} channels for WAV");
        return Err(NodeError::Input { found: format!("audio in {format}"), expected });
    }
    Ok(())
}

/// Everything before the samples: `data_len` bytes of them, or so many as come, with `list` before and
/// `behind` bytes behind them.
pub(super) fn header(
    format: StreamFormat,
    data_len: Option<u32>,
    list: &[u8],
    behind: u32,
) -> Vec<u8> {
    let StreamFormat { sample_rate, channels, format: sample } = format;
    let width = sample.bytes_per_sample() as u16;
    let tag = if matches!(sample, AudioFormat::F32 | AudioFormat::F64) { FLOAT } else { PCM };
    let is_plain = tag == PCM && width <= 2 && channels <= 2;
    let frame_len = channels.saturating_mul(width);
    let mut body = Vec::with_capacity(40);
    body.extend(if is_plain { tag } else { EXTENSIBLE }.to_le_bytes());
    body.extend(channels.to_le_bytes());
    body.extend(sample_rate.to_le_bytes());
    body.extend(sample_rate.saturating_mul(u32::from(frame_len)).to_le_bytes());
    body.extend(frame_len.to_le_bytes());
    body.extend((8 * width).to_le_bytes());
    if !is_plain {
        body.extend(22_u16.to_le_bytes());
        body.extend((8 * width).to_le_bytes());
        body.extend(channel_mask(channels).to_le_bytes());
        body.extend(tag.to_le_bytes());
        body.extend(GUID_TAIL);
    }
    let mut chunks = Vec::with_capacity(128 + list.len());
    chunks.extend(b"WAVEfmt ");
    chunks.extend((body.len() as u32).to_le_bytes());
    chunks.extend(body);
    if tag == FLOAT {
        let frames = data_len.map_or(UNKNOWN, |len| len / u32::from(frame_len.max(1)));
        chunks.extend(b"fact\x04\0\0\0");
        chunks.extend(frames.to_le_bytes());
    }
    chunks.extend(list);
    chunks.extend(b"data");
    chunks.extend(data_len.unwrap_or(UNKNOWN).to_le_bytes());
    let riff_len = match data_len {
        Some(len) => (chunks.len() as u32).saturating_add(len + len % 2).saturating_add(behind),
        None => UNKNOWN,
    };
    let mut header = b"RIFF".to_vec();
    header.extend(riff_len.to_le_bytes());
    header.extend(chunks);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_the_loudspeakers_in_the_order_in_which_channels_lie() {
        // The bits of `ksmedia.h` for front left, right, centre, low frequencies, back left and right,
        // back centre, side left and right.
        let [fl, fr, fc, lfe, bl, br, bc, sl, sr] = [1, 2, 4, 8, 0x10, 0x20, 0x100, 0x200, 0x400];
        for (channels, mask) in [
            (3, fl | fr | fc),
            (6, fl | fr | fc | lfe | bl | br),
            (7, fl | fr | fc | lfe | bc | sl | sr),
            (8, fl | fr | fc | lfe | bl | br | sl | sr),
            (9, 0_u32),
        ] {
            let format = StreamFormat { sample_rate: 48_000, channels, format: AudioFormat::I16 };
            let header = header(format, None, &[], 0);
            assert_eq!(header[40..44], mask.to_le_bytes(), "{channels} channels");
        }
    }
}
