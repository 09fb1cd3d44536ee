//! Sound read from bytes of any format that is known, recognised by what the bytes are.
//!
//! Main types: [`Sound`], which gives samples, and [`SoundInfo`], what its header says. They do not
//! convert: samples come in the format that holds the sound without loss.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::input::Input;
use super::tags::Tags;
use super::wav;
use crate::input::StreamFormat;

/// The formats that can be read, for messages.
#[cfg(feature = "codecs")]
pub(super) const READABLE: &str = "WAV, FLAC, MP3, Ogg Vorbis, Ogg Opus and Ogg FLAC can be read";
/// The formats that can be read, for messages.
#[cfg(not(feature = "codecs"))]
pub(super) const READABLE: &str =
    "WAV can be read, other formats by a build with the feature \"codecs\"";

/// For each channel of a WAVE file its place among those of Vorbis and Opus (Vorbis I, section
/// 4.3.9; RFC 7845, section 5.1.1.2).
#[cfg(feature = "codecs")]
pub(super) const WAVE_ORDER: [&[usize]; 8] = [
    &[0],
    &[0, 1],
    &[0, 2, 1],
    &[0, 1, 2, 3],
    &[0, 2, 1, 3, 4],
    &[0, 2, 1, 5, 3, 4],
    &[0, 2, 1, 6, 5, 3, 4],
    &[0, 2, 1, 7, 5, 6, 3, 4],
];

/// Why bytes cannot be read as sound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(in crate::audio) enum SoundError {
    /// The bytes could not be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// They are not what they should be.
    #[error("{0}")]
    Content(String),
}

impl SoundError {
    /// That the bytes are not what they should be.
    pub(super) fn content(problem: impl Into<String>) -> Self {
        Self::Content(problem.into())
    }
}

/// What the header of a sound says.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::audio) struct SoundInfo {
    /// How the samples are coded: `"wav"`, `"flac"`, `"mp3"`, `"vorbis"` or `"opus"`.
    pub(in crate::audio) codec: &'static str,
    /// The format of the samples as they are given.
    pub(in crate::audio) format: StreamFormat,
    /// Number of frames, if it is known.
    pub(in crate::audio) frames: Option<u64>,
    /// Title, artist and so on.
    pub(in crate::audio) tags: Tags,
}

/// What reads one format behind its header.
pub(super) trait Blocks: Send {
    /// Puts the next frames in place of what is in `block`, interleaved; false after the last.
    ///
    /// # Errors
    /// [`SoundError`] if the bytes cannot be had or are no sound.
    fn next(&mut self, block: &mut Vec<u8>) -> Result<bool, SoundError>;

    /// Leaves out as many of the next frames as it can without reading them, at most `frames`, and
    /// says how many.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    fn skip(&mut self, frames: u64) -> Result<u64, SoundError> {
        let _ = frames;
        Ok(0)
    }
}

/// What the header says, and what reads the rest.
pub(super) type Opened = (SoundInfo, Box<dyn Blocks>);

/// A sound being read.
pub(in crate::audio) struct Sound {
    info: SoundInfo,
    /// `None` after a failure.
    blocks: Option<Box<dyn Blocks>>,
    block: Vec<u8>,
    /// How much of the block has been given.
    given: usize,
    /// Frames that have been read or left out.
    position: u64,
}

impl Sound {
    /// Reads the header.
    ///
    /// # Errors
    /// [`SoundError`] if the bytes cannot be had, are of no known format, or do not hold what their
    /// header says.
    pub(in crate::audio) fn open(mut input: Input) -> Result<Self, SoundError> {
        let first = input.look(12)?;
        let (info, blocks) = guarded(|| match &first[..] {
            [] => Err(SoundError::content(format!("it is empty; {READABLE}"))),
            [b'R', b'I' | b'F', b'F' | b'6', b'F' | b'4', _, _, _, _, b'W', b'A', b'V', b'E'] => {
                wav::open(input)
            }
            other => open_coded(input, other),
        })?;
        let blocks = Some(blocks);
        Ok(Self { info, blocks, block: Vec::new(), given: 0, position: 0 })
    }

    /// What its header says.
    pub(in crate::audio) fn info(&self) -> &SoundInfo {
        &self.info
    }

