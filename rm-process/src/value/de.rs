//! Bytes as Rust values.
//!
//! Main function: [`decode`]. One walk over the bytes, without a tree between. It takes what
//! [`encode`](super::encode) writes and, because what the type wants is known at each place, also
//! what Python gives for it:
//!
//! - an integer is any integer in range, and a float may be an integer;
//! - a sequence, tuple or array is a list, tuple or set, or bytes where the elements are `u8`; bytes
//!   may be a list of integers;
//! - a variant is `{"Name": value}` or `["Name", value, ...]`, and without fields also `"Name"`;
//! - a key that is a number or a truth value may be its text, as in JSON.
//!
//! Nothing else is guessed: no text as a number, no number as a truth value, no text as a list.

mod access;

use serde::de::{self, DeserializeOwned, Visitor};

use super::error::{Failure, Problem, ValueError};
use super::wire::{Item, Malformed, Reader};
use super::{DEFAULT_MAX_DEPTH, MAX_DEPTH};
use access::{Dict, List, Octets, Variant};

/// How to read a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions<'a> {
    /// How deep maps and sequences may lie in one another; at most [`MAX_DEPTH`].
    pub max_depth: usize,
    /// What the whole value is called in errors.
    pub root: &'a str,
}

impl Default for DecodeOptions<'_> {
    fn default() -> Self {
        Self { max_depth: DEFAULT_MAX_DEPTH, root: "payload" }
    }
}

/// The value in `body`, which holds nothing else.
///
/// # Errors
/// What is wrong with it, and where.
pub fn decode<T: DeserializeOwned>(
    body: &[u8],
    options: DecodeOptions<'_>,
) -> Result<T, ValueError> {
    let max_depth = options.max_depth.min(MAX_DEPTH);
    let mut decoder = Decoder { reader: Reader::new(body), body, depth: 0, max_depth };
    T::deserialize(&mut decoder)
        .and_then(|value| match decoder.reader.remaining() {
            0 => Ok(value),
            len => Err(Malformed::Excess { len }.into()),
        })
        .map_err(|failure| failure.at_root(options.root, std::any::type_name::<T>()))
}

struct Decoder<'de> {
    reader: Reader<'de>,
    body: &'de [u8],
    depth: usize,
    max_depth: usize,
}

