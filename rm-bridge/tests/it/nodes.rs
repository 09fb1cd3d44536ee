//! The node types that the bridges' conformance suite runs.
//!
//! Main function: [`registry`]. `examples/node_worker.rs` runs the same types in a worker, so that what
//! the suite sees of both executors can be compared.

use std::path::PathBuf;

use rm_core::{
    Node, NodeContext, NodeError, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec,
    RuntimeData,
};
use serde_json::Value;

type Made = Result<(), NodeError>;

fn failed(message: &str) -> NodeError {
    NodeError::Failed { message: message.to_owned(), source: None }
}

/// Gives back what it gets.
struct Echo;

impl Node for Echo {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Made {
        output.push(input);
        Ok(())
    }
}

/// Gives the number of items so far, multiplied by `step`.
struct Count {
    items: i64,
    step: i64,
}

impl Node for Count {
    fn process(&mut self, _: RuntimeData, output: &mut Output) -> Made {
        self.items += 1;
        output.push(RuntimeData::text((self.items * self.step).to_string())?);
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Made {
        match params["step"].as_i64() {
            Some(13) => Err(failed("13 brings bad luck")),
            step => {
                self.step = step.unwrap_or(self.step);
                Ok(())
            }
        }
    }
}

/// Of the text `n` it makes the numbers from 0 to `n`, and fails after the third if it is `bad`.
struct Several;

impl Node for Several {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Made {
        let text = input.as_text().unwrap_or_default();
        for number in 0..text.parse().unwrap_or(3) {
            output.push(RuntimeData::text(number.to_string())?);
        }
        if text == "bad" { Err(failed("no more")) } else { Ok(()) }
    }
}

/// Gives back what it gets, and misbehaves on some texts.
struct Moody;

impl Node for Moody {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Made {
        match input.as_text() {
            Some("bad") => return Err(failed("a bad text")),
            Some("fatal") => panic!("a fatal text"),
            _ => output.push(input),
        }
        Ok(())
    }
}

/// Never comes to an end.
struct Hangs;

impl Node for Hangs {
    fn process(&mut self, _: RuntimeData, _: &mut Output) -> Made {
        loop {
            std::thread::park();
        }
    }
}

/// Writes a file when it finishes.
struct Sink(PathBuf);

impl Node for Sink {
    fn process(&mut self, _: RuntimeData, _: &mut Output) -> Made {
        Ok(())
    }

    fn finish(&mut self, _: &mut Output) -> Made {
        std::fs::write(&self.0, "finished").map_err(|error| failed(&error.to_string()))
    }
}

/// Cannot load.
struct Broken;

impl Node for Broken {
    fn initialize(&mut self) -> Made {
        Err(failed("the model is missing"))
    }

    fn process(&mut self, _: RuntimeData, _: &mut Output) -> Made {
        Ok(())
    }
}

fn sink(context: &NodeContext) -> Result<Box<dyn Node>, NodeError> {
    Ok(Box::new(Sink(context.params["path"].as_str().unwrap_or_default().into())))
}

fn count(context: &NodeContext) -> Result<Box<dyn Node>, NodeError> {
    Ok(Box::new(Count { items: 0, step: context.params["step"].as_i64().unwrap_or(1) }))
}

pub(crate) fn registry() -> NodeRegistry {
    let mut registry = NodeRegistry::new();
    let metadata = |name: &str, parameters| NodeMetadata {
        name: name.to_owned(),
        parameters,
        source: name == "Source",
        ..NodeMetadata::default()
    };
    let step = ParameterSpec::optional("step", ParameterKind::Integer, 1, "what one item counts");
    let path = ParameterSpec::required("path", ParameterKind::String, "the file to write");
    let registered = [
        registry.register(metadata("Echo", vec![]), |_| Ok(Box::new(Echo))),
        registry.register(metadata("Source", vec![]), |_| Ok(Box::new(Echo))),
        registry.register(metadata("Count", vec![step]), count),
        registry.register(metadata("Several", vec![]), |_| Ok(Box::new(Several))),
        registry.register(metadata("Moody", vec![]), |_| Ok(Box::new(Moody))),
        registry.register(metadata("Hangs", vec![]), |_| Ok(Box::new(Hangs))),
        registry.register(metadata("Sink", vec![path]), sink),
        registry.register(metadata("Broken", vec![]), |_| Ok(Box::new(Broken))),
    ];
    for registered in registered {
        registered.expect("each name is there once");
    }
    registry
}
