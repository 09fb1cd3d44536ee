//! Values that are buffered before they are read: internally tagged and untagged enums, flattened
//! fields, and all that lies inside.
//!
//! It extends [`Explorer`]. Nothing is asked for here; the forms are read from complaints.

use super::explore::{Explorer, Report, entries, with};
use super::fault::Fault;
use super::model::{Form, Tagging, TypeKind, Variant, VariantForm};
use super::named::last_segment;
use super::probe::{End, GUESSES, Given, Seen, Step};
use super::written::Written;

/// A name that no variant has.
const NOBODY: &str = "\u{1}nobody";

impl Explorer<'_> {
    /// The form at `path`, where bytes have been offered with the result of `report`.
    pub(super) fn buffered_form(&mut self, path: &[Step], report: &Report) -> Form {
        let form = match report.error() {
            Some(Fault::Wrong(expected)) => {
                let expected = expected.clone();
                self.expected(path, &expected, report.seen.as_ref())
            }
            Some(Fault::Other(message)) => {
                match message.strip_prefix("data did not match any variant of untagged enum ") {
                    Some(_) => return self.untagged(report),
                    None => return Form::Any,
                }
            }
            _ => return Form::Any,
        };
        match form {
            Form::Any | Form::Null => form,
            form if self.run(path, End::Guess(0), 0).is_taken() => Form::Optional(Box::new(form)),
            form => form,
        }
    }

    fn expected(&mut self, path: &[Step], expected: &str, seen: Option<&Seen>) -> Form {
        if let Some(form) = leaf(expected) {
            return form;
        }
        if let Some(name) = expected.strip_prefix("internally tagged enum ") {
            return self.internal_enum(path, name, seen);
        }
        if let Some(name) = expected.strip_prefix("struct ") {
            return self.inside(name, |this| {
                let index = this.declare(&last_segment(name), "");
                let (fields, is_open) = this.found_fields(path, &[]);
                this.known.types[index].kind = TypeKind::Struct { fields, is_open };
                Form::Named(index)
            });
        }
        if let Some(len) = tuple_len(expected) {
            return self.tuple(path, len);
        }
        match expected {
            "a sequence" => {
                let item = self.form(&with(path, Step::Item { before: Vec::new() }));
                Form::List(Box::new(item))
            }
            "a map" => {
                let key = self.form(&with(path, Step::Key));
                let value = self.form(&with(path, Step::Value));
                Form::Dict(Box::new(key), Box::new(value))
            }
            "string or map" => self.external_enum(path),
            // A type with a reader of its own. Null and the empty text are among what is guessed.
            _ if self.text(path).is_none() => Form::Any,
            _ => {
                let mut others = 2..GUESSES;
                let is_other = others.any(|guess| self.run(path, End::Guess(guess), 0).is_taken());
                if is_other { Form::Any } else { Form::Str }
            }
        }
    }

    /// Explores a type that is known by nothing but its name; inside itself it is not followed.
    fn inside(&mut self, name: &str, explore: impl FnOnce(&mut Self) -> Form) -> Form {
        if self.buffered.iter().any(|other| other == name) {
            return Form::Any;
        }
        self.buffered.push(name.to_owned());
        let form = explore(self);
        self.buffered.pop();
        form
    }

    fn internal_enum(&mut self, path: &[Step], name: &str, seen: Option<&Seen>) -> Form {
        // The visitor names the enum only where the enum itself is what is buffered.
        let visitor = seen.map(|seen| seen.visitor);
        let visitor = visitor.filter(|visitor| visitor.contains("::TaggedContentVisitor"));
        let key = visitor.map(|visitor| (visitor, Vec::new()));
        if let Some(&index) = key.as_ref().and_then(|key| self.named.get(key)) {
            return Form::Named(index);
        }
        let rust_name = match visitor {
            _ if path.is_empty() => self.rust_name(path, None),
            Some(visitor) => enum_of(visitor),
            None => String::new(),
        };
        self.inside(name, |this| {
            let index = this.declare(&last_segment(name), &rust_name);
            if let Some(key) = key {
                this.named.insert(key, index);
            }
            if let Some(kind) = this.internal_kind(path, visitor) {
                this.known.types[index].kind = kind;
            }
            Form::Named(index)
        })
    }

    fn internal_kind(&mut self, path: &[Step], visitor: Option<&'static str>) -> Option<TypeKind> {
        let Some(&Fault::Missing(tag)) = self.look(&with(path, entries(&[]))).error() else {
            return None;
        };
        let tagged = |name: &str| [(tag.to_owned(), Given::Text(name.to_owned()))];
        let report = self.look(&with(path, entries(&tagged(NOBODY))));
        let Some(&Fault::UnknownVariant(names)) = report.error() else { return None };
        let mut variants = Vec::new();
        for name in names {
            let tags = tagged(name);
            let written = self.written(&with(path, entries(&tags)));
            if is_other_name(written.as_ref(), tag, name, names) {
                continue;
            }
            let (fields, is_open) = self.found_fields(path, &tags);
            let form = match fields.is_empty() && !is_open {
                true => VariantForm::Unit,
                false => VariantForm::Struct { fields, is_open },
            };
            if let (Some(visitor), VariantForm::Unit) = (visitor, &form) {
                self.known.entries.entry(visitor).or_insert_with(|| tags.to_vec());
            }
            variants.push(Variant { name: (*name).to_owned(), form });
        }
        if let Some(visitor) = visitor {
            let least = variants.iter().find_map(|variant| match &variant.form {
                VariantForm::Struct { fields, is_open: false } => {
                    let fields = fields.iter().filter(|field| field.is_required);
                    let given = fields
                        .map(|field| (field.name.clone(), Given::Form(field.form.clone(), 0)));
                    Some(tagged(&variant.name).into_iter().chain(given).collect())
                }
                _ => None,
            });
            if let Some(least) = least {
                self.known.entries.entry(visitor).or_insert(least);
            }
        }
        Some(TypeKind::Enum { tagging: Tagging::Internal { tag: tag.to_owned() }, variants })
    }

    fn external_enum(&mut self, path: &[Step]) -> Form {
        let variant =
            |name: &str, is_unit| with(path, Step::Variant { name: name.to_owned(), is_unit });
        let report = self.look(&variant(NOBODY, true));
        let Some(&Fault::UnknownVariant(names)) = report.error() else { return Form::Any };
        // There is no name for the enum; where all variants are units none is needed.
        let name = names.join("|");
        self.inside(&name, |this| {
            let index = this.declare("Enum", "");
            let mut variants = Vec::new();
            for name in names {
                if this.is_alias(&variant(name, true), name, names)
                    || this.is_alias(&variant(name, false), name, names)
                {
                    continue;
                }
                let form = if this.look(&variant(name, true)).is_taken() {
                    VariantForm::Unit
                } else {
                    let path = variant(name, false);
                    let report = this.look(&path);
                    match report.error() {
                        Some(Fault::Wrong(expected)) if expected == "struct variant" => {
                            let (fields, is_open) = this.found_fields(&path, &[]);
                            VariantForm::Struct { fields, is_open }
                        }
                        _ => VariantForm::Value(this.buffered_form(&path, &report)),
                    }
                };
                variants.push(Variant { name: (*name).to_owned(), form });
            }
            for found in &variants {
                let path_in = variant(&found.name, found.form == VariantForm::Unit);
                if let Some(Written::Variant(name, ..)) = this.written_around(&path_in) {
                    this.known.types[index].name = name.to_owned();
                    break;
                }
            }
            this.known.types[index].kind = TypeKind::Enum { tagging: Tagging::External, variants };
            Form::Named(index)
        })
    }

    /// The union of what an untagged enum tried: each attempt has left one complaint, in order.
    fn untagged(&mut self, report: &Report) -> Form {
        let faults = report.outcome.as_ref().map_or(&[][..], |outcome| &outcome.faults);
        let Some((_, attempts)) = faults.split_last() else { return Form::Any };
        let mut forms = Vec::new();
        for attempt in attempts {
            let Fault::Wrong(expected) = attempt else { return Form::Any };
            let form = match leaf(expected) {
                Some(form) => form,
                None if expected == "a sequence" || tuple_len(expected).is_some() => {
                    Form::List(Box::new(Form::Any))
                }
                None if expected == "a map" || expected.starts_with("struct ") => {
                    Form::Dict(Box::new(Form::Str), Box::new(Form::Any))
                }
                None if expected.starts_with("unit variant ") => Form::Null,
                None => return Form::Any,
            };
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        match forms.len() {
            0 => Form::Any,
            1 => forms.remove(0),
            _ => Form::Union(forms),
        }
    }
}

