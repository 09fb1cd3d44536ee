//! A value made up from a shape that is already known, where only a value gets one further.
//!
//! Main type: [`Fill`], a deserializer that offers it. The value means nothing; it is thrown away.

use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::model::{Field, Form, Tagging, TypeDef, TypeKind, VariantForm};
use super::probe::{Run, TEXTS};

/// Forms nested more deeply than this are left empty.
const DEEPEST: usize = 12;

/// A value of a form.
#[derive(Clone)]
pub(super) struct Fill<'a> {
    form: &'a Form,
    types: &'a [TypeDef],
    text: &'static str,
    depth: usize,
}

/// What a map made up for a struct holds.
#[derive(Clone)]
enum Entry<'a> {
    Text(String),
    Fill(Fill<'a>),
    Map(Vec<(String, Entry<'a>)>),
}

impl<'a> Fill<'a> {
    pub(super) fn new(form: &'a Form, run: &Run<'a>, text: usize) -> Self {
        Self { form, types: &run.known.types, text: TEXTS[text], depth: 0 }
    }

    fn inner(&self, form: &'a Form) -> Self {
        Self { form, depth: self.depth + 1, ..*self }
    }

    fn fields(&self, fields: &'a [Field]) -> Vec<(String, Entry<'a>)> {
        let required = fields.iter().filter(|field| field.is_required);
        required.map(|field| (field.name.clone(), Entry::Fill(self.inner(&field.form)))).collect()
    }

    fn content(&self, form: &'a VariantForm) -> Option<Entry<'a>> {
        match form {
            VariantForm::Unit => None,
            VariantForm::Value(form) => Some(Entry::Fill(self.inner(form))),
            VariantForm::Struct { fields, .. } => Some(Entry::Map(self.fields(fields))),
        }
    }

    fn named(&self, index: usize) -> Option<Entry<'a>> {
        match &self.types.get(index)?.kind {
            TypeKind::Struct { fields, .. } => Some(Entry::Map(self.fields(fields))),
            TypeKind::Enum { tagging, variants } => {
                // Another variant at each depth, so that one that holds its own enum has an end.
                let unit = variants.iter().find(|variant| variant.form == VariantForm::Unit);
                let variant = unit.or_else(|| variants.get(self.depth % variants.len().max(1)))?;
                let content = self.content(&variant.form);
                let name = || Entry::Text(variant.name.clone());
                Some(match (tagging, content) {
                    (Tagging::External, None) => name(),
                    (Tagging::External, Some(content)) => {
                        Entry::Map(vec![(variant.name.clone(), content)])
                    }
                    (Tagging::Internal { tag }, content) => {
                        let mut entries = vec![(tag.clone(), name())];
                        if let Some(Entry::Map(fields)) = content {
                            entries.extend(fields);
                        }
                        Entry::Map(entries)
                    }
                    (Tagging::Adjacent { tag, .. }, None) => {
                        Entry::Map(vec![(tag.clone(), name())])
                    }
                    (Tagging::Adjacent { tag, content: field }, Some(content)) => {
                        Entry::Map(vec![(tag.clone(), name()), (field.clone(), content)])
                    }
                })
            }
        }
    }
}

impl<'de, 'a> Deserializer<'de> for Fill<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.depth > DEEPEST {
            return visitor.visit_unit();
        }
        match self.form {
            Form::Any | Form::Null | Form::Optional(_) => visitor.visit_unit(),
            Form::Bool => visitor.visit_bool(false),
            Form::Int(_) => visitor.visit_u64(1),
            Form::Float => visitor.visit_f64(0.0),
            Form::Str => visitor.visit_str(self.text),
            Form::Bytes => visitor.visit_bytes(&[]),
            Form::List(_) | Form::Set(_) => {
                visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<Fill<'a>>()))
            }
            Form::Tuple(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(|item| self.inner(item))))
            }
            Form::Dict(..) => {
                let none: [(String, Fill<'a>); 0] = [];
                visitor.visit_map(MapDeserializer::new(none.into_iter()))
            }
            Form::Union(forms) => match forms.first() {
                Some(form) => self.inner(form).deserialize_any(visitor),
                None => visitor.visit_unit(),
            },
            Form::Named(index) => match self.named(*index) {
                Some(entry) => entry.deserialize_any(visitor),
                None => visitor.visit_unit(),
            },
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, 'a> Deserializer<'de> for Entry<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self {
            Self::Text(text) => {
                let text: StringDeserializer<Fault> = text.into_deserializer();
                text.deserialize_any(visitor)
            }
            Self::Fill(fill) => fill.deserialize_any(visitor),
            Self::Map(entries) => visitor.visit_map(MapDeserializer::new(entries.into_iter())),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Fill<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> IntoDeserializer<'de, Fault> for Entry<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
