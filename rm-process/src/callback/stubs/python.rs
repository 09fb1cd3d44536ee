//! The text of the stubs and of the types behind them.
//!
//! Main items: [`module`], and [`ROOT`], what the package itself holds. A struct becomes a dataclass
//! `Name` and a `NameDict`, either of which is taken as request; what arrives is typed as `NameItem`.
//! An enum becomes unions `Name` and `NameItem`. Nothing is written to files here.

use std::fmt::Write;

use super::merge::Merged;
use super::names::{Names, is_identifier, literal, pascal};
use super::store::CallbackShape;
use crate::callback::shape::{Field, Form, Tagging, TypeDef, TypeKind, Variant, VariantForm};

/// What `kameo` itself holds, before its modules.
pub(super) const ROOT: &str = r#""""Callbacks of the parent process, as typed when it started."""

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)

class Call(Protocol[T_co]):
    """A call: `await` it for its one item, or iterate it, asynchronously or not, for all."""

    def __await__(self) -> Generator[Any, None, T_co]: ...
    def __aiter__(self) -> AsyncIterator[T_co]: ...
    async def __anext__(self) -> T_co: ...
    def __iter__(self) -> Iterator[T_co]: ...
    def __next__(self) -> T_co: ...
    async def aclose(self) -> None: ...
    def close(self) -> None: ...

"#;

/// What every module of types begins with.
const TYPES_HEAD: &str = r#"from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, final

if TYPE_CHECKING:
    from typing_extensions import NotRequired, TypeAlias
"#;

/// The two texts of a module.
pub(super) struct Module {
    /// What type checkers read.
    pub stub: String,
    /// What is there at run time.
    pub types: String,
}

/// Makes a module of the callbacks in it and the names of the modules inside it.
pub(super) fn module(path: &str, callbacks: &[&CallbackShape], inner: &[&str]) -> Module {
    let shapes = callbacks.iter().flat_map(|callback| [&callback.request, &callback.response]);
    let merged = Merged::of(shapes);
    let items = merged.reached(merged.roots.iter().skip(1).step_by(2));
    let mut names = Names::default();
    for name in callbacks.iter().map(|callback| &*callback.name).chain(inner.iter().copied()) {
        names.reserve(name);
    }
    let suffixes = |def: &TypeDef| match def.kind {
        TypeKind::Struct { .. } => &["Dict", "Item"][..],
        TypeKind::Enum { .. } => &["Item"][..],
    };
    let type_names: Vec<_> = merged
        .types
        .iter()
        .map(|def| names.unique(&pascal_type(&def.name), suffixes(def)))
        .collect();
    let mut writer = Writer { merged: &merged, type_names, names, text: String::new() };
    for (index, is_item) in items.iter().enumerate() {
        writer.define(index, *is_item);
    }
    let body = std::mem::take(&mut writer.text);
    let title = format!("\"\"\"Callbacks and types of `kameo.{path}`.\"\"\"\n\n");
    let types = format!("{title}{TYPES_HEAD}{body}");
    let mut stub = format!("{title}{TYPES_HEAD}\nfrom kameo import Call\n");
    for name in inner {
        let _ = writeln!(stub, "from . import {name} as {name}");
    }
    stub += &body;
    for (callback, roots) in callbacks.iter().zip(merged.roots.chunks(2)) {
        let (request, response) = (writer.input(&roots[0]), writer.output(&roots[1]));
        let (name, path) = (&callback.name, format!("{path}.{}", callback.name));
        let _ = write!(
            stub,
            "\n\ndef {name}(request: {request}, /) -> Call[{response}]:\n    \
             \"\"\"Calls `{path}` in the parent process.\"\"\"\n"
        );
    }
    Module { stub, types }
}

/// Names in Rust may be written with small letters by `rename`.
fn pascal_type(name: &str) -> String {
    if is_identifier(name) { name.to_owned() } else { pascal(name) }
}

/// An entry of a `TypedDict`.
struct Entry {
    key: String,
    annotation: String,
    is_required: bool,
}

/// For whom a type is: input is more lenient than what arrives.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    In,
    Out,
}