    /// The next samples, interleaved, as many whole frames as are at hand; `None` after the last.
    ///
    /// # Errors
    /// [`SoundError`] if the bytes cannot be had, are no sound, or end before the sound does.
    pub(in crate::audio) fn next_block(&mut self) -> Result<Option<&[u8]>, SoundError> {
        while self.given == self.block.len() {
            let mut block = std::mem::take(&mut self.block);
            self.given = 0;
            if !self.ask(|blocks| blocks.next(&mut block))? {
                self.check_end()?;
                return Ok(None);
            }
            self.block = block;
            self.position += (self.block.len() / frame_bytes(self.info.format)) as u64;
        }
        let begin = std::mem::replace(&mut self.given, self.block.len());
        Ok(Some(&self.block[begin..]))
    }

    /// Fills `out` with the next samples and says how many bytes it has filled: fewer only at the end.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block).
    pub(in crate::audio) fn fill(&mut self, out: &mut [u8]) -> Result<usize, SoundError> {
        let mut filled = 0;
        while filled < out.len() {
            let Some(block) = self.next_block()? else {
                break;
            };
            let count = block.len().min(out.len() - filled);
            out[filled..][..count].copy_from_slice(&block[..count]);
            let rest = block.len() - count;
            filled += count;
            self.given -= rest;
        }
        Ok(filled)
    }

    /// Leaves out the next frames. Where there are fewer, nothing is left.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block).
    pub(in crate::audio) fn skip(&mut self, frames: u64) -> Result<(), SoundError> {
        let skipped = self.ask(|blocks| blocks.skip(frames))?;
        self.position += skipped;
        let mut left = frames - skipped;
        let frame_bytes = frame_bytes(self.info.format);
        while left > 0 {
            let Some(block) = self.next_block()? else {
                break;
            };
            let count = left.min((block.len() / frame_bytes) as u64);
            let rest = block.len() - count as usize * frame_bytes;
            left -= count;
            self.given -= rest;
        }
        Ok(())
    }

    /// Asks the reader, unless it has failed before.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut dyn Blocks) -> Result<T, SoundError>,
    ) -> Result<T, SoundError> {
        let Some(blocks) = self.blocks.as_mut() else {
            return Err(SoundError::content("it could not be read before"));
        };
        let answer = guarded(|| question(blocks.as_mut()));
        if answer.is_err() {
            self.blocks = None;
        }
        answer
    }

    fn check_end(&self) -> Result<(), SoundError> {
        // Headers of MP3 files are known to count a frame of 1152 samples more than there is.
        let tolerance = if self.info.codec == "mp3" { 2 * 1152 } else { 0 };
        match self.info.frames {
            Some(frames) if self.position + tolerance < frames => {
                let found = self.position;
                let problem = format!("it ends after {found} of {frames} frames");
                Err(SoundError::content(problem))
            }
            _ => Ok(()),
        }
    }
}

/// Does something with bytes that are not trusted. A decoder that panics on them, for instance because a
/// number overflows where that is checked, has not understood them; nothing of it is used any more.
fn guarded<T>(work: impl FnOnce() -> Result<T, SoundError>) -> Result<T, SoundError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(SoundError::content("its decoder failed on these bytes")))
}

#[cfg(feature = "codecs")]
fn open_coded(mut input: Input, first: &[u8]) -> Result<Opened, SoundError> {
    // `symphonia` is several times as fast, but does not decode more than 24 bits. They are in the five
    // bits behind the number of channels (RFC 9639, section 8.2).
    let is_wide = first.starts_with(b"fLaC")
        && match input.look(22)?.get(20..22) {
            Some(&[high, low]) => (high & 1) << 4 | low >> 4 >= 24,
            _ => false,
        };
    if is_wide { super::flac::open(input) } else { super::coded::open(input, first) }
}

#[cfg(not(feature = "codecs"))]
fn open_coded(_: Input, first: &[u8]) -> Result<Opened, SoundError> {
    let name = match first {
        [b'f', b'L', b'a', b'C', ..] => "FLAC",
        [b'O', b'g', b'g', b'S', ..] => "Ogg",
        [b'I', b'D', b'3', ..] => "MP3",
        [0xff, second, ..] if second & 0xe0 == 0xe0 => "MP3",
        _ => return Err(unknown(first)),
    };
    let problem = format!("it is {name}, for which this build lacks the feature \"codecs\"");
    Err(SoundError::content(problem))
}

/// That what begins so is of no known format.
pub(super) fn unknown(first: &[u8]) -> SoundError {
    let first = first.escape_ascii();
    SoundError::content(format!("it begins with \"{first}\", which is no known sound; {READABLE}"))
}

/// Bytes of one sample of each channel.
pub(in crate::audio) fn frame_bytes(format: StreamFormat) -> usize {
    usize::from(format.channels) * format.format.bytes_per_sample()
}
