//! What a user wants to run: nodes and connections, read from JSON or YAML.
//!
//! Main type: [`Manifest`]. A value of it is valid: ids are unique, connections lead to nodes that
//! there are. Whether the node types exist and take their parameters is for
//! [`Plan`](crate::Plan) to say, and circles are found by [`Graph`](crate::Graph).

mod connections;
mod cursor;
mod node;
mod overrides;
mod read;
mod schema;
mod spec;
#[cfg(test)]
mod tests;
mod text;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use rm_bridge::ExecutorType;
use rm_core::{NodeId, did_you_mean};
use serde_json::Value;

pub use self::overrides::{OverrideError, parse_override};
pub use self::schema::manifest_schema;
pub use self::spec::{
    Capabilities, Connection, GpuSpec, MultiprocessSettings, NodeSpec, QueueSpec,
};
pub use self::text::Format;
use crate::problem::{Problem, Warning, list};

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("cannot read manifest {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text is longer than a manifest may be.
    #[error("manifest is longer than {max} bytes")]
    TooLong {
        /// Most bytes allowed.
        max: usize,
    },
    /// The text is not JSON, or not YAML.
    #[error(
        "invalid {format} in {} at line {line} column {column}: {message}",
        file.as_ref().map_or("manifest".into(), |file| file.to_string_lossy())
    )]
    Syntax {
        /// What it was read as.
        format: Format,
        /// The file, where the text came from one.
        file: Option<PathBuf>,
        /// Line of the first character that does not fit, from 1.
        line: usize,
        /// Column of that character in bytes, from 1; 0 where the text ends before it.
        column: usize,
        /// What the parser expected.
        message: String,
    },
    /// The document is not a manifest. These are all of its problems, and there is at least one.
    #[error("invalid manifest:{}", list(.0))]
    Invalid(Vec<Problem>),
    /// An override names a node that there is not.
    #[error("no node {id:?} in the manifest{hint}")]
    NoSuchNode {
        /// The id asked for.
        id: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
    },
}

/// A valid manifest.
///
/// ```
/// use rm_session::Manifest;
///
/// let manifest = Manifest::from_json(
///     r#"{
///         "version": "v1",
///         "nodes": [
///             {"id": "resample", "node_type": "ResampleNode", "params": {"target_rate": 16000}},
///             {"id": "asr", "node_type": "speech.nodes:Recogniser"}
///         ],
///         "connections": [{"from": "resample", "to": "asr"}]
///     }"#,
/// )?;
/// assert_eq!(manifest.name(), "pipeline");
/// assert_eq!(manifest.nodes()[1].id.as_str(), "asr");
///
/// let error = Manifest::from_json(r#"{"version": "v1", "nodes": []}"#).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "invalid manifest: /nodes: the list is empty, expected at least one node"
/// );
/// # Ok::<(), rm_session::ManifestError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    name: String,
    description: Option<String>,
    created_at: Option<String>,
    multiprocess: MultiprocessSettings,
    modules: Vec<String>,
    auto_convert: bool,
    nodes: Vec<NodeSpec>,
    connections: Vec<Connection>,
    warnings: Vec<Warning>,
    base_dir: Option<PathBuf>,
}

impl Manifest {
    /// The version that this runtime reads.
    pub const VERSION: &str = "v1";
    /// Longest manifest that is read, in bytes.
    pub const MAX_LEN: usize = 16 * 1024 * 1024;
    /// Name of a pipeline whose manifest gives it none.
    pub const DEFAULT_NAME: &str = "pipeline";

    /// Reads a manifest from its text.
    ///
    /// # Errors
    /// [`ManifestError::Syntax`] if it is not JSON, [`ManifestError::Invalid`] with all problems
    /// if it is no valid manifest, [`ManifestError::TooLong`] above [`Self::MAX_LEN`].
    pub fn from_json(text: &str) -> Result<Self, ManifestError> {
        read::manifest(text.as_bytes(), Format::Json, None)
    }

    /// Reads a manifest from its text in YAML. Fields, problems and their pointers are those of the
    /// same manifest in JSON. Aliases are followed as long as what they stand for stays small.
    ///
    /// # Errors
    /// Those of [`from_json`](Self::from_json).
    pub fn from_yaml(text: &str) -> Result<Self, ManifestError> {
        read::manifest(text.as_bytes(), Format::Yaml, None)
    }

    /// Reads a manifest from a file, whose folder becomes the [`base_dir`](Self::base_dir). It is
    /// YAML if its name ends in `.yaml` or `.yml`, JSON otherwise.
    ///
    /// # Errors
    /// [`ManifestError::Read`] if the file cannot be read, and those of
    /// [`from_json`](Self::from_json).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ManifestError> {
        let path = path.as_ref();
        let unreadable = |source| ManifestError::Read { path: path.to_owned(), source };
        let mut text = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(Self::MAX_LEN as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
        let absolute = std::path::absolute(path).map_err(unreadable)?;
        let mut manifest = read::manifest(&text, Format::of(path), Some(path))?;
        manifest.base_dir = absolute.parent().map(Path::to_owned);
        Ok(manifest)
    }

