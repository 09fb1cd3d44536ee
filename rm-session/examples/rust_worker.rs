//! A worker written in Rust, on the runtime that Python's workers use.
//!
//! A session starts it where its interpreter would be; the tests of sessions run it. As `test:Node` it
//! runs the tests' own node; as any other type it adds a `!` to each text that it gets, and misbehaves
//! as its node type asks it to.

#[path = "../tests/it/test_node.rs"]
mod test_node;

use std::time::Instant;

use anyhow::{Context, bail};
use rm_bridge::{Decision, FailedIn, Next, WorkerFailure, WorkerRuntime, WorkerRuntimeError};
use rm_core::{InputSite, Node, NodeError, Output, RuntimeData};
use test_node::TestNode;

fn main() -> anyhow::Result<()> {
    let mut runtime = WorkerRuntime::connect()?;
    let worked = match runtime.config().node_type.as_str() {
        "test:Node" => serve_node(&mut runtime),
        _ => serve_texts(&mut runtime),
    };
    match worked.as_ref().err().and_then(|error| error.downcast_ref()) {
        // The session closes the channels when it is over.
        Some(WorkerRuntimeError::Publish(_)) => Ok(()),
        _ => worked,
    }
}

/// Runs the tests' node, whatever its items are.
fn serve_node(runtime: &mut WorkerRuntime) -> anyhow::Result<()> {
    let params = serde_json::from_str(&runtime.config().params)?;
    let mut node = TestNode::new(runtime.config().node_id.as_str(), params);
    runtime.ready()?;
    let mut output = Output::default();
    loop {
        match runtime.next_step()? {
            Next::SetParams(change) => {
                let params = serde_json::from_str(change.params())?;
                let problem = TestNode::metadata().check_params(&params).into_iter().next();
                let problem = problem.map(|problem| problem.to_string());
                let refused = node_refuses(problem, &mut node, &params);
                match refused {
                    Some(message) => change.refuse(message),
                    None => change.accept(),
                }
            }
            Next::Flush => node.flush(),
            Next::Item { data, index, input, port } => {
                work_on(runtime, &mut node, &mut output, (data, index, input, port))?;
            }
            Next::End => break,
            Next::Stop => return Ok(()),
        }
    }
    node.finish(&mut output)?;
    for (port, item) in output.drain_ports() {
        runtime.publish(port, item)?;
    }
    runtime.finish()?;
    runtime.wait_for_stop();
    Ok(())
}

fn node_refuses(
    problem: Option<String>,
    node: &mut TestNode,
    params: &serde_json::Value,
) -> Option<String> {
    problem.or_else(|| node.set_params(params).err().map(|error| error.to_string()))
}

/// Gives the node an item as often as it takes, until it is done or left out.
fn work_on(
    runtime: &mut WorkerRuntime,
    node: &mut TestNode,
    output: &mut Output,
    (data, index, input, port): (RuntimeData, u64, usize, usize),
) -> anyhow::Result<()> {
    let number = data.header().correlation_id;
    let (from, to_port) = runtime.site(input, port);
    let (from, to_port) = (from.cloned(), to_port.map(str::to_owned));
    loop {
        let site = InputSite { from: from.as_ref(), port: to_port.as_deref() };
        let began = Instant::now();
        let processed = node.process_from(site, data.clone(), output);
        runtime.record(began.elapsed());
        let Err(error) = processed else { break };
        let failure = WorkerFailure {
            during: FailedIn::Process,
            item: Some(index),
            error_type: "NodeError".to_owned(),
            message: error.to_string(),
            traceback: String::new(),
        };
        match runtime.failed(&failure, matches!(error, NodeError::Transient { .. }))? {
            Decision::Retry => {}
            Decision::Next => return Ok(()),
            Decision::Fail => {
                runtime.fail(failure)?;
                bail!("it has failed");
            }
        }
    }
    for (port, item) in output.drain_ports() {
        runtime.publish(port, item)?;
        node.die(number, "between");
    }
    node.die(number, "after");
    Ok(runtime.done()?)
}

/// Adds a `!` to each text.
fn serve_texts(runtime: &mut WorkerRuntime) -> anyhow::Result<()> {
    let role = runtime.config().node_type.clone();
    match role.as_str() {
        "test:NeverReady" => loop {
            std::thread::park();
        },
        "test:Exits" => {
            eprintln!("the model is missing");
            std::process::exit(3);
        }
        "test:Progresses" => runtime.handle().progress(0.5, "half")?,
        _ => {}
    }
    runtime.ready()?;
    loop {
        match runtime.next_step()? {
            Next::SetParams(change) => change.refuse("it has no parameters"),
            Next::Flush => {}
            Next::Item { data, index, .. } => {
                let text = data.as_text().with_context(|| format!("item {index} is no text"))?;
                match (role.as_str(), text) {
                    ("test:Fails", "bad") => {
                        runtime.fail(WorkerFailure {
                            during: FailedIn::Process,
                            item: Some(index),
                            error_type: "ValueError".to_owned(),
                            message: "a bad item".to_owned(),
                            traceback: String::new(),
                        })?;
                        std::process::exit(1);
                    }
                    ("test:Dies", "bad") => std::process::abort(),
                    ("test:Sleeps", _) => loop {
                        std::thread::park();
                    },
                    _ => {}
                }
                runtime.publish(None, RuntimeData::text(format!("{text}!"))?)?;
                runtime.done()?;
            }
            Next::End => {
                runtime.finish()?;
                runtime.wait_for_stop();
                return Ok(());
            }
            Next::Stop => return Ok(()),
        }
    }
}
