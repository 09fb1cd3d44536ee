//! What a native node is.
//!
//! Main type: the [`Node`] trait. Nodes are synchronous: a chain of native nodes is a chain of
//! plain calls on one thread, without a queue, a task or an allocation between them. Who runs
//! them, and where, is not decided here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;

use crate::data::{DataError, RuntimeData};
use crate::id::NodeId;
use crate::params::ParameterProblem;

/// What a node knows about itself when it is made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeContext {
    /// The node's id in its manifest.
    pub node_id: String,
    /// The node's type.
    pub node_type: String,
    /// Its parameters as the manifest gives them: an object, or null for none.
    pub params: Value,
    /// The session it runs in, if it runs in one.
    pub session_id: Option<String>,
    /// Further facts. `base_dir` is the folder that relative paths in parameters start from.
    pub metadata: HashMap<String, Value>,
}

impl NodeContext {
    /// Key in [`metadata`](Self::metadata) of the folder that relative paths start from.
    pub const BASE_DIR: &str = "base_dir";

    /// Key in [`metadata`](Self::metadata) of how many inputs the node has: pairs of a node that items
    /// come from and a port that they come to.
    pub const INPUTS: &str = "inputs";

    /// The parameters as a typed struct.
    ///
    /// # Errors
    /// [`NodeError::Params`] if they do not have that shape.
    pub fn parse_params<T: serde::de::DeserializeOwned>(&self) -> Result<T, NodeError> {
        let params = match &self.params {
            Value::Null => Value::Object(serde_json::Map::new()),
            params => params.clone(),
        };
        serde_json::from_value(params).map_err(NodeError::Params)
    }

    /// `path` as it is if absolute, else below the base folder where one is known.
    pub fn resolve_path(&self, path: &str) -> PathBuf {
        match self.metadata.get(Self::BASE_DIR).and_then(Value::as_str) {
            Some(base) => PathBuf::from(base).join(path),
            None => PathBuf::from(path),
        }
    }
}

/// Why a node could not be made or could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The parameters are not what the node takes.
    #[error("invalid parameters: {0}")]
    Params(#[source] serde_json::Error),
    /// A parameter is unknown, missing, or not what its specification asks for.
    #[error(transparent)]
    Parameter(#[from] ParameterProblem),
    /// A parameter has a value that makes no sense.
    #[error("parameter {name:?} {problem}")]
    Param {
        /// Which parameter.
        name: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// An item is not of a kind that the node takes.
    #[error("input is {found}, but the node takes {expected}")]
    Input {
        /// What came.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `"open"`, `"read"`, `"decode"`, `"create"` or `"write"`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The work failed for a reason that may have passed when it is tried again: a service that does
    /// not answer, a resource that is taken.
    #[error("{message}")]
    Transient {
        /// What went wrong.
        message: String,
        /// Why, where another error caused it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The node's parameters are fixed when it is made.
    #[error("the parameters of this node cannot be changed while it runs")]
    FixedParams,
    /// An output that breaks the rules of its type.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Any other failure of the node's own work.
    #[error("{message}")]
    Failed {
        /// What went wrong.
        message: String,
        /// Why, where another error caused it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl NodeError {
    /// Whether the same work may succeed when it is tried again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }
}

/// Where a node puts what it makes.
#[derive(Debug, Default)]
pub struct Output {
    items: Vec<(Option<&'static str>, RuntimeData)>,
}

impl Output {
    /// Adds one item, for connections that name no port of this node.
    pub fn push(&mut self, item: RuntimeData) {
        self.items.push((None, item));
    }

    /// Adds one item, for connections from this port of the node.
    pub fn push_to(&mut self, port: &'static str, item: RuntimeData) {
        self.items.push((Some(port), item));
    }

    /// Takes all items out, oldest first; the space they took is kept for the next ones.
    pub fn drain(&mut self) -> impl Iterator<Item = RuntimeData> + '_ {
        self.items.drain(..).map(|(_, item)| item)
    }

    /// As [`drain`](Self::drain), with the port of each item.
    pub fn drain_ports(
        &mut self,
    ) -> impl Iterator<Item = (Option<&'static str>, RuntimeData)> + '_ {
        self.items.drain(..)
    }

    /// Drops all items.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// By which way an item came to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputSite<'a> {
    /// The node that it came from; `None` for an item from outside of the pipeline.
    pub from: Option<&'a NodeId>,
    /// The port of the receiving node that the connection names, if it names one.
    pub port: Option<&'a str>,
}

/// Whether a source has more to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Produced {
    /// Call again.
    More,
    /// Call again at this time; there is nothing to give before.
    At(Instant),
    /// The source has ended.
    End,
}

/// A native node: takes items, makes items.
///
/// One value serves one node of one session; it is called from one thread at a time.
///
/// ```
/// use rm_core::{Node, NodeError, Output, RuntimeData};
///
/// /// Says everything twice.
/// struct Echo;
///
/// impl Node for Echo {
///     fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
///         output.push(input.clone());
///         output.push(input);
///         Ok(())
///     }
/// }
///
/// let mut output = Output::default();
/// Echo.process(RuntimeData::text("hello")?, &mut output)?;
/// assert_eq!(output.drain().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Node: Send {
    /// Prepares for the first item: opens files, loads models.
    ///
    /// # Errors
    /// [`NodeError`]; the session then does not start.
    fn initialize(&mut self) -> Result<(), NodeError> {
        Ok(())
    }

    /// Handles one item.
    ///
    /// # Errors
    /// [`NodeError`] if the item is not what the node takes, or its work failed.
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError>;

    /// Handles one item and knows by which way it came; what is called. Nodes with several inputs
    /// implement it besides [`process`](Self::process), to which it passes items by default.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    fn process_from(
        &mut self,
        site: InputSite<'_>,
        input: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let _ = site;
        self.process(input, output)
    }

    /// Takes new values of parameters while it runs, between two items. They have been checked
    /// against the type's [`ParameterSpec`](crate::ParameterSpec)s; those that are not given stay.
    ///
    /// # Errors
    /// [`NodeError::FixedParams`] if it cannot, as by default; another one if a value makes no sense,
    /// and then nothing has changed.
    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let _ = params;
        Err(NodeError::FixedParams)
    }

    /// Drops what is held back, because what it was made from is not wanted any more.
    fn flush(&mut self) {}

    /// Gives the next items of a source, that is, of a node whose
    /// [`NodeMetadata::source`](crate::NodeMetadata::source) is true. Other nodes are never asked.
    ///
    /// # Errors
    /// [`NodeError`] if the source fails.
    fn produce(&mut self, output: &mut Output) -> Result<Produced, NodeError> {
        let _ = output;
        Ok(Produced::End)
    }

    /// When it wants to be called although nothing comes in; asked after each call. Only of nodes whose
    /// [`NodeMetadata::timed`](crate::NodeMetadata::timed) is true.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Does what was [due](Self::due) by now.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    fn on_time(&mut self, now: Instant, output: &mut Output) -> Result<(), NodeError> {
        let _ = (now, output);
        Ok(())
    }

    /// Whether, once nothing more will come in, what is held back is still to be waited for: then
    /// [`finish`](Self::finish) is called when nothing is [due](Self::due) any more. Otherwise it is
    /// called at once.
    fn finishes_on_time(&self) -> bool {
        false
    }

    /// Gives what is still held back, once nothing more will come in.
    ///
    /// # Errors
    /// [`NodeError`] if the rest cannot be given, for instance because a file cannot be completed.
    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        let _ = output;
        Ok(())
    }
}
