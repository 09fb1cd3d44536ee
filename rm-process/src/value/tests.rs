//! Tests of what is refused, with what words; what is taken is tested with whole values in
//! `tests/it`.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::wire::{Item, Malformed, Reader, Writer};
use super::*;

fn bytes(items: &[Item<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    items.iter().for_each(|item| writer.item(*item).unwrap());
    bytes
}

fn refusal<T: DeserializeOwned + Debug>(bytes: &[u8]) -> String {
    decode::<T>(bytes, DecodeOptions::default()).unwrap_err().to_string()
}

fn check<T: DeserializeOwned + Debug>(sent: Value, expected: &str) {
    let mut bytes = Vec::new();
    encode(&sent, &mut bytes, EncodeOptions::default()).unwrap();
    assert_eq!(refusal::<T>(&bytes), expected, "{sent}");
}

#[derive(Debug, Deserialize)]
struct Order {
    #[expect(dead_code, reason = "it is only read from bytes")]
    items: Vec<Line>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is only read from bytes")]
struct Line {
    price: f64,
    count: Option<u8>,
    at: Option<chrono::DateTime<chrono::Utc>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(u8),
    Tuple(String, i32),
    Struct { side: f32 },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
#[expect(dead_code, reason = "it is only read from bytes")]
enum Tagged {
    Circle { radius: u8 },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is only read from bytes")]
enum Either {
    Number(i64),
    Text(String),
}

#[test]
fn the_place_of_a_wrong_type_is_named() {
    let lines = |last: Value| {
        let line = json!({"price": 1.5, "count": 2});
        json!({"items": [line, line, line, last]})
    };
    check::<Order>(
        lines(json!({"price": "1.5"})),
        "payload.items[3].price: expected float, got str",
    );
    check::<Order>(
        lines(json!({"price": null})),
        "payload.items[3].price: expected float, got None",
    );
    check::<Order>(
        lines(json!({"price": true})),
        "payload.items[3].price: expected float, got bool",
    );
    check::<Order>(lines(json!([])), "payload.items[3]: expected dict, got list");
    check::<Order>(lines(json!({})), "payload.items[3]: missing field `price`");
    check::<Order>(
        lines(json!({"price": 1, "count": 300})),
        "payload.items[3].count: 300 does not fit u8 (0..=255)",
    );
    check::<Order>(
        lines(json!({"price": 1, "count": 2.0})),
        "payload.items[3].count: expected int, got float",
    );
    check::<Order>(
        lines(json!({"prices": 1})),
        "payload.items[3]: unknown field `prices`, expected one of `price`, `count`, `at`",
    );
    check::<Order>(
        lines(json!({"price": 1, "at": "yesterday"})),
        "payload.items[3].at: input contains invalid characters",
    );
    check::<Order>(
        lines(json!({"price": 1, "at": 5})),
        "payload.items[3].at: expected str, got int",
    );
    check::<Order>(json!({"items": "none"}), "payload.items: expected list, got str");
    check::<Order>(json!([1]), "payload: expected dict, got list");
}

#[test]
fn the_root_and_the_wanted_type_are_known() {
    let options = DecodeOptions { root: "reply", ..DecodeOptions::default() };
    let error = decode::<Vec<u8>>(&bytes(&[Item::Bool(true)]), options).unwrap_err();
    assert_eq!(error.to_string(), "reply: expected list, got bool");
    assert_eq!((error.path(), error.wanted()), ("reply", "alloc::vec::Vec<u8>"));
    let expected = Problem::Type { expected: "list".into(), got: "bool".into() };
    assert_eq!(error.problem(), &expected);
}

#[test]
fn plain_values_are_not_taken_for_one_another() {
    check::<bool>(json!(1), "payload: expected bool, got int");
    check::<u32>(json!(true), "payload: expected int, got bool");
    check::<u32>(json!("1"), "payload: expected int, got str");
    check::<u32>(json!(-1), "payload: -1 does not fit u32 (0..=4294967295)");
    check::<i8>(json!(128), "payload: 128 does not fit i8 (-128..=127)");
    check::<std::num::NonZeroU8>(json!(0), "payload: expected a nonzero u8, got 0");
    check::<String>(json!(1), "payload: expected str, got int");
    check::<char>(json!("ab"), "payload: expected str of one character, got \"ab\"");
    check::<()>(json!([]), "payload: expected None, got list");
    check::<Vec<char>>(json!("ab"), "payload: expected list, got str");
    check::<serde_bytes::ByteBuf>(json!("ab"), "payload: expected bytes, got str");
    check::<serde_bytes::ByteBuf>(json!([1, 256]), "payload[1]: 256 does not fit u8 (0..=255)");
    check::<BTreeMap<String, u8>>(json!([]), "payload: expected dict, got list");
    let large = bytes(&[Item::Unsigned(1 << 64)]);
    assert_eq!(refusal::<Value>(&large), "payload: JSON number out of range");
    let expected = "payload: expected any value, got an int of more than 64 bits";
    assert_eq!(refusal::<Either>(&large), expected);
    let octets = bytes(&[Item::Bytes(b"ab")]);
    assert_eq!(refusal::<Value>(&octets), "payload: expected any valid JSON value, got bytes");
    assert_eq!(refusal::<[u8; 1]>(&octets), "payload: expected bytes of length 1, got 2 items");
}

#[test]
fn lists_of_the_wrong_length_are_counted() {
    check::<(u8, u8)>(json!([1, 2, 3, 4]), "payload: expected a list of 2, got 4 items");
    check::<(u8, u8)>(json!([1]), "payload: expected a tuple of size 2, got 1 items");
    check::<[u8; 3]>(json!([1]), "payload: expected an array of length 3, got 1 items");
}

#[test]
fn variants_are_named_with_what_they_lack() {
    check::<Shape>(
        json!("Round"),
        "payload: unknown variant `Round`, expected one of `Unit`, `Newtype`, `Tuple`, `Struct`",
    );
    check::<Shape>(json!(7), "payload: expected a variant of Shape, got int");
    check::<Shape>(json!("Tuple"), "payload: variant `Tuple` needs a value");
    check::<Shape>(json!("Struct"), "payload: variant `Struct` needs a value");
    check::<Shape>(json!({"Unit": 1}), "payload.Unit: expected None, got int");
    check::<Shape>(json!(["Unit", 1]), "payload: expected a list of 1, got 2 items");
    check::<Shape>(json!({"Newtype": "a"}), "payload.Newtype: expected int, got str");
    check::<Shape>(json!(["Newtype"]), "payload: expected a list of 2, got 1 items");
    check::<Shape>(json!(["Newtype", 1, 2]), "payload: expected a list of 2, got 3 items");
    check::<Shape>(json!({"Tuple": ["a", "b"]}), "payload.Tuple[1]: expected int, got str");
    check::<Shape>(json!(["Tuple", "a", "b"]), "payload[2]: expected int, got str");
    check::<Shape>(json!(["Tuple", "a", 1, 2]), "payload: expected a list of 3, got 4 items");
    check::<Shape>(
        json!({"Struct": {"side": "a"}}),
        "payload.Struct.side: expected float, got str",
    );
    check::<Shape>(json!({"Struct": {}}), "payload.Struct: missing field `side`");
    check::<Shape>(json!([7, 1]), "payload: expected the name of a variant, got int");
    check::<Shape>(json!({}), "payload: expected a variant of Shape, got an empty dict");
    check::<Shape>(json!([]), "payload: expected a variant of Shape, got an empty list");
    check::<Shape>(
        json!({"Newtype": 1, "Unit": null}),
        "payload: has more entries than the type takes",
    );
}

#[test]
fn within_what_serde_buffers_the_whole_is_named() {
    check::<Vec<Tagged>>(
        json!([{"type": "Square"}]),
        "payload[0].type: unknown variant `Square`, expected `Circle`",
    );
    check::<Vec<Tagged>>(
        json!([{"type": "Circle", "radius": 300}]),
        "payload[0]: 300 does not fit u8 (0..=255)",
    );
    check::<Vec<Tagged>>(
        json!([{"type": "Circle", "radius": "a"}]),
        "payload[0]: expected int, got str",
    );
    check::<Vec<Either>>(
        json!([1, "a", 1.5]),
        "payload[2]: data did not match any variant of untagged enum Either",
    );
}

#[test]
fn keys_are_named_in_paths_and_as_what_is_wrong() {
    check::<BTreeMap<String, u8>>(
        json!({"unit price": "a"}),
        "payload[\"unit price\"]: expected int, got str",
    );
    check::<BTreeMap<u8, u8>>(
        json!({"a": 1}),
        "payload (key \"a\"): expected int for u8, got \"a\"",
    );
    let entry = |key| bytes(&[Item::MapStart, key, Item::Str("a"), Item::MapEnd]);
    let number = entry(Item::Unsigned(7));
    assert_eq!(refusal::<BTreeMap<u8, u8>>(&number), "payload[7]: expected int, got str");
    assert_eq!(refusal::<BTreeMap<String, u8>>(&number), "payload (key 7): expected str, got int");
    let long = "k".repeat(1000);
    let text = refusal::<BTreeMap<String, u8>>(&entry(Item::Str(&long)));
    assert_eq!(text, format!("payload[\"{}\"...]: expected int, got str", "k".repeat(64)));
}

#[test]
fn depth_is_bounded_and_the_bound_can_be_chosen() {
    let nest = |depth: usize| [vec![15_u8; depth], vec![16; depth]].concat();
    let limit = |max_depth| DecodeOptions { max_depth, ..DecodeOptions::default() };
    decode::<Value>(&nest(128), DecodeOptions::default()).unwrap();
    decode::<serde::de::IgnoredAny>(&nest(128), DecodeOptions::default()).unwrap();
    for options in [DecodeOptions::default(), limit(3)] {
        let error = decode::<Value>(&nest(options.max_depth + 1), options).unwrap_err();
        assert_eq!(error.problem(), &Problem::TooDeep { max: options.max_depth });
        let skipped = decode::<serde::de::IgnoredAny>(&nest(options.max_depth + 1), options);
        assert_eq!(skipped.unwrap_err().problem(), &Problem::TooDeep { max: options.max_depth });
    }
    let million = decode::<Value>(&nest(1_000_000), DecodeOptions::default());
    assert_eq!(million.unwrap_err().problem(), &Problem::TooDeep { max: 128 });
    decode::<Value>(&nest(MAX_DEPTH), limit(usize::MAX)).unwrap();
    let error = decode::<Value>(&nest(MAX_DEPTH + 1), limit(usize::MAX)).unwrap_err();
    assert_eq!(error.problem(), &Problem::TooDeep { max: MAX_DEPTH });
}

/// Kinds of nesting that take more stack for a level than a list does.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Deep {
    Leaf,
    Node { inner: Box<Deep>, more: BTreeMap<String, Deep> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum DeepUntagged {
    Leaf(u8),
    Node { inner: Box<DeepUntagged> },
}

#[test]
fn every_kind_of_nesting_fits_the_stack_at_the_greatest_depth() {
    // A thread of the default size, as those of tokio are.
    let deepest = std::thread::spawn(|| {
        let options = EncodeOptions { max_depth: MAX_DEPTH, ..EncodeOptions::default() };
        let limit = DecodeOptions { max_depth: MAX_DEPTH, ..DecodeOptions::default() };
        let mut tagged = Deep::Leaf;
        for _ in 1..MAX_DEPTH {
            tagged = Deep::Node { inner: Box::new(tagged), more: BTreeMap::new() };
        }
        let mut out = Vec::new();
        encode(&tagged, &mut out, options).unwrap();
        decode::<Deep>(&out, limit).unwrap();
        let mut untagged = DeepUntagged::Leaf(1);
        for _ in 0..MAX_DEPTH {
            untagged = DeepUntagged::Node { inner: Box::new(untagged) };
        }
        out.clear();
        encode(&untagged, &mut out, options).unwrap();
        decode::<DeepUntagged>(&out, limit).unwrap();
    });
    deepest.join().unwrap();
}

#[test]
fn a_value_that_is_too_deep_is_not_written() {
    let options = EncodeOptions { max_depth: 2, ..EncodeOptions::default() };
    encode(&vec![vec![1]], std::io::sink(), options).unwrap();
    let error = encode(&vec![vec![vec![1]]], std::io::sink(), options).unwrap_err();
    assert_eq!(error.to_string(), "value nests deeper than 2 levels");
    // A tuple variant in its map form is a list in a map.
    encode(&Shape::Tuple(String::new(), 1), std::io::sink(), options).unwrap();
    let options = EncodeOptions { max_depth: 1, ..options };
    encode(&Shape::Tuple(String::new(), 1), std::io::sink(), options).unwrap_err();
    let options = EncodeOptions { tuple_variants: TupleVariants::List, ..options };
    encode(&Shape::Tuple(String::new(), 1), std::io::sink(), options).unwrap();
}

#[test]
fn a_writer_that_is_full_is_the_source_of_the_error() {
    let mut room = [0_u8; 3];
    let error = encode("hello", &mut room[..], EncodeOptions::default()).unwrap_err();
    assert!(matches!(error, EncodeError::Write(_)), "{error}");
}

#[test]
fn malformed_bytes_are_named() {
    let check = |bytes: &[u8], expected: Malformed| {
        for found in [
            decode::<Value>(bytes, DecodeOptions::default()).map(drop),
            decode::<Vec<u8>>(bytes, DecodeOptions::default()).map(drop),
        ] {
            assert_eq!(found.unwrap_err().problem(), &Problem::Malformed(expected), "{bytes:?}");
        }
    };
    check(&[], Malformed::Truncated);
    check(&[15], Malformed::Truncated);
    check(&[15, 3], Malformed::Truncated);
    check(&[15, 3, 0x80], Malformed::Truncated);
    check(&[10, 5, 0], Malformed::Truncated);
    check(&[15, 16, 16], Malformed::Excess { len: 1 });
    check(&[15, 18], Malformed::MisplacedEnd { at: 1 });
    check(&[16], Malformed::MisplacedEnd { at: 0 });
    check(&[9], Malformed::UnknownTag { tag: 9, at: 0 });
    check(&[11, 1, 0xff], Malformed::NotUtf8 { at: 0 });
    let too_long = [&[3][..], &[0xff; 18], &[0x04]].concat();
    check(&too_long, Malformed::IntegerTooLong { at: 0 });
    check(&[&[10][..], &[0xff; 18], &[0x03]].concat(), Malformed::Truncated);
}

#[test]
fn items_are_read_as_they_were_written() {
    let items = [
        Item::Null,
        Item::Bool(true),
        Item::Bool(false),
        Item::Unsigned(0),
        Item::Unsigned(u128::MAX),
        Item::Signed(-1),
        Item::Signed(i128::MIN),
        Item::Signed(i128::MAX),
        Item::F32(1.5),
        Item::F64(f64::NEG_INFINITY),
        Item::Bytes(b"\x00"),
        Item::Str("€"),
        Item::ListStart,
        Item::ListEnd,
        Item::MapStart,
        Item::MapEnd,
    ];
    let bytes = bytes(&items);
    let mut reader = Reader::new(&bytes);
    for item in items {
        assert_eq!(reader.next_item(), Ok(item));
    }
    assert!(reader.is_at_end());
}
