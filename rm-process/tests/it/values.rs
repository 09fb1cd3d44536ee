//! Values of every shape come back as they were, also through what Python makes of them; and
//! bytes that nobody wrote are refused.

use proptest::prelude::*;
use rm_process::value::wire::{Item, Reader, Writer};
use rm_process::value::{self, DecodeOptions, EncodeOptions, TupleVariants};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::shapes::{Shapes, Variants, any_json, any_shapes, any_variants};

const LISTS: EncodeOptions =
    EncodeOptions { tuple_variants: TupleVariants::List, max_depth: value::DEFAULT_MAX_DEPTH };

fn encoded<T: Serialize + ?Sized>(value: &T, options: EncodeOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    value::encode(value, &mut bytes, options).expect("the value has bytes");
    bytes
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> T {
    value::decode(bytes, DecodeOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The bytes after Python has read the value and written it again: there is one type of integers
/// and one of floats.
fn through_python(bytes: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(bytes);
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    while !reader.is_at_end() {
        let item = match reader.next_item().expect("the bytes are well-formed") {
            Item::Signed(number) if number >= 0 => Item::Unsigned(number.unsigned_abs()),
            Item::F32(number) => Item::F64(number.into()),
            item => item,
        };
        writer.item(item).expect("memory takes everything");
    }
    out
}

proptest! {
    #[test]
    fn any_shapes_come_back_as_they_were(shapes in any_shapes()) {
        let bytes = encoded(&shapes, EncodeOptions::default());
        prop_assert_eq!(&decoded::<Shapes>(&bytes), &shapes);
        prop_assert_eq!(&decoded::<Shapes>(&through_python(&bytes)), &shapes);
    }

    #[test]
    fn any_variants_come_back_from_their_list_form(variants in any_variants()) {
        let bytes = encoded(&variants, LISTS);
        prop_assert_eq!(&decoded::<Variants>(&bytes), &variants);
        prop_assert_eq!(&decoded::<Variants>(&through_python(&bytes)), &variants);
    }

    #[test]
    fn the_bytes_are_those_of_serde_brief(shapes in any_shapes()) {
        let bytes = encoded(&shapes, EncodeOptions::default());
        prop_assert_eq!(&bytes, &serde_brief::to_vec(&shapes).expect("the value has bytes"));
    }

    #[test]
    fn any_json_comes_back_as_it_was(json in any_json()) {
        let bytes = encoded(&json, EncodeOptions::default());
        prop_assert_eq!(&decoded::<serde_json::Value>(&bytes), &json);
        prop_assert_eq!(&decoded::<serde_json::Value>(&through_python(&bytes)), &json);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn any_change_of_a_value_is_decoded_or_refused(
        shapes in any_shapes(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encoded(&shapes, LISTS);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        decode_as_everything(&bytes);
        decode_as_everything(&bytes[..cut.index(bytes.len())]);
    }
}

/// What a fuzzer calls too: bytes from anywhere never panic and never exhaust the stack.
fn decode_as_everything(bytes: &[u8]) {
    let options = DecodeOptions::default();
    let _ = value::decode::<Shapes>(bytes, options);
    let _ = value::decode::<serde_json::Value>(bytes, options);
    let _ = value::decode::<serde::de::IgnoredAny>(bytes, options);
}
