//! The description of a type: its [`Form`], and the named types that the form refers to.
//!
//! Main type: [`Shape`]. A pure value; how it is found out stands in `explore`, and what becomes of
//! it in Python in [`stubs`](crate::callback::stubs).

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::explore;

/// What a type looks like to serde.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The type itself.
    pub root: Form,
    /// The structs and enums in it; [`Form::Named`] is an index into this.
    pub types: Vec<TypeDef>,
}

impl Shape {
    /// Learns the shape of `T` by asking its `Deserialize` what it would like, part by part, and its
    /// `Serialize` for the names that only that says.
    ///
    /// What cannot be known is [`Form::Any`]. A panic in `T`'s implementation is caught (the process'
    /// panic hook reports it); the number of questions is bounded.
    pub fn of<T: Serialize + DeserializeOwned>() -> Self {
        explore::explore::<T>()
    }

    /// Without the types that nothing refers to.
    pub(super) fn pruned(self) -> Self {
        let mut kept: Vec<usize> = Vec::new();
        let keep = |kept: &mut Vec<usize>, form: &Form| {
            form.visit(&mut |index| {
                if !kept.contains(&index) {
                    kept.push(index);
                }
            });
        };
        keep(&mut kept, &self.root);
        let mut next = 0;
        while let Some(&index) = kept.get(next) {
            next += 1;
            self.types[index].forms().into_iter().for_each(|form| keep(&mut kept, form));
        }
        let place = |index: usize| kept.iter().position(|old| *old == index).unwrap_or_default();
        let mut shape = Self {
            root: self.root,
            types: kept.iter().map(|index| self.types[*index].clone()).collect(),
        };
        shape.root.renumber(&place);
        for def in &mut shape.types {
            def.forms_mut().into_iter().for_each(|form| form.renumber(&place));
        }
        shape
    }

    /// A shape of which nothing is known.
    pub fn any() -> Self {
        Self { root: Form::Any, types: Vec::new() }
    }
}

/// How a value is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// Not known, or anything goes.
    Any,
    /// `()` and unit structs: `None`.
    Null,
    /// A boolean.
    Bool,
    /// An integer; the Rust type's name tells its width and sign.
    Int(&'static str),
    /// `f32` or `f64`.
    Float,
    /// Text, or what is written as such.
    Str,
    /// Bytes.
    Bytes,
    /// A value or nothing.
    Optional(Box<Form>),
    /// Any number of items.
    List(Box<Form>),
    /// Any number of different items.
    Set(Box<Form>),
    /// As many items as there are forms.
    Tuple(Vec<Form>),
    /// Keys and values.
    Dict(Box<Form>, Box<Form>),
    /// One of several.
    Union(Vec<Form>),
    /// A struct or an enum of [`Shape::types`].
    Named(usize),
}

impl Form {
    /// Calls `see` with each type referred to.
    pub(crate) fn visit(&self, see: &mut dyn FnMut(usize)) {
        match self {
            Self::Named(index) => see(*index),
            Self::Optional(inner) | Self::List(inner) | Self::Set(inner) => inner.visit(see),
            Self::Dict(key, value) => {
                key.visit(see);
                value.visit(see);
            }
            Self::Tuple(forms) | Self::Union(forms) => {
                forms.iter().for_each(|form| form.visit(see));
            }
            _ => {}
        }
    }

    /// Gives the types referred to other numbers.
    pub(crate) fn renumber(&mut self, number: &dyn Fn(usize) -> usize) {
        match self {
            Self::Named(index) => *index = number(*index),
            Self::Optional(inner) | Self::List(inner) | Self::Set(inner) => inner.renumber(number),
            Self::Dict(key, value) => {
                key.renumber(number);
                value.renumber(number);
            }
            Self::Tuple(forms) | Self::Union(forms) => {
                forms.iter_mut().for_each(|form| form.renumber(number));
            }
            _ => {}
        }
    }
}

/// A struct or an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeDef {
    /// The name that serde uses.
    pub name: String,
    /// The full name of the Rust type; empty where it cannot be known.
    pub rust_name: String,
    /// What it is made of.
    pub kind: TypeKind,
}

impl TypeDef {
    /// The forms in it, in their order.
    pub(crate) fn forms(&self) -> Vec<&Form> {
        match &self.kind {
            TypeKind::Struct { fields, .. } => fields.iter().map(|field| &field.form).collect(),
            TypeKind::Enum { variants, .. } => variants
                .iter()
                .flat_map(|variant| match &variant.form {
                    VariantForm::Unit => Vec::new(),
                    VariantForm::Value(form) => vec![form],
                    VariantForm::Struct { fields, .. } => {
                        fields.iter().map(|field| &field.form).collect()
                    }
                })
                .collect(),
        }
    }

    /// The same to be changed.
    pub(crate) fn forms_mut(&mut self) -> Vec<&mut Form> {
        match &mut self.kind {
            TypeKind::Struct { fields, .. } => {
                fields.iter_mut().map(|field| &mut field.form).collect()
            }
            TypeKind::Enum { variants, .. } => variants
                .iter_mut()
                .flat_map(|variant| match &mut variant.form {
                    VariantForm::Unit => Vec::new(),
                    VariantForm::Value(form) => vec![form],
                    VariantForm::Struct { fields, .. } => {
                        fields.iter_mut().map(|field| &mut field.form).collect()
                    }
                })
                .collect(),
        }
    }
}

/// What a named type is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypeKind {
    /// Fields by name.
    Struct {
        /// In their order.
        fields: Vec<Field>,
        /// There are, or may be, more fields than are known.
        is_open: bool,
    },
    /// One of several variants.
    Enum {
        /// How it says which.
        tagging: Tagging,
        /// In their order.
        variants: Vec<Variant>,
    },
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// As it is written.
    pub name: String,
    /// What it holds.
    pub form: Form,
    /// It is known that reading fails without it.
    pub is_required: bool,
    /// It is known that writing may leave it out.
    pub may_be_absent: bool,
}

/// How an enum says which variant it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tagging {
    /// `"Unit"` or `{"Variant": …}`.
    External,
    /// `{"tag": "Variant", …}`.
    Internal {
        /// The field with the variant's name.
        tag: String,
    },
    /// `{"tag": "Variant", "content": …}`.
    Adjacent {
        /// The field with the variant's name.
        tag: String,
        /// The field with what the variant holds.
        content: String,
    },
}

/// A variant of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// As it is written.
    pub name: String,
    /// What it holds.
    pub form: VariantForm,
}

/// What a variant holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VariantForm {
    /// Nothing.
    Unit,
    /// One value, or several as a [`Form::Tuple`].
    Value(Form),
    /// Fields by name.
    Struct {
        /// In their order.
        fields: Vec<Field>,
        /// There are, or may be, more fields than are known.
        is_open: bool,
    },
}
