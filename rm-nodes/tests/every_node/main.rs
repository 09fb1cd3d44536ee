//! What holds for every node type, whatever it does: that it takes and gives what it says, that nothing
//! that comes makes it panic, and that its metadata is complete.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod samples;

use std::collections::BTreeSet;

use rm_core::{
    DataType, Formats, InputSite, Node, NodeContext, NodeError, NodeId, NodeMetadata, NodeRegistry,
    Output, ParameterKind, RuntimeData,
};
use serde_json::{Map, Value, json};

use self::samples::{exact, items};

fn registry() -> NodeRegistry {
    let mut registry = NodeRegistry::new();
    rm_nodes::register_all(&mut registry).unwrap();
    registry
}

/// Parameters with which a node can be made: those that it cannot do without.
fn params(metadata: &NodeMetadata, folder: &std::path::Path) -> Value {
    let mut params = Map::new();
    for spec in metadata.parameters.iter().filter(|spec| spec.default.is_none()) {
        let value = match (spec.name.as_str(), spec.kind) {
            ("path", _) => {
                let ending = match metadata.name.as_str() {
                    "VideoFileSinkNode" | "VideoFileSourceNode" => "y4m",
                    "ImageFileSinkNode" | "ImageFileSourceNode" => "png",
                    _ => "wav",
                };
                json!(folder.join(metadata.name.clone()).with_extension(ending))
            }
            ("template", _) => json!("{{ text }}"),
            ("fps", _) => json!(25),
            ("format", _) => spec.choices[0].clone(),
            (name, kind) => panic!("what is {name:?} ({kind:?}) of {}?", metadata.name),
        };
        params.insert(spec.name.clone(), value);
    }
    Value::Object(params)
}

fn context(metadata: &NodeMetadata, folder: &std::path::Path) -> NodeContext {
    NodeContext {
        node_id: "under-test".to_owned(),
        node_type: metadata.name.clone(),
        params: params(metadata, folder),
        ..NodeContext::default()
    }
}

/// What a node gives by no port for one item, or its error.
fn given(node: &mut dyn Node, item: RuntimeData) -> Result<Vec<RuntimeData>, NodeError> {
    let mut output = Output::default();
    let from = NodeId::new("before").unwrap();
    node.process_from(InputSite { from: Some(&from), port: None }, item, &mut output)?;
    node.finish(&mut output)?;
    Ok(output.drain_ports().filter(|(port, _)| port.is_none()).map(|(_, item)| item).collect())
}

#[test]
fn the_metadata_of_every_node_is_complete() {
    let registry = registry();
    for name in registry.names() {
        let metadata = registry.metadata(name).unwrap();
        assert!(name.ends_with("Node"), "{name}");
        assert!(metadata.description.len() > 10, "{name}");
        let no_capital = metadata.description.chars().next().unwrap();
        assert!(no_capital.is_lowercase() || no_capital.is_ascii_digit(), "{name}");
        assert_eq!(metadata.source, metadata.accepts.is_empty(), "{name}");
        for spec in &metadata.parameters {
            let what = format!("{name}.{}", spec.name);
            assert!(spec.description.len() > 5, "{what}");
            assert!(spec.default.is_none() || spec.check(spec.default.as_ref().unwrap()).is_ok());
            let is_number = matches!(spec.kind, ParameterKind::Float | ParameterKind::Integer);
            if is_number && spec.choices.is_empty() {
                assert!(spec.min.is_some() && spec.max.is_some(), "{what} has no range");
            }
            let unit = spec.unit.as_deref();
            for (ending, expected) in [("_ms", "ms"), ("_db", "dB"), ("_hz", "Hz")] {
                if is_number && spec.name.ends_with(ending) {
                    assert_eq!(unit, Some(expected), "{what}");
                }
            }
        }
    }
}

#[test]
fn every_node_takes_and_gives_what_it_says() {
    let registry = registry();
    let mut tried = BTreeSet::new();
    for name in registry.names() {
        let metadata = registry.metadata(name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let context = context(metadata, folder.path());
        let formats = registry.formats(&context).unwrap_or_else(|| panic!("{name} says nothing"));
        for item in items() {
            let come = exact(&item);
            if !formats.taken().iter().any(|taken| come.is_within(taken)) {
                continue;
            }
            let mut node = registry.factory(name).unwrap()(&context).unwrap();
            node.initialize().unwrap();
            let words = come.to_string();
            let made = match given(node.as_mut(), item) {
                Ok(made) => made,
                Err(error @ NodeError::Input { .. }) => {
                    panic!("{name} says that it takes {words}: {error}")
                }
                // The format is right, and what it holds is not: bytes that are no sound, say.
                Err(_) => continue,
            };
            let said = formats.given(&[come]);
            for item in made {
                let made = exact(&item);
                assert!(
                    said.iter().any(|said| made.is_within(said)),
                    "{name} gives {made} for {words}, but says {said:?}"
                );
                assert!(metadata.produces.contains(&item.data_type()), "{name} gives {made}");
            }
            tried.insert(name.to_owned());
        }
        let takes = |data_type: &DataType| {
            let of_type = |formats: &Formats| formats.data_type() == *data_type;
            formats.taken().iter().any(of_type)
        };
        let accepts: Vec<_> = DataType::ALL.iter().filter(|data_type| takes(data_type)).collect();
        assert!(accepts.iter().all(|kind| metadata.accepts.contains(kind)), "{name}: {accepts:?}");
    }
    let all = registry.names().filter(|name| !registry.metadata(name).unwrap().source);
    let left_out: Vec<_> = all.filter(|name| !tried.contains(*name)).collect();
    assert!(left_out.is_empty(), "no item was right for {left_out:?}");
}

#[test]
fn whatever_comes_a_node_takes_it_or_says_what_would_be_right() {
    let registry = registry();
    for name in registry.names() {
        let metadata = registry.metadata(name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let context = context(metadata, folder.path());
        for item in items() {
            let mut node = registry.factory(name).unwrap()(&context).unwrap();
            if node.initialize().is_err() {
                assert!(metadata.source, "{name} cannot be initialised");
            }
            let come = exact(&item).to_string();
            if let Err(error) = given(node.as_mut(), item) {
                assert!(error.to_string().len() > 20, "{name} says of {come}: {error}");
            }
        }
    }
}
