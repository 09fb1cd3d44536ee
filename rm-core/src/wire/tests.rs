//! The wire form: it round-trips, is hostile-proof, and does not change unnoticed.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn metadata() -> impl Strategy<Value = DataMetadata> {
    let tag = "[a-z0-9-]{1,15}";
    prop_oneof![
        (1_u32.., 1_u16.., 0..AudioFormat::ALL.len(), 0..2_usize).prop_map(
            |(rate, channels, f, l)| {
                DataMetadata::Audio {
                    sample_rate: rate,
                    channels,
                    format: AudioFormat::ALL[f],
                    layout: AudioLayout::ALL[l],
                }
            }
        ),
        (1_u32.., 1_u32.., 0..VideoFormat::ALL.len(), 0.0_f32..1e6).prop_map(
            |(width, height, f, fps)| {
                DataMetadata::Video { width, height, format: VideoFormat::ALL[f], fps }
            }
        ),
        (tag, proptest::option::of(tag))
            .prop_map(|(encoding, language)| DataMetadata::Text { encoding, language }),
        (proptest::collection::vec(any::<usize>(), 0..=8), 0..TensorType::ALL.len())
            .prop_map(|(shape, t)| DataMetadata::Tensor { shape, dtype: TensorType::ALL[t] }),
        Just(DataMetadata::Json),
        Just(DataMetadata::Binary),
    ]
}

prop_compose! {
    fn header()(
        metadata in metadata(),
        payload_size: u32,
        session in proptest::option::of(prop_oneof!["[A-Za-z0-9_.:-]{1,64}", "[aé京]{1,21}"]),
        timestamp_ns: u64,
        kind in 0..MessageKind::ALL.len(),
        sequence: u64,
        epoch: u32,
        deadline_ns in proptest::option::of(1..u64::MAX),
        correlation_id: u64,
        trace_id: [u8; 16],
        span_id: [u8; 8],
        flags: u8,
        origin in proptest::option::of((any::<u16>(), any::<u64>(), any::<u32>())),
    ) -> DataHeader {
        DataHeader {
            session_id: session.map(|id| SessionId::new(id).unwrap()),
            timestamp: from_nanos(timestamp_ns),
            kind: MessageKind::ALL[kind],
            sequence,
            epoch,
            deadline: deadline_ns.map(from_nanos),
            correlation_id,
            trace: TraceContext { trace_id, span_id, flags },
            origin: origin.map(|(input, sequence, index)| Origin { input, sequence, index }),
            ..DataHeader::new(metadata, payload_size)
        }
    }
}

proptest! {
    #[test]
    fn any_header_round_trips(header in header()) {
        let wire = WireHeader::encode(&header).unwrap();
        let copy = WireHeader::read_from_bytes(wire.as_bytes()).unwrap();
        prop_assert_eq!(copy.decode().unwrap(), header);
    }

    #[test]
    fn any_bytes_decode_or_give_a_typed_error(
        mut bytes in proptest::collection::vec(any::<u8>(), 256),
        honest_start: bool,
    ) {
        if honest_start {
            bytes[..8].copy_from_slice(b"RMDH\x01\x00\x00\x01");
            (bytes[8], bytes[9]) = (bytes[8] % 5, bytes[9] % 8);
        }
        check_decodes_or_is_refused(&bytes)?;
    }

    #[test]
    fn a_damaged_header_decodes_or_gives_a_typed_error(
        header in header(),
        damage in proptest::collection::vec((8..256_usize, any::<u8>()), 1..8),
    ) {
        let mut wire = WireHeader::encode(&header).unwrap();
        for (at, byte) in damage {
            wire.as_mut_bytes()[at] = byte;
        }
        check_decodes_or_is_refused(wire.as_bytes())?;
    }
}

