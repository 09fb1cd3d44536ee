//! Casts between numbers and their bytes, without unsafe code.
//!
//! Main trait: [`Plain`], which is out of reach outside this crate and so seals the traits
//! [`AudioSample`](crate::AudioSample) and [`TensorElement`](crate::TensorElement). Nothing here
//! copies.

use bytes::Bytes;
use zerocopy::{FromBytes, Immutable, IntoBytes, TryFromBytes};

/// A number, or a few of them, that is seen in bytes where they lie.
pub trait Plain: IntoBytes + Immutable + Copy + Send + 'static {
    /// The bytes as values; `None` if they are not aligned, not a whole number of values, or hold
    /// something that is no value of this type.
    fn cast(bytes: &[u8]) -> Option<&[Self]>;
}

macro_rules! plain {
    ($cast:ident: $($name:ty),*) => {
        $(impl Plain for $name {
            fn cast(bytes: &[u8]) -> Option<&[Self]> {
                // An empty slice of bytes may lie anywhere, but there is nothing to align.
                if bytes.is_empty() { Some(&[]) } else { <[Self]>::$cast(bytes).ok() }
            }
        })*
    };
}
plain!(ref_from_bytes: i8, i16, i32, i64, u8, u16, u32, u64, f32, f64, [f32; 2], [f64; 2], [u8; 3]);
plain!(try_ref_from_bytes: bool);

/// Lets [`Bytes`] own a vector of numbers and show its bytes.
struct Owned<T>(Vec<T>);

impl<T: Plain> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The vector's own memory as bytes.
pub(crate) fn own<T: Plain>(values: Vec<T>) -> Bytes {
    Bytes::from_owner(Owned(values))
}