/// The form of a value of which this is said to be right.
fn leaf(expected: &str) -> Option<Form> {
    const INTEGERS: [&str; 12] =
        ["i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize"];
    if let Some(name) = INTEGERS.iter().find(|name| **name == expected) {
        // As they are asked for where something is.
        return Some(Form::Int(match *name {
            "isize" => "i64",
            "usize" => "u64",
            name => name,
        }));
    }
    match expected {
        "a boolean" => Some(Form::Bool),
        "f32" | "f64" => Some(Form::Float),
        "a character" | "a string" | "a borrowed string" | "path string" => Some(Form::Str),
        "unit" => Some(Form::Null),
        _ if expected.starts_with("unit struct ") => Some(Form::Null),
        _ => None,
    }
}

/// The number of items of the tuple or array of which this is said to be right.
fn tuple_len(expected: &str) -> Option<usize> {
    let len = expected
        .strip_prefix("a tuple of size ")
        .or_else(|| expected.strip_prefix("an array of length "))?;
    len.parse().ok()
}

/// Says whether the enum writes another of its names than the one that it read.
fn is_other_name(written: Option<&Written>, tag: &str, name: &str, names: &[&str]) -> bool {
    let Some(Written::Entries(entries)) = written else { return false };
    match entries.iter().find(|(key, _)| key == tag) {
        Some((_, Some(Written::Leaf(Some(other)))))
        | Some((_, Some(Written::Variant(_, other, _)))) => {
            other != name && names.contains(&&**other)
        }
        _ => false,
    }
}

/// The enum in the name of the visitor that reads its tag:
/// `…TaggedContentVisitor<<krate::Enum as …>::deserialize::__Field>` and its like.
fn enum_of(visitor: &str) -> String {
    let inner = visitor
        .split_once(" for ")
        .map(|(_, rest)| rest)
        .or_else(|| visitor.split_once("<<").map(|(_, rest)| rest));
    let name = inner.unwrap_or_default();
    let end = name.find(" as ").or_else(|| name.find(">::deserialize")).unwrap_or_default();
    name[..end].to_owned()
}
