//! Tests with files that other programs have coded; `testdata/README.md` says how.

use std::f64::consts::TAU;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rm_core::AudioFormat;
use serde_json::json;

use super::*;
use crate::input::StreamFormat;

pub(in crate::audio) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// The files with the format and the length of what they hold.
pub(in crate::audio) const FILES: [(&str, &str, u32, u16, Option<u64>); 12] = [
    ("mono.mp3", "mp3", 48_000, 1, Some(28_801)),
    ("stereo.mp3", "mp3", 44_100, 2, Some(26_463)),
    ("no-header.mp3", "mp3", 44_100, 2, None),
    ("stereo.ogg", "vorbis", 44_100, 2, Some(26_463)),
    ("six.ogg", "vorbis", 48_000, 6, Some(14_407)),
    ("mono.opus", "opus", 48_000, 1, Some(28_801)),
    ("stereo.opus", "opus", 48_000, 2, Some(28_801)),
    ("six.opus", "opus", 48_000, 6, Some(14_407)),
    ("speech.opus", "opus", 48_000, 1, Some(48_480)),
    ("stereo.flac", "flac", 44_100, 2, Some(4_801)),
    ("stereo.oga", "flac", 44_100, 2, Some(4_801)),
    ("mono24.flac", "flac", 48_000, 1, Some(4_801)),
];

/// The signal that was coded, from -1 to 1.
fn signal(frame: u64, channel: u16, rate: u32) -> f64 {
    let (t, c) = (frame as f64 / f64::from(rate), f64::from(channel));
    let chirp = (TAU * (300.0 * (c + 1.0) * t + 750.0 * t * t)).sin();
    0.4 * chirp + 0.1 * (TAU * (2500.0 + 300.0 * c) * t).sin()
}

fn open(name: &str) -> Sound {
    Sound::open(Input::file(File::open(file(name)).unwrap())).unwrap()
}

fn all(sound: &mut Sound) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(block) = sound.next_block().unwrap() {
        bytes.extend_from_slice(block);
    }
    bytes
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The ratio in dB of the signal to what `samples` of one channel differ from it.
fn snr(samples: &[f32], channels: u16, channel: u16, rate: u32) -> f64 {
    let own = samples.iter().skip(usize::from(channel)).step_by(usize::from(channels));
    let (mut power, mut noise) = (0.0, 0.0);
    for (frame, sample) in own.enumerate() {
        let wanted = signal(frame as u64, channel, rate);
        power += wanted * wanted;
        noise += (f64::from(*sample) - wanted).powi(2);
    }
    10.0 * (power / noise).log10()
}

#[test]
fn headers_say_what_the_files_hold() {
    for (name, codec, sample_rate, channels, frames) in FILES {
        let sound = open(name);
        let info = sound.info();
        assert_eq!((info.codec, info.frames), (codec, frames), "{name}");
        let format = match name {
            "mono24.flac" => AudioFormat::I24,
            _ if codec == "flac" => AudioFormat::I16,
            _ => AudioFormat::F32,
        };
        assert_eq!(info.format, StreamFormat { sample_rate, channels, format }, "{name}");
    }
}

#[test]
fn lossy_files_give_the_signal_in_its_place_and_length() {
    for (name, codec, rate, channels, frames) in FILES {
        if codec == "flac" || name == "speech.opus" {
            continue;
        }
        let samples = floats(&all(&mut open(name)));
        if let Some(frames) = frames {
            assert_eq!(samples.len() as u64, frames * u64::from(channels), "{name}");
        }
        if name == "no-header.mp3" {
            continue;
        }
        // The fourth of six is for the lowest frequencies, and coded as such.
        for channel in (0..channels).filter(|channel| *channel != 3) {
            let snr = snr(&samples, channels, channel, rate);
            println!("{name} channel {channel}: {snr:.1} dB");
            assert!(snr > 20.0, "{name} channel {channel}: {snr:.1} dB");
        }
    }
}

#[test]
fn mp3_without_a_header_gives_all_of_its_frames() {
    let samples = floats(&all(&mut open("no-header.mp3")));
    // LAME codes 576 frames of delay, then whole granules; a decoder adds 529 of its own.
    assert_eq!(samples.len() / 2 % 1152, 0);
    assert!(samples.len() / 2 >= 26_463 + 576 + 529);
    let moved: Vec<_> = samples[2 * (576 + 529)..][..2 * 26_463].to_vec();
    assert!(snr(&moved, 2, 0, 44_100) > 20.0);
}

#[test]
fn speech_in_opus_is_decoded_as_the_reference_does() {
    let samples = floats(&all(&mut open("speech.opus")));
    let text = fs::read_to_string(file("speech.opus.txt")).unwrap();
    let mut lines = text.lines();
    assert_eq!(samples.len().to_string(), lines.next().unwrap());
    for (line, sample) in lines.zip(samples.iter().skip(250).step_by(500)) {
        let wanted: f32 = line.parse().unwrap();
        assert!((sample - wanted).abs() < 1e-5, "{sample} instead of {wanted}");
    }
}

