//! Which node types are known: native ones, and Python classes that have been declared.
//!
//! Main type: [`NodeRegistry`]. It is a value that its owner fills; there is no global one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::formats::{Formats, NodeFormats};
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
    /// The types of data that it takes; empty for a source, and for a class that does not say.
    pub accepts: Vec<DataType>,
    /// The types of data that it makes; empty for a sink, and for a class that does not say.
    pub produces: Vec<DataType>,
    /// The formats that it takes whatever its parameters are, where that is said; otherwise all of what it
    /// [accepts](Self::accepts).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<Formats>,
    /// The formats that it makes whatever its parameters and its input are, where that is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gives: Vec<Formats>,
    /// Whether it makes data without being given any.
    pub source: bool,
    /// The input ports that connections to it may name; most nodes have none. A class that says none
    /// may have any.
    #[serde(default)]
    pub input_ports: Vec<String>,
    /// The output ports that connections from it may name; most nodes have none. A class that says
    /// none may have any.
    #[serde(default)]
    pub output_ports: Vec<String>,
    /// Whether it takes parameters beside those that are listed, as a class that declares none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open_params: bool,
    /// Whether it acts by the clock, and so has to be called when nothing comes in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed: bool,
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
                None if self.open_params => {}
                None => {
                    let mut hint = did_you_mean(name, names());
                    if hint.is_empty() {
                        let known = names().collect::<Vec<_>>().join(", ");
                        let known = if known.is_empty() { "none" } else { &known };
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
                    expected: spec.expected(),
                });
            }
        }
        problems
    }
}

/// Makes a node from its context.
pub type NodeFactory = Arc<dyn Fn(&NodeContext) -> Result<Box<dyn Node>, NodeError> + Send + Sync>;

/// The Python class that a worker runs for a node type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClass {
    /// Where it is: `package.module:Class`, or the path of a file in place of the module.
    pub path: String,
    /// The folder from which its module was imported, where workers have to be told.
    pub folder: Option<PathBuf>,
}

impl<T: Into<String>> From<T> for NodeClass {
    /// A class of a module that every worker finds.
    fn from(path: T) -> Self {
        Self { path: path.into(), folder: None }
    }
}

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
    /// There is none of that name.
    #[error("node type {name:?} is not registered")]
    Unknown {
        /// The name.
        name: String,
    },
    /// There is a class of that name already, and it is another one.
    #[error("node type {name:?} is registered already, for the class {class}")]
    OtherClass {
        /// The name.
        name: String,
        /// Where the class is that has it.
        class: String,
    },
}

/// Says which formats a node would take and give, from its context.
pub type FormatsOf = Arc<dyn Fn(&NodeContext) -> Result<NodeFormats, NodeError> + Send + Sync>;

#[derive(Clone)]
enum Maker {
    Native(NodeFactory),
    Worker(NodeClass),
}

#[derive(Clone)]
struct Entry {
    metadata: NodeMetadata,
    maker: Maker,
    formats: Option<FormatsOf>,
}

fn entry(metadata: NodeMetadata, maker: Maker) -> Entry {
    Entry { metadata, maker, formats: None }
}

