//! Sound in MP3, FLAC and Ogg (Vorbis, Opus, FLAC), by the crate `symphonia`.
//!
//! Main function: [`open`]. Delay and padding that an encoder has added are left out. A packet of a
//! lossy format that cannot be decoded becomes silence of its length, as it may be the first of a
//! stream that was entered in the middle; many of them in a row are a failure, and so is the first one
//! of a lossless format. FLAC of more than 24 bits is read elsewhere.

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::audio::sample::i24;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_FLAC, CODEC_ID_MP3, CODEC_ID_OPUS, CODEC_ID_VORBIS,
};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::{MetadataOptions, StandardTag, Tag};
use symphonia::core::units::Timestamp;

use rm_core::AudioFormat;

use super::input::Input;
use super::opus::OpusPackets;
use super::sound::{Blocks, Opened, SoundError, SoundInfo, frame_bytes, unknown};
use super::tags::Tags;
use super::vorbis::VorbisPackets;
use crate::input::StreamFormat;

/// Most packets in a row that cannot be decoded.
const MAX_FAILURES: u32 = 50;
/// Most bytes of one tag. Pictures are not kept, so none is read.
const MAX_TAG_LEN: usize = 64 << 10;

/// An input as `symphonia` wants it.
struct Source {
    input: Input,
    /// Whether it may be read anywhere.
    is_seekable: bool,
}

impl std::io::Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(buffer)
    }
}

impl std::io::Seek for Source {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.input.seek(to)
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        self.is_seekable
    }

    fn byte_len(&self) -> Option<u64> {
        if self.is_seekable { self.input.len() } else { None }
    }
}

fn sound_error(error: Error) -> SoundError {
    match error {
        Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            SoundError::content("it ends in the middle of its sound")
        }
        Error::IoError(error) => SoundError::Io(error),
        other => SoundError::content(other.to_string()),
    }
}

fn probe(input: Input, is_seekable: bool) -> Result<Box<dyn FormatReader>, Error> {
    let source = Source { input, is_seekable };
    let stream = MediaSourceStream::new(Box::new(source), Default::default());
    let metadata = MetadataOptions::default()
        .limit_tag_bytes(Limit::Maximum(MAX_TAG_LEN))
        .limit_visual_bytes(Limit::None);
    symphonia::default::get_probe().probe(&Hint::new(), stream, Default::default(), metadata)
}

/// Opens a file or stream that begins with `first`.
///
/// # Errors
/// [`SoundError`] if the bytes cannot be had, or are no sound that is known.
pub(super) fn open(mut input: Input, first: &[u8]) -> Result<Opened, SoundError> {
    let is_ogg = first.starts_with(b"OggS");
    let limit = input.limit_header();
    let mut tags = Tags::default();
    let is_flac = first.starts_with(b"fLaC");
    let mut again = if is_ogg { None } else { input.again()? };
    if !is_flac && let Some(again) = again.take() {
        // What can be read anywhere is searched for tags at its end. But MP3 without a count of its
        // frames would then be cut off where an estimate from its length ends.
        if let Ok(mut reader) = probe(again, true) {
            read_tags(reader.as_mut(), &mut tags);
        }
        std::io::Seek::rewind(&mut input)?;
    }
    let is_seekable = is_ogg && input.is_seekable();
    let mut reader = match (probe(input, is_seekable), again) {
        (Ok(reader), _) => reader,
        // It wants a first block of samples, which need not be there.
        (Err(_), Some(mut again)) => {
            std::io::Seek::rewind(&mut again)?;
            return super::flac::open(again);
        }
        (Err(Error::Unsupported(_)), None) if is_flac => {
            return Err(SoundError::content("it begins as FLAC, but no sound follows"));
        }
        (Err(Error::Unsupported(_)), None) => return Err(unknown(first)),
        (Err(error), None) => return Err(sound_error(error)),
    };
    limit.lift();
    read_tags(reader.as_mut(), &mut tags);
    let stream = Stream::of(reader.as_ref())?;
    let Stream { codec, format, frames, .. } = stream;
    let blocks = CodedBlocks { reader, stream, failures: 0, next: None };
    Ok((SoundInfo { codec, format, frames, tags }, Box::new(blocks)))
}

fn read_tags(reader: &mut dyn FormatReader, tags: &mut Tags) {
    let mut metadata = reader.metadata();
    loop {
        if let Some(revision) = metadata.current() {
            let tracks = revision.per_track.iter().map(|track| &track.metadata);
            for container in std::iter::once(&revision.media).chain(tracks) {
                container.tags.iter().for_each(|tag| add_tag(tag, tags));
            }
        }
        if metadata.pop().is_none() {
            return;
        }
    }
}

