//! Which parameters a node takes, and the check of what a manifest gives.
//!
//! Main type: [`ParameterSpec`]. The check happens before any node is made, so that a manifest's
//! mistakes are known before the first process starts.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What a parameter's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ParameterKind {
    /// A number.
    Float,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A text.
    String,
    /// One path, or a list of paths.
    Paths,
    /// A list.
    List,
    /// An object: values by name.
    Object,
    /// Anything.
    Any,
}

impl ParameterKind {
    /// How the kind is called in messages.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Float => "a number",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::String => "a string",
            Self::Paths => "a path or a list of paths",
            Self::List => "a list",
            Self::Object => "an object",
            Self::Any => "any value",
        }
    }

    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Float => value.is_number(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::String => value.is_string(),
            Self::Paths => {
                let all_text = |list: &Vec<Value>| list.iter().all(Value::is_string);
                value.is_string() || value.as_array().is_some_and(all_text)
            }
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
            Self::Any => true,
        }
    }
}

/// One parameter of a node type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterSpec {
    /// Name in the manifest's `params`.
    pub name: String,
    /// What its value may be.
    #[serde(rename = "type")]
    pub kind: ParameterKind,
    /// What it is when it is not given; `None` means that it must be given.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Whether it may be null; where that is the default, it may be in any case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nullable: bool,
    /// What the elements of a list may be; anything where it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ParameterKind>,
    /// Lowest value of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Highest value of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The only values allowed; any of its type where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Value>,
    /// Unit of a number, such as `"Hz"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What it does.
    pub description: String,
}

/// A default that is null is one.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl ParameterSpec {
    /// A parameter that must be given.
    pub fn required(name: &str, kind: ParameterKind, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            default: None,
            nullable: false,
            items: None,
            min: None,
            max: None,
            choices: Vec::new(),
            unit: None,
            description: description.to_owned(),
        }
    }

    /// A parameter that has a default.
    pub fn optional(
        name: &str,
        kind: ParameterKind,
        default: impl Into<Value>,
        description: &str,
    ) -> Self {
        Self { default: Some(default.into()), ..Self::required(name, kind, description) }
    }

    /// The same parameter with a lowest and a highest value.
    pub fn range(mut self, min: f64, max: f64) -> Self {
        self.min = Some(min);
        self.max = Some(max);
        self
    }

    /// The same parameter with a unit.
    pub fn unit(mut self, unit: &str) -> Self {
        self.unit = Some(unit.to_owned());
        self
    }

    /// The same parameter with the only values that it may have.
    pub fn choices(mut self, choices: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        self.choices = choices.into_iter().map(Into::into).collect();
        self
    }

    /// Checks one value.
    ///
    /// # Errors
    /// [`ParameterProblem`] saying what would be right.
    pub fn check(&self, value: &Value) -> Result<(), ParameterProblem> {
        let wrong = |expected: String| {
            let name = self.name.clone();
            Err(ParameterProblem::Value { name, found: value.to_string(), expected })
        };
        if value.is_null() && (self.nullable || self.default == Some(Value::Null)) {
            return Ok(());
        }
        if !self.kind.accepts(value) {
            return wrong(self.expected());
        }
        if let (Some(kind), Some(list)) = (self.items, value.as_array())
            && !list.iter().all(|item| kind.accepts(item))
        {
            return wrong(self.expected());
        }
        if let Some(number) = value.as_f64() {
            let low = self.min.is_some_and(|min| number < min);
            let high = self.max.is_some_and(|max| number > max);
            if low || high {
                let unit = self.unit.as_deref().map(|u| format!(" {u}")).unwrap_or_default();
                return wrong(match (self.min, self.max) {
                    (Some(min), Some(max)) => format!("from {min} to {max}{unit}"),
                    (Some(min), None) => format!("at least {min}{unit}"),
                    (None, max) => format!("at most {}{unit}", max.unwrap_or(f64::INFINITY)),
                });
            }
        }
        // A list of paths has no choices.
        if !self.choices.is_empty() && !value.is_array() && !self.choices.contains(value) {
            let name = |choice: &Value| match choice {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let choices: Vec<_> = self.choices.iter().map(name).collect();
            return wrong(format!("one of {}", choices.join(", ")));
        }
        Ok(())
    }

    /// What its value may be, in words; without range and choices.
    pub fn expected(&self) -> String {
        let kind = match self.items {
            Some(ParameterKind::Float) => "a list of numbers",
            Some(ParameterKind::Integer) => "a list of whole numbers",
            Some(ParameterKind::Boolean) => "a list of true or false",
            Some(ParameterKind::String) => "a list of strings",
            Some(ParameterKind::List) => "a list of lists",
            Some(ParameterKind::Object) => "a list of objects",
            Some(ParameterKind::Paths | ParameterKind::Any) | None => self.kind.describe(),
        };
        if self.nullable { format!("{kind} or null") } else { kind.to_owned() }
    }
}

