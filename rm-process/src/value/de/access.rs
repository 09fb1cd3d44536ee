//! What the visitors of sequences, maps and enums get to see.
//!
//! Main types: [`List`], [`Dict`] and [`Variant`]. Each adds its step to the path of what goes wrong
//! below it; nothing is kept for that while all goes well.

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::{Decoder, Failure};
use crate::value::error::Problem;
use crate::value::wire::{Item, Reader};

/// The elements of a list.
pub(super) struct List<'a, 'de> {
    pub(super) decoder: &'a mut Decoder<'de>,
    pub(super) index: usize,
}

impl<'de> de::SeqAccess<'de> for &mut List<'_, 'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        if self.decoder.reader.is_before_end() {
            return Ok(None);
        }
        let element = seed.deserialize(&mut *self.decoder);
        let element = element.map_err(|failure| failure.below(format!("[{}]", self.index)))?;
        self.index += 1;
        Ok(Some(element))
    }
}

/// Bytes as a list of integers.
pub(super) struct Octets<'de> {
    pub(super) bytes: &'de [u8],
    pub(super) index: usize,
}

impl<'de> de::SeqAccess<'de> for &mut Octets<'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let Some(&byte) = self.bytes.get(self.index) else {
            return Ok(None);
        };
        let element = seed.deserialize(IntoDeserializer::<Failure>::into_deserializer(byte));
        let element = element.map_err(|failure| failure.below(format!("[{}]", self.index)))?;
        self.index += 1;
        Ok(Some(element))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.bytes.len() - self.index)
    }
}

/// The entries of a map.
pub(super) struct Dict<'a, 'de> {
    pub(super) decoder: &'a mut Decoder<'de>,
    /// Where the last key starts, which is only looked at again if its value is wrong.
    pub(super) key_at: usize,
}

impl Dict<'_, '_> {
    /// The last key, if it can be read.
    fn key(&self) -> Option<Item<'_>> {
        Reader::new(&self.decoder.body[self.key_at..]).next_item().ok()
    }
}

impl<'de> de::MapAccess<'de> for Dict<'_, 'de> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        if self.decoder.reader.is_before_end() {
            return Ok(None);
        }
        self.key_at = self.decoder.reader.position();
        let key = seed.deserialize(Key { decoder: self.decoder });
        let key = key.map_err(|failure| match (failure.problem(), self.key()) {
            (Problem::UnknownField { .. }, _) | (_, None) => failure,
            (_, Some(key)) => failure.below(format!(" (key {})", key.label())),
        })?;
        Ok(Some(key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let value = seed.deserialize(&mut *self.decoder);
        value.map_err(|failure| match self.key() {
            Some(key) => failure.below(key.step()),
            None => failure,
        })
    }
}

/// The key of a map: text also where a number or a truth value is wanted, if it reads as one.
struct Key<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
}

impl Key<'_, '_> {
    /// Takes the key, if it is text.
    fn text(&mut self) -> Option<&str> {
        let mut reader = self.decoder.reader;
        let Ok(Item::Str(text)) = reader.next_item() else {
            return None;
        };
        self.decoder.reader = reader;
        Some(text)
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $expected:literal,)*) => {
        $(fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
            let Some(text) = self.text() else {
                return self.decoder.$method(visitor);
            };
            match text.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => {
                    let got = format!("{text:?}").into();
                    Err(Problem::Type { expected: $expected.into(), got }.into())
                }
            }
        })*
    };
}

macro_rules! forwarded {
    ($($method:ident($($name:ident: $ty:ty),*),)*) => {
        $(fn $method<V: Visitor<'de>>(
            self,
            $($name: $ty,)*
            visitor: V,
        ) -> Result<V::Value, Failure> {
            self.decoder.$method($($name,)* visitor)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Key<'_, 'de> {
    type Error = Failure;

    parsed! {
        deserialize_bool visit_bool "bool",
        deserialize_u8 visit_u8 "int for u8",
        deserialize_u16 visit_u16 "int for u16",
        deserialize_u32 visit_u32 "int for u32",
        deserialize_u64 visit_u64 "int for u64",
        deserialize_u128 visit_u128 "int for u128",
        deserialize_i8 visit_i8 "int for i8",
        deserialize_i16 visit_i16 "int for i16",
        deserialize_i32 visit_i32 "int for i32",
        deserialize_i64 visit_i64 "int for i64",
        deserialize_i128 visit_i128 "int for i128",
        deserialize_f32 visit_f32 "float",
        deserialize_f64 visit_f64 "float",
    }

    forwarded! {
        deserialize_any(),
        deserialize_char(),
        deserialize_str(),
        deserialize_string(),
        deserialize_bytes(),
        deserialize_byte_buf(),
        deserialize_unit(),
        deserialize_unit_struct(name: &'static str),
        deserialize_seq(),
        deserialize_tuple(len: usize),
        deserialize_tuple_struct(name: &'static str, len: usize),
        deserialize_map(),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
        deserialize_identifier(),
        deserialize_ignored_any(),
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.decoder.reader.is_before_null() {
            return self.decoder.deserialize_option(visitor);
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }
}

/// A variant of an enum, in each of its forms.
pub(super) enum Variant<'a, 'de> {
    /// `"Name"`.
    Bare { name: &'de str },
    /// `{"Name": value}`, read up to the value; the end is left to the caller.
    Entry { decoder: &'a mut Decoder<'de>, name: &'de str },
    /// `["Name", value, ...]`, read up to the first value.
    Head { decoder: &'a mut Decoder<'de>, name: &'de str },
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let (Self::Bare { name } | Self::Entry { name, .. } | Self::Head { name, .. }) = self;
        let variant = seed.deserialize(IntoDeserializer::<Failure>::into_deserializer(name))?;
        Ok((variant, self))
    }
}

impl<'de> Variant<'_, 'de> {
    /// The one value that the variant has.
    fn one<T>(
        self,
        read: impl FnOnce(&mut Decoder<'de>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match self {
            Self::Bare { name } => Err(Problem::BareVariant { variant: name.to_owned() }.into()),
            Self::Entry { decoder, name } => {
                read(decoder).map_err(|failure| failure.below(Item::Str(name).step()))
            }
            Self::Head { decoder, .. } if decoder.reader.is_before_end() => {
                decoder.end_list(1)?;
                Err(Problem::Length { expected: "a list of 2".to_owned(), got: 1 }.into())
            }
            Self::Head { decoder, .. } => {
                let value = read(decoder).map_err(|failure| failure.below("[1]".to_owned()))?;
                decoder.end_list(2)?;
                Ok(value)
            }
        }
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match self {
            Self::Bare { .. } => Ok(()),
            Self::Head { decoder, .. } => decoder.end_list(1),
            entry => entry.one(|decoder| de::Deserialize::deserialize(decoder)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        self.one(|decoder| seed.deserialize(decoder))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Failure> {
        match self {
            Self::Head { decoder, .. } => decoder.list(1, visitor),
            variant => variant.one(|decoder| decoder.any_list(visitor)),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.one(|decoder| decoder.any_dict(visitor))
    }
}
