//! Tests of the frame codec: every split, every shape, hostile bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(Option<i64>),
    Tuple(u128, i128, f64),
    Struct { name: String, nested: Vec<Shape> },
    Map(BTreeMap<u16, (bool, char)>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    id: u32,
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Unit),
        any::<Option<i64>>().prop_map(Shape::Newtype),
        (any::<u128>(), any::<i128>(), -1e300..1e300).prop_map(|(a, b, c)| Shape::Tuple(a, b, c)),
        proptest::collection::btree_map(any::<u16>(), any::<(bool, char)>(), 0..4)
            .prop_map(Shape::Map),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        (any::<String>(), proptest::collection::vec(inner, 0..4))
            .prop_map(|(name, nested)| Shape::Struct { name, nested })
    })
}

fn body(bytes: &[u8]) -> Vec<u8> {
    flagged_body(bytes, false)
}

fn flagged_body(bytes: &[u8], has_descriptor: bool) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN];
    frame.extend_from_slice(bytes);
    write_header(&mut frame, has_descriptor, LONGEST_FRAME).expect("a short body");
    frame
}

/// All frames that are complete.
fn bodies(decoder: &mut FrameDecoder) -> Vec<(Vec<u8>, bool)> {
    let mut found = Vec::new();
    while let Some((body, has_descriptor)) = decoder.next_body().expect("short bodies") {
        found.push((body.to_vec(), has_descriptor));
    }
    found
}

proptest! {
    #[test]
    fn values_come_out_as_they_went_in_wherever_the_stream_is_split(
        values in proptest::collection::vec(shape(), 1..4),
        chunk in 1_usize..40,
    ) {
        let stream: Vec<u8> = values
            .iter()
            .flat_map(|value| encode_frame(value, DEFAULT_MAX_FRAME).unwrap())
            .collect();
        let mut decoder = FrameDecoder::default();
        let mut found = Vec::new();
        for piece in stream.chunks(chunk) {
            decoder.push(piece);
            while let Some(value) = decoder.next_frame::<Shape>().unwrap() {
                found.push(value);
            }
        }
        decoder.finish().unwrap();
        prop_assert_eq!(found, values);
    }

    #[test]
    fn bodies_come_out_as_they_went_in_when_their_stream_is_split_at_each_byte(
        expected in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..30), any::<bool>()), 1..5),
    ) {
        let stream: Vec<u8> =
            expected.iter().flat_map(|(body, flag)| flagged_body(body, *flag)).collect();
        for split in 0..=stream.len() {
            let mut decoder = FrameDecoder::new(30);
            let mut found = Vec::new();
            for piece in [&stream[..split], &stream[split..]] {
                decoder.push(piece);
                found.extend(bodies(&mut decoder));
            }
            decoder.finish().unwrap();
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn bodies_come_out_as_they_went_in_when_they_are_read_into_the_decoder(
        sizes in proptest::collection::vec(0_usize..100_000, 1..12),
        reads in proptest::collection::vec(1_usize..50_000, 1..20),
    ) {
        let expected: Vec<_> = sizes.iter().map(|size| (vec![*size as u8; *size], false)).collect();
        let stream: Vec<u8> = expected.iter().flat_map(|(bytes, _)| body(bytes)).collect();
        let mut rest = &stream[..];
        let mut decoder = FrameDecoder::default();
        let mut found = Vec::new();
        let mut most = 0;
        for read in reads.iter().cycle() {
            let room = decoder.room();
            prop_assert!(room.len() >= LEAST_ROOM);
            let len = (*read).min(room.len()).min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            decoder.filled(len);
            most = most.max(decoder.end + LEAST_ROOM);
            prop_assert!(decoder.buffer.len() <= FIRST_ROOM.max(2 * most));
            found.extend(bodies(&mut decoder));
            if rest.is_empty() {
                break;
            }
        }
        decoder.finish().unwrap();
        prop_assert!(found == expected);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = FrameDecoder::new(150);
        decoder.push(&bytes);
        while matches!(decoder.next_frame::<Shape>(), Ok(Some(_)) | Err(FrameError::Decode(_))) {}

        let mut decoder = FrameDecoder::default();
        decoder.push(&body(&bytes));
        let _ = decoder.next_frame::<Shape>();
        let mut decoder = FrameDecoder::default();
        decoder.push(&body(&bytes));
        let _ = decoder.next_frame::<Known>();
    }
}

#[test]
fn a_frame_comes_out_whole_when_it_is_split_at_every_byte() {
    let frame = encode_frame(&("left", 7_u8), DEFAULT_MAX_FRAME).unwrap();
    for split in 0..=frame.len() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&frame[..split]);
        let early = decoder.next_frame::<(String, u8)>().unwrap();
        assert_eq!(early.is_some(), split == frame.len());
        assert_eq!(decoder.finish().is_err(), split != 0 && split != frame.len());
        decoder.push(&frame[split..]);
        let value = early.or(decoder.next_frame().unwrap());
        assert_eq!(value, Some(("left".to_owned(), 7)));
    }
}

#[test]
fn an_announced_length_above_the_limit_is_refused_for_good_and_reserves_nothing() {
    let mut decoder = FrameDecoder::new(1024);
    decoder.push(&u32::MAX.to_le_bytes());
    for _ in 0..2 {
        let error = decoder.next_frame::<String>().unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { max: 1024, .. }));
    }
    assert!(decoder.buffer.capacity() < 1024);
}