/// The node types that a runtime knows.
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
        self.entries.insert(name, entry(metadata, Maker::Native(Arc::new(factory))));
        Ok(())
    }

    /// Adds a node type that a worker runs, a Python class; or describes one anew.
    ///
    /// # Errors
    /// [`RegistryError`] if its name is that of a native type or of another class.
    pub fn register_class(
        &mut self,
        metadata: NodeMetadata,
        class: impl Into<NodeClass>,
    ) -> Result<(), RegistryError> {
        let (name, class) = (metadata.name.clone(), class.into());
        match self.entries.get(&name).map(|entry| &entry.maker) {
            Some(Maker::Native(_)) => return Err(RegistryError::Duplicate { name }),
            Some(Maker::Worker(other)) if other.path != class.path => {
                let class = other.path.clone();
                return Err(RegistryError::OtherClass { name, class });
            }
            _ => {}
        }
        self.entries.insert(name, entry(metadata, Maker::Worker(class)));
        Ok(())
    }

    /// Says which formats nodes of a type take and give. Of a type of which nothing is said they are all
    /// that its metadata names. Whoever plans a pipeline asks, before any node is made; a file that a
    /// node would read may be looked at then.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] if there is no such type.
    pub fn register_formats<F>(&mut self, node_type: &str, formats: F) -> Result<(), RegistryError>
    where
        F: Fn(&NodeContext) -> Result<NodeFormats, NodeError> + Send + Sync + 'static,
    {
        let Some(entry) = self.entries.get_mut(node_type) else {
            return Err(RegistryError::Unknown { name: node_type.to_owned() });
        };
        entry.formats = Some(Arc::new(formats));
        Ok(())
    }

    /// The metadata of a type.
    pub fn metadata(&self, node_type: &str) -> Option<&NodeMetadata> {
        self.entries.get(node_type).map(|entry| &entry.metadata)
    }

    /// Which formats a node would take and give, as far as that is known; `None` of an unknown type and
    /// where the parameters are wrong. What a class does not say is anything: it gives no formats then.
    pub fn formats(&self, context: &NodeContext) -> Option<NodeFormats> {
        let entry = self.entries.get(&context.node_type)?;
        if let Some(formats) = &entry.formats {
            return formats(context).ok();
        }
        let NodeMetadata { accepts, produces, takes, gives, .. } = &entry.metadata;
        let any = |types: &[DataType]| types.iter().copied().map(Formats::any).collect();
        let takes: Vec<_> = if takes.is_empty() { any(accepts) } else { takes.clone() };
        let gives: Vec<_> = if gives.is_empty() { any(produces) } else { gives.clone() };
        let is_class = matches!(entry.maker, Maker::Worker(_));
        // A class that does not say what it takes may take anything.
        let takes = if is_class && takes.is_empty() { any(DataType::ALL) } else { takes };
        Some(NodeFormats::takes(takes).gives(gives))
    }

    /// What makes nodes of a native type.
    pub fn factory(&self, node_type: &str) -> Option<NodeFactory> {
        match &self.entries.get(node_type)?.maker {
            Maker::Native(factory) => Some(factory.clone()),
            Maker::Worker(_) => None,
        }
    }

    /// The class of a type that a worker runs.
    pub fn class(&self, node_type: &str) -> Option<&NodeClass> {
        match &self.entries.get(node_type)?.maker {
            Maker::Native(_) => None,
            Maker::Worker(class) => Some(class),
        }
    }

    /// Where the class is of a type that a worker runs, as [`NodeClass::path`].
    pub fn class_of(&self, node_type: &str) -> Option<&str> {
        self.class(node_type).map(|class| class.path.as_str())
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
    use crate::{AudioFormats, Output, ParameterKind, RuntimeData};
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

    #[test]
    fn a_class_can_be_described_anew_but_takes_no_name_of_another() {
        let mut registry = NodeRegistry::new();
        registry.register_class(metadata(), "a:Nothing").unwrap();
        let open = NodeMetadata { open_params: true, ..metadata() };
        let class = NodeClass { path: "a:Nothing".into(), folder: Some("/a".into()) };
        registry.register_class(open, class).unwrap();
        assert_eq!(registry.class_of("Nothing"), Some("a:Nothing"));
        assert_eq!(registry.class("Nothing").unwrap().folder, Some("/a".into()));
        assert!(registry.factory("Nothing").is_none());
        assert!(registry.metadata("Nothing").unwrap().open_params);
        assert_eq!(
            registry.register_class(metadata(), "b:Nothing").unwrap_err().to_string(),
            "node type \"Nothing\" is registered already, for the class a:Nothing"
        );
        assert!(registry.register(metadata(), |_| Ok(Box::new(Nothing))).is_err());
        let mut registry = NodeRegistry::new();
        registry.register(metadata(), |_| Ok(Box::new(Nothing))).unwrap();
        let taken = registry.register_class(metadata(), "a:Nothing");
        assert_eq!(taken, Err(RegistryError::Duplicate { name: "Nothing".into() }));
        assert_eq!(registry.class_of("Nothing"), None);
    }

    #[test]
    fn open_parameters_are_checked_where_they_are_listed() {
        let open = NodeMetadata { open_params: true, ..metadata() };
        assert!(open.check_params(&json!({"path": "x", "other": 1})).is_empty());
        assert_eq!(open.check_params(&json!({"path": 1, "other": 1})).len(), 1);
    }

    #[test]
    fn formats_are_those_of_the_metadata_until_somebody_says_more() {
        let mut registry = NodeRegistry::new();
        registry.register(metadata(), |_| Ok(Box::new(Nothing))).unwrap();
        let context = NodeContext { node_type: "Nothing".into(), ..NodeContext::default() };
        let taken =
            |registry: &NodeRegistry| registry.formats(&context).map(|f| f.taken().to_vec());
        assert_eq!(taken(&registry), Some(vec![DataType::Audio.into()]));
        let said = |_: &NodeContext| Ok(NodeFormats::takes([AudioFormats::f32()]));
        registry.register_formats("Nothing", said).unwrap();
        assert_eq!(taken(&registry), Some(vec![AudioFormats::f32().into()]));
        let unknown = registry.register_formats("Something", said);
        assert_eq!(unknown, Err(RegistryError::Unknown { name: "Something".into() }));
        let refused = |_: &NodeContext| Err(NodeError::FixedParams);
        registry.register_formats("Nothing", refused).unwrap();
        assert_eq!(taken(&registry), None);
        let mut registry = NodeRegistry::new();
        let silent = NodeMetadata { accepts: Vec::new(), ..metadata() };
        registry.register_class(silent, "a:Nothing").unwrap();
        assert_eq!(taken(&registry).map(|taken| taken.len()), Some(DataType::ALL.len()));
        let exact = NodeMetadata { takes: vec![AudioFormats::f32().into()], ..metadata() };
        registry.register_class(exact, "a:Nothing").unwrap();
        assert_eq!(taken(&registry), Some(vec![AudioFormats::f32().into()]));
    }
}
