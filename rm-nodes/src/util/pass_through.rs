//! `PassThroughNode`: gives on what it gets, untouched and uncopied.
//!
//! It is the smallest node there is: for measuring what a connection costs, and as a named joint
//! in a graph.

use rm_core::{
    DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output, RegistryError,
    RuntimeData,
};
use serde::Deserialize;

use crate::define::define_with_formats;

#[derive(Deserialize)]
struct Params {}

struct PassThrough;

impl Node for PassThrough {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        output.push(input);
        Ok(())
    }
}

/// The formats of a node that gives whatever it takes.
pub(super) fn any_formats() -> NodeFormats {
    NodeFormats::takes(DataType::ALL.iter().copied())
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "PassThroughNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "gives on what it gets, untouched and uncopied".to_owned(),
        capabilities: Vec::new(),
        parameters: Vec::new(),
        accepts: DataType::ALL.to_vec(),
        produces: DataType::ALL.to_vec(),
        source: false,
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| any_formats();
    define_with_formats(registry, metadata, formats, |Params {}, _| Ok(PassThrough))
}

#[cfg(test)]
mod tests {
    use crate::testing::{make, run};
    use rm_core::RuntimeData;
    use serde_json::json;

    #[test]
    fn an_item_comes_out_as_it_went_in() {
        let item = RuntimeData::binary(vec![1, 2, 3]).unwrap();
        let place = item.payload().as_ptr();
        let mut node = make("PassThroughNode", json!(null)).unwrap();
        let out = run(node.as_mut(), [item.clone()]).unwrap();
        assert_eq!(out, [item]);
        assert_eq!(out[0].payload().as_ptr(), place);
    }
}
