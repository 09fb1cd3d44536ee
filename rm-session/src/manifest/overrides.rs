//! Parameters given beside the manifest, as on a command line.
//!
//! Main function: [`parse_override`]. It does not know the manifest;
//! [`Manifest::with_param`](crate::Manifest::with_param) applies what it gives.

use rm_core::{IdError, NodeId};
use serde_json::Value;

/// Why a text is not an override.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// It is not of the form `node.param=value`.
    #[error("override {text:?} is not of the form node.param=value")]
    Form {
        /// The whole text.
        text: String,
    },
    /// What stands before the last dot is no node id.
    #[error("override {text:?} names no node")]
    Node {
        /// The whole text.
        text: String,
        /// Why.
        #[source]
        source: IdError,
    },
}

/// Splits `node.param=value`. The value is read as JSON, and is a string where it is none.
///
/// # Errors
/// [`OverrideError`] if the text has another form.
///
/// ```
/// let (node, param, value) = rm_session::parse_override("resample.target_rate=16000")?;
/// assert_eq!((node.as_str(), param.as_str()), ("resample", "target_rate"));
/// assert_eq!(value, 16000);
///
/// let (_, _, value) = rm_session::parse_override("speech.path=commands.wav")?;
/// assert_eq!(value, "commands.wav");
/// # Ok::<(), rm_session::OverrideError>(())
/// ```
pub fn parse_override(text: &str) -> Result<(NodeId, String, Value), OverrideError> {
    let split = text.split_once('=').and_then(|(place, value)| {
        let (node, param) = place.rsplit_once('.')?;
        (!param.is_empty()).then_some((node, param, value))
    });
    let Some((node, param, value)) = split else {
        return Err(OverrideError::Form { text: text.to_owned() });
    };
    let node = NodeId::new(node)
        .map_err(|source| OverrideError::Node { text: text.to_owned(), source })?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((node, param.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check_override(text: &str, node: &str, param: &str, value: Value) {
        let node = NodeId::new(node).unwrap();
        assert_eq!(parse_override(text), Ok((node, param.to_owned(), value)));
    }

    #[test]
    fn a_value_is_json_where_it_can_be_and_a_string_where_not() {
        check_override("vad.threshold=-30.5", "vad", "threshold", json!(-30.5));
        check_override("vad.on=true", "vad", "on", json!(true));
        check_override("wav.paths=[\"a\"]", "wav", "paths", json!(["a"]));
        check_override("wav.path=a=b.wav", "wav", "path", json!("a=b.wav"));
        check_override("wav.path=\"12\"", "wav", "path", json!("12"));
        check_override("wav.path=", "wav", "path", json!(""));
        check_override("site.a.gain=01", "site.a", "gain", json!("01"));
    }

    #[test]
    fn an_override_of_another_form_is_named() {
        for text in ["vad", "vad.threshold", "threshold=1", "vad.=1", "=a.b"] {
            assert_eq!(
                parse_override(text).unwrap_err().to_string(),
                format!("override {text:?} is not of the form node.param=value")
            );
        }
        for text in [".threshold=1", "a b.threshold=1"] {
            let error = parse_override(text).unwrap_err();
            assert_eq!(error.to_string(), format!("override {text:?} names no node"));
            assert!(std::error::Error::source(&error).is_some());
        }
    }
}