struct Writer<'a> {
    merged: &'a Merged,
    type_names: Vec<String>,
    names: Names,
    text: String,
}

impl Writer<'_> {
    fn input(&self, form: &Form) -> String {
        self.form(form, Way::In)
    }

    fn output(&self, form: &Form) -> String {
        self.form(form, Way::Out)
    }

    fn form(&self, form: &Form, way: Way) -> String {
        let inner = |form: &Form| self.form(form, way);
        let union = |forms: &[Form]| {
            let mut texts: Vec<String> = Vec::new();
            for text in forms.iter().map(inner) {
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            if texts.is_empty() { "Any".to_owned() } else { texts.join(" | ") }
        };
        match (form, way) {
            (Form::Null, _) => "None".to_owned(),
            (Form::Bool, _) => "bool".to_owned(),
            (Form::Int(_), _) => "int".to_owned(),
            (Form::Float, _) => "float".to_owned(),
            (Form::Str, _) => "str".to_owned(),
            (Form::Bytes, Way::In) => "bytes | bytearray | memoryview".to_owned(),
            (Form::Bytes, Way::Out) => "bytes".to_owned(),
            (Form::Optional(some), _) => format!("{} | None", inner(some)),
            (Form::List(item), Way::In) => sequence(&inner(item)),
            (Form::Set(item), Way::In) => {
                let item = inner(item);
                format!("{} | AbstractSet[{item}]", sequence(&item))
            }
            (Form::List(item) | Form::Set(item), Way::Out) => format!("list[{}]", inner(item)),
            (Form::Tuple(items), Way::In) => {
                let each: Vec<_> = items.iter().map(inner).collect();
                let each = if each.is_empty() { "()".to_owned() } else { each.join(", ") };
                format!("tuple[{each}] | list[{}]", union(items))
            }
            (Form::Tuple(items), Way::Out) => format!("list[{}]", union(items)),
            (Form::Dict(key, value), Way::In) => {
                format!("Mapping[{}, {}]", inner(key), inner(value))
            }
            (Form::Dict(key, value), Way::Out) => {
                format!("dict[{}, {}]", inner(key), inner(value))
            }
            (Form::Union(forms), _) => union(forms),
            (Form::Named(index), _) => self.named(*index, way),
            (Form::Any, _) => "Any".to_owned(),
        }
    }

    fn named(&self, index: usize, way: Way) -> String {
        let name = &self.type_names[index];
        match (&self.merged.types[index].kind, way) {
            (TypeKind::Struct { fields, is_open: false }, Way::In) => {
                match self.is_dataclass(fields) {
                    true => format!("{name} | {name}Dict"),
                    false => format!("{name}Dict"),
                }
            }
            (TypeKind::Struct { .. } | TypeKind::Enum { .. }, Way::In) => name.clone(),
            (_, Way::Out) => format!("{name}Item"),
        }
    }

    fn is_dataclass(&self, fields: &[Field]) -> bool {
        fields.iter().all(|field| self.names.is_field(&field.name))
    }

    /// Writes what belongs to a type.
    fn define(&mut self, index: usize, is_item: bool) {
        let merged = self.merged;
        let def = &merged.types[index];
        let name = self.type_names[index].clone();
        let title = match &*def.rust_name {
            "" => def.name.clone(),
            rust_name => rust_name.to_owned(),
        };
        match &def.kind {
            TypeKind::Struct { fields, is_open: true } => {
                let known: Vec<_> = fields.iter().map(|field| literal(&field.name)).collect();
                let known = known.join(", ");
                let _ = write!(self.text, "\n\n# {}: has {known} and others.\n", comment(&title));
                self.alias(&name, "Mapping[str, Any]");
                if is_item {
                    self.alias(&format!("{name}Item"), "dict[str, Any]");
                }
            }
            TypeKind::Struct { fields, is_open: false } => {
                let doc = doc(&title, fields);
                if self.is_dataclass(fields) {
                    self.dataclass(&name, &doc, fields);
                }
                let entries = self.entries(fields, Way::In);
                self.typed_dict(&format!("{name}Dict"), &doc, &entries);
                if is_item {
                    let entries = self.entries(fields, Way::Out);
                    self.typed_dict(&format!("{name}Item"), &doc, &entries);
                }
            }
            TypeKind::Enum { tagging, variants } => {
                self.enumeration(&name, &title, tagging, variants, Way::In);
                if is_item {
                    self.enumeration(&name, &title, tagging, variants, Way::Out);
                }
            }
        }
    }

    fn alias(&mut self, name: &str, target: &str) {
        let target = match target.contains(['"', '\\', '\'']) {
            true => format!("'{}'", target.replace('\\', "\\\\").replace('\'', "\\'")),
            false => literal(target),
        };
        let _ = writeln!(self.text, "{name}: TypeAlias = {target}");
    }

    fn entries(&self, fields: &[Field], way: Way) -> Vec<Entry> {
        let entry = |field: &Field| Entry {
            key: field.name.clone(),
            annotation: self.form(&field.form, way),
            is_required: match way {
                Way::In => field.is_required,
                Way::Out => !field.may_be_absent,
            },
        };
        fields.iter().map(entry).collect()
    }

    fn dataclass(&mut self, name: &str, doc: &str, fields: &[Field]) {
        let mut lines = Vec::new();
        let mut absent = Vec::new();
        for field in fields.iter().filter(|field| field.is_required) {
            lines.push(format!("    {}: {}", field.name, self.input(&field.form)));
        }
        for field in fields.iter().filter(|field| !field.is_required) {
            let annotation = match &field.form {
                form @ (Form::Optional(_) | Form::Any | Form::Null) => self.input(form),
                form => format!("{} | None", self.input(form)),
            };
            lines.push(format!(
                "    {}: {annotation} = field(default=None, kw_only=True)",
                field.name
            ));
            if !matches!(field.form, Form::Optional(_) | Form::Null) {
                absent.push(literal(&field.name));
            }
        }
        if !absent.is_empty() {
            // What Rust would make of None is not what stands for a field that is not there.
            lines.push(format!(
                "    __kameo_absent__: ClassVar[frozenset[str]] = frozenset({{{}}})",
                absent.join(", ")
            ));
        }
        let lines = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let gap = if lines.is_empty() { "" } else { "\n" };
        let _ = write!(self.text, "\n\n@dataclass\nclass {name}:\n{doc}{gap}{lines}");
    }

    /// Classes where the keys allow it; they can be final, by which `in` tells them apart.
    fn typed_dict(&mut self, name: &str, doc: &str, entries: &[Entry]) {
        let annotation = |entry: &Entry| match entry.is_required {
            true => entry.annotation.clone(),
            false => format!("NotRequired[{}]", entry.annotation),
        };
        if entries.iter().all(|entry| self.names.is_field(&entry.key)) {
            let _ = write!(self.text, "\n\n@final\nclass {name}(TypedDict):\n{doc}");
            if !entries.is_empty() {
                self.text.push('\n');
            }
            for entry in entries {
                let _ = writeln!(self.text, "    {}: {}", entry.key, annotation(entry));
            }
        } else {
            let _ = write!(self.text, "\n\n{name} = TypedDict(\n    {},\n    {{\n", literal(name));
            for entry in entries {
                let annotation = literal(&annotation(entry));
                let _ = writeln!(self.text, "        {}: {annotation},", literal(&entry.key));
            }
            self.text += "    },\n)\n";
        }
    }

    fn enumeration(
        &mut self,
        name: &str,
        title: &str,
        tagging: &Tagging,
        variants: &[Variant],
        way: Way,
    ) {
        let mut members: Vec<String> = Vec::new();
        for variant in variants {
            for member in self.variant(name, title, tagging, variant, way) {
                if !members.contains(&member) {
                    members.push(member);
                }
            }
        }
        let members = if members.is_empty() { "Any".to_owned() } else { members.join(" | ") };
        let suffix = if way == Way::Out { "Item" } else { "" };
        let _ = write!(self.text, "\n\n# {}\n", comment(title));
        self.alias(&format!("{name}{suffix}"), &members);
    }

    /// The types of which a variant is one.
    fn variant(
        &mut self,
        enumeration: &str,
        title: &str,
        tagging: &Tagging,
        variant: &Variant,
        way: Way,
    ) -> Vec<String> {
        let suffix = if way == Way::In { "Dict" } else { "Item" };
        let tag_type = format!("Literal[{}]", literal(&variant.name));
        let base = format!("{enumeration}{}", pascal(&variant.name));
        let open = if way == Way::In { "Mapping[str, Any]" } else { "dict[str, Any]" };
        let doc = format!("    \"\"\"{}\"\"\"\n", quoted(&format!("{title}::{}", variant.name)));
        let required =
            |key: &str, annotation| Entry { key: key.to_owned(), annotation, is_required: true };
        let mut entries = match tagging {
            Tagging::External => Vec::new(),
            Tagging::Internal { tag } | Tagging::Adjacent { tag, .. } => {
                vec![required(tag, tag_type.clone())]
            }
        };
        let key = match tagging {
            Tagging::External => &variant.name,
            Tagging::Adjacent { content, .. } => content,
            Tagging::Internal { .. } => match &variant.form {
                VariantForm::Struct { fields, is_open: false } => {
                    entries.extend(self.entries(fields, way));
                    return vec![self.variant_dict(&base, suffix, &doc, &entries)];
                }
                VariantForm::Unit => {
                    return vec![self.variant_dict(&base, suffix, &doc, &entries)];
                }
                _ => return vec![open.to_owned()],
            },
        };
        let value = match &variant.form {
            VariantForm::Unit if *tagging == Tagging::External => return vec![tag_type],
            VariantForm::Unit => {
                return vec![self.variant_dict(&base, suffix, &doc, &entries)];
            }
            VariantForm::Value(form) => self.form(form, way),
            VariantForm::Struct { is_open: true, .. } => open.to_owned(),
            VariantForm::Struct { fields, .. } => {
                let fields = self.entries(fields, way);
                self.variant_dict(&format!("{base}Fields"), suffix, &doc, &fields)
            }
        };
        entries.push(required(key, value));
        let mut members = vec![self.variant_dict(&base, suffix, &doc, &entries)];
        if let (Tagging::External, VariantForm::Value(Form::Tuple(items)), Way::In) =
            (tagging, &variant.form, way)
        {
            // The list form: the variant's name, and what it holds behind it.
            let items: Vec<_> = items.iter().map(|item| self.input(item)).collect();
            members.push(format!("tuple[{tag_type}, {}]", items.join(", ")));
            members.push(format!("list[{tag_type} | {}]", items.join(" | ")));
        }
        members
    }

    fn variant_dict(&mut self, base: &str, suffix: &str, doc: &str, entries: &[Entry]) -> String {
        let name = self.names.unique(&format!("{base}{suffix}"), &[]);
        self.typed_dict(&name, doc, entries);
        name
    }
}

/// What is taken for a list. A text is a sequence of texts too, and never meant as one.
fn sequence(item: &str) -> String {
    match item {
        "str" => "list[str] | tuple[str, ...]".to_owned(),
        item => format!("Sequence[{item}]"),
    }
}

/// Text inside a docstring.
fn quoted(text: &str) -> String {
    let literal = literal(text);
    literal[1..literal.len() - 1].to_owned()
}

/// Text inside a comment.
fn comment(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// The docstring of a struct: its Rust name, and the widths of its integers.
fn doc(title: &str, fields: &[Field]) -> String {
    let widths: Vec<_> = fields
        .iter()
        .filter_map(|field| Some(format!("`{}` is {}", quoted(&field.name), width(&field.form)?)))
        .collect();
    match widths.is_empty() {
        true => format!("    \"\"\"{}\"\"\"\n", quoted(title)),
        false => {
            let widths = widths.join(", ");
            format!("    \"\"\"{}\n\n    {widths}.\n    \"\"\"\n", quoted(title))
        }
    }
}

fn width(form: &Form) -> Option<&'static str> {
    match form {
        Form::Int(name) => Some(name),
        Form::Optional(inner) | Form::List(inner) => width(inner),
        _ => None,
    }
}
