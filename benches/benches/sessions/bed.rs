//! What sessions are measured on.
//!
//! Main type: [`Bed`]: a runtime whose workers are of one kind, with what is needed to make sessions of
//! them. Nothing is measured here.

use std::path::{Path, PathBuf};

use anyhow::Result;
use benches::nodes;
use rm_session::{CancelToken, Machine, Manifest, Plan, Runtime, RuntimeConfig, Session};
use serde_json::{Value, json};

/// Workers of one kind.
pub struct Bed {
    /// Rust, or Python.
    pub name: &'static str,
    module: &'static str,
    interpreter: PathBuf,
    runtime: Runtime,
    tokio: tokio::runtime::Runtime,
}

/// What runs a node.
#[derive(Clone, Copy)]
pub enum On {
    /// The stage of its neighbours.
    Native,
    /// A thread of its own.
    Thread,
    /// A process of its own.
    Worker,
}

impl Bed {
    pub fn new(name: &'static str, module: &'static str, interpreter: PathBuf) -> Result<Self> {
        let config =
            RuntimeConfig { python: Some(interpreter.clone()), ..RuntimeConfig::default() };
        let runtime = Runtime::new(config, nodes::registry()?);
        let tokio = tokio::runtime::Runtime::new()?;
        Ok(Self { name, module, interpreter, runtime, tokio })
    }

    pub fn is_python(&self) -> bool {
        self.name == "Python"
    }

    pub fn interpreter(&self) -> &Path {
        &self.interpreter
    }

    /// Runs what has to run in the context of tokio.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.tokio.block_on(work)
    }

    /// The type of a node of this kind of worker.
    pub fn node_type(&self, class: &str) -> String {
        format!("{}:{class}", self.module)
    }

    /// A node of a manifest, for [`chain`].
    pub fn worker(&self, class: &str, params: Value) -> Value {
        json!({"node_type": self.node_type(class), "params": params})
    }

    /// A node that gives on what it gets.
    pub fn forward(&self, on: On) -> Value {
        match on {
            On::Native => json!({"node_type": "Forward"}),
            On::Thread => json!({"node_type": "Forward", "own_thread": true}),
            On::Worker => self.worker("Forward", json!({})),
        }
    }

    /// Makes a session, without starting its nodes.
    pub fn create(&self, manifest: &Value) -> Result<Session> {
        let manifest = Manifest::from_json(&manifest.to_string())?;
        let (registry, config) = (self.runtime.registry(), self.runtime.config());
        let plan = Plan::with(manifest, registry, config, &Machine::probe())?;
        let _context = self.tokio.enter();
        Ok(Session::create(&self.runtime, plan, CancelToken::new())?)
    }

    /// Makes a session and starts its nodes.
    pub fn start(&self, manifest: &Value) -> Result<Session> {
        let session = self.create(manifest)?;
        self.run(session.initialize(|_| {}))?;
        Ok(session)
    }
}

/// Nodes `n0`, `n1` and so on in a row.
pub fn chain(nodes: impl IntoIterator<Item = Value>) -> Value {
    let mut nodes: Vec<Value> = nodes.into_iter().collect();
    let name = |place: usize| format!("n{place}");
    nodes.iter_mut().enumerate().for_each(|(place, node)| node["id"] = json!(name(place)));
    let edge = |to: usize| json!({"from": name(to - 1), "to": name(to)});
    let connections: Vec<_> = (1..nodes.len()).map(edge).collect();
    json!({"version": "v1", "nodes": nodes, "connections": connections})
}
