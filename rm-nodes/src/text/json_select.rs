//! `JsonSelectNode`: takes values out of JSON by JSON Pointer (RFC 6901) or JSONPath (RFC 9535).
//!
//! A path that begins with `$` is a JSONPath and may find many values; any other one is a pointer and
//! finds one or none. Text is taken where it is JSON, as language models write it. Values stay as they are,
//! but whole numbers beyond 64 bits become the nearest floating-point numbers.

use rm_core::{
    DataError, DataMetadata, DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry,
    Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::define::{changed, define_with_formats, wrong};
use crate::input::describe_item;

/// Longest path, in bytes. The parser of JSONPath calls itself for each bracket, so a path must not be
/// as deep as it likes.
const MAX_PATH: usize = 1_000;
/// Most brackets that may be open at once in a path.
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Made {
    Json,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Missing {
    Error,
    Skip,
    Null,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Many {
    Each,
    First,
    List,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    path: String,
    output: Made,
    missing: Missing,
    many: Many,
}

enum Selector {
    Pointer(String),
    Path(JsonPath),
}

impl Selector {
    fn parse(path: &str) -> Result<Self, NodeError> {
        let wrong = |expected: String| Err(wrong("path", format!("{path:?}"), expected));
        if path.len() > MAX_PATH || depth(path) > MAX_DEPTH {
            return wrong(format!(
                "at most {MAX_PATH} bytes and {MAX_DEPTH} brackets in each other"
            ));
        }
        if path.starts_with('$') {
            return JsonPath::parse(path)
                .map(Self::Path)
                .or_else(|error| wrong(format!("a JSONPath; {error}")));
        }
        if !path.is_empty() && !path.starts_with('/') {
            return wrong("a JSON Pointer such as /a/0, or a JSONPath such as $.a[0]".to_owned());
        }
        let mut escapes = path.split('~').skip(1);
        if !escapes.all(|behind| behind.starts_with(['0', '1'])) {
            return wrong("~0 for each ~ and ~1 for each / within a name".to_owned());
        }
        Ok(Self::Pointer(path.to_owned()))
    }

    fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Pointer(pointer) => value.pointer(pointer).into_iter().collect(),
            Self::Path(path) => path.query(value).all(),
        }
    }
}

/// How many brackets are open at once.
fn depth(path: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for byte in path.bytes() {
        match byte {
            b'(' | b'[' => open += 1,
            b')' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

struct JsonSelect {
    params: Params,
    selector: Selector,
}

impl JsonSelect {
    fn new(params: Params) -> Result<Self, NodeError> {
        if params.output == Made::Text && params.missing == Missing::Null {
            return Err(wrong("missing", "null", "error or skip where the output is text"));
        }
        Ok(Self { selector: Selector::parse(&params.path)?, params })
    }

    /// A value as an item.
    fn item(&self, value: &Value, input: &RuntimeData) -> Result<RuntimeData, NodeError> {
        let item = match (self.params.output, value) {
            (Made::Json, value) => RuntimeData::json(value)?,
            (Made::Text, Value::String(text)) => text_like(text.clone(), input)?,
            (Made::Text, other) => text_like(other.to_string(), input)?,
        };
        Ok(item.made_from(input.header()))
    }
}

/// Text in the language of the input, if that is text.
fn text_like(text: String, input: &RuntimeData) -> Result<RuntimeData, DataError> {
    match &input.header().metadata {
        metadata @ DataMetadata::Text { .. } => RuntimeData::new(metadata.clone(), text),
        _ => RuntimeData::text(text),
    }
}

impl Node for JsonSelect {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        if input.data_type() != DataType::Json && input.as_text().is_none() {
            return Err(NodeError::Input {
                found: describe_item(&input),
                expected: "JSON, or text that is JSON".to_owned(),
            });
        }
        let value = input.parse_json()?;
        let mut found = self.selector.find(&value);
        if self.params.output == Made::Text {
            // Nothing is not a word.
            found.retain(|value| !value.is_null());
        }
        if found.is_empty() {
            match self.params.missing {
                Missing::Skip => return Ok(()),
                Missing::Null => found.push(&Value::Null),
                Missing::Error => {
                    let message = format!("there is nothing at {:?} in the item", self.params.path);
                    return Err(NodeError::Failed { message, source: None });
                }
            }
        }
        match self.params.many {
            Many::List => {
                let list = Value::Array(found.into_iter().cloned().collect());
                output.push(self.item(&list, &input)?);
            }
            Many::First => output.push(self.item(found[0], &input)?),
            Many::Each => {
                for value in found {
                    output.push(self.item(value, &input)?);
                }
            }
        }
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        *self = Self::new(changed(&self.params, params)?)?;
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "JsonSelectNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "takes values out of JSON by JSON Pointer (RFC 6901) or JSONPath (RFC 9535)"
            .to_owned(),
        parameters: vec![
            ParameterSpec::optional(
                "path",
                ParameterKind::String,
                "",
                "a JSON Pointer such as /choices/0/text, a JSONPath such as $.words[*].text, or \
                 nothing for the whole document",
            ),
            ParameterSpec::optional(
                "output",
                ParameterKind::String,
                "json",
                "what is given; as text, a string stands without its quotes, other values are \
                 written as JSON, and null counts as missing",
            )
            .choices(["json", "text"]),
            ParameterSpec::optional(
                "missing",
                ParameterKind::String,
                "error",
                "what an item gives in which nothing is found: an error, nothing, or null",
            )
            .choices(["error", "skip", "null"]),
            ParameterSpec::optional(
                "many",
                ParameterKind::String,
                "each",
                "what is given of several values: each as an item, the first, or one list, which \
                 then also holds a single value",
            )
            .choices(["each", "first", "list"]),
        ],
        accepts: vec![DataType::Json, DataType::Text],
        produces: vec![DataType::Json, DataType::Text],
        ..NodeMetadata::default()
    };
    let formats = |params: &Params, _: &_| {
        NodeFormats::takes([DataType::Json, DataType::Text]).gives([match params.output {
            Made::Json => DataType::Json,
            Made::Text => DataType::Text,
        }])
    };
    define_with_formats(registry, metadata, formats, |params, _| JsonSelect::new(params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{make, run};
    use proptest::prelude::*;
    use serde_json::json;

    fn selected(params: Value, item: RuntimeData) -> Result<Vec<RuntimeData>, NodeError> {
        run(make("JsonSelectNode", params)?.as_mut(), [item])
    }

    fn document() -> RuntimeData {
        let value = json!({
            "words": [{"text": "hi", "p": 0.9}, {"text": "you", "p": 0.2}],
            "a/b": {"~": 1}, "none": null, "": "empty name",
        });
        RuntimeData::json(&value).unwrap().with_correlation(5)
    }

    fn check(params: Value, expected: &[Value]) {
        let out = selected(params.clone(), document()).unwrap();
        let values: Vec<_> = out.iter().map(|item| item.parse_json().unwrap()).collect();
        assert_eq!(values, expected, "{params}");
        assert!(out.iter().all(|item| item.header().correlation_id == 5));
    }

    #[test]
    fn a_pointer_finds_one_value() {
        check(json!({"path": "/words/1/text"}), &[json!("you")]);
        check(json!({"path": "/a~1b/~0"}), &[json!(1)]);
        check(json!({"path": "/"}), &[json!("empty name")]);
        check(json!({"path": "/none"}), &[json!(null)]);
        check(json!({"path": "/words/0", "many": "list"}), &[json!([{"text": "hi", "p": 0.9}])]);
        check(json!(null), &[document().parse_json().unwrap()]);
    }

    #[test]
    fn a_json_path_finds_many() {
        let path = "$.words[*].text";
        check(json!({"path": path}), &[json!("hi"), json!("you")]);
        check(json!({"path": path, "many": "first"}), &[json!("hi")]);
        check(json!({"path": path, "many": "list"}), &[json!(["hi", "you"])]);
        check(json!({"path": "$.words[?@.p > 0.5].text"}), &[json!("hi")]);
        check(json!({"path": "$..text"}), &[json!("hi"), json!("you")]);
        check(json!({"path": "$.words[-1].p"}), &[json!(0.2)]);
        check(json!({"path": "$.words[?match(@.text, 'y.*')].p"}), &[json!(0.2)]);
        check(json!({"path": "$.words[?length(@.text) == 2].p"}), &[json!(0.9)]);
    }

    #[test]
    fn text_has_no_quotes_and_no_null() {
        let text = |path: &str| {
            let params = json!({"path": path, "output": "text", "missing": "skip"});
            let out = selected(params, document()).unwrap();
            out.iter().map(|item| item.as_text().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(text("/words/0/text"), ["hi"]);
        assert_eq!(text("/words/0/p"), ["0.9"]);
        assert_eq!(text("/a~1b"), ["{\"~\":1}"]);
        assert!(text("/none").is_empty());
        let said = RuntimeData::text_in("{\"say\": \"na\"}", "de").unwrap();
        let out = selected(json!({"path": "$.say", "output": "text"}), said.clone()).unwrap();
        assert_eq!(out[0].as_text(), Some("na"));
        assert_eq!(out[0].header().metadata, said.header().metadata);
    }

    #[test]
    fn what_is_missing_is_an_error_or_nothing_or_null() {
        check(json!({"path": "/x", "missing": "skip"}), &[]);
        check(json!({"path": "$.x", "missing": "null"}), &[Value::Null]);
        check(json!({"path": "$.x", "missing": "null", "many": "list"}), &[json!([null])]);
        let error = selected(json!({"path": "$.x"}), document()).unwrap_err();
        assert_eq!(error.to_string(), "there is nothing at \"$.x\" in the item");
        let error = make("JsonSelectNode", json!({"output": "text", "missing": "null"}));
        assert!(error.is_err());
    }

    #[test]
    fn a_path_that_is_none_says_what_would_be() {
        let message =
            |path: &str| make("JsonSelectNode", json!({"path": path})).err().unwrap().to_string();
        assert_eq!(
            message("words"),
            "parameter \"path\" is \"words\", expected a JSON Pointer such as /a/0, or a JSONPath \
             such as $.a[0]"
        );
        assert!(
            message("/a~2").ends_with("expected ~0 for each ~ and ~1 for each / within a name")
        );
        assert!(message("$.a[").contains("expected a JSONPath; at position"));
        for deep in ["[?@", "[?("] {
            let path = format!("${}", deep.repeat(200));
            assert!(message(&path).ends_with("32 brackets in each other"), "{path}");
        }
        assert!(message(&format!("${}", ".a".repeat(1_000))).contains("at most 1000 bytes"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let error = selected(json!(null), RuntimeData::text("hello").unwrap()).unwrap_err();
        assert!(matches!(error, NodeError::Data(DataError::NotJson { .. })), "{error}");
        let error = selected(json!(null), RuntimeData::binary(vec![b'1']).unwrap()).unwrap_err();
        assert!(matches!(error, NodeError::Input { .. }), "{error}");
    }

    #[test]
    fn a_new_path_is_used_unless_it_is_wrong() {
        let mut node = make("JsonSelectNode", json!({"path": "/words"})).unwrap();
        node.set_params(&json!({"path": "/none"})).unwrap();
        assert!(node.set_params(&json!({"path": "none"})).is_err());
        let out = run(node.as_mut(), [document()]).unwrap();
        assert_eq!(out[0].parse_json().unwrap(), Value::Null);
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "[$.\\[\\]()?@*'\"/~a0-9,: <=&|!-]{0,40}") {
            if let Ok(mut node) = make("JsonSelectNode", json!({"path": path})) {
                let _ = run(node.as_mut(), [document()]);
            }
        }
    }
}
