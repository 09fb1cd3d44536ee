//! Rust values as bytes.
//!
//! Main function: [`encode`]. The bytes are the ones that serde-brief writes, but for types that
//! have a readable form besides a compact one, and for tuple variants where the list form is asked
//! for.

use std::fmt::Display;
use std::io::{self, Write};

use serde::ser::{self, Serialize};

use super::wire::{Item, Writer};
use super::{DEFAULT_MAX_DEPTH, MAX_DEPTH};

/// How an enum's variant with several unnamed fields is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TupleVariants {
    /// `{"Tuple": ["hello", 42]}`, as other variants are.
    #[default]
    Map,
    /// `["Tuple", "hello", 42]`. [`decode`](super::decode) does not find it within what serde looks
    /// at twice, such as untagged enums.
    List,
}

/// How to write a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// The form of tuple variants, at any depth.
    pub tuple_variants: TupleVariants,
    /// How deep maps and sequences may lie in one another; at most [`MAX_DEPTH`].
    pub max_depth: usize,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { tuple_variants: TupleVariants::default(), max_depth: DEFAULT_MAX_DEPTH }
    }
}

/// Why a value cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// What it is written to refuses.
    #[error("encoded value cannot be written: {0}")]
    Write(#[from] io::Error),
    /// Maps and sequences lie too deep in one another.
    #[error("value nests deeper than {max} levels")]
    TooDeep {
        /// How deep they may.
        max: usize,
    },
    /// What the type itself says.
    #[error("value cannot be encoded: {0}")]
    Custom(String),
}

impl ser::Error for EncodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Writes `value` to `out` in many small pieces.
///
/// # Errors
/// [`EncodeError`]; a part may have been written.
pub fn encode<T: Serialize + ?Sized>(
    value: &T,
    out: impl Write,
    options: EncodeOptions,
) -> Result<(), EncodeError> {
    let options = EncodeOptions { max_depth: options.max_depth.min(MAX_DEPTH), ..options };
    let mut encoder = Encoder { out: Writer::new(out), options, depth: 0 };
    value.serialize(&mut encoder)
}

struct Encoder<W> {
    out: Writer<W>,
    options: EncodeOptions,
    depth: usize,
}

impl<W: Write> Encoder<W> {
    fn item(&mut self, item: Item<'_>) -> Result<(), EncodeError> {
        Ok(self.out.item(item)?)
    }

    fn start(&mut self, item: Item<'_>) -> Result<(), EncodeError> {
        let max = self.options.max_depth;
        if self.depth == max {
            return Err(EncodeError::TooDeep { max });
        }
        self.depth += 1;
        self.item(item)
    }

    fn end(&mut self, item: Item<'_>) -> Result<(), EncodeError> {
        self.depth -= 1;
        self.item(item)
    }

    /// Starts what ends with those items.
    fn compound(
        &mut self,
        start: Item<'_>,
        ends: &'static [Item<'static>],
    ) -> Result<Compound<'_, W>, EncodeError> {
        self.start(start)?;
        Ok(Compound { encoder: self, ends })
    }
}

const LIST: &[Item<'static>] = &[Item::ListEnd];
const MAP: &[Item<'static>] = &[Item::MapEnd];
const LIST_IN_MAP: &[Item<'static>] = &[Item::ListEnd, Item::MapEnd];
const MAP_IN_MAP: &[Item<'static>] = &[Item::MapEnd, Item::MapEnd];

/// A sequence or a map of any kind, while it is written.
struct Compound<'a, W> {
    encoder: &'a mut Encoder<W>,
    ends: &'static [Item<'static>],
}

impl<W: Write> Compound<'_, W> {
    fn close(self) -> Result<(), EncodeError> {
        self.ends.iter().try_for_each(|end| self.encoder.end(*end))
    }
}

macro_rules! scalars {
    ($($method:ident($ty:ty) => $item:ident),* $(,)?) => {
        $(fn $method(self, value: $ty) -> Result<(), EncodeError> {
            self.item(Item::$item(value.into()))
        })*
    };
}

impl<'a, W: Write> ser::Serializer for &'a mut Encoder<W> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'a, W>;
    type SerializeTuple = Compound<'a, W>;
    type SerializeTupleStruct = Compound<'a, W>;
    type SerializeTupleVariant = Compound<'a, W>;
    type SerializeMap = Compound<'a, W>;
    type SerializeStruct = Compound<'a, W>;
    type SerializeStructVariant = Compound<'a, W>;

    scalars! {
        serialize_bool(bool) => Bool,
        serialize_u8(u8) => Unsigned,
        serialize_u16(u16) => Unsigned,
        serialize_u32(u32) => Unsigned,
        serialize_u64(u64) => Unsigned,
        serialize_u128(u128) => Unsigned,
        serialize_i8(i8) => Signed,
        serialize_i16(i16) => Signed,
        serialize_i32(i32) => Signed,
        serialize_i64(i64) => Signed,
        serialize_i128(i128) => Signed,
        serialize_f32(f32) => F32,
        serialize_f64(f64) => F64,
        serialize_str(&str) => Str,
        serialize_bytes(&[u8]) => Bytes,
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.item(Item::Str(value.encode_utf8(&mut [0; 4])))
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.item(Item::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.item(Item::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), EncodeError> {
        self.item(Item::Null)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.item(Item::Str(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.start(Item::MapStart)?;
        self.item(Item::Str(variant))?;
        value.serialize(&mut *self)?;
        self.end(Item::MapEnd)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Compound<'a, W>, EncodeError> {
        self.compound(Item::ListStart, LIST)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Compound<'a, W>, EncodeError> {
        self.compound(Item::ListStart, LIST)
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Compound<'a, W>, EncodeError> {
        self.compound(Item::ListStart, LIST)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'a, W>, EncodeError> {
        match self.options.tuple_variants {
            TupleVariants::Map => {
                self.start(Item::MapStart)?;
                self.item(Item::Str(variant))?;
                self.compound(Item::ListStart, LIST_IN_MAP)
            }
            TupleVariants::List => {
                let list = self.compound(Item::ListStart, LIST)?;
                list.encoder.item(Item::Str(variant))?;
                Ok(list)
            }
        }
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Compound<'a, W>, EncodeError> {
        self.compound(Item::MapStart, MAP)
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Compound<'a, W>, EncodeError> {
        self.compound(Item::MapStart, MAP)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Compound<'a, W>, EncodeError> {
        self.start(Item::MapStart)?;
        self.item(Item::Str(variant))?;
        self.compound(Item::MapStart, MAP_IN_MAP)
    }
}

macro_rules! sequences {
    ($($of:ident :: $method:ident),* $(,)?) => {
        $(impl<W: Write> ser::$of for Compound<'_, W> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                value.serialize(&mut *self.encoder)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.close()
            }
        })*
    };
}

sequences! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! structs {
    ($($of:ident),*) => {
        $(impl<W: Write> ser::$of for Compound<'_, W> {
            type Ok = ();
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.encoder.item(Item::Str(key))?;
                value.serialize(&mut *self.encoder)
            }

            fn end(self) -> Result<(), EncodeError> {
                self.close()
            }
        })*
    };
}

structs!(SerializeStruct, SerializeStructVariant);

impl<W: Write> ser::SerializeMap for Compound<'_, W> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        key.serialize(&mut *self.encoder)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        value.serialize(&mut *self.encoder)
    }

    fn end(self) -> Result<(), EncodeError> {
        self.close()
    }
}
