//! `TemplateNode`: makes text, or JSON, of each item by a template.
//!
//! Templates are those of Jinja2, as the crate minijinja has them. A template sees `text` of an item of
//! text, `json` of an item of JSON and, where that is an object, its fields by their names, besides
//! `language`, `timestamp` (seconds since 1970), `correlation_id`, and the constants of the parameter
//! `values`, which go before fields of the same name. It sees one item at a time and keeps nothing.

use std::io;
use std::time::SystemTime;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, value::Serde};
use rm_core::{
    DataMetadata, DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::define::{changed, define_with_formats};
use crate::input::describe_item;

/// Most steps that a template may take for one item: far more than a prompt needs. An item whose lists
/// are gone through within each other does not hold up the pipeline. A step is as long as what it writes
/// or makes, which is why what is written has a bound of its own; what the template itself puts together
/// in its variables has none.
const MAX_STEPS: u64 = 10_000_000;
/// Most bytes that a template may write for one item.
const MAX_BYTES: usize = 64 << 20;
/// The name by which the template is kept.
const NAME: &str = "template";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Made {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Undefined {
    Error,
    Empty,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    template: String,
    output: Made,
    undefined: Undefined,
    values: Map<String, Value>,
}

struct Template {
    params: Params,
    environment: Environment<'static>,
}

impl Template {
    fn new(params: Params) -> Result<Self, NodeError> {
        let mut environment = Environment::new();
        environment.set_debug(true);
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_undefined_behavior(match params.undefined {
            Undefined::Error => UndefinedBehavior::Strict,
            Undefined::Empty => UndefinedBehavior::Chainable,
        });
        environment.add_template_owned(NAME, params.template.clone()).map_err(|error| {
            let problem = format!("does not parse: {}", describe(&error));
            NodeError::Param { name: "template", problem }
        })?;
        Ok(Self { params, environment })
    }

    /// What the template sees of an item.
    fn variables(&self, item: &RuntimeData) -> Result<Map<String, Value>, NodeError> {
        let header = item.header();
        let mut seen = match &header.metadata {
            DataMetadata::Json => {
                let json = item.parse_json()?;
                let mut fields = json.as_object().cloned().unwrap_or_default();
                fields.insert("json".to_owned(), json);
                fields
            }
            _ => match item.as_text() {
                Some(text) => Map::from_iter([("text".to_owned(), text.into())]),
                None => {
                    return Err(NodeError::Input {
                        found: describe_item(item),
                        expected: "text in UTF-8, or JSON".to_owned(),
                    });
                }
            },
        };
        let language = match &header.metadata {
            DataMetadata::Text { language, .. } => language.clone(),
            _ => None,
        };
        let since = header.timestamp.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for (name, value) in [
            ("language", Value::from(language)),
            ("timestamp", since.as_secs_f64().into()),
            ("correlation_id", header.correlation_id.into()),
        ] {
            seen.entry(name).or_insert(value);
        }
        seen.extend(self.params.values.clone());
        Ok(seen)
    }
}

/// What a template has written for an item.
struct Written(Vec<u8>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_BYTES - self.0.len() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a template's error says, with its line.
fn describe(error: &Error) -> String {
    let what = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

impl Node for Template {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let seen = self.variables(&input)?;
        let template =
            self.environment.get_template(NAME).expect("it was added when this was made");
        let mut made = Written(Vec::new());
        let seen = minijinja::Value::from(Serde(&seen));
        template.render_captured_to(seen, &mut made).map_err(|error| {
            let message = match error.kind() {
                ErrorKind::WriteFailure => {
                    format!("the template writes more than {MAX_BYTES} bytes for one item")
                }
                _ => format!("the template failed in {}", describe(&error)),
            };
            NodeError::Failed { message, source: Some(Box::new(error)) }
        })?;
        let Written(made) = made;
        let header = input.header();
        let item = match self.params.output {
            Made::Json => {
                let value: Value = serde_json::from_slice(&made).map_err(|error| {
                    let message = "what the template gave is not JSON".to_owned();
                    NodeError::Failed { message, source: Some(Box::new(error)) }
                })?;
                RuntimeData::json(&value)?
            }
            Made::Text => match &header.metadata {
                metadata @ DataMetadata::Text { .. } => RuntimeData::new(metadata.clone(), made)?,
                _ => RuntimeData::new(DataMetadata::utf8(), made)?,
            },
        };
        output.push(item.made_from(header));
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        *self = Self::new(changed(&self.params, params)?)?;
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "TemplateNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "makes text or JSON of each item of text or JSON by a Jinja2 template"
            .to_owned(),
        parameters: vec![
            ParameterSpec::required(
                "template",
                ParameterKind::String,
                "the template; it sees text, or json and the fields of the object, and language, \
                 timestamp (in seconds since 1970), correlation_id and the constants of `values`",
            ),
            ParameterSpec::optional(
                "output",
                ParameterKind::String,
                "text",
                "what the template writes; JSON is checked",
            )
            .choices(["text", "json"]),
            ParameterSpec::optional(
                "undefined",
                ParameterKind::String,
                "error",
                "whether a variable that an item does not have is an error or empty",
            )
            .choices(["error", "empty"]),
            ParameterSpec::optional(
                "values",
                ParameterKind::Object,
                Map::new(),
                "constants that the template sees by their names",
            ),
        ],
        accepts: vec![DataType::Text, DataType::Json],
        produces: vec![DataType::Text, DataType::Json],
        ..NodeMetadata::default()
    };
    let formats = |params: &Params, _: &_| {
        NodeFormats::takes([DataType::Text, DataType::Json]).gives([match params.output {
            Made::Text => DataType::Text,
            Made::Json => DataType::Json,
        }])
    };
    define_with_formats(registry, metadata, formats, |params, _| Template::new(params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{make, run};
    use serde_json::json;
    use std::error::Error as _;

    fn rendered(params: Value, item: RuntimeData) -> Result<RuntimeData, NodeError> {
        Ok(run(make("TemplateNode", params)?.as_mut(), [item])?.remove(0))
    }

    fn json_item(value: Value) -> RuntimeData {
        RuntimeData::json(&value).unwrap()
    }

    #[test]
    fn text_and_fields_stand_where_the_template_names_them() {
        let item = RuntimeData::text_in("grüß \"dich\" <b>", "de").unwrap().with_correlation(3);
        let template = "{{ system }}[{{ language }}] {{ text }} #{{ correlation_id }}";
        let params = json!({"template": template, "values": {"system": "Be kind. "}});
        let out = rendered(params, item.clone()).unwrap();
        assert_eq!(out.as_text(), Some("Be kind. [de] grüß \"dich\" <b> #3"));
        assert_eq!(out.header().metadata, item.header().metadata);
        assert_eq!(out.header().timestamp, item.header().timestamp);

        let item = json_item(json!({"user": {"name": "Ann"}, "words": ["a", "b"], "text": "t"}));
        let template =
            "{{ user.name }}: {% for w in words %}{{ w|upper }}{% endfor %} {{ json.text }}";
        let out = rendered(json!({"template": template}), item).unwrap();
        assert_eq!(out.as_text(), Some("Ann: AB t"));
        let out = rendered(json!({"template": "{{ json[1] }}"}), json_item(json!([1, 2]))).unwrap();
        assert_eq!(out.as_text(), Some("2"));
    }

    #[test]
    fn constants_go_before_fields() {
        let params = json!({"template": "{{ role }}", "values": {"role": "user"}});
        let out = rendered(params, json_item(json!({"role": "system"}))).unwrap();
        assert_eq!(out.as_text(), Some("user"));
    }

    #[test]
    fn a_variable_that_is_missing_is_named_with_its_line() {
        let params = json!({"template": "a\n{{ user.name }}"});
        let error = rendered(params, RuntimeData::text("x").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the template failed in line 2: `user` is undefined");
        assert!(error.source().is_some());
        let params = json!({"template": "<{{ user.name }}>", "undefined": "empty"});
        let out = rendered(params, RuntimeData::text("x").unwrap()).unwrap();
        assert_eq!(out.as_text(), Some("<>"));
    }

    #[test]
    fn a_template_that_does_not_parse_names_its_line_when_the_node_is_made() {
        let error = make("TemplateNode", json!({"template": "a\n{% for %}"})).err().unwrap();
        let message = error.to_string();
        assert!(
            message.starts_with("parameter \"template\" does not parse: line 2: "),
            "{message}"
        );
    }

    #[test]
    fn json_is_checked() {
        let template = "{\"said\": {{ text|tojson }}}";
        let params = json!({"template": template, "output": "json"});
        let out = rendered(params, RuntimeData::text("a \"b\"\n").unwrap()).unwrap();
        assert_eq!(out.parse_json().unwrap(), json!({"said": "a \"b\"\n"}));
        let params = json!({"template": "{{ text }}", "output": "json"});
        let error = rendered(params, RuntimeData::text("a").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "what the template gave is not JSON");
    }

    #[test]
    fn a_template_that_runs_too_long_is_stopped() {
        let loops = "{% for a in json %}".repeat(4) + "x" + &"{% endfor %}".repeat(4);
        let item = json_item(json!(vec![0; 100]));
        let error = rendered(json!({"template": loops}), item).unwrap_err();
        assert!(error.to_string().ends_with("engine ran out of fuel"), "{error}");
    }

    #[test]
    fn a_template_that_writes_too_much_is_stopped() {
        let template = "{% for a in json.list %}{{ json.long }}{% endfor %}{{ json.end }}";
        let render = |end: &str| {
            let item = json!({"list": vec![0; 64], "long": "x".repeat(1 << 20), "end": end});
            rendered(json!({"template": template}), json_item(item))
        };
        assert_eq!(render("").unwrap().payload().len(), MAX_BYTES);
        let error = render("y").unwrap_err();
        let expected = "the template writes more than 67108864 bytes for one item";
        assert_eq!(error.to_string(), expected);
        assert!(error.source().is_some());
    }

    #[test]
    fn other_data_and_broken_json_are_refused() {
        let error =
            rendered(json!({"template": ""}), RuntimeData::binary(vec![1]).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "input is binary, but the node takes text in UTF-8, or JSON");
        let broken = RuntimeData::new(DataMetadata::Json, "{").unwrap();
        assert!(matches!(rendered(json!({"template": ""}), broken), Err(NodeError::Data(_))));
    }

    #[test]
    fn a_new_template_takes_the_place_of_the_old_one_unless_it_is_wrong() {
        let mut node = make("TemplateNode", json!({"template": "{{ text }}"})).unwrap();
        node.set_params(&json!({"template": "<{{ text }}>"})).unwrap();
        assert!(node.set_params(&json!({"template": "{{"})).is_err());
        let out = run(node.as_mut(), [RuntimeData::text("a").unwrap()]).unwrap();
        assert_eq!(out[0].as_text(), Some("<a>"));
    }
}