/// What is wrong with one parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterProblem {
    /// The node does not know it.
    #[error("unknown parameter {name:?}{hint}")]
    Unknown {
        /// The name given.
        name: String,
        /// `; did you mean …?`, or which parameters there are.
        hint: String,
    },
    /// The node cannot do without it.
    #[error("parameter {name:?} is missing; it is {expected}")]
    Missing {
        /// Which parameter.
        name: String,
        /// What would be right.
        expected: String,
    },
    /// Its value is not one that it may have.
    #[error("parameter {name:?} is {found}, expected {expected}")]
    Value {
        /// Which parameter.
        name: String,
        /// The value given.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The parameters are not an object.
    #[error("parameters are {found}, expected an object")]
    NotAnObject {
        /// What was given.
        found: String,
    },
}

impl ParameterProblem {
    /// The parameter's name, where the problem is with one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Unknown { name, .. } | Self::Missing { name, .. } | Self::Value { name, .. } => {
                Some(name)
            }
            Self::NotAnObject { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_out_of_range_names_range_and_unit() {
        let spec = ParameterSpec::optional("rate", ParameterKind::Integer, 16_000, "")
            .range(8_000.0, 192_000.0)
            .unit("Hz");
        assert!(spec.check(&json!(48_000)).is_ok());
        assert_eq!(
            spec.check(&json!(10)).unwrap_err().to_string(),
            "parameter \"rate\" is 10, expected from 8000 to 192000 Hz"
        );
        assert_eq!(
            spec.check(&json!("10")).unwrap_err().to_string(),
            "parameter \"rate\" is \"10\", expected a whole number"
        );
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_told_as_it_was_declared() {
        for (spec, value, expected) in [
            (json!({"type": "float", "min": 0.0}), json!(-1), "at least 0"),
            (json!({"type": "float", "max": 1.0, "unit": "s"}), json!(2), "at most 1 s"),
            (json!({"type": "float", "nullable": true}), json!("x"), "a number or null"),
            (
                json!({"type": "list", "items": "integer"}),
                json!([1, "x"]),
                "a list of whole numbers",
            ),
            (json!({"type": "list"}), json!({}), "a list"),
            (json!({"type": "object"}), json!([]), "an object"),
            (json!({"type": "integer", "choices": [8, 16]}), json!(9), "one of 8, 16"),
        ] {
            let mut spec = spec;
            spec["name"] = json!("p");
            spec["description"] = json!("");
            let spec: ParameterSpec = serde_json::from_value(spec).unwrap();
            let message = spec.check(&value).unwrap_err().to_string();
            assert_eq!(message, format!("parameter \"p\" is {value}, expected {expected}"));
        }
    }

    #[test]
    fn null_is_a_default_and_a_value_where_it_is_declared() {
        let read = |spec| serde_json::from_value::<ParameterSpec>(spec).unwrap();
        let spec = json!({"name": "p", "type": "float", "default": null, "description": ""});
        assert_eq!(read(spec.clone()).default, Some(Value::Null));
        assert_eq!(serde_json::to_value(read(spec.clone())).unwrap(), spec);
        assert!(read(spec).check(&Value::Null).is_ok());
        let spec = json!({"name": "p", "type": "float", "nullable": true, "description": ""});
        assert_eq!(read(spec.clone()).default, None);
        assert!(read(spec).check(&Value::Null).is_ok());
    }
}