    /// The document of a manifest's file as it stands, for who changes manifests; it is a valid one.
    ///
    /// # Errors
    /// Those of [`from_file`](Self::from_file).
    pub fn document(path: impl AsRef<Path>) -> Result<Value, ManifestError> {
        let path = path.as_ref();
        Self::from_file(path)?;
        let unreadable = |source| ManifestError::Read { path: path.to_owned(), source };
        let text = std::fs::read(path).map_err(unreadable)?;
        text::document(&text, Format::of(path), Some(path))
    }

    /// The same manifest with one parameter of one node set, as from a command line.
    ///
    /// # Errors
    /// [`ManifestError::NoSuchNode`] with the nearest id.
    pub fn with_param(
        mut self,
        node: &NodeId,
        param: impl Into<String>,
        value: Value,
    ) -> Result<Self, ManifestError> {
        if let Value::Object(params) = &mut self.node_mut(node)?.params {
            params.insert(param.into(), value);
        }
        Ok(self)
    }

    /// The same manifest with another folder from which relative paths start.
    pub fn with_base_dir(self, folder: impl Into<PathBuf>) -> Self {
        Self { base_dir: Some(folder.into()), ..self }
    }

    /// The same manifest with one node waiting for a debugger on a port, as from a command line; 0 for
    /// any that is free.
    ///
    /// # Errors
    /// [`ManifestError::NoSuchNode`] with the nearest id.
    pub fn with_debug(mut self, node: &NodeId, port: u16) -> Result<Self, ManifestError> {
        self.node_mut(node)?.debug = Some(port);
        Ok(self)
    }

    fn node_mut(&mut self, node: &NodeId) -> Result<&mut NodeSpec, ManifestError> {
        let Some(place) = self.nodes.iter().position(|spec| spec.id == *node) else {
            let ids = self.nodes.iter().map(|spec| spec.id.as_str());
            return Err(ManifestError::NoSuchNode {
                id: node.to_string(),
                hint: did_you_mean(node.as_str(), ids),
            });
        };
        Ok(&mut self.nodes[place])
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the pipeline does, where the manifest says it.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// When the manifest was made, in the words of its maker.
    pub fn created_at(&self) -> Option<&str> {
        self.created_at.as_deref()
    }

    /// What the manifest says of worker processes.
    pub fn multiprocess(&self) -> &MultiprocessSettings {
        &self.multiprocess
    }

    /// Most worker processes that the pipeline may have, where the manifest says it.
    pub fn max_processes(&self) -> Option<usize> {
        self.multiprocess.max_processes_per_session
    }

    /// Modules of Python, by their names or files, that declare node types of the manifest. To import
    /// them is for who knows Python; here they are not looked at.
    pub fn modules(&self) -> &[String] {
        &self.modules
    }

    /// Whether converters are put between nodes that do not agree on a format; otherwise that is a problem.
    pub fn auto_convert(&self) -> bool {
        self.auto_convert
    }

    /// The same manifest with or without converters being put in.
    pub fn with_auto_convert(self, auto_convert: bool) -> Self {
        Self { auto_convert, ..self }
    }

    /// Puts nodes into a connection, one behind the other. The connection then ends at the first of them,
    /// and how items wait for its old target is said by the last new one.
    pub(crate) fn insert(&mut self, connection: usize, nodes: Vec<NodeSpec>) {
        let Some(mut place) = (!nodes.is_empty()).then_some(self.nodes.len()) else { return };
        let new = Connection::new(self.connections[connection].from, place);
        let old = std::mem::replace(&mut self.connections[connection], new);
        self.connections[connection].from_port = old.from_port;
        self.nodes.extend(nodes);
        while place + 1 < self.nodes.len() {
            self.connections.push(Connection::new(place, place + 1));
            place += 1;
        }
        self.connections.push(Connection { from: place, from_port: None, ..old });
    }

    /// The nodes, at least one, in the order of the manifest.
    pub fn nodes(&self) -> &[NodeSpec] {
        &self.nodes
    }

    /// The connections, in the order of the manifest; none twice.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// What is odd about the manifest, such as fields that this runtime does not know.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The absolute folder from which relative paths start; none if the manifest came from a text.
    pub fn base_dir(&self) -> Option<&Path> {
        self.base_dir.as_deref()
    }
}

/// A manifest, under the name that sessions have for it.
pub type PipelineConfig = Manifest;
