//! A type that has every shape that serde knows, and arbitrary values of it.
//!
//! Main type: [`Shapes`], from [`any_shapes`]. What no wire of this crate keeps (`Some(None)`,
//! `Some(())`) and what serde itself cannot buffer (integers of more than 64 bits within flattened
//! and untagged parts) is left out.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// One field for each shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shapes {
    numbers: Numbers,
    text: Text,
    optional: Option<Box<Newtype>>,
    unit: (),
    unit_struct: Unit,
    newtype: Newtype,
    tuple_struct: Pair,
    tuple: (bool, i32, String),
    array: [i16; 3],
    list: Vec<Option<u32>>,
    set: BTreeSet<i64>,
    maps: Maps,
    variants: Vec<Variants>,
    internal: Vec<Internal>,
    adjacent: Vec<Adjacent>,
    untagged: Vec<Untagged>,
    flat: Flat,
    renamed: Renamed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Numbers {
    unsigned: (u8, u16, u32, u64, u128),
    signed: (i8, i16, i32, i64, i128),
    single: Single,
    double: Double,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Text {
    text: String,
    letter: char,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    octets: Vec<u8>,
}

/// A number of single precision that equals another one with the same bits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Single(f32);

impl PartialEq for Single {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// A number of double precision that equals another one with the same bits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Double(f64);

impl PartialEq for Double {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Newtype(u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair(String, i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Low,
    High,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Maps {
    by_text: BTreeMap<String, Vec<bool>>,
    by_number: BTreeMap<u32, i8>,
    by_signed: BTreeMap<i128, char>,
    by_bool: BTreeMap<bool, ()>,
    by_letter: BTreeMap<char, u16>,
    by_newtype: BTreeMap<Newtype, String>,
    by_kind: BTreeMap<Kind, u8>,
    by_pair: BTreeMap<(i32, String), Option<bool>>,
}

/// One variant of each kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Variants {
    Unit,
    Newtype(Option<i64>),
    List(Vec<u8>),
    Tuple(String, u128, Double),
    Struct { name: String, nested: Vec<Variants> },
    Deeper(Box<Variants>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Struct { id: i64, inner: Variants64 },
    Newtype(BTreeMap<String, u32>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Newtype(Variants),
    Tuple(i8, Option<String>),
    Struct { bytes: serde_bytes::ByteBuf },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Bool(bool),
    Integer(i64),
    Text(String),
    // Before what would take a list too.
    List(Vec<Untagged>),
    Bytes(serde_bytes::ByteBuf),
    Struct { left: Box<Untagged>, right: Vec<Untagged> },
    Map(BTreeMap<i32, Double>),
    Nothing,
}

/// Variants without integers of more than 64 bits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Variants64 {
    Unit,
    Tuple(i32, String),
    Struct { double: Double, bytes: serde_bytes::ByteBuf },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    ratio: Option<Double>,
    variant: Variants64,
    by_number: BTreeMap<i16, bool>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Renamed {
    #[serde(rename = "class")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_out: Option<u8>,
}

fn text() -> BoxedStrategy<String> {
    prop_oneof!["[a-z_]{0,8}", ".{0,6}"].boxed()
}

fn bytes() -> impl Strategy<Value = serde_bytes::ByteBuf> {
    vec(any::<u8>(), 0..6).prop_map(serde_bytes::ByteBuf::from)
}

/// Any bits, with NaN quiet: Python has one precision, and converting quiets them.
fn single() -> impl Strategy<Value = Single> {
    any::<u32>().prop_map(f32::from_bits).prop_map(|number| {
        Single(if number.is_nan() { f32::from_bits(number.to_bits() | 1 << 22) } else { number })
    })
}

fn double() -> impl Strategy<Value = Double> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(f64::NAN),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
        any::<i32>().prop_map(f64::from),
    ]
    .prop_map(|number| {
        Double(if number.is_nan() { f64::from_bits(number.to_bits() | 1 << 51) } else { number })
    })
}

/// Arbitrary variants of an enum, without anything that serde looks at twice.
pub fn any_variants() -> BoxedStrategy<Variants> {
    let leaf = prop_oneof![
        Just(Variants::Unit),
        any::<Option<i64>>().prop_map(Variants::Newtype),
        vec(any::<u8>(), 0..4).prop_map(Variants::List),
        (text(), any::<u128>(), double()).prop_map(|(a, b, c)| Variants::Tuple(a, b, c)),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (text(), vec(inner.clone(), 0..3))
                .prop_map(|(name, nested)| Variants::Struct { name, nested }),
            inner.prop_map(|inner| Variants::Deeper(Box::new(inner))),
        ]
    })
    .boxed()
}

fn variants_64() -> impl Strategy<Value = Variants64> {
    prop_oneof![
        Just(Variants64::Unit),
        (any::<i32>(), text()).prop_map(|(a, b)| Variants64::Tuple(a, b)),
        (double(), bytes()).prop_map(|(double, bytes)| Variants64::Struct { double, bytes }),
    ]
}

fn internal() -> impl Strategy<Value = Internal> {
    prop_oneof![
        Just(Internal::Unit),
        (any::<i64>(), variants_64()).prop_map(|(id, inner)| Internal::Struct { id, inner }),
        btree_map("[a-s]{0,3}", any::<u32>(), 0..3).prop_map(Internal::Newtype),
    ]
}

fn adjacent() -> impl Strategy<Value = Adjacent> {
    prop_oneof![
        Just(Adjacent::Unit),
        any_variants().prop_map(Adjacent::Newtype),
        (any::<i8>(), proptest::option::of(text())).prop_map(|(a, b)| Adjacent::Tuple(a, b)),
        bytes().prop_map(|bytes| Adjacent::Struct { bytes }),
    ]
}

fn untagged() -> impl Strategy<Value = Untagged> {
    // serde takes bytes that are UTF-8 for text.
    let not_text =
        bytes().prop_map(|bytes| serde_bytes::ByteBuf::from([&[0xff], &bytes[..]].concat()));
    let leaf = prop_oneof![
        any::<bool>().prop_map(Untagged::Bool),
        any::<i64>().prop_map(Untagged::Integer),
        text().prop_map(Untagged::Text),
        not_text.prop_map(Untagged::Bytes),
        btree_map(any::<i32>(), double(), 0..3).prop_map(Untagged::Map),
        Just(Untagged::Nothing),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            (inner.clone(), vec(inner.clone(), 0..2))
                .prop_map(|(left, right)| Untagged::Struct { left: Box::new(left), right }),
            vec(inner, 0..3).prop_map(Untagged::List),
        ]
    })
}