#[test]
fn lossless_files_give_the_signal_bit_by_bit() {
    let check = |name, channels: u16, scale: f64, rate, width: usize| {
        let bytes = all(&mut open(name));
        assert_eq!(bytes.len(), 4_801 * usize::from(channels) * width, "{name}");
        for (place, sample) in bytes.chunks_exact(width).enumerate() {
            let (frame, channel) = (place as u64 / u64::from(channels), place as u16 % channels);
            let wanted = (signal(frame, channel, rate) * scale).round_ties_even() as i32;
            assert_eq!(sample, &wanted.to_le_bytes()[..width], "{name} frame {frame}");
        }
    };
    check("stereo.flac", 2, 32_767.0, 44_100, 2);
    check("stereo.oga", 2, 32_767.0, 44_100, 2);
    check("mono24.flac", 1, 8_388_607.0, 48_000, 3);
}

#[test]
fn tags_have_the_same_names_in_every_format() {
    let tags = |name: &str| open(name).info().tags.to_json();
    let mp3 = tags("mono.mp3");
    for (name, value) in [
        ("title", "A tone"),
        ("artist", "Nobody"),
        ("album", "Test data"),
        ("date", "2026"),
        ("tracknumber", "3"),
    ] {
        assert_eq!(mp3[name], value, "{mp3}");
    }
    assert_eq!(tags("no-header.mp3")["title"], "Old tag");
    let vorbis = tags("stereo.ogg");
    assert_eq!((&vorbis["title"], &vorbis["mood"]), (&json!("A tone"), &json!("calm")));
    let opus = tags("mono.opus");
    assert_eq!((&opus["title"], &opus["mood"]), (&json!("A tone"), &json!("calm")));
    let flac = tags("stereo.flac");
    assert_eq!(flac["artist"], json!(["Nobody", "Somebody"]));
    assert_eq!(tags("stereo.oga")["title"], "A tone");
}

#[test]
fn what_is_left_out_is_not_there_and_the_rest_is_unchanged() {
    for (name, ..) in FILES {
        let whole = all(&mut open(name));
        let format = open(name).info().format;
        let frame_len = frame_bytes(format);
        for frames in [1, 1_151, 4_000, 4_799, 24_000, 48_300] {
            let Some(wanted) = whole.get(frames * frame_len..) else {
                continue;
            };
            let mut sound = open(name);
            sound.skip(frames as u64).unwrap();
            let rest = all(&mut sound);
            assert_eq!(rest.len(), wanted.len(), "{name} from {frames}");
            if format.format == AudioFormat::F32 {
                let pairs = floats(&rest).into_iter().zip(floats(wanted));
                let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(most < 1e-4, "{name} from {frames} differs by {most}");
            } else {
                assert!(rest == wanted, "{name} from {frames}");
            }
        }
    }
}

#[test]
fn a_stream_gives_the_same_as_a_file() {
    for (name, ..) in FILES {
        let bytes = fs::read(file(name)).unwrap();
        let mut stream = Sound::open(Input::stream(std::io::Cursor::new(bytes))).unwrap();
        assert!(all(&mut stream) == all(&mut open(name)), "{name}");
    }
}

#[test]
fn a_lossless_file_that_is_broken_fails_instead_of_giving_something_else() {
    for name in ["stereo.flac", "stereo.oga", "mono24.flac"] {
        let whole = fs::read(file(name)).unwrap();
        // Behind the header, which has much padding, there is nothing but samples.
        for place in (whole.len() * 2 / 3..whole.len()).step_by(101) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            let read = || -> Result<(), SoundError> {
                let mut sound = Sound::open(Input::memory(bytes.into()))?;
                while sound.next_block()?.is_some() {}
                Ok(())
            };
            assert!(read().is_err(), "{name} with {place} changed");
        }
    }
}

/// Most bytes of memory that any of the files may take, whatever is done to it.
const MAX_MEMORY: u64 = 256 << 20;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_done_to_a_file_it_is_read_or_refused_in_bounded_memory(
        place in 0..FILES.len(), is_stream: bool, end in 0.0..1.5_f64,
        flips in proptest::collection::vec((0.0..1.0_f64, any::<u8>()), 0..6),
        header_flips in proptest::collection::vec((0..300_usize, any::<u8>()), 0..4),
    ) {
        let mut bytes = fs::read(file(FILES[place].0)).unwrap();
        let len = bytes.len();
        for (at, value) in flips {
            bytes[(at * len as f64) as usize] ^= value;
        }
        for (at, value) in header_flips {
            bytes[at] = value;
        }
        bytes.truncate((end * len as f64) as usize);
        let used = allocation_counter::measure(|| {
            let input = match is_stream {
                true => Input::stream(std::io::Cursor::new(bytes)),
                false => Input::memory(bytes.into()),
            };
            if let Ok(mut sound) = Sound::open(input) {
                while let Ok(Some(block)) = sound.next_block() {
                    assert!(!block.is_empty());
                }
            }
        });
        prop_assert!(used.bytes_max < MAX_MEMORY, "{} bytes", used.bytes_max);
    }
}
