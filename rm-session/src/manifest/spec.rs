//! The parts of a manifest, as types.
//!
//! Main types: [`NodeSpec`] and [`Connection`]. They hold what the manifest says; what follows from
//! it, with the defaults of a runtime, is for [`Plan`](crate::Plan) to decide.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rm_bridge::{ExecutorType, ItemPolicy, Limits, QueuePolicy, RestartPolicy};
use rm_core::NodeId;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// One node as the manifest gives it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NodeSpec {
    /// Its id, unique in the manifest.
    pub id: NodeId,
    /// Its type: a registered name, or `package.module:Class` for a Python node.
    pub node_type: String,
    /// Its parameters; always an object.
    pub params: Value,
    /// The executor asked for, if one is.
    pub executor: Option<ExecutorType>,
    /// What it needs of the machine.
    pub capabilities: Capabilities,
    /// What happens when it fails on an item.
    pub policy: ItemPolicy,
    /// After which ends its process is started again.
    pub restart: RestartPolicy,
    /// The queues of its incoming connections, where they do not say otherwise.
    pub queue: QueueSpec,
    /// Variables that its process has beyond the environment of all nodes.
    pub env: BTreeMap<String, String>,
    /// The interpreter of its process, or the folder of a virtual environment.
    pub python: Option<PathBuf>,
    /// Whether it has a thread of its own, apart from the native nodes around it.
    pub own_thread: bool,
    /// What its process may use.
    pub limits: Limits,
    /// The port on which its process waits for a debugger before it loads the node, if it does; 0 for
    /// any that is free. No time is too long for the node then.
    pub debug: Option<u16>,
}

impl NodeSpec {
    /// A node of which nothing else is said.
    pub(crate) fn plain(id: NodeId, node_type: &str, params: Value) -> Self {
        Self {
            id,
            node_type: node_type.to_owned(),
            params,
            executor: None,
            capabilities: Capabilities::default(),
            policy: ItemPolicy::default(),
            restart: RestartPolicy::default(),
            queue: QueueSpec::default(),
            env: BTreeMap::new(),
            python: None,
            own_thread: false,
            limits: Limits::default(),
            debug: None,
        }
    }
}

/// One connection, between two different nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Connection {
    /// Where items come from: a place in [`Manifest::nodes`](crate::Manifest::nodes).
    pub from: usize,
    /// Where they go: a place in [`Manifest::nodes`](crate::Manifest::nodes).
    pub to: usize,
    /// The output port of the source, where the connection names one.
    pub from_port: Option<String>,
    /// The input port of the target, where the connection names one.
    pub to_port: Option<String>,
    /// How items wait; goes before the [queue](NodeSpec::queue) of the target.
    pub queue: QueueSpec,
}

impl Connection {
    /// A connection without ports, with the queue of its target.
    pub fn new(from: usize, to: usize) -> Self {
        Self { from, to, from_port: None, to_port: None, queue: QueueSpec::default() }
    }
}

/// How items wait between two nodes, as far as the manifest says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct QueueSpec {
    /// What happens to an item for which there is no room.
    pub policy: Option<QueuePolicy>,
    /// Most items that wait, from 1 to 65,536.
    pub depth: Option<u32>,
    /// Most bytes that wait, a power of two.
    pub capacity: Option<usize>,
}