impl<'de> Decoder<'de> {
    /// The next item of a value.
    #[inline]
    fn next(&mut self) -> Result<Item<'de>, Failure> {
        let at = self.reader.position();
        match self.reader.next_item() {
            Ok(Item::ListEnd | Item::MapEnd) => Err(Malformed::MisplacedEnd { at }.into()),
            Ok(item) => Ok(item),
            Err(malformed) => Err(malformed.into()),
        }
    }

    /// Goes into a list or a map.
    fn enter(&mut self) -> Result<(), Failure> {
        if self.depth == self.max_depth {
            return Err(Problem::TooDeep { max: self.max_depth }.into());
        }
        self.depth += 1;
        Ok(())
    }

    /// Goes out of a list or a map, if its end has been taken; else there is more in it.
    fn leave(&mut self, at_end: bool) -> Result<bool, Failure> {
        if at_end {
            self.depth -= 1;
        } else if self.reader.is_at_end() {
            return Err(Malformed::Truncated.into());
        }
        Ok(at_end)
    }

    fn leave_list(&mut self) -> Result<bool, Failure> {
        let at_end = self.reader.take_list_end();
        self.leave(at_end)
    }

    fn leave_map(&mut self) -> Result<bool, Failure> {
        let at_end = self.reader.take_map_end();
        self.leave(at_end)
    }

    /// Reads over one value, without recursion.
    fn skip(&mut self) -> Result<(), Failure> {
        let mut open = 0_usize;
        loop {
            let at = self.reader.position();
            match self.reader.next_item()? {
                Item::ListStart | Item::MapStart if self.depth + open == self.max_depth => {
                    return Err(Problem::TooDeep { max: self.max_depth }.into());
                }
                Item::ListStart | Item::MapStart => open += 1,
                Item::ListEnd | Item::MapEnd if open == 0 => {
                    return Err(Malformed::MisplacedEnd { at }.into());
                }
                Item::ListEnd | Item::MapEnd => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// The rest of a list, of which `first` elements have been read.
    fn list<V: Visitor<'de>>(&mut self, first: usize, visitor: V) -> Result<V::Value, Failure> {
        let mut list = List { decoder: self, index: first };
        let value = visitor.visit_seq(&mut list)?;
        let wanted = list.index;
        self.end_list(wanted)?;
        Ok(value)
    }

    /// The end of a list, of which everything that is wanted has been read.
    fn end_list(&mut self, wanted: usize) -> Result<(), Failure> {
        let mut got = wanted;
        while !self.leave_list()? {
            self.skip()?;
            got += 1;
        }
        if got == wanted {
            return Ok(());
        }
        Err(Problem::Length { expected: format!("a list of {wanted}"), got }.into())
    }

    /// A list, or bytes as one.
    fn any_list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::ListStart => {
                self.enter()?;
                self.list(0, visitor)
            }
            Item::Bytes(bytes) => {
                let mut octets = Octets { bytes, index: 0 };
                let value = visitor.visit_seq(&mut octets)?;
                if octets.index == bytes.len() {
                    return Ok(value);
                }
                let expected = format!("bytes of length {}", octets.index);
                Err(Problem::Length { expected, got: bytes.len() }.into())
            }
            item => Err(Failure::wrong_type("list", item)),
        }
    }

    fn any_dict<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::MapStart => self.dict(visitor),
            item => Err(Failure::wrong_type("dict", item)),
        }
    }

    /// The inside of a map, whose start has been read.
    fn dict<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Failure> {
        self.enter()?;
        let value = visitor.visit_map(Dict { decoder: self, key_at: 0 })?;
        self.end_dict()?;
        Ok(value)
    }

    fn end_dict(&mut self) -> Result<(), Failure> {
        if self.leave_map()? {
            return Ok(());
        }
        Err(Problem::Custom("has more entries than the type takes".to_owned()).into())
    }

    /// The name of a variant of that enum, where it starts a list or is the key of a map.
    fn variant_name(&mut self, of: &str, empty: &'static str) -> Result<&'de str, Failure> {
        if self.reader.is_before_end() {
            let expected = format!("a variant of {of}").into();
            return Err(Problem::Type { expected, got: empty.into() }.into());
        }
        match self.next()? {
            Item::Str(name) => Ok(name),
            item => Err(Failure::wrong_type("the name of a variant", item)),
        }
    }

    fn integer<I: TryFrom<u128> + TryFrom<i128>>(
        &mut self,
        target: &'static str,
        min: i128,
        max: u128,
    ) -> Result<I, Failure> {
        let item = self.next()?;
        let (number, value): (Option<I>, &dyn ToString) = match &item {
            Item::Unsigned(value) => (I::try_from(*value).ok(), value),
            Item::Signed(value) => (I::try_from(*value).ok(), value),
            item => return Err(Failure::wrong_type("int", *item)),
        };
        number.ok_or_else(|| Problem::Range { value: value.to_string(), target, min, max }.into())
    }

    fn float<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::F32(number) => visitor.visit_f32(number),
            Item::F64(number) => visitor.visit_f64(number),
            Item::Unsigned(number) => visitor.visit_f64(number as f64),
            Item::Signed(number) => visitor.visit_f64(number as f64),
            item => Err(Failure::wrong_type("float", item)),
        }
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $ty:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            let number = self.integer(stringify!($ty), $ty::MIN as i128, $ty::MAX as u128)?;
            visitor.$visit(number)
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::Null => visitor.visit_unit(),
            Item::Bool(value) => visitor.visit_bool(value),
            // Most visitors know integers of 64 bits only.
            Item::Unsigned(number) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_u128(number),
            },
            Item::Signed(number) => match i64::try_from(number) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => visitor.visit_i128(number),
            },
            Item::F32(number) => visitor.visit_f32(number),
            Item::F64(number) => visitor.visit_f64(number),
            Item::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Item::Str(text) => visitor.visit_borrowed_str(text),
            Item::ListStart | Item::ListEnd => {
                self.enter()?;
                self.list(0, visitor)
            }
            Item::MapStart | Item::MapEnd => self.dict(visitor),
        }
    }

    integers! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::Bool(value) => visitor.visit_bool(value),
            item => Err(Failure::wrong_type("bool", item)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.float(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.float(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::Str(text) => visitor.visit_borrowed_str(text),
            item => Err(Failure::wrong_type("str", item)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Item::ListStart => {
                self.enter()?;
                self.list(0, visitor)
            }
            item => Err(Failure::wrong_type("bytes", item)),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.reader.is_before_null() {
            self.next()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::Null => visitor.visit_unit(),
            item => Err(Failure::wrong_type("None", item)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.any_list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.any_list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.any_list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.any_dict(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.any_dict(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.next()? {
            Item::Str(name) => visitor.visit_enum(Variant::Bare { name }),
            Item::MapStart => {
                self.enter()?;
                let name = self.variant_name(name, "an empty dict")?;
                let value = visitor.visit_enum(Variant::Entry { decoder: self, name })?;
                self.end_dict()?;
                Ok(value)
            }
            Item::ListStart => {
                self.enter()?;
                let name = self.variant_name(name, "an empty list")?;
                visitor.visit_enum(Variant::Head { decoder: self, name })
            }
            item => Err(Failure::wrong_type(format!("a variant of {name}"), item)),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        // Keys of a struct with flattened fields may be anything.
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.skip()?;
        visitor.visit_unit()
    }
}
