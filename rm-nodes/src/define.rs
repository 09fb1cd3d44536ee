//! How node types of this crate are added to a registry.
//!
//! Main functions: [`define`] and [`define_with_formats`]. Parameters are held to their
//! specifications, and the defaults of those that are not given are taken from there, so nodes get a
//! struct whose every field is set and within its range.

use rm_core::{
    Node, NodeContext, NodeError, NodeFormats, NodeMetadata, NodeRegistry, ParameterProblem,
    ParameterSpec, RegistryError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Adds a node type whose parameters are a `P`.
pub(crate) fn define<P, N>(
    registry: &mut NodeRegistry,
    metadata: NodeMetadata,
    make: impl Fn(P, &NodeContext) -> Result<N, NodeError> + Send + Sync + 'static,
) -> Result<(), RegistryError>
where
    P: DeserializeOwned,
    N: Node + 'static,
{
    let specs = metadata.clone();
    registry.register(metadata, move |context| {
        Ok(Box::new(make(complete(&specs, &context.params)?, context)?))
    })
}

/// As [`define`], with the formats that a node of these parameters takes and gives.
pub(crate) fn define_with_formats<P, N>(
    registry: &mut NodeRegistry,
    metadata: NodeMetadata,
    formats: impl Fn(&P, &NodeContext) -> NodeFormats + Send + Sync + 'static,
    make: impl Fn(P, &NodeContext) -> Result<N, NodeError> + Send + Sync + 'static,
) -> Result<(), RegistryError>
where
    P: DeserializeOwned,
    N: Node + 'static,
{
    let (name, specs) = (metadata.name.clone(), metadata.clone());
    define(registry, metadata, make)?;
    registry.register_formats(&name, move |context| {
        Ok(formats(&complete(&specs, &context.params)?, context))
    })
}

/// The parameters with their defaults.
fn complete<P: DeserializeOwned>(specs: &NodeMetadata, params: &Value) -> Result<P, NodeError> {
    if let Some(problem) = specs.check_params(params).into_iter().next() {
        return Err(problem.into());
    }
    let mut all = Map::new();
    for ParameterSpec { name, default, .. } in &specs.parameters {
        all.insert(name.clone(), default.clone().unwrap_or(Value::Null));
    }
    if let Value::Object(given) = params {
        all.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    serde_json::from_value(Value::Object(all)).map_err(NodeError::Params)
}

/// `current` with the values of `change`, which have been held to their specifications.
pub(crate) fn changed<P>(current: &P, change: &Value) -> Result<P, NodeError>
where
    P: Serialize + DeserializeOwned,
{
    let mut all = serde_json::to_value(current).map_err(NodeError::Params)?;
    if let (Value::Object(all), Value::Object(change)) = (&mut all, change) {
        all.extend(change.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    serde_json::from_value(all).map_err(NodeError::Params)
}

/// Says what is wrong with a parameter that breaks a rule beyond its specification.
pub(crate) fn wrong(name: &str, found: impl ToString, expected: impl Into<String>) -> NodeError {
    let (name, found, expected) = (name.to_owned(), found.to_string(), expected.into());
    ParameterProblem::Value { name, found, expected }.into()
}