impl QueueSpec {
    /// This, and `other` where this says nothing.
    pub fn or(self, other: Self) -> Self {
        Self {
            policy: self.policy.or(other.policy),
            depth: self.depth.or(other.depth),
            capacity: self.capacity.or(other.capacity),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a node needs of the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Capabilities {
    /// A GPU, if it needs or wants one.
    pub gpu: Option<GpuSpec>,
    /// Cores that it keeps busy, above 0.
    pub cores: Option<f64>,
    /// The processor architecture that it is made for, such as `x86_64` or `aarch64`.
    pub arch: Option<String>,
    /// Bytes of memory.
    pub memory: Option<u64>,
}

/// The GPU that a node needs or wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GpuSpec {
    /// Whether it cannot do without. Otherwise a machine that has none is a warning.
    pub required: bool,
    /// Which kind: `cuda` or `nvidia`, `rocm` or `amd`, `intel`; any where it is `None`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Least bytes of memory of its own.
    pub min_memory: Option<u64>,
}

/// What a manifest says of worker processes. What it does not say is up to the runtime.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MultiprocessSettings {
    /// Most worker processes that the pipeline may have, at least 1.
    pub max_processes_per_session: Option<usize>,
    /// Size of each channel in bytes, a power of two.
    pub channel_capacity: Option<usize>,
    /// How long a worker may take until it is ready.
    #[serde(rename = "init_timeout_secs", serialize_with = "as_seconds")]
    pub init_timeout: Option<Duration>,
    /// The Python interpreter of the workers: a path, or a name on the search path.
    pub python_executable: Option<PathBuf>,
    /// Whether a full channel makes its publisher wait. If not, channels for which the manifest
    /// gives no queue policy drop their oldest items.
    pub enable_backpressure: bool,
    /// The executor of all nodes of a type, by the type's name or a pattern in which `*` stands for
    /// any characters. A node's own choice goes before it.
    pub executor_overrides: BTreeMap<String, ExecutorType>,
}

impl Default for MultiprocessSettings {
    /// What a manifest means that says nothing: channels make their publishers wait.
    fn default() -> Self {
        Self {
            max_processes_per_session: None,
            channel_capacity: None,
            init_timeout: None,
            python_executable: None,
            enable_backpressure: true,
            executor_overrides: BTreeMap::new(),
        }
    }
}

impl MultiprocessSettings {
    /// The override for a node type with the pattern that gives it: the type's own name, else the
    /// pattern with the most characters that are not `*`.
    pub fn override_for(&self, node_type: &str) -> Option<(&str, ExecutorType)> {
        let literals = |pattern: &str| pattern.chars().filter(|c| *c != '*').count();
        let matching = self
            .executor_overrides
            .iter()
            .filter(|(pattern, _)| matches(pattern.as_bytes(), node_type.as_bytes()));
        matching
            .max_by_key(|(pattern, _)| (pattern.as_str() == node_type, literals(pattern)))
            .map(|(pattern, executor)| (pattern.as_str(), *executor))
    }
}

/// Whether a text has the form of a pattern in which `*` stands for any characters. It goes back to
/// the last `*` only, so its work is bounded by the product of the lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

fn as_seconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("Echo", "Echo", true),
            ("Echo", "EchoNode", false),
            ("Echo*", "EchoNode", true),
            ("*Node", "EchoNode", true),
            ("*o*o*", "EchoNode", true),
            ("*o*x*", "EchoNode", false),
            ("speech.*:*", "speech.nodes:Tts", true),
            ("*", "", true),
            ("", "a", false),
            ("a*b*c", "abbbcbc", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_most_exact_override_holds() {
        let (native, worker) = (ExecutorType::Native, ExecutorType::Multiprocess);
        let overrides = [("*", native), ("m:*", worker), ("m:Echo", native), ("m:Ech*", worker)];
        let settings = MultiprocessSettings {
            executor_overrides: overrides.map(|(name, to)| (name.to_owned(), to)).into(),
            ..MultiprocessSettings::default()
        };
        assert_eq!(settings.override_for("m:Echo"), Some(("m:Echo", native)));
        assert_eq!(settings.override_for("m:Echos"), Some(("m:Ech*", worker)));
        assert_eq!(settings.override_for("m:Other"), Some(("m:*", worker)));
        assert_eq!(settings.override_for("Other"), Some(("*", native)));
    }

    #[test]
    fn a_queue_says_what_it_says_before_another() {
        let latest = QueueSpec { policy: Some(QueuePolicy::Latest), ..QueueSpec::default() };
        let deep = QueueSpec { depth: Some(3), policy: Some(QueuePolicy::Block), capacity: None };
        let both = QueueSpec { policy: Some(QueuePolicy::Latest), depth: Some(3), capacity: None };
        assert_eq!(latest.or(deep), both);
        assert!(QueueSpec::default().or(QueueSpec::default()).is_empty());
    }
}
