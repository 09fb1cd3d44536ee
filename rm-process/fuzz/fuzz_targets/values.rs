//! Fuzzes what is read out of a payload: values of Rust types, as Python or Rust may have written them.
//!
//! Any bytes give a value or a typed error, never a panic, and never exhaust the stack. What was
//! decoded can be encoded, and reads the same.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use rm_process::value::{DecodeOptions, EncodeOptions, decode, encode};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// The ways in which serde looks at a value, among them those by which it looks twice.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(Option<i64>),
    Tuple(u128, i128, bool, char),
    Struct { name: String, nested: Vec<Shape> },
    Map(BTreeMap<u16, (u8, i8)>),
    Tagged(Tagged),
    Untagged(Untagged),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    A { x: i32 },
    B { y: String },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
    List(Vec<i64>),
}

fuzz_target!(|bytes: &[u8]| {
    check::<Shape>(bytes);
    let _ = decode::<serde_json::Value>(bytes, DecodeOptions::default());
    let _ = decode::<IgnoredAny>(bytes, DecodeOptions::default());
});

fn check<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(value) = decode::<T>(bytes, DecodeOptions::default()) else { return };
    let mut again = Vec::new();
    encode(&value, &mut again, EncodeOptions::default()).expect("what was decoded can be encoded");
    let back = decode::<T>(&again, DecodeOptions::default()).expect("what was encoded is decoded");
    assert_eq!(back, value);
}
