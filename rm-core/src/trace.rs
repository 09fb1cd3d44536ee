//! Which trace an item or a call belongs to: W3C trace context, as a value and as header text.
//!
//! Main type: [`TraceContext`]. It makes no ids and knows nothing of spans; whoever traces does.
//! `tracestate` is not carried.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// Bytes of the compact form: both ids and the flags.
const COMPACT_LEN: usize = 25;

/// Characters of `traceparent` in version 00; later versions begin with the same fields.
const TEXT_LEN: usize = 55;

/// W3C trace context: <https://www.w3.org/TR/trace-context/>.
///
/// The default, with all ids zero, means that there is none. Text is the header `traceparent`.
/// Serde writes that text into formats for people and 25 bytes (ids, then flags) into others.
///
/// ```
/// use rm_core::TraceContext;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context: TraceContext = text.parse()?;
/// assert!(context.is_sampled());
/// assert_eq!(context.to_string(), text);
/// # Ok::<(), rm_core::TraceContextError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceContext {
    /// Trace id; all zero where there is none.
    pub trace_id: [u8; 16],
    /// Parent span id; all zero where there is none.
    pub span_id: [u8; 8],
    /// Trace flags; bit 0 is "sampled", bit 1 "the trace id is random".
    pub flags: u8,
}

/// Why text is not a `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// Too short or too long for its version.
    #[error("traceparent has {len} bytes, version 00 has exactly {TEXT_LEN}, later ones at least")]
    Length {
        /// Its length in bytes.
        len: usize,
    },
    /// A dash is missing where one field ends and the next begins.
    #[error("traceparent has no dash at byte {at}, where a field ends")]
    NoDash {
        /// Position of the missing dash.
        at: usize,
    },
    /// A field holds something else than hexadecimal digits in lower case.
    #[error("{field} of traceparent is not lower-case hexadecimal")]
    NotHex {
        /// The field, as the standard calls it.
        field: &'static str,
    },
    /// Version ff, which the standard forbids.
    #[error("version of traceparent is ff, which is not allowed")]
    ForbiddenVersion,
    /// An id is all zero.
    #[error("{field} of traceparent is all zero, which is not allowed")]
    ZeroId {
        /// The field, as the standard calls it.
        field: &'static str,
    },
}

impl TraceContext {
    /// The flags that the standard defines (sampled, random trace id). No others are passed on.
    const KNOWN_FLAGS: u8 = 0b11;

    /// Whether it names a span: neither id is all zero.
    pub fn is_valid(&self) -> bool {
        self.trace_id != [0; 16] && self.span_id != [0; 8]
    }

    /// Whether the caller may have recorded its span.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }

    fn to_compact(self) -> [u8; COMPACT_LEN] {
        let mut bytes = [0; COMPACT_LEN];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = self.flags;
        bytes
    }

    fn from_compact(bytes: &[u8]) -> Option<Self> {
        let (trace_id, rest) = bytes.split_first_chunk()?;
        let (span_id, rest) = rest.split_first_chunk()?;
        let &[flags] = rest else { return None };
        Some(Self { trace_id: *trace_id, span_id: *span_id, flags })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace_id = u128::from_be_bytes(self.trace_id);
        let span_id = u64::from_be_bytes(self.span_id);
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", self.flags & Self::KNOWN_FLAGS)
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    /// Reads a `traceparent`. Of a version that is not known yet, the fields of version 00 are
    /// taken and what follows them is ignored, as the standard wants it.
    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        let bytes = text.as_bytes();
        let len = bytes.len();
        if len < TEXT_LEN {
            return Err(TraceContextError::Length { len });
        }
        for at in [2, 35, 52] {
            dash_at(bytes, at)?;
        }
        match hex(&bytes[..2], "version")? {
            0xff => return Err(TraceContextError::ForbiddenVersion),
            0 if len > TEXT_LEN => return Err(TraceContextError::Length { len }),
            _ if len > TEXT_LEN => dash_at(bytes, TEXT_LEN)?,
            _ => {}
        }
        let trace_id = non_zero(hex(&bytes[3..35], "trace-id")?, "trace-id")?;
        let span_id = non_zero(hex(&bytes[36..52], "parent-id")?, "parent-id")?;
        let flags = hex(&bytes[53..TEXT_LEN], "trace-flags")? as u8;
        Ok(Self {
            trace_id: trace_id.to_be_bytes(),
            span_id: (span_id as u64).to_be_bytes(),
            flags: flags & Self::KNOWN_FLAGS,
        })
    }
}

fn dash_at(bytes: &[u8], at: usize) -> Result<(), TraceContextError> {
    if bytes[at] == b'-' { Ok(()) } else { Err(TraceContextError::NoDash { at }) }
}

/// The number that at most 32 digits spell. `from_str_radix` would take capitals and a sign.
fn hex(digits: &[u8], field: &'static str) -> Result<u128, TraceContextError> {
    digits.iter().try_fold(0_u128, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(TraceContextError::NotHex { field }),
        };
        Ok(number << 4 | u128::from(value))
    })
}