fn numbers() -> impl Strategy<Value = Numbers> {
    (any::<(u8, u16, u32, u64, u128)>(), any::<(i8, i16, i32, i64, i128)>(), single(), double())
        .prop_map(|(unsigned, signed, single, double)| Numbers { unsigned, signed, single, double })
}

fn maps() -> impl Strategy<Value = Maps> {
    let kind = prop_oneof![Just(Kind::Low), Just(Kind::High)];
    (
        btree_map(text(), vec(any::<bool>(), 0..2), 0..3),
        btree_map(any::<u32>(), any::<i8>(), 0..3),
        btree_map(any::<i128>(), any::<char>(), 0..3),
        btree_map(any::<bool>(), Just(()), 0..2),
        btree_map(any::<char>(), any::<u16>(), 0..3),
        btree_map(any::<u64>().prop_map(Newtype), text(), 0..2),
        btree_map(kind, any::<u8>(), 0..2),
        btree_map((any::<i32>(), text()), any::<Option<bool>>(), 0..2),
    )
        .prop_map(
            |(by_text, by_number, by_signed, by_bool, by_letter, by_newtype, by_kind, by_pair)| {
                Maps {
                    by_text,
                    by_number,
                    by_signed,
                    by_bool,
                    by_letter,
                    by_newtype,
                    by_kind,
                    by_pair,
                }
            },
        )
}

fn flat() -> impl Strategy<Value = Flat> {
    let inner = (
        proptest::option::of(double()),
        variants_64(),
        btree_map(any::<i16>(), any::<bool>(), 0..3),
    );
    // The keys of the rest are those of no field.
    (any::<u32>(), inner, btree_map("[a-h]{0,4}", any::<i64>(), 0..3)).prop_map(
        |(id, (ratio, variant, by_number), rest)| {
            let inner = Inner { ratio, variant, by_number };
            Flat { id, inner, rest }
        },
    )
}

/// Arbitrary values.
pub fn any_shapes() -> impl Strategy<Value = Shapes> {
    let plain = (
        numbers(),
        (text(), any::<char>(), vec(any::<u8>(), 0..6), vec(any::<u8>(), 0..6)),
        any::<Option<u64>>(),
        any::<u64>(),
        (text(), any::<i64>()),
        (any::<bool>(), any::<i32>(), text()),
        any::<[i16; 3]>(),
        vec(any::<Option<u32>>(), 0..4),
        btree_set(any::<i64>(), 0..4),
    );
    let tagged = (
        vec(any_variants(), 0..3),
        vec(internal(), 0..3),
        vec(adjacent(), 0..3),
        vec(untagged(), 0..3),
        flat(),
        (text(), any::<Option<u8>>()),
    );
    (plain, maps(), tagged).prop_map(|(plain, maps, tagged)| {
        let (numbers, text, optional, newtype, pair, tuple, array, list, set) = plain;
        let (variants, internal, adjacent, untagged, flat, renamed) = tagged;
        Shapes {
            numbers,
            text: Text { text: text.0, letter: text.1, bytes: text.2, octets: text.3 },
            optional: optional.map(|id| Box::new(Newtype(id))),
            unit: (),
            unit_struct: Unit,
            newtype: Newtype(newtype),
            tuple_struct: Pair(pair.0, pair.1),
            tuple,
            array,
            list,
            set,
            maps,
            variants,
            internal,
            adjacent,
            untagged,
            flat,
            renamed: Renamed { kind: renamed.0, left_out: renamed.1 },
        }
    })
}

/// Arbitrary JSON.
pub fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(text(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
