//! The names, fields, variants and validation rules of the data model's contract, as a user of the
//! crate writes them. Where the contract shows a literal of [`RuntimeData`], constructors stand
//! here: a value that exists is valid.

use std::time::{Duration, SystemTime};

use rm_core::{
    AudioFormat, AudioLayout, ChannelId, DataError, DataHeader, DataMetadata, DataType,
    MetadataError, MonotonicStamp, RuntimeData, SessionId, TensorType, VideoFormat,
    WIRE_HEADER_LEN, WireHeader,
};

fn header(metadata: DataMetadata, payload_size: u32) -> DataHeader {
    DataHeader {
        data_type: metadata.data_type(),
        payload_size,
        session_id: Some(SessionId::new("session_123").expect("it is a valid id")),
        timestamp: SystemTime::now(),
        metadata: metadata.clone(),
        ..DataHeader::new(metadata, payload_size)
    }
}

#[test]
fn every_data_type_has_its_metadata_with_the_fields_promised() {
    let all = [
        DataMetadata::Audio {
            sample_rate: 24_000,
            channels: 1,
            format: AudioFormat::F32,
            layout: AudioLayout::Interleaved,
        },
        DataMetadata::Video { width: 2, height: 2, format: VideoFormat::Rgb24, fps: 30.0 },
        DataMetadata::Text { encoding: "utf-8".to_string(), language: Some("en".to_string()) },
        DataMetadata::Tensor { shape: vec![1, 3], dtype: TensorType::F32 },
        DataMetadata::Json,
        DataMetadata::Binary,
    ];
    let types = all.clone().map(|metadata| metadata.data_type());
    use DataType::{Audio, Binary, Json, Tensor, Text, Video};
    assert_eq!(types, [Audio, Video, Text, Tensor, Json, Binary]);
    for metadata in all {
        let payload = vec![b'1'; 12];
        let header = header(metadata.clone(), 12);
        let item = RuntimeData::from_parts(header.clone(), payload.into()).unwrap();
        assert_eq!(item.header().metadata, metadata);
        assert_eq!(item.header().session_id.as_ref().map(SessionId::as_str), Some("session_123"));
        let received = WireHeader::encode(&header).unwrap().decode().unwrap();
        assert_eq!(received, header);
    }
}

#[test]
fn the_formats_promised_exist() {
    use AudioFormat as A;
    for (format, bytes) in
        [(A::F32, 4), (A::F64, 8), (A::I16, 2), (A::I24, 3), (A::I32, 4), (A::U8, 1)]
    {
        assert_eq!(format.bytes_per_sample(), bytes);
    }
    use VideoFormat as V;
    for (format, bytes) in [
        (V::Rgb24, 24),
        (V::Bgr24, 24),
        (V::Rgba32, 32),
        (V::Gray8, 8),
        (V::Yuv420p, 12),
        (V::Nv12, 12),
    ] {
        assert_eq!(format.frame_bytes(4, 2), Some(bytes));
    }
    let numpy = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 \
                 complex64 complex128 bfloat16";
    for name in numpy.split_whitespace() {
        assert!(TensorType::from_name(name).is_some(), "{name}");
    }
}

#[test]
fn the_header_has_256_bytes() {
    assert_eq!(size_of::<WireHeader>(), 256);
    assert_eq!(WIRE_HEADER_LEN, 256);
}

#[test]
fn payload_size_must_match_the_payload() {
    let wrong = RuntimeData::from_parts(header(DataMetadata::Binary, 4), vec![1, 2, 3].into());
    assert_eq!(wrong, Err(DataError::LengthMismatch { claimed: 4, actual: 3 }));
}

#[test]
fn audio_of_broken_frames_is_refused() {
    let broken = RuntimeData::audio(vec![0; 6], 48_000, 2, AudioFormat::I16);
    assert!(matches!(broken, Err(DataError::Metadata(MetadataError::SizeMismatch { .. }))));
    let planar = RuntimeData::audio_planar(vec![0; 6], 48_000, 2, AudioFormat::I16);
    assert!(matches!(planar, Err(DataError::Metadata(MetadataError::SizeMismatch { .. }))));
}

#[test]
fn video_without_all_of_its_planes_is_refused() {
    let luma_only = RuntimeData::video(vec![0; 64], 8, 8, VideoFormat::Yuv420p, 30.0);
    assert!(matches!(luma_only, Err(DataError::Metadata(MetadataError::SizeMismatch { .. }))));
}

#[test]
fn a_tensor_that_does_not_fill_its_shape_is_refused() {
    let gaps = RuntimeData::tensor(vec![0; 20], vec![2, 3], TensorType::F32);
    assert!(matches!(gaps, Err(DataError::Metadata(MetadataError::SizeMismatch { .. }))));
}

#[test]
fn timestamps_only_move_forward() {
    let (now, stamp) = (SystemTime::now(), MonotonicStamp::new());
    assert_eq!(stamp.admit(now), now);
    assert_eq!(stamp.admit(now - Duration::from_secs(1)), now);
    assert_eq!(stamp.clamped(), 1);
}

#[test]
fn what_the_header_cannot_carry_is_a_typed_error() {
    assert!(SessionId::new("s".repeat(65)).is_err());
    assert!(ChannelId::new("").is_err());
    let ranks = RuntimeData::tensor(vec![0], vec![1; 9], TensorType::U8);
    assert!(matches!(
        ranks,
        Err(DataError::Metadata(MetadataError::RankTooHigh { rank: 9, max: 8 }))
    ));
    let tag = RuntimeData::text_in("a", "a-language-tag-too-long");
    assert!(matches!(tag, Err(DataError::Metadata(MetadataError::TextTooLong { max: 15, .. }))));
    assert_eq!(RuntimeData::MAX_PAYLOAD, 4_294_967_295);
}

#[test]
fn a_payload_is_built_from_a_vector_of_bytes() {
    let payload: Vec<u8> = vec![1, 2, 3];
    let item = RuntimeData::new(DataMetadata::Binary, payload.clone()).unwrap();
    assert_eq!(item.payload(), &payload);
}