fn non_zero(id: u128, field: &'static str) -> Result<u128, TraceContextError> {
    if id == 0 { Err(TraceContextError::ZeroId { field }) } else { Ok(id) }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_compact())
        }
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(FromWire)
        } else {
            deserializer.deserialize_bytes(FromWire)
        }
    }
}

struct FromWire;

impl Visitor<'_> for FromWire {
    type Value = TraceContext;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a traceparent, or {COMPACT_LEN} bytes of trace id, span id and flags")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TraceContext, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<TraceContext, E> {
        TraceContext::from_compact(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::value::{BytesDeserializer, Error as ValueError};

    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn check_parse(text: &str, expected: Result<&str, TraceContextError>) {
        let parsed = text.parse::<TraceContext>().map(|context| context.to_string());
        assert_eq!(parsed, expected.map(str::to_owned), "{text}");
    }

    /// `TEXT` with what is at `at` replaced.
    fn with(at: usize, part: &str) -> String {
        let mut text = TEXT.to_owned();
        text.replace_range(at..at + part.len(), part);
        text
    }

    #[test]
    fn version_00_is_taken_as_it_stands() {
        check_parse(TEXT, Ok(TEXT));
        let context: TraceContext = TEXT.parse().unwrap();
        assert!(context.is_valid() && context.is_sampled());
        assert_eq!(context.trace_id[..3], [0x0a, 0xf7, 0x65]);
        assert_eq!(context.span_id[6..], [0x33, 0x31]);
    }

    #[test]
    fn flags_that_nobody_knows_are_dropped() {
        check_parse(&with(53, "ff"), Ok(&with(53, "03")));
        check_parse(&with(53, "fc"), Ok(&with(53, "00")));
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        check_parse(&with(0, "01"), Ok(TEXT));
        check_parse(&(with(0, "cc") + "-what-the-future-holds"), Ok(TEXT));
        check_parse(&(with(0, "cc") + "-"), Ok(TEXT));
        check_parse(&(with(0, "01") + "."), Err(TraceContextError::NoDash { at: 55 }));
    }

    #[test]
    fn whatever_the_standard_forbids_is_refused() {
        use TraceContextError::*;
        check_parse("", Err(Length { len: 0 }));
        check_parse(&TEXT[..54], Err(Length { len: 54 }));
        check_parse(&format!("{TEXT}-"), Err(Length { len: 56 }));
        check_parse(&format!(" {TEXT}"), Err(NoDash { at: 2 }));
        check_parse(&with(35, "_"), Err(NoDash { at: 35 }));
        check_parse(&with(52, "0"), Err(NoDash { at: 52 }));
        check_parse(&with(0, "ff"), Err(ForbiddenVersion));
        check_parse(&with(0, "0x"), Err(NotHex { field: "version" }));
        check_parse(&with(3, "0A"), Err(NotHex { field: "trace-id" }));
        check_parse(&with(3, "+1"), Err(NotHex { field: "trace-id" }));
        check_parse(&with(36, "é"), Err(NotHex { field: "parent-id" }));
        check_parse(&with(53, "0 "), Err(NotHex { field: "trace-flags" }));
        check_parse(&with(3, &"0".repeat(32)), Err(ZeroId { field: "trace-id" }));
        check_parse(&with(36, &"0".repeat(16)), Err(ZeroId { field: "parent-id" }));
    }

    #[test]
    fn a_context_without_an_id_is_not_valid() {
        let valid: TraceContext = TEXT.parse().unwrap();
        assert!(!TraceContext::default().is_valid());
        assert!(!TraceContext { trace_id: [0; 16], ..valid }.is_valid());
        assert!(!TraceContext { span_id: [0; 8], ..valid }.is_valid());
    }

    #[test]
    fn a_compact_form_of_another_length_is_refused() {
        for len in [0, 24, 26] {
            let bytes = vec![1; len];
            assert_eq!(TraceContext::from_compact(&bytes), None);
            let deserializer = BytesDeserializer::<ValueError>::new(&bytes);
            assert!(deserializer.deserialize_bytes(FromWire).is_err());
        }
    }

    fn arbitrary() -> impl Strategy<Value = TraceContext> {
        any::<([u8; 16], [u8; 8], u8)>().prop_map(|(trace_id, span_id, flags)| TraceContext {
            trace_id,
            span_id,
            flags,
        })
    }

    proptest! {
        #[test]
        fn text_comes_back_as_the_same_context(mut context in arbitrary()) {
            context.flags &= TraceContext::KNOWN_FLAGS;
            prop_assume!(context.is_valid());
            let text = context.to_string();
            prop_assert_eq!(text.parse::<TraceContext>(), Ok(context));
            let json = serde_json::to_string(&context).unwrap();
            prop_assert_eq!(&json, &format!("\"{text}\""));
            prop_assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
        }

        #[test]
        fn the_compact_form_comes_back_as_the_same_context(context in arbitrary()) {
            prop_assert_eq!(TraceContext::from_compact(&context.to_compact()), Some(context));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}", tail in "[0-9a-f-]{0,60}") {
            drop(text.parse::<TraceContext>());
            drop(format!("00-{tail}").parse::<TraceContext>());
        }
    }
}