#[test]
fn a_value_that_comes_with_a_descriptor_is_refused_and_the_next_is_read() {
    let mut decoder = FrameDecoder::default();
    let number = serde_brief::to_vec(&7_u8).unwrap();
    decoder.push(&flagged_body(&number, true));
    decoder.push(&body(&number));
    assert!(matches!(decoder.next_frame::<u8>(), Err(FrameError::UnexpectedDescriptor)));
    assert_eq!(decoder.next_frame::<u8>().unwrap(), Some(7));
}

#[test]
fn a_changed_limit_holds_from_then_on() {
    let mut decoder = FrameDecoder::new(2);
    decoder.push(&body(b"abc"));
    assert!(matches!(decoder.next_body(), Err(FrameError::TooLarge { len: 3, max: 2 })));
    decoder.set_max(3);
    assert_eq!(decoder.next_body().unwrap(), Some((&b"abc"[..], false)));
}

#[test]
fn an_emptied_decoder_keeps_little_of_what_a_large_frame_took() {
    let mut decoder = FrameDecoder::default();
    decoder.push(&body(&vec![0; 4 * KEPT_CAPACITY]));
    assert!(decoder.next_body().unwrap().is_some());
    decoder.room();
    assert!(decoder.buffer.capacity() <= KEPT_CAPACITY);
}

#[test]
fn an_announced_length_within_the_limit_reserves_nothing_before_the_bytes_come() {
    let mut decoder = FrameDecoder::default();
    decoder.push(&16_000_000_u32.to_le_bytes());
    assert!(decoder.next_frame::<String>().unwrap().is_none());
    assert!(decoder.buffer.capacity() < 1024);
}

#[test]
fn a_value_above_the_limit_is_refused_and_one_at_the_limit_is_sent() {
    let text = "x".repeat(100);
    let exact = encode_frame(&text, 1000).unwrap().len() - HEADER_LEN;
    assert!(encode_frame(&text, exact).is_ok());
    for max in [0, 1, exact - 1] {
        let error = encode_frame(&text, max).unwrap_err();
        assert!(matches!(error, FrameError::ValueTooLarge { .. }));
    }
}

#[test]
fn a_body_of_another_type_is_an_error_and_the_next_frame_is_read() {
    let mut decoder = FrameDecoder::default();
    decoder.push(&encode_frame(&vec![1_u8, 2], 100).unwrap());
    decoder.push(&encode_frame("good", 100).unwrap());
    let error = decoder.next_frame::<String>().unwrap_err();
    assert!(matches!(error, FrameError::Decode(_)));
    assert_eq!(decoder.next_frame::<String>().unwrap().as_deref(), Some("good"));
}

#[test]
fn nesting_is_refused_beyond_the_limit_also_in_fields_that_are_ignored() {
    // {"id": 1, "junk": [[[...]]]}
    let nested = |depth: usize| {
        let mut bytes = vec![17, 11, 2, b'i', b'd', 3, 1, 11, 1, b'j'];
        bytes.extend(std::iter::repeat_n(15, depth));
        bytes.extend(std::iter::repeat_n(16, depth));
        bytes.push(18);
        body(&bytes)
    };
    let mut decoder = FrameDecoder::default();
    decoder.push(&nested(MAX_DEPTH - 1));
    assert_eq!(decoder.next_frame::<Known>().unwrap().unwrap().id, 1);
    for depth in [MAX_DEPTH, 8_000_000] {
        decoder.push(&nested(depth));
        let error = decoder.next_frame::<Known>().unwrap_err();
        assert!(matches!(error, FrameError::TooDeep { .. }));
    }
}

#[test]
fn the_depth_walk_steps_over_every_kind_of_value_that_serde_brief_writes() {
    // Payloads are full of the byte that starts a sequence: a walk out of step would count them.
    let starts = "\u{f}".repeat(MAX_DEPTH * 2);
    let value = (
        (starts.as_str(), 0x0f0f_0f0f_0f0f_u64, -0x0f0f_0f0f_i64),
        (f32::from_bits(0x0f0f_0f0f), f64::from_bits(0x0f0f_0f0f_0f0f_0f0f)),
        (true, (), Some(u128::MAX), i128::MIN, '\u{f}'),
        vec![15_u8; MAX_DEPTH * 2],
    );
    let bytes = serde_brief::to_vec(&value).unwrap();
    assert!(depth_is_within(&bytes, 2));
    assert!(!depth_is_within(&bytes, 1));
}

#[test]
fn nothing_within_something_arrives_as_nothing() {
    let frame = encode_frame(&(Some(None::<u8>), Some(())), 100).unwrap();
    let mut decoder = FrameDecoder::default();
    decoder.push(&frame);
    let value: (Option<Option<u8>>, Option<()>) = decoder.next_frame().unwrap().unwrap();
    assert_eq!(value, (None, None));
}

#[test]
fn fields_that_the_receiver_does_not_know_are_ignored() {
    #[derive(Serialize)]
    struct Newer {
        extra: Vec<String>,
        id: u32,
    }
    let newer = Newer { extra: vec!["a".to_owned()], id: 5 };
    let mut decoder = FrameDecoder::default();
    decoder.push(&encode_frame(&newer, 100).unwrap());
    assert_eq!(decoder.next_frame::<Known>().unwrap().unwrap().id, 5);
}
