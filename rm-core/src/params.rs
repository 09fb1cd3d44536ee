//! Which parameters a node takes, and the check of what a manifest gives.
//!
//! Main type: [`ParameterSpec`]. The check happens before any node is made, so that a manifest's
//! mistakes are known before the first process starts.

use serde::{Deserialize, Serialize};
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Lowest value of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Highest value of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The only texts allowed; any text where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Unit of a number, such as `"Hz"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What it does.
    pub description: String,
}

impl ParameterSpec {
    /// A parameter that must be given.
    pub fn required(name: &str, kind: ParameterKind, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            default: None,
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

    /// The same parameter with the only texts that it may be.
    pub fn choices<'a>(mut self, choices: impl IntoIterator<Item = &'a str>) -> Self {
        self.choices = choices.into_iter().map(str::to_owned).collect();
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
        if value.is_null() && self.default == Some(Value::Null) {
            return Ok(());
        }
        if !self.kind.accepts(value) {
            return wrong(self.kind.describe().to_owned());
        }
        if let Some(number) = value.as_f64() {
            let low = self.min.is_some_and(|min| number < min);
            let high = self.max.is_some_and(|max| number > max);
            if low || high {
                let unit = self.unit.as_deref().map(|u| format!(" {u}")).unwrap_or_default();
                let min = self.min.unwrap_or(f64::NEG_INFINITY);
                let max = self.max.unwrap_or(f64::INFINITY);
                return wrong(format!("from {min} to {max}{unit}"));
            }
        }
        if let Some(text) = value.as_str()
            && !self.choices.is_empty()
            && !self.choices.iter().any(|choice| choice == text)
        {
            return wrong(format!("one of {}", self.choices.join(", ")));
        }
        Ok(())
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
}
