//! Walks a JSON document and reports what is not as it should be, with the place of each.
//!
//! Main type: [`Cursor`], a value and its JSON pointer. A method that gives nothing has reported
//! why. Which fields there are is the reader's knowledge, not the cursor's.

use rm_core::nearest;
use serde_json::{Map, Value};

use crate::problem::{ProblemKind, Report, Warning};

/// Characters of a text that a message repeats.
const MAX_SHOWN: usize = 60;

/// How a value is called in messages.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) if text.chars().nth(MAX_SHOWN).is_some() => {
            let start: String = text.chars().take(MAX_SHOWN).collect();
            format!("{:?}", format!("{start}…"))
        }
        Value::String(text) => format!("{text:?}"),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn child(pointer: &str, name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    format!("{pointer}/{name}")
}

/// One value of a document, and where it is.
pub(super) struct Cursor<'a> {
    pub(super) value: &'a Value,
    pub(super) pointer: String,
}

impl<'a> Cursor<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, pointer: String::new() }
    }

    /// Reports that the value is not what it should be.
    pub(super) fn mistyped(&self, report: &mut Report, expected: &str) {
        self.mistyped_with(report, expected, "");
    }

    /// Reports that the value is not what it should be, with a hint behind.
    pub(super) fn mistyped_with(&self, report: &mut Report, expected: &str, hint: &str) {
        let found = describe(self.value);
        let message = format!("expected {expected}, found {found}{hint}");
        report.problem(ProblemKind::Value, &self.pointer, message);
    }

    /// What could be made of the value; where nothing could, that is reported.
    pub(super) fn expect<T>(
        &self,
        report: &mut Report,
        expected: &str,
        found: Option<T>,
    ) -> Option<T> {
        if found.is_none() {
            self.mistyped(report, expected);
        }
        found
    }

    /// An object; fields that are not among `known` become warnings.
    pub(super) fn object(
        self,
        report: &mut Report,
        known: &'static [&'static str],
    ) -> Option<Object<'a>> {
        let map = self.expect(report, "an object", self.value.as_object())?;
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            let hint = rm_core::did_you_mean(name, known.iter().copied());
            report.warnings.push(Warning {
                pointer: child(&self.pointer, name),
                message: format!("unknown field {name:?}{hint}"),
            });
        }
        Some(Object { map, known, pointer: self.pointer })
    }

    pub(super) fn array(
        self,
        report: &mut Report,
    ) -> Option<impl Iterator<Item = Cursor<'a>> + use<'a>> {
        let items = self.expect(report, "an array", self.value.as_array())?;
        Some(items.iter().enumerate().map(move |(index, value)| Cursor {
            value,
            pointer: format!("{}/{index}", self.pointer),
        }))
    }

    pub(super) fn string(&self, report: &mut Report) -> Option<&'a str> {
        self.expect(report, "a string", self.value.as_str())
    }

    /// A string with something in it.
    pub(super) fn text(&self, report: &mut Report) -> Option<&'a str> {
        let text = self.value.as_str().filter(|text| !text.is_empty());
        self.expect(report, "a string that is not empty", text)
    }

    pub(super) fn boolean(&self, report: &mut Report) -> Option<bool> {
        self.expect(report, "true or false", self.value.as_bool())
    }

    /// A number that passes `check`.
    pub(super) fn number(
        &self,
        report: &mut Report,
        expected: &str,
        check: impl Fn(f64) -> bool,
    ) -> Option<f64> {
        self.expect(report, expected, self.value.as_f64().filter(|number| check(*number)))
    }

    /// One of some names; gives what it stands for.
    pub(super) fn one_of<T: Copy>(&self, report: &mut Report, names: &[(&str, T)]) -> Option<T> {
        let found = names.iter().find(|(name, _)| self.value.as_str() == Some(name));
        if let Some((_, meant)) = found {
            return Some(*meant);
        }
        let all: Vec<_> = names.iter().map(|(name, _)| format!("{name:?}")).collect();
        let (last, others) = all.split_last().expect("there is a name");
        let expected = format!("{} or {last}", others.join(", "));
        let hint = self.value.as_str().map(|text| {
            let text = text.get(..MAX_SHOWN).unwrap_or(text);
            report.hint(text, names.iter().map(|(name, _)| *name))
        });
        self.mistyped_with(report, &expected, &hint.unwrap_or_default());
        None
    }

    /// The fields of an object whose names are free.
    pub(super) fn entries(&self, report: &mut Report) -> Option<Vec<(&'a str, Cursor<'a>)>> {
        let map = self.expect(report, "an object", self.value.as_object())?;
        let entry = |(name, value): (&'a String, _)| {
            (name.as_str(), Cursor { value, pointer: child(&self.pointer, name) })
        };
        Some(map.iter().map(entry).collect())
    }

    /// A whole number that passes `check`.
    pub(super) fn size(
        &self,
        report: &mut Report,
        expected: &str,
        check: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let number = self.value.as_u64().and_then(|n| usize::try_from(n).ok());
        self.expect(report, expected, number.filter(|n| check(*n)))
    }
}

/// The fields of one object.
pub(super) struct Object<'a> {
    map: &'a Map<String, Value>,
    known: &'static [&'static str],
    pub(super) pointer: String,
}

impl<'a> Object<'a> {
    /// A field that may be absent; `null` is absent.
    pub(super) fn optional(&self, name: &str) -> Option<Cursor<'a>> {
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Cursor { value, pointer: child(&self.pointer, name) })
    }

    /// A field that must be there.
    pub(super) fn required(
        &self,
        report: &mut Report,
        name: &str,
        expected: &str,
    ) -> Option<Cursor<'a>> {
        let found = self.map.get(name);
        if found.is_none() {
            let keys = self.map.keys().map(String::as_str);
            let like = nearest(name, keys.filter(|key| !self.known.contains(key)))
                .map(|like| format!("; there is an unknown field {like:?}"))
                .unwrap_or_default();
            let message = format!("missing, expected {expected}{like}");
            report.problem(ProblemKind::Missing, child(&self.pointer, name), message);
        }
        Some(Cursor { value: found?, pointer: child(&self.pointer, name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_in_a_pointer_are_escaped() {
        let value = json!({"a/b~c": 1});
        let mut report = Report::default();
        assert!(Cursor::root(&value).object(&mut report, &["ab"]).is_some());
        assert_eq!(report.warnings[0].pointer, "/a~1b~0c");
        assert_eq!(value.pointer(&report.warnings[0].pointer), Some(&json!(1)));
    }

    #[test]
    fn a_long_text_is_cut_in_messages() {
        let shown = describe(&json!("ä".repeat(1_000)));
        assert_eq!(shown, format!("\"{}…\"", "ä".repeat(MAX_SHOWN)));
    }
}