/// Adds a tag by the name that Vorbis comments have for it, or else by its own.
fn add_tag(tag: &Tag, tags: &mut Tags) {
    let name = match &tag.std {
        Some(StandardTag::TrackTitle(_)) => "title",
        Some(StandardTag::Artist(_)) => "artist",
        Some(StandardTag::Album(_)) => "album",
        Some(StandardTag::AlbumArtist(_)) => "albumartist",
        Some(StandardTag::Composer(_)) => "composer",
        Some(StandardTag::Genre(_)) => "genre",
        Some(StandardTag::Comment(_)) => "comment",
        Some(StandardTag::Copyright(_)) => "copyright",
        Some(StandardTag::TrackNumber(_)) => "tracknumber",
        Some(StandardTag::DiscNumber(_)) => "discnumber",
        Some(
            StandardTag::ReleaseDate(_)
            | StandardTag::ReleaseYear(_)
            | StandardTag::RecordingDate(_)
            | StandardTag::RecordingYear(_),
        ) => "date",
        _ => tag.raw.key.as_str(),
    };
    tags.add(name, &tag.raw.value.to_string());
}

enum Decoder {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(OpusPackets),
    Vorbis(Box<VorbisPackets>),
}

/// One logical stream; another may follow it in Ogg.
struct Stream {
    track: u32,
    codec: &'static str,
    format: StreamFormat,
    frames: Option<u64>,
    decoder: Decoder,
    /// Frames of what is decoded next that are left out.
    discard: u64,
    /// Whether packets were passed over before the next one.
    is_broken: bool,
}

impl Stream {
    /// The first stream of sound.
    fn of(reader: &dyn FormatReader) -> Result<Self, SoundError> {
        let track = reader.default_track(TrackType::Audio);
        let parameters = track.and_then(|track| track.codec_params.as_ref()?.audio());
        let (Some(track), Some(parameters)) = (track, parameters) else {
            return Err(SoundError::content("it holds no sound of a known kind"));
        };
        let AudioCodecParameters { codec, sample_rate, channels, extra_data, .. } = parameters;
        let bits = parameters.bits_per_sample.unwrap_or(32);
        let (name, sample) = match *codec {
            CODEC_ID_MP3 => ("mp3", AudioFormat::F32),
            CODEC_ID_VORBIS => ("vorbis", AudioFormat::F32),
            CODEC_ID_OPUS => ("opus", AudioFormat::F32),
            CODEC_ID_FLAC if bits <= 8 => ("flac", AudioFormat::U8),
            CODEC_ID_FLAC if bits <= 16 => ("flac", AudioFormat::I16),
            CODEC_ID_FLAC if bits <= 24 => ("flac", AudioFormat::I24),
            CODEC_ID_FLAC => ("flac", AudioFormat::I32),
            other => {
                let problem = format!("it holds sound of a kind that is not known ({other})");
                return Err(SoundError::content(problem));
            }
        };
        let channels = channels.as_ref().map_or(0, |channels| channels.count());
        let (Some(sample_rate), Ok(channels @ 1..)) =
            (sample_rate.filter(|rate| *rate > 0), u16::try_from(channels))
        else {
            return Err(SoundError::content("its header says no rate or no channels"));
        };
        let headers = extra_data.as_deref().unwrap_or_default();
        let decoder = if *codec == CODEC_ID_OPUS {
            Decoder::Opus(OpusPackets::new(headers)?)
        } else if *codec == CODEC_ID_VORBIS && channels > 2 {
            Decoder::Vorbis(Box::new(VorbisPackets::new(headers)?))
        } else {
            let options = AudioDecoderOptions::default();
            let codecs = symphonia::default::get_codecs();
            let decoder = codecs.make_audio_decoder(parameters, &options);
            Decoder::Symphonia(decoder.map_err(sound_error)?)
        };
        let discard = match &decoder {
            Decoder::Opus(opus) => opus.delay,
            _ => 0,
        };
        Ok(Self {
            track: track.id,
            codec: name,
            format: StreamFormat { sample_rate, channels, format: sample },
            frames: track.num_frames.map(|frames| frames.saturating_sub(discard)),
            decoder,
            discard,
            is_broken: false,
        })
    }
}

struct CodedBlocks {
    reader: Box<dyn FormatReader>,
    stream: Stream,
    /// Packets in a row that could not be decoded.
    failures: u32,
    /// Where the next packet of a lossless format has to begin.
    next: Option<Timestamp>,
}

impl CodedBlocks {
    /// Begins the stream that follows in the same file.
    fn restart(&mut self) -> Result<(), SoundError> {
        let stream = Stream::of(self.reader.as_ref())?;
        if stream.format != self.stream.format {
            let (before, now) = (self.stream.format, stream.format);
            let problem = format!("its format changes from {before} to {now}");
            return Err(SoundError::content(problem));
        }
        (self.stream, self.next) = (stream, None);
        Ok(())
    }
}

