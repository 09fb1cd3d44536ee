//! Tests of recordings: what was written is read, and nothing else is.

use super::*;
use proptest::prelude::*;
use rm_core::{
    AudioFormat, AudioLayout, DataMetadata, Origin, SessionId, TensorType, TraceContext,
    VideoFormat,
};
use std::path::PathBuf;

const MAX: u64 = 1 << 20;

/// A file in a folder of its own, which goes with it.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("a.rec"), _folder: folder }
    }

    fn holding(bytes: &[u8]) -> Self {
        let place = Self::new();
        fs::write(&place.path, bytes).unwrap();
        place
    }
}

fn at(number: usize) -> Duration {
    Duration::from_millis(number as u64 * 7)
}

/// The bytes of a recording.
fn written(items: &[RuntimeData]) -> Vec<u8> {
    let place = Place::new();
    let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let mut writer = Writer::create(&place.path, true, begun).unwrap();
    for (number, item) in items.iter().enumerate() {
        writer.write(item, at(number)).unwrap();
    }
    writer.finish(at(items.len())).unwrap();
    fs::read(&place.path).unwrap()
}

/// The items that are read from these bytes, and how that ends.
fn read(bytes: &[u8]) -> (Vec<Record>, Result<(), RecordingError>) {
    let place = Place::holding(bytes);
    let mut records = Vec::new();
    let mut reader = match Reader::open(&place.path, MAX) {
        Ok(reader) => reader,
        Err(error) => return (records, Err(error)),
    };
    loop {
        match reader.next() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, Ok(())),
            Err(error) => return (records, Err(error)),
        }
    }
}

fn items() -> Vec<RuntimeData> {
    vec![
        RuntimeData::audio_i16(vec![1, 2, 3, 4], 48_000, 2).unwrap(),
        RuntimeData::text_in("grüß dich", "de").unwrap(),
        RuntimeData::binary(vec![9; 64]).unwrap(),
        RuntimeData::binary(vec![]).unwrap(),
    ]
}

#[test]
fn the_bytes_are_those_that_the_format_says() {
    let bytes = written(&items());
    assert_eq!(bytes.len(), 64 + 4 * 320 + (64 + 64 + 64) + 64);
    assert_eq!(bytes[..16], *b"RMREC\r\n\x1a\x01\0\0\0\x40\0\0\0");
    assert_eq!(bytes[16..24], 1_000_000_000_000_u64.to_le_bytes());
    assert_eq!(bytes[60..64], crc32fast::hash(&bytes[..60]).to_le_bytes());
    assert_eq!(bytes[64..68], *b"ITEM");
    assert_eq!(bytes[128..132], *b"RMDH");
    assert_eq!(bytes[384..392], [1, 0, 2, 0, 3, 0, 4, 0]);
    assert_eq!(bytes[68..72], crc32fast::hash(&bytes[72..392]).to_le_bytes());
    assert_eq!(bytes[448..452], *b"ITEM");
    assert_eq!(bytes[464..472], 7_000_000_u64.to_le_bytes());
    let end = &bytes[bytes.len() - 64..];
    assert_eq!((&end[..4], &end[8..16]), (&b"DONE"[..], &4_u64.to_le_bytes()[..]));
}

#[test]
fn a_file_that_is_cut_anywhere_is_read_up_to_its_last_whole_item() {
    let items = items();
    let bytes = written(&items);
    // Where each item ends, padding included.
    let mut ends = vec![64];
    for item in &items {
        let len = item.payload().len() as u64;
        ends.push(ends.last().unwrap() + 320 + (len + padding(len)) as usize);
    }
    for len in 0..bytes.len() {
        let (records, end) = read(&bytes[..len]);
        let whole = ends.iter().filter(|end| **end <= len).count().saturating_sub(1);
        assert_eq!(records.len(), whole, "cut to {len} bytes");
        match end {
            Err(RecordingError::NotARecording) => assert!(len < 8),
            Err(RecordingError::Truncated { offset, items }) => {
                assert_eq!((offset, items), (len as u64, whole as u64));
            }
            other => panic!("cut to {len} bytes it ends with {other:?}"),
        }
    }
}

#[test]
fn a_bit_that_has_changed_is_noticed() {
    let items = items();
    let bytes = written(&items);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        let (records, end) = read(&changed);
        for (record, item) in records.iter().zip(&items) {
            assert_eq!((&record.header, &record.payload), (item.header(), item.payload()));
        }
        // Zeros behind a payload stand for nothing.
        let is_padding = bytes[at] == 0 && end.is_ok();
        assert!(end.is_err() || (is_padding && records.len() == items.len()), "byte {at}");
    }
}

#[test]
fn lengths_in_a_file_are_not_trusted() {
    let mut bytes = written(&items()[..1]);
    bytes[128 + 12..128 + 16].copy_from_slice(&u32::MAX.to_le_bytes());
    let (_, end) = read(&bytes);
    assert!(matches!(end, Err(RecordingError::Truncated { items: 0, .. })), "{end:?}");

    // A file that is long enough, but holds nothing but a hole.
    let place = Place::holding(&bytes);
    OpenOptions::new().write(true).open(&place.path).unwrap().set_len(1 << 33).unwrap();
    let error = Reader::open(&place.path, MAX).unwrap().next().unwrap_err();
    assert_eq!(
        error.to_string(),
        "item 0 at byte 64 has 4294967295 bytes; at most 1048576 are read"
    );
}

