//! A worker that runs native nodes, on the runtime that Python's workers use.
//!
//! A bridge starts it where its interpreter would be. The conformance suite of the bridges runs its own
//! node types in it.

#[path = "../tests/it/nodes.rs"]
mod nodes;

use rm_bridge::{FailedIn, Next, WorkerConfig, WorkerFailure, WorkerRuntime};
use rm_core::{Node, NodeContext, NodeError, Output, did_you_mean};

fn failure(during: FailedIn, item: Option<u64>, error: &NodeError) -> WorkerFailure {
    WorkerFailure {
        during,
        item,
        error_type: "NodeError".to_owned(),
        message: error.to_string(),
        traceback: String::new(),
    }
}

fn make(config: &WorkerConfig) -> Result<Box<dyn Node>, WorkerFailure> {
    let registry = nodes::registry();
    let load = |message: String| {
        let error = NodeError::Failed { message, source: None };
        failure(FailedIn::Load, None, &error)
    };
    let node_type = config.node_type.as_str();
    let (Some(factory), Some(metadata)) =
        (registry.factory(node_type), registry.metadata(node_type))
    else {
        let hint = did_you_mean(node_type, registry.names());
        return Err(load(format!("unknown node type {node_type:?}{hint}")));
    };
    let params = serde_json::from_str(&config.params).map_err(|error| load(error.to_string()))?;
    if let Some(problem) = metadata.check_params(&params).first() {
        return Err(load(problem.to_string()));
    }
    let node_id = config.node_id.to_string();
    let node_type = node_type.to_owned();
    let context = NodeContext { node_id, node_type, params, ..NodeContext::default() };
    let initialize = |error| failure(FailedIn::Initialize, None, &error);
    let mut node = factory(&context).map_err(initialize)?;
    node.initialize().map_err(initialize)?;
    Ok(node)
}

fn main() -> anyhow::Result<()> {
    let mut runtime = WorkerRuntime::connect()?;
    let mut node = match make(runtime.config()) {
        Ok(node) => node,
        Err(failure) => return Ok(runtime.fail(failure)?),
    };
    runtime.ready()?;
    let mut output = Output::default();
    loop {
        match runtime.next_step()? {
            Next::Item { data, index, .. } => {
                let question = data.header().correlation_id;
                let result = node.process(data, &mut output);
                for item in output.drain() {
                    runtime.publish(None, item.with_correlation(question))?;
                }
                match result {
                    Ok(()) => runtime.done()?,
                    Err(error) => {
                        let failure = failure(FailedIn::Process, Some(index), &error);
                        runtime.failed(&failure, error.is_transient())?;
                    }
                }
            }
            Next::SetParams(change) => {
                match node.set_params(&serde_json::from_str(change.params())?) {
                    Ok(()) => change.accept(),
                    Err(error) => change.refuse(error.to_string()),
                }
            }
            Next::Flush => node.flush(),
            Next::End => {
                node.finish(&mut output)?;
                runtime.finish()?;
                runtime.wait_for_stop();
                return Ok(());
            }
            Next::Stop => return Ok(()),
        }
    }
}
