//! Values as self-describing bytes, between Rust types and whatever Python hands over.
//!
//! Main functions: [`encode`] and [`decode`]; they belong together. The bytes are those of
//! serde-brief, and types show themselves in their readable form (an IP address as text), because
//! the other side may be Python, which knows no Rust type. Reading is generous where Python has one
//! type and Rust has many, and errors name the place in Python's words. Python objects are not
//! handled here: who has them reads and writes the same bytes by [`wire`].
//!
//! What differs from plain serde:
//! - "Nothing" has one form: `Some(None)` and `Some(())` arrive as `None`.
//! - serde itself keeps what it must look at twice (untagged, internally and adjacently tagged
//!   enums, flattened fields) in a form of its own. Within that, integers have at most 64 bits,
//!   text is no number as a map's key, tuple variants have their map form only, and errors name the
//!   place of the whole.

mod de;
mod error;
mod ser;
pub mod wire;

pub use de::{DecodeOptions, decode};
pub use error::{Problem, ValueError};
pub use ser::{EncodeError, EncodeOptions, TupleVariants, encode};

/// How deep maps and sequences lie in one another at most, unless told otherwise.
pub const DEFAULT_MAX_DEPTH: usize = 128;

/// How deep they lie at most, whatever is told: each level takes stack, and stacks are finite.
pub const MAX_DEPTH: usize = 512;

#[cfg(test)]
mod tests;
