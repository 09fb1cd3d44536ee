//! What a value looks like when it is written: the names in it, and which were left out.
//!
//! Main type: [`Written`]. It answers what `Deserialize` does not say: the names of the optional
//! fields of buffered structs, and whether a field is always written. Values are not kept.

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::fault::Fault;
use super::probe::Step;

/// A written value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    /// Neither of the others. A text is kept for keys and tags.
    Leaf(Option<String>),
    Items(Vec<Written>),
    /// Without a value: left out.
    Entries(Vec<(String, Option<Written>)>),
    /// The names of the enum and the variant.
    Variant(&'static str, String, Box<Written>),
}

impl Written {
    /// Writes `value`; `None` if it cannot be written.
    pub(super) fn of<T: Serialize>(value: &T) -> Option<Self> {
        value.serialize(Writer).ok()
    }

    /// What lies at the end of the path.
    pub(super) fn at(&self, path: &[Step]) -> Option<&Self> {
        let Some((step, rest)) = path.split_first() else { return Some(self) };
        match (step, self) {
            (Step::Some | Step::Newtype | Step::Held | Step::Entry { name: None, .. }, _) => {
                self.at(rest)
            }
            (Step::Entry { name: Some(name), .. }, Self::Entries(entries)) => {
                let entry = entries.iter().find(|(other, _)| other == name)?;
                entry.1.as_ref()?.at(rest)
            }
            (Step::Item { before }, Self::Items(items)) => items.get(before.len())?.at(rest),
            (Step::Value, Self::Entries(entries)) => entries.first()?.1.as_ref()?.at(rest),
            (Step::Variant { name, .. }, Self::Variant(_, other, inner)) if name == other => {
                inner.at(rest)
            }
            _ => None,
        }
    }
}

struct Writer;

impl Serializer for Writer {
    type Ok = Written;
    type Error = Fault;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    fn serialize_bool(self, _: bool) -> Result<Written, Fault> {
        Ok(Written::Leaf(None))
    }
    fn serialize_i8(self, v: i8) -> Result<Written, Fault> {
        self.serialize_i128(v.into())
    }
    fn serialize_i16(self, v: i16) -> Result<Written, Fault> {
        self.serialize_i128(v.into())
    }
    fn serialize_i32(self, v: i32) -> Result<Written, Fault> {
        self.serialize_i128(v.into())
    }
    fn serialize_i64(self, v: i64) -> Result<Written, Fault> {
        self.serialize_i128(v.into())
    }
    fn serialize_i128(self, v: i128) -> Result<Written, Fault> {
        Ok(Written::Leaf(Some(v.to_string())))
    }
    fn serialize_u8(self, v: u8) -> Result<Written, Fault> {
        self.serialize_i128(v.into())
    }
    fn serialize_u16(self, v: u16) -> Result<Written, Fault> {
        self.serialize_i128(v.into())
    }
    fn serialize_u32(self, v: u32) -> Result<Written, Fault> {
        self.serialize_i128(v.into())
    }
    fn serialize_u64(self, v: u64) -> Result<Written, Fault> {
        self.serialize_i128(v.into())
    }
    fn serialize_u128(self, v: u128) -> Result<Written, Fault> {
        Ok(Written::Leaf(Some(v.to_string())))
    }
    fn serialize_f32(self, _: f32) -> Result<Written, Fault> {
        Ok(Written::Leaf(None))
    }
    fn serialize_f64(self, _: f64) -> Result<Written, Fault> {
        Ok(Written::Leaf(None))
    }
    fn serialize_char(self, v: char) -> Result<Written, Fault> {
        Ok(Written::Leaf(Some(v.to_string())))
    }
    fn serialize_str(self, v: &str) -> Result<Written, Fault> {
        Ok(Written::Leaf(Some(v.to_owned())))
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<Written, Fault> {
        Ok(Written::Leaf(None))
    }
    fn serialize_none(self) -> Result<Written, Fault> {
        Ok(Written::Leaf(None))
    }
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<Written, Fault> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Written, Fault> {
        Ok(Written::Leaf(None))
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<Written, Fault> {
        Ok(Written::Leaf(None))
    }
    fn serialize_unit_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Written, Fault> {
        Ok(Written::Variant(name, variant.to_owned(), Box::new(Written::Leaf(None))))
    }
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Written, Fault> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Written, Fault> {
        Ok(Written::Variant(name, variant.to_owned(), Box::new(value.serialize(self)?)))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Items, Fault> {
        Ok(Items::default())
    }
    fn serialize_tuple(self, _: usize) -> Result<Items, Fault> {
        Ok(Items::default())
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items, Fault> {
        Ok(Items::default())
    }
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items, Fault> {
        Ok(Items { variant: Some((name, variant)), items: Vec::new() })
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Entries, Fault> {
        Ok(Entries::default())
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Entries, Fault> {
        Ok(Entries::default())
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries, Fault> {
        Ok(Entries { variant: Some((name, variant)), ..Entries::default() })
    }
}

fn in_variant(variant: Option<(&'static str, &'static str)>, written: Written) -> Written {
    match variant {
        Some((name, variant)) => Written::Variant(name, variant.to_owned(), Box::new(written)),
        None => written,
    }
}

#[derive(Default)]
struct Items {
    variant: Option<(&'static str, &'static str)>,
    items: Vec<Written>,
}

impl Items {
    fn push<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Fault> {
        self.items.push(value.serialize(Writer)?);
        Ok(())
    }

    fn done(self) -> Result<Written, Fault> {
        Ok(in_variant(self.variant, Written::Items(self.items)))
    }
}

macro_rules! items {
    ($($name:ident $push:ident),*) => {$(
        impl $name for Items {
            type Ok = Written;
            type Error = Fault;

            fn $push<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Fault> {
                self.push(value)
            }

            fn end(self) -> Result<Written, Fault> {
                self.done()
            }
        }
    )*};
}

items!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

#[derive(Default)]
struct Entries {
    variant: Option<(&'static str, &'static str)>,
    entries: Vec<(String, Option<Written>)>,
    key: String,
}

impl Entries {
    fn done(self) -> Result<Written, Fault> {
        Ok(in_variant(self.variant, Written::Entries(self.entries)))
    }
}

macro_rules! entries {
    ($($name:ident),*) => {$(
        impl $name for Entries {
            type Ok = Written;
            type Error = Fault;

            fn serialize_field<T: ?Sized + Serialize>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                self.entries.push((key.to_owned(), Some(value.serialize(Writer)?)));
                Ok(())
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), Fault> {
                self.entries.push((key.to_owned(), None));
                Ok(())
            }

            fn end(self) -> Result<Written, Fault> {
                self.done()
            }
        }
    )*};
}

entries!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Entries {
    type Ok = Written;
    type Error = Fault;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Fault> {
        self.key = match key.serialize(Writer)? {
            Written::Leaf(Some(text)) => text,
            Written::Variant(_, name, _) => name,
            _ => String::new(),
        };
        Ok(())
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Fault> {
        self.entries.push((std::mem::take(&mut self.key), Some(value.serialize(Writer)?)));
        Ok(())
    }

    fn end(self) -> Result<Written, Fault> {
        self.done()
    }
}
