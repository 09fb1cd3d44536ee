//! Fuzzes what a process reads from its parent's or its child's socket: the cut into frames, and the
//! values in them.
//!
//! Any bytes give frames or a typed error, never a panic, and the same ones wherever the stream is cut.
//! A value that is decoded can be encoded again and reads the same.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use rm_process::protocol::{FrameDecoder, FrameError, encode_frame};
use serde::{Deserialize, Serialize};

/// Small, so that inputs pass it.
const MAX_FRAME: usize = 1024;

/// A type that has every shape of serde's.
#[derive(Debug, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(Option<i64>),
    Tuple(u128, i128, f32, f64, bool, char),
    Struct { name: String, nested: Vec<Shape> },
    Map(BTreeMap<u16, (u8, i8)>),
    Sequence(Vec<Option<Box<Shape>>>),
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, stream)) = bytes.split_first() else {
        return;
    };
    let whole = frames(stream, usize::MAX);
    let in_pieces = frames(stream, usize::from(*cut).max(1));
    assert_eq!(whole, in_pieces);
    for (body, _) in &whole.bodies {
        check_values(body);
    }
    check_values(stream);
});

#[derive(Debug, PartialEq)]
struct Frames {
    bodies: Vec<(Vec<u8>, bool)>,
    /// Why there are no more, unless the stream ended between two of them.
    error: Option<String>,
}

fn frames(stream: &[u8], piece: usize) -> Frames {
    let mut decoder = FrameDecoder::new(MAX_FRAME);
    let mut bodies = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next_body() {
                Ok(Some((body, has_descriptor))) => bodies.push((body.to_vec(), has_descriptor)),
                Ok(None) => break,
                Err(error) => return Frames { bodies, error: Some(error.to_string()) },
            }
        }
    }
    Frames { bodies, error: decoder.finish().err().map(|error| error.to_string()) }
}

fn check_values(body: &[u8]) {
    let len = u32::try_from(body.len()).expect("inputs are short");
    let frame = [&len.to_le_bytes(), body].concat();
    let Some(value) = value(&frame) else { return };
    let again = encode_frame(&value, usize::MAX).expect("what was decoded can be encoded");
    let value = self::value(&again).expect("what was encoded can be decoded");
    let third = encode_frame(&value, usize::MAX).expect("it can be encoded as often as one likes");
    assert_eq!(again, third);
}

/// The value that a frame holds, if it is a [`Shape`].
fn value(frame: &[u8]) -> Option<Shape> {
    let mut decoder = FrameDecoder::default();
    decoder.push(frame);
    match decoder.next_frame() {
        Ok(value) => Some(value.expect("the frame is complete")),
        Err(FrameError::Decode(_) | FrameError::TooDeep { .. }) => None,
        Err(error) => panic!("{error} for a frame that is complete and short"),
    }
}