/// What could be read can be written again, and then reads the same.
fn check_decodes_or_is_refused(bytes: &[u8]) -> Result<(), TestCaseError> {
    let wire = WireHeader::read_from_bytes(bytes).expect("it has 256 bytes");
    match wire.decode() {
        Ok(header) => prop_assert_eq!(WireHeader::encode(&header).unwrap().decode(), Ok(header)),
        Err(error) => prop_assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

#[test]
fn a_newer_minor_version_and_unknown_flags_are_accepted_and_a_newer_major_is_refused() {
    let mut wire = WireHeader::encode(&DataHeader::new(DataMetadata::Json, 2)).unwrap();
    wire.version_minor = 9;
    wire.flags = U16::new(0x8000);
    assert!(wire.decode().is_ok());
    wire.header_len = U16::new(512);
    assert_eq!(wire.decode(), Err(WireError::BadHeaderLen { found: 512 }));
    wire.version_major = 2;
    let refused = WireError::UnsupportedVersion { found: 2, supported: 1 };
    assert_eq!(wire.decode(), Err(refused));
    wire.magic = *b"XXXX";
    assert_eq!(wire.decode(), Err(WireError::BadMagic { found: *b"XXXX" }));
}

#[test]
fn what_does_not_fit_is_refused_not_truncated() {
    let long = DataMetadata::Text { encoding: "utf-8".into(), language: Some("x".repeat(16)) };
    assert!(matches!(
        WireHeader::encode(&DataHeader::new(long, 0)),
        Err(WireError::Metadata(MetadataError::TextTooLong { field: "language", .. }))
    ));
    let rank9 = DataMetadata::Tensor { shape: vec![1; 9], dtype: TensorType::U8 };
    assert!(matches!(
        WireHeader::encode(&DataHeader::new(rank9, 1)),
        Err(WireError::Metadata(MetadataError::RankTooHigh { rank: 9, max: 8 }))
    ));
}

#[test]
fn times_that_do_not_fit_are_refused() {
    let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let mut header = DataHeader::new(DataMetadata::Json, 0);
    header.deadline = Some(SystemTime::UNIX_EPOCH);
    let bad_deadline = Err(WireError::BadTime { field: "deadline" });
    assert_eq!(WireHeader::encode(&header).map(|_| ()), bad_deadline);
    header.timestamp = before_1970;
    let bad_timestamp = Err(WireError::BadTime { field: "timestamp" });
    assert_eq!(WireHeader::encode(&header).map(|_| ()), bad_timestamp);
}

#[test]
fn a_header_of_two_types_is_refused() {
    let mut header = DataHeader::new(DataMetadata::Json, 0);
    header.data_type = DataType::Text;
    let refused = WireError::TypeMismatch { data_type: DataType::Text, metadata: DataType::Json };
    assert_eq!(WireHeader::encode(&header).err(), Some(refused));
}

#[test]
fn a_timestamp_is_clamped_in_place() {
    let stamp = MonotonicStamp::new();
    let sent_at = |nanos| {
        let mut header = DataHeader::new(DataMetadata::Json, 0);
        header.timestamp = from_nanos(nanos);
        let mut wire = WireHeader::encode(&header).unwrap();
        wire.clamp_timestamp(&stamp);
        wire.decode().unwrap().timestamp
    };
    assert_eq!([7, 5, 9].map(sent_at), [7, 7, 9].map(from_nanos));
    assert_eq!(stamp.clamped(), 1);
}

/// Checks that `header` and the bytes in `testdata/` are the same, in both directions.
fn check_golden(file: &str, header: DataHeader) {
    let bytes: Vec<u8> = file
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
        .collect();
    let mut wire = WireHeader::encode(&header).expect("it fits");
    wire.stamp(header.sequence, 99);
    assert_eq!(wire.as_bytes(), bytes);
    let read = WireHeader::read_from_bytes(&bytes).expect("it has 256 bytes");
    assert_eq!(read.decode(), Ok(header));
    assert_eq!(read.sent_ns(), 99);
}

macro_rules! golden {
    ($($name:ident: $metadata:expr, $payload_size:expr, $change:expr;)*) => {
        $(#[test]
        fn $name() {
            let change: fn(&mut DataHeader) = $change;
            let mut header = DataHeader::new($metadata, $payload_size);
            header.timestamp = from_nanos(1_700_000_000_123_456_789);
            change(&mut header);
            check_golden(
                include_str!(concat!("../../testdata/", stringify!($name), ".hex")),
                header,
            );
        })*
    };
}

mod wire_form_is_unchanged {
    use super::*;

    golden! {
        audio: DataMetadata::audio(48_000, 2, AudioFormat::I24), 5_760, |header| {
            header.session_id = Some(SessionId::new("session-1").unwrap());
            header.sequence = 0x0102_0304_0506_0708;
            header.epoch = 3;
            header.deadline = Some(from_nanos(1_700_000_001_000_000_000));
            header.correlation_id = 42;
            header.trace = TraceContext {
                trace_id: std::array::from_fn(|i| 0xa0 + i as u8),
                span_id: std::array::from_fn(|i| 0xb0 + i as u8),
                flags: 1,
            };
            let (input, sequence, index) = (0x0506, 0x0a0b_0c0d_0e0f_1011, 0x0102_0304);
            header.origin = Some(Origin { input, sequence, index });
        };
        video: DataMetadata::Video {
            width: 1920, height: 1080, format: VideoFormat::P010, fps: 29.97
        }, 6_220_800, |_| {};
        text: DataMetadata::Text {
            encoding: "utf-8".to_owned(), language: Some("zh-Hant".to_owned())
        }, 12, |_| {};
        tensor: DataMetadata::Tensor { shape: vec![1, 3, 224, 224], dtype: TensorType::Bf16 },
            301_056, |_| {};
        json: DataMetadata::Json, u32::MAX, |_| {};
        error: DataMetadata::utf8(), 15, |header| header.kind = MessageKind::Error;
        end_of_stream: DataMetadata::Binary, 0, |header| {
            header.kind = MessageKind::EndOfStream;
            header.session_id = Some(SessionId::new("s".repeat(64)).unwrap());
        };
    }
}