impl Blocks for CodedBlocks {
    fn next(&mut self, block: &mut Vec<u8>) -> Result<bool, SoundError> {
        loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(false),
                Err(Error::ResetRequired) => {
                    self.restart()?;
                    continue;
                }
                Err(error) => return Err(sound_error(error)),
            };
            let stream = &mut self.stream;
            if packet.track_id != stream.track {
                continue;
            }
            let frames = match stream.codec {
                // What is said of its first and last packets contains what is trimmed.
                "mp3" => {
                    let trimmed = packet.trim_start.saturating_add(packet.trim_end).get();
                    mp3_frames(stream.format.sample_rate).saturating_sub(trimmed)
                }
                _ => packet.dur.get(),
            };
            if stream.codec == "flac" {
                if self.next.is_some_and(|next| next != packet.pts) {
                    // A block that is broken is not given at all.
                    return Err(SoundError::content("a part of it is broken or missing"));
                }
                self.next = packet.pts.checked_add(packet.dur);
            }
            // What a decoder remembers of packets before is less than a second in every format.
            let can_pass = !matches!(stream.decoder, Decoder::Vorbis(_));
            if can_pass && stream.discard > frames + u64::from(stream.format.sample_rate) {
                stream.discard -= frames;
                stream.is_broken = true;
                continue;
            }
            let was_broken = std::mem::take(&mut stream.is_broken);
            if was_broken {
                match &mut stream.decoder {
                    Decoder::Symphonia(decoder) => decoder.reset(),
                    Decoder::Opus(opus) => opus.reset(),
                    Decoder::Vorbis(_) => {}
                }
            }
            let decoded = match &mut stream.decoder {
                Decoder::Symphonia(decoder) => match decoder.decode(&packet) {
                    Ok(samples) if !has_format(&samples, stream.format) => {
                        Err(SoundError::content("its format changes"))
                    }
                    Ok(samples) => {
                        put(&samples, stream.format.format, block);
                        Ok(())
                    }
                    Err(error) => Err(sound_error(error)),
                },
                Decoder::Opus(opus) => opus.decode(&packet.data, block),
                Decoder::Vorbis(vorbis) => vorbis.decode(&packet.data, frames, block),
            };
            let frame_len = frame_bytes(stream.format);
            match decoded {
                Ok(()) => self.failures = 0,
                Err(error) if stream.codec == "flac" || self.failures == MAX_FAILURES => {
                    return Err(error);
                }
                Err(_) => {
                    self.failures += 1;
                    block.clear();
                    block.resize(usize::try_from(frames).unwrap_or(0) * frame_len, 0);
                }
            }
            if let Decoder::Opus(_) = stream.decoder {
                // Frames before the sound are left out by their number, those behind it here.
                let whole = usize::try_from(frames).unwrap_or(usize::MAX);
                block.truncate(whole.saturating_mul(frame_len));
            }
            let given = (block.len() / frame_len) as u64;
            if was_broken {
                // It may give less than it holds.
                stream.discard = stream.discard.saturating_sub(frames.saturating_sub(given));
            }
            let discarded = given.min(stream.discard);
            stream.discard -= discarded;
            block.drain(..discarded as usize * frame_len);
            if !block.is_empty() {
                return Ok(true);
            }
        }
    }

    fn skip(&mut self, frames: u64) -> Result<u64, SoundError> {
        self.stream.discard += frames;
        Ok(frames)
    }
}

/// Frames of one packet of MP3, by ISO/IEC 11172-3 from 32 kHz on and by ISO/IEC 13818-3 below.
fn mp3_frames(sample_rate: u32) -> u64 {
    if sample_rate >= 32_000 { 1152 } else { 576 }
}

fn has_format(samples: &GenericAudioBufferRef<'_>, format: StreamFormat) -> bool {
    let spec = samples.spec();
    spec.rate() == format.sample_rate && spec.channels().count() == usize::from(format.channels)
}

fn put(samples: &GenericAudioBufferRef<'_>, format: AudioFormat, block: &mut Vec<u8>) {
    match format {
        AudioFormat::U8 => samples.copy_bytes_to_vec_interleaved_as::<u8>(block),
        AudioFormat::I16 => samples.copy_bytes_to_vec_interleaved_as::<i16>(block),
        AudioFormat::I24 => samples.copy_bytes_to_vec_interleaved_as::<i24>(block),
        AudioFormat::I32 => samples.copy_bytes_to_vec_interleaved_as::<i32>(block),
        _ => samples.copy_bytes_to_vec_interleaved_as::<f32>(block),
    }
}