#[test]
fn what_is_no_recording_is_told() {
    let message = |bytes: &[u8]| read(bytes).1.unwrap_err().to_string();
    assert_eq!(
        message(b"RIFF....WAVE and something more"),
        "it is no recording: it does not begin with \"RMREC\""
    );
    let mut bytes = written(&[]);
    bytes.push(0);
    assert_eq!(
        message(&bytes),
        "item 0 at byte 64 is damaged: something follows the end of the file"
    );
    bytes[8] = 2;
    assert_eq!(message(&bytes), "it is of version 2; this reader knows version 1");
    let folder = tempfile::tempdir().unwrap();
    let error = Reader::open(folder.path(), MAX).err().unwrap();
    assert!(matches!(error, RecordingError::NotAFile));
}

#[test]
fn messages_about_the_stream_are_not_played() {
    let (_, end) = read(&written(&[RuntimeData::flush(1)]));
    assert!(matches!(end, Err(RecordingError::Damaged { .. })), "{end:?}");
}

#[test]
fn an_item_that_cannot_be_written_leaves_the_others() {
    let place = Place::new();
    let mut writer = Writer::create(&place.path, true, SystemTime::UNIX_EPOCH).unwrap();
    let good = RuntimeData::binary(vec![1]).unwrap();
    let bad = good.clone().with_timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    writer.write(&good, at(0)).unwrap();
    assert!(matches!(writer.write(&bad, at(1)), Err(RecordingError::Unwritable(_))));
    writer.write(&good, at(2)).unwrap();
    writer.finish(at(3)).unwrap();
    let (records, end) = read(&fs::read(&place.path).unwrap());
    end.unwrap();
    assert_eq!(records.len(), 2);
}

#[test]
fn large_payloads_are_written_as_small_ones_are() {
    let lens = [MAX_TOGETHER - 1, MAX_TOGETHER, MAX_TOGETHER + 1, 700_001];
    let items: Vec<_> =
        lens.iter().map(|len| RuntimeData::binary(vec![7; *len]).unwrap()).collect();
    let (records, end) = read(&written(&items));
    end.unwrap();
    for (record, item) in records.iter().zip(&items) {
        assert_eq!(&record.payload, item.payload());
    }
}

fn any_metadata() -> impl Strategy<Value = (DataMetadata, Vec<u8>)> {
    let bytes = |len: usize| proptest::collection::vec(any::<u8>(), len);
    let audio = (
        1..400_000_u32,
        1..9_u16,
        prop::sample::select(AudioFormat::ALL),
        prop::sample::select(AudioLayout::ALL),
        0..40_usize,
    );
    let audio = audio.prop_flat_map(move |(sample_rate, channels, format, layout, frames)| {
        let metadata = DataMetadata::Audio { sample_rate, channels, format, layout };
        (Just(metadata), bytes(frames * usize::from(channels) * format.bytes_per_sample()))
    });
    let video = (1..9_u32, 1..9_u32, prop::sample::select(VideoFormat::ALL), 0.0..200.0_f32);
    let video = video.prop_flat_map(move |(width, height, format, fps)| {
        let metadata = DataMetadata::Video { width, height, format, fps };
        (Just(metadata), bytes(format.frame_bytes(width, height).unwrap()))
    });
    let tensor =
        (proptest::collection::vec(0..4_usize, 0..=8), prop::sample::select(TensorType::ALL));
    let tensor = tensor.prop_flat_map(move |(shape, dtype)| {
        let len = dtype.array_bytes(&shape).unwrap();
        (Just(DataMetadata::Tensor { shape, dtype }), bytes(len))
    });
    let text = (proptest::option::of("[a-zA-Z]{2,8}"), ".{0,60}").prop_map(|(language, text)| {
        let encoding = "utf-8".to_owned();
        (DataMetadata::Text { encoding, language }, text.into_bytes())
    });
    let json = ".{0,60}".prop_map(|text| (DataMetadata::Json, text.into_bytes()));
    let binary = proptest::collection::vec(any::<u8>(), 0..300)
        .prop_map(|bytes| (DataMetadata::Binary, bytes));
    prop_oneof![audio, video, tensor, text, json, binary]
}

/// An item of any type with anything in its header.
pub(in crate::util) fn any_item() -> impl Strategy<Value = RuntimeData> {
    let times = (any::<u64>(), proptest::option::of(1..u64::MAX));
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), proptest::option::of("[a-z]{1,9}"));
    let trace = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>());
    let origin = proptest::option::of((any::<u16>(), any::<u64>(), any::<u32>()));
    (any_metadata(), times, numbers, trace, origin).prop_map(
        |((metadata, payload), (timestamp, deadline), numbers, trace, origin)| {
            let time = |ns| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
            let mut header = DataHeader::new(metadata, payload.len() as u32);
            (header.timestamp, header.deadline) = (time(timestamp), deadline.map(time));
            (header.correlation_id, header.sequence, header.epoch) =
                (numbers.0, numbers.1, numbers.2);
            header.session_id = numbers.3.map(|id| SessionId::new(&id).unwrap());
            header.trace = TraceContext { trace_id: trace.0, span_id: trace.1, flags: trace.2 };
            header.origin =
                origin.map(|(input, sequence, index)| Origin { input, sequence, index });
            RuntimeData::from_parts(header, payload.into()).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn every_item_is_read_bit_by_bit_as_it_was_written(
        items in proptest::collection::vec(any_item(), 0..12),
    ) {
        let (records, end) = read(&written(&items));
        end.unwrap();
        prop_assert_eq!(records.len(), items.len());
        for (number, (record, item)) in records.into_iter().zip(&items).enumerate() {
            prop_assert_eq!(record.at, at(number));
            prop_assert_eq!(&RuntimeData::from_parts(record.header, record.payload).unwrap(), item);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        items in proptest::collection::vec(any_item(), 0..3),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        let mut bytes = written(&items);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read(&bytes);
    }
}
