//! A node that does what its parameters say: passes items on, several times over, slowly, fails, dies.
//!
//! Main type: [`TestNode`]. The tests run it as a native node, and `examples/rust_worker.rs` runs it in
//! a worker process, so that one statement can be checked of both. Items are numbered by their
//! correlation id.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use rm_core::{
    DataType, InputSite, Node, NodeError, NodeMetadata, Output, ParameterKind, ParameterSpec,
    RuntimeData,
};
use serde_json::Value;

/// What it is called in manifests as a native node; in a worker it is `test:Node`.
pub const NAME: &str = "Test";
const TRANSIENT: &str = "the service does not answer";

pub struct TestNode {
    id: String,
    params: Value,
    held: Vec<RuntimeData>,
    /// Tries of the item that fails.
    tries: u64,
}

impl TestNode {
    pub fn new(id: &str, params: Value) -> Self {
        Self { id: id.to_owned(), params, held: Vec::new(), tries: 0 }
    }

    pub fn metadata() -> NodeMetadata {
        let optional = |name, kind, what| ParameterSpec::optional(name, kind, Value::Null, what);
        let number = |name, what| optional(name, ParameterKind::Integer, what);
        let text = |name, what| optional(name, ParameterKind::String, what);
        let flag = |name, what| optional(name, ParameterKind::Boolean, what);
        NodeMetadata {
            name: NAME.to_owned(),
            version: "1.0.0".to_owned(),
            parameters: vec![
                number("tag", "added to each text").range(0.0, 9.0),
                number("copies", "how often each item is made, from 0"),
                number("slow_us", "microseconds that each item takes"),
                flag("hold", "whether items are held back until the end"),
                flag("show_site", "whether texts are marked with the way by which they came"),
                flag("ports", "whether items go to the ports even and odd, by their numbers"),
                text("fail_at", "numbers of items, with commas, or all"),
                number(
                    "fails",
                    "how often it fails on each of these; always where it is not given",
                ),
                flag("transient", "whether these failures are transient"),
                text("die_at", "numbers of items, with commas, or finish"),
                text("die_when", "before, between or after its outputs"),
                number("deaths", "how often it dies at each of these, 1 where it is not given"),
                text("marks", "the folder in which deaths are noted"),
                text("hang_at", "numbers of items, with commas, that it never returns from"),
                text("gate", "a file that has to be there before an item is worked on"),
            ],
            accepts: vec![DataType::Text, DataType::Binary],
            produces: vec![DataType::Text, DataType::Binary],
            input_ports: ["a", "b"].map(str::to_owned).into(),
            output_ports: ["even", "odd"].map(str::to_owned).into(),
            ..NodeMetadata::default()
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.params.get(name).and_then(Value::as_u64)
    }

    fn flag(&self, name: &str) -> bool {
        self.params.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn text(&self, name: &str) -> &str {
        self.params.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn lists(&self, name: &str, entry: &str) -> bool {
        self.text(name).split(',').any(|listed| listed == entry || listed == "all")
    }

    /// Dies, if it is to die at this item and at this moment: "before" it has made anything, "between"
    /// the things that it has made, "after" all are sent and nobody knows yet. It does so as often as it
    /// is to.
    pub fn die(&self, number: u64, moment: &str) {
        let wanted = self.params.get("die_when").and_then(Value::as_str).unwrap_or("before");
        if wanted == moment {
            self.die_at(&number.to_string());
        }
    }

    fn die_at(&self, entry: &str) {
        if !self.lists("die_at", entry) {
            return;
        }
        for death in 0..self.number("deaths").unwrap_or(1) {
            let mark =
                PathBuf::from(self.text("marks")).join(format!("{}-{entry}-{death}", self.id));
            if File::create_new(mark).is_ok() {
                std::process::abort();
            }
        }
    }

    fn failure(&mut self, number: u64) -> Option<NodeError> {
        if !self.lists("fail_at", &number.to_string()) {
            return None;
        }
        self.tries += 1;
        if self.number("fails").is_some_and(|fails| self.tries > fails) {
            return None;
        }
        let source = None;
        Some(if self.flag("transient") {
            NodeError::Transient { message: TRANSIENT.to_owned(), source }
        } else {
            NodeError::Failed { message: format!("item {number} is bad"), source }
        })
    }

    fn marked(&self, site: InputSite<'_>, input: RuntimeData) -> Result<RuntimeData, NodeError> {
        let Some(text) = input.as_text() else { return Ok(input) };
        let mut text = text.to_owned();
        if let Some(tag) = self.number("tag") {
            text += &format!("#{tag}");
        }
        if self.flag("show_site") {
            let from = site.from.map_or("outside", |from| from.as_str());
            text += &format!(" {from}.{}", site.port.unwrap_or("none"));
        }
        if self.tries > 0 {
            text += &format!(" at try {}", self.tries);
        }
        Ok(RuntimeData::text(text)?.made_from(input.header()))
    }
}

impl Node for TestNode {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        self.process_from(InputSite::default(), input, output)
    }

    fn process_from(
        &mut self,
        site: InputSite<'_>,
        input: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let number = input.header().correlation_id;
        self.die(number, "before");
        while self.lists("hang_at", &number.to_string()) {
            std::thread::park();
        }
        if !self.text("gate").is_empty() {
            let gate = PathBuf::from(self.text("gate"));
            while !gate.exists() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        if let Some(slow) = self.number("slow_us") {
            std::thread::sleep(Duration::from_micros(slow));
        }
        if let Some(failure) = self.failure(number) {
            return Err(failure);
        }
        if self.flag("hold") {
            self.held.push(input);
            return Ok(());
        }
        let input = self.marked(site, input)?;
        self.tries = 0;
        let copies = self.number("copies").unwrap_or(1);
        for copy in 0..copies {
            let item = input.clone().with_correlation(number * copies + copy);
            match (self.flag("ports"), number % 2) {
                (false, _) => output.push(item),
                (true, 0) => output.push_to("even", item),
                (true, _) => output.push_to("odd", item),
            }
        }
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let Some(changes) = params.as_object() else { return Err(NodeError::FixedParams) };
        if changes.contains_key("hold") {
            let problem = "is fixed when the node is made; expected tag".to_owned();
            return Err(NodeError::Param { name: "hold", problem });
        }
        if let Some(known) = self.params.as_object_mut() {
            known.extend(changes.clone());
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.held.clear();
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        self.die_at("finish");
        self.held.drain(..).for_each(|item| output.push(item));
        Ok(())
    }
}
