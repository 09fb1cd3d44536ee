//! Facts about a sound that are no sound: title, artist and so on.
//!
//! Main type: [`Tags`]. Names are those of Vorbis comments in lower case (`title`, `artist`, `album`,
//! `date`, `tracknumber`, …), whatever the format of the file calls them.

use serde_json::{Map, Value};

/// Most tags that are kept of one sound, and most bytes of their values together: what comes in is not
/// trusted, and no honest file has as many.
const MAX_TAGS: usize = 256;
const MAX_BYTES: usize = 64 << 10;

/// Names and values, in the order in which they were found; a name may come several times.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::audio) struct Tags(Vec<(String, String)>);

impl Tags {
    /// Adds one, if its name is one that every format holds and there is room for it.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let (name, value) = (name.to_ascii_lowercase(), value.trim_end_matches('\0'));
        let bytes: usize = self.0.iter().map(|(name, value)| name.len() + value.len()).sum();
        let fits = self.0.len() < MAX_TAGS && bytes + name.len() + value.len() <= MAX_BYTES;
        let known = self.iter().any(|(other, other_value)| (other, other_value) == (&name, value));
        if fits && !known && !value.is_empty() && is_name(&name) {
            self.0.push((name, value.to_owned()));
        }
    }

    /// Adds those of `other` for which there is room, in place of those that have the same name.
    pub(in crate::audio) fn replace_by(&mut self, other: &Self) {
        self.0.retain(|(name, _)| other.iter().all(|(replaced, _)| replaced != name));
        for (name, value) in other.iter() {
            self.add(name, value);
        }
    }

    /// All names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// They as an object: a name that comes several times has a list.
    pub(in crate::audio) fn to_json(&self) -> Value {
        let mut all = Map::new();
        for (name, value) in self.iter() {
            let value = Value::from(value);
            match all.get_mut(name) {
                None => {
                    all.insert(name.to_owned(), value);
                }
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Value::Object(all)
    }

    /// Reads an object of texts, numbers, truths and lists of them, or one that has such an object as
    /// its `tags`.
    ///
    /// # Errors
    /// What is wrong, to be read behind "tags".
    pub(in crate::audio) fn from_json(json: &Value) -> Result<Self, String> {
        let all = match json.get("tags") {
            Some(tags @ Value::Object(_)) => tags,
            _ => json,
        };
        let Value::Object(all) = all else {
            return Err(format!("are {all}, expected an object"));
        };
        let mut tags = Self::default();
        for (name, value) in all {
            if !is_name(name) {
                return Err(format!(
                    "have the name {name:?}, expected printable ASCII characters other than \"=\""
                ));
            }
            let values = match value {
                Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            for value in values {
                match value {
                    Value::Null => {}
                    Value::String(text) => tags.add(name, text),
                    Value::Number(_) | Value::Bool(_) => tags.add(name, &value.to_string()),
                    _ => return Err(format!("have {value} as {name:?}, expected a text")),
                }
            }
        }
        Ok(tags)
    }
}

/// Whether it can be the name of a Vorbis comment, which no format allows more than.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (0x20..=0x7d).contains(&byte) && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_read_back_as_they_were_given() {
        let object = json!({"title": "a", "artist": ["b", "c"]});
        let tags = Tags::from_json(&object).unwrap();
        assert_eq!(tags.to_json(), object);
        let whole = json!({"path": "x", "tags": object});
        assert_eq!(Tags::from_json(&whole).unwrap(), tags);
        let other = Tags::from_json(&json!({"TrackNumber": 7, "live": true, "no": null})).unwrap();
        assert_eq!(other.to_json(), json!({"live": "true", "tracknumber": "7"}));
    }

    #[test]
    fn what_no_format_holds_is_refused() {
        for wrong in [json!(1), json!({"a=b": "c"}), json!({"": "c"}), json!({"a": {"b": 1}})] {
            assert!(Tags::from_json(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_of_the_same_name_are_replaced_together() {
        let mut tags = Tags::from_json(&json!({"a": ["1", "2"], "b": "3"})).unwrap();
        tags.replace_by(&Tags::from_json(&json!({"a": "4"})).unwrap());
        assert_eq!(tags.to_json(), json!({"b": "3", "a": "4"}));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut tags = Tags::default();
        for n in 0..2 * MAX_TAGS {
            tags.add("name", &n.to_string());
        }
        assert_eq!(tags.iter().count(), MAX_TAGS);
        for n in 0..4 {
            let value = "x".repeat(MAX_BYTES / 2);
            tags.replace_by(&Tags::from_json(&json!({format!("other{n}"): value})).unwrap());
            tags.replace_by(&Tags::from_json(&json!({format!("more{n}"): "y"})).unwrap());
        }
        assert_eq!(tags.iter().count(), MAX_TAGS);
        let mut tags = Tags::default();
        tags.add("name", &"x".repeat(MAX_BYTES));
        assert!(tags.is_empty());
    }
}
