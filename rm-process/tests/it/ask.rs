//! What the child of the tests can be asked, and what it answers. Both the tests and the child hold it.

use rm_process::KameoChildProcessMessage;
use serde::{Deserialize, Serialize};

/// A request to the child `serve`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// The same number back.
    Echo(u64),
    /// So many bytes, each with this value, as `Bytes`.
    Fill { len: usize, value: u8 },
    /// How many bytes came, and their sum.
    Sum(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The numbers from 0, one by one, each with so many bytes of ballast.
    Count { to: u64, ballast: usize },
    /// Numbers as in `Count`; then fails, panics or is left without an end.
    Fail { after: u64, how: Failure },
    /// Nothing, until the call is given up.
    Hang,
    /// How many calls the child has seen given up so far.
    Dropped,
    /// The microseconds that this call has left, or 0 without a deadline.
    TimeLeft,
    /// Each number of the input plus this, as it comes; then their sum.
    Add(u64),
    /// Takes so many items of the input, then answers with their sum and ends the call.
    TakeFirst(u64),
    /// Calls the parent by this path with this value; gives each of its answers.
    Callback { path: String, value: serde_json::Value },
    /// Calls so many callbacks of each of three kinds at once; gives the counts.
    Storm(u64),
    /// Ends the process without a word.
    Abort,
    /// Keeps the only thread for so many milliseconds.
    Block(u64),
    /// The descriptors that the child has open.
    Descriptors,
    /// The trace and what the child knows of its callbacks.
    Context,
    /// A reply that refuses to be serialised.
    Unspeakable,
}

/// How a stream fails.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Failure {
    Error,
    Panic,
    PanicAtOnce,
    Unspeakable,
}

/// What the child answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub enum Answer {
    Number(u64),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Value(serde_json::Value),
    /// Refuses to be serialised.
    Unspeakable,
}

impl Serialize for Answer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => {
                serializer.serialize_newtype_variant("Answer", 0, "Number", number)
            }
            Self::Bytes(bytes) => serializer.serialize_newtype_variant(
                "Answer",
                1,
                "Bytes",
                serde_bytes::Bytes::new(bytes),
            ),
            Self::Value(value) => serializer.serialize_newtype_variant("Answer", 2, "Value", value),
            Self::Unspeakable => Err(serde::ser::Error::custom("it is unspeakable")),
        }
    }
}

impl KameoChildProcessMessage for Ask {
    type Reply = Answer;
}
