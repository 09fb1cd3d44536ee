//! Which native node types exist.
//!
//! Main type: [`NodeRegistry`]. It is a value that its owner fills; there is no global one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::header::DataType;
use crate::node::{Node, NodeContext, NodeError};
use crate::params::{ParameterProblem, ParameterSpec};
use crate::suggest::did_you_mean;

/// What is known of a node type without making a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeMetadata {
    /// Name of the type, as manifests write it.
    pub name: String,
    /// Version of the node.
    pub version: String,
    /// What it does.
    pub description: String,
    /// What it needs of the machine, such as `"gpu"`; empty for none.
    pub capabilities: Vec<String>,
    /// Its parameters, in the order in which they are best read.
    pub parameters: Vec<ParameterSpec>,
    /// The types of data that it takes; empty for a source.
    pub accepts: Vec<DataType>,
    /// The types of data that it makes; empty for a sink.
    pub produces: Vec<DataType>,
    /// Whether it makes data without being given any.
    pub source: bool,
    /// The input ports that connections to it may name; most nodes have none.
    #[serde(default)]
    pub input_ports: Vec<String>,
    /// The output ports that connections from it may name; most nodes have none.
    #[serde(default)]
    pub output_ports: Vec<String>,
}

impl NodeMetadata {
    /// Checks a manifest's parameters, and reports everything that is wrong with them.
    pub fn check_params(&self, params: &Value) -> Vec<ParameterProblem> {
        let empty = serde_json::Map::new();
        let given = match params {
            Value::Object(given) => given,
            Value::Null => &empty,
            other => {
                return vec![ParameterProblem::NotAnObject { found: other.to_string() }];
            }
        };
        let mut problems = Vec::new();
        let names = || self.parameters.iter().map(|spec| spec.name.as_str());
        for (name, value) in given {
            match self.parameters.iter().find(|spec| spec.name == *name) {
                Some(spec) => problems.extend(spec.check(value).err()),
                None => {
                    let mut hint = did_you_mean(name, names());
                    if hint.is_empty() {
                        let known = names().collect::<Vec<_>>().join(", ");
                        hint = format!("; {} takes: {known}", self.name);
                    }
                    problems.push(ParameterProblem::Unknown { name: name.clone(), hint });
                }
            }
        }
        for spec in &self.parameters {
            if spec.default.is_none() && !given.contains_key(&spec.name) {
                problems.push(ParameterProblem::Missing {
                    name: spec.name.clone(),
                    expected: spec.kind.describe().to_owned(),
                });
            }
        }
        problems
    }
}

/// Makes a node from its context.
pub type NodeFactory = Arc<dyn Fn(&NodeContext) -> Result<Box<dyn Node>, NodeError> + Send + Sync>;

/// Why a node type cannot be registered or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is one of that name already.
    #[error("node type {name:?} is registered already")]
    Duplicate {
        /// The name.
        name: String,
    },
}

#[derive(Clone)]
struct Entry {
    metadata: NodeMetadata,
    factory: NodeFactory,
}

/// The native node types that a runtime knows.
#[derive(Clone, Default)]
pub struct NodeRegistry {
    entries: BTreeMap<String, Entry>,
}

impl NodeRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node type.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] if its name is taken.
    pub fn register<F>(&mut self, metadata: NodeMetadata, factory: F) -> Result<(), RegistryError>
    where
        F: Fn(&NodeContext) -> Result<Box<dyn Node>, NodeError> + Send + Sync + 'static,
    {
        let name = metadata.name.clone();
        if self.entries.contains_key(&name) {
            return Err(RegistryError::Duplicate { name });
        }
        self.entries.insert(name, Entry { metadata, factory: Arc::new(factory) });
        Ok(())
    }

    /// The metadata of a type.
    pub fn metadata(&self, node_type: &str) -> Option<&NodeMetadata> {
        self.entries.get(node_type).map(|entry| &entry.metadata)
    }

    /// What makes nodes of a type.
    pub fn factory(&self, node_type: &str) -> Option<NodeFactory> {
        self.entries.get(node_type).map(|entry| entry.factory.clone())
    }

    /// The names of all types, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

impl fmt::Debug for NodeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Output, ParameterKind, RuntimeData};
    use serde_json::json;

    struct Nothing;
    impl Node for Nothing {
        fn process(&mut self, _: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
            Ok(())
        }
    }

    fn metadata() -> NodeMetadata {
        NodeMetadata {
            name: "Nothing".into(),
            version: "1.0.0".into(),
            description: "drops what it gets".into(),
            capabilities: vec![],
            parameters: vec![
                ParameterSpec::required("path", ParameterKind::String, "where to"),
                ParameterSpec::optional("gain", ParameterKind::Float, 0.0, "how much"),
            ],
            accepts: vec![DataType::Audio],
            produces: vec![],
            source: false,
            ..NodeMetadata::default()
        }
    }

    #[test]
    fn every_problem_of_the_parameters_is_reported_at_once() {
        let problems = metadata().check_params(&json!({"gian": 1, "gain": "loud"}));
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "parameter \"gain\" is \"loud\", expected a number",
                "unknown parameter \"gian\"; did you mean \"gain\"?",
                "parameter \"path\" is missing; it is a string",
            ]
        );
        assert!(metadata().check_params(&json!({"path": "x"})).is_empty());
    }

    #[test]
    fn a_name_can_be_registered_once() {
        let mut registry = NodeRegistry::new();
        registry.register(metadata(), |_| Ok(Box::new(Nothing))).unwrap();
        let again = registry.register(metadata(), |_| Ok(Box::new(Nothing)));
        assert_eq!(again, Err(RegistryError::Duplicate { name: "Nothing".into() }));
        assert!(registry.factory("Nothing").is_some());
        assert!(registry.metadata("Something").is_none());
    }
}
