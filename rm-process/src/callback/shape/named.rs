//! Structs and enums that ask for what they want: their names, fields, variants and aliases.
//!
//! It extends [`Explorer`]. What is buffered before it is read is explored in `buffered`.

use super::explore::{Explorer, entries, field, field_behind, with};
use super::fault::Fault;
use super::model::{Field, Form, Tagging, TypeKind, Variant, VariantForm};
use super::probe::{Given, Hint, Seen, Step, TEXTS};
use super::written::Written;

/// A name that no field has.
const STRANGER: &str = "\u{1}stranger";

impl Explorer<'_> {
    pub(super) fn hinted_struct(
        &mut self,
        path: &[Step],
        seen: &Seen,
        name: &str,
        fields: &'static [&'static str],
    ) -> Form {
        let key = (seen.visitor, fields.to_vec());
        if let Some(&index) = self.named.get(&key) {
            return Form::Named(index);
        }
        let index = self.declare(name, &self.rust_name(path, Some(seen)));
        self.named.insert(key, index);
        let fields = self.fields(path, fields, Some(seen.visitor));
        self.known.types[index].kind = TypeKind::Struct { fields, is_open: false };
        Form::Named(index)
    }

    /// The fields of the struct or struct variant at `path`.
    fn fields(
        &mut self,
        path: &[Step],
        names: &'static [&'static str],
        visitor: Option<&'static str>,
    ) -> Vec<Field> {
        // What is read as text may have to be a certain one, for aliases and required fields are
        // found with values.
        let mut values: Vec<(String, Given)> = Vec::new();
        for name in names {
            let path = with(path, field(name, &[]));
            let text = match self.look(&path).seen {
                Some(Seen { hint: Hint::Leaf(Form::Str), .. }) => self.text(&path),
                _ => None,
            };
            let given = text.map_or(Given::Auto, |text| Given::Text(text.to_owned()));
            values.push(((*name).to_owned(), given));
        }
        let names = self.without_aliases(path, names, &values);
        values.retain(|(name, _)| names.contains(&&**name));
        let forms: Vec<_> =
            names.iter().map(|name| self.form(&with(path, field(name, &values)))).collect();
        let (required, is_complete) = self.required(path, &[], |_, name, _| {
            let value = values.iter().find(|(other, _)| other == name)?;
            Some(value.1.clone())
        });
        if let (true, Some(visitor)) = (is_complete, visitor) {
            self.known.entries.insert(visitor, required.clone());
        }
        let least = self.written(&with(path, entries(&required)));
        let fields = names.iter().zip(forms).map(|(name, form)| Field {
            name: (*name).to_owned(),
            form,
            is_required: required.iter().any(|(other, _)| other == name),
            may_be_absent: is_absent(least.as_ref(), name),
        });
        fields.collect()
    }

    /// The names by which fields are written: an alias stands beside its field, and both together
    /// are one too many.
    fn without_aliases(
        &mut self,
        path: &[Step],
        names: &'static [&'static str],
        values: &[(String, Given)],
    ) -> Vec<&'static str> {
        let mut kept: Vec<&'static str> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let pair = index.checked_sub(1).and_then(|before| values.get(before..=index));
            let report = pair.map(|pair| self.look(&with(path, entries(pair))));
            match report.as_ref().and_then(|report| report.error()) {
                Some(Fault::Duplicate(primary)) => {
                    if let Some(last) = kept.last_mut() {
                        *last = primary;
                    }
                }
                _ => kept.push(name),
            }
        }
        kept
    }

    pub(super) fn hinted_enum(
        &mut self,
        path: &[Step],
        seen: &Seen,
        name: &str,
        variants: &'static [&'static str],
    ) -> Form {
        let key = (seen.visitor, variants.to_vec());
        if let Some(&index) = self.named.get(&key) {
            return Form::Named(index);
        }
        let index = self.declare(name, &self.rust_name(path, Some(seen)));
        self.named.insert(key, index);
        let mut found = Vec::new();
        for name in variants {
            let path = with(path, Step::Variant { name: (*name).to_owned(), is_unit: false });
            if !self.is_alias(&path, name, variants) {
                found.push(Variant { name: (*name).to_owned(), form: self.variant(&path) });
            }
        }
        self.known.types[index].kind =
            TypeKind::Enum { tagging: Tagging::External, variants: found };
        Form::Named(index)
    }

    fn variant(&mut self, path: &[Step]) -> VariantForm {
        let Some(seen) = self.look(path).seen else { return VariantForm::Value(Form::Any) };
        match seen.hint {
            Hint::UnitVariant => VariantForm::Unit,
            Hint::StructVariant(names) => {
                VariantForm::Struct { fields: self.fields(path, names, None), is_open: false }
            }
            Hint::TupleVariant(len) => VariantForm::Value(self.tuple(path, len)),
            // The step that follows leads into what the variant holds.
            Hint::NewtypeVariant => VariantForm::Value(self.form(&with(path, Step::Held))),
            _ => VariantForm::Value(Form::Any),
        }
    }

    /// Says whether the variant is written by another name of those.
    pub(super) fn is_alias(&mut self, path: &[Step], name: &str, variants: &[&str]) -> bool {
        match self.written_around(path) {
            Some(Written::Variant(_, other, _)) => other != name && variants.contains(&&*other),
            _ => false,
        }
    }

    pub(super) fn adjacent_enum(
        &mut self,
        path: &[Step],
        seen: &Seen,
        name: &str,
        tag: &'static str,
        content: &'static str,
    ) -> Form {
        let key = (seen.visitor, vec![tag, content]);
        if let Some(&index) = self.named.get(&key) {
            return Form::Named(index);
        }
        let index = self.declare(name, &self.rust_name(path, Some(seen)));
        self.named.insert(key, index);
        let names = match self.look(&with(path, field(tag, &[]))).seen.map(|seen| seen.hint) {
            Some(Hint::Enum { variants, .. }) => variants,
            _ => return Form::Named(index),
        };
        let mut variants = Vec::new();
        for name in names {
            let tagged = [(tag.to_owned(), Given::Text((*name).to_owned()))];
            let path = with(path, field_behind(content, &tagged));
            variants.push(Variant { name: (*name).to_owned(), form: self.content(&path) });
        }
        let (tag, content) = (tag.to_owned(), content.to_owned());
        self.known.types[index].kind =
            TypeKind::Enum { tagging: Tagging::Adjacent { tag, content }, variants };
        Form::Named(index)
    }

    /// What an adjacently tagged variant holds.
    fn content(&mut self, path: &[Step]) -> VariantForm {
        let Some(seen) = self.look(path).seen else { return VariantForm::Value(Form::Any) };
        match seen.hint {
            Hint::Any { is_buffered: false } if seen.expecting.starts_with("unit variant ") => {
                VariantForm::Unit
            }
            Hint::Any { is_buffered: false } if seen.expecting.starts_with("struct variant ") => {
                let (fields, is_open) = self.found_fields(path, &[]);
                VariantForm::Struct { fields, is_open }
            }
            _ => VariantForm::Value(self.form(path)),
        }
    }

    /// A struct with flattened fields: it reads a map, and keeps what it does not know for them.
    pub(super) fn flattened(&mut self, path: &[Step], seen: &Seen) -> Form {
        let key = (seen.visitor, Vec::new());
        if let Some(&index) = self.named.get(&key) {
            return Form::Named(index);
        }
        let rust_name = self.rust_name(path, Some(seen));
        let name = last_segment(seen.expecting.strip_prefix("struct ").unwrap_or(&rust_name));
        let index = self.declare(&name, &rust_name);
        self.named.insert(key, index);
        let (fields, is_open) = self.found_fields(path, &[]);
        let is_required = |field: &&Field| field.is_required;
        let required = fields.iter().filter(is_required);
        let given = required.map(|field| (field.name.clone(), Given::Form(field.form.clone(), 0)));
        self.known.entries.insert(seen.visitor, given.collect());
        self.known.types[index].kind = TypeKind::Struct { fields, is_open };
        Form::Named(index)
    }

    /// The fields of a struct that does not say them: those that it misses, and those that it
    /// writes. The second value says that there may be more.
    pub(super) fn found_fields(
        &mut self,
        path: &[Step],
        tags: &[(String, Given)],
    ) -> (Vec<Field>, bool) {
        // Types that are met before all that is required is known are explored anew.
        let named = self.named.clone();
        let outer = path;
        let (required, is_complete) = self.required(path, tags, |this, name, present| {
            let path = with(path, field_behind(name, present));
            let is_buffered = matches!(
                this.look(&path).seen,
                Some(Seen { hint: Hint::Any { is_buffered: true }, .. })
            );
            match this.form(&path) {
                _ if !is_buffered => Some(Given::Auto),
                Form::Str => this.text(&path).map(|text| Given::Text(text.to_owned())),
                form => {
                    // Texts inside it may have to be certain ones.
                    let mut given = (0..TEXTS.len()).map(|text| Given::Form(form.clone(), text));
                    given.find(|given| {
                        let mut present = present.to_vec();
                        present.push((name.to_owned(), given.clone()));
                        this.look(&with(outer, entries(&present))).is_taken()
                    })
                }
            }
        });
        self.named = named;
        let least = match self.written(&with(path, entries(&required))) {
            Some(Written::Entries(entries)) if is_complete => Some(entries),
            _ => None,
        };
        let is_open = least.is_none() || self.keeps_strangers(path, &required);
        let mut names: Vec<(String, bool)> = least
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, value.is_none()))
            .collect();
        for (name, _) in &required {
            if !names.iter().any(|(other, _)| other == name) {
                names.push((name.clone(), true));
            }
        }
        names.retain(|(name, _)| !tags.iter().any(|(tag, _)| tag == name));
        let fields = names.into_iter().map(|(name, may_be_absent)| {
            let form = self.form(&with(path, field_behind(&name, &required)));
            let is_required = required.iter().any(|(other, _)| *other == name);
            Field { name, form, is_required, may_be_absent }
        });
        let fields = fields.collect();
        (fields, is_open)
    }

    /// A name that nobody would use comes back only from whoever keeps all names.
    fn keeps_strangers(&mut self, path: &[Step], beside: &[(String, Given)]) -> bool {
        let mut beside = beside.to_vec();
        beside.push((STRANGER.to_owned(), Given::Auto));
        match self.written(&with(path, entries(&beside))) {
            Some(Written::Entries(entries)) => entries.iter().any(|(name, _)| name == STRANGER),
            // It may also be that they are refused.
            _ => false,
        }
    }
}

/// Says whether the field was left out of what was written, or it is not known.
fn is_absent(written: Option<&Written>, name: &str) -> bool {
    match written {
        Some(Written::Entries(entries)) => {
            !entries.iter().any(|(other, value)| other == name && value.is_some())
        }
        _ => true,
    }
}

/// The last part of a type's path, without its parameters.
pub(super) fn last_segment(path: &str) -> String {
    let plain = path.split('<').next().unwrap_or(path);
    plain.rsplit("::").next().unwrap_or(plain).to_owned()
}
