//! The JSON Schema of manifests.
//!
//! Main function: [`manifest_schema`]. The types here exist for their documentation and their schema
//! only: manifests are read by `read`, which reports more and better. That both judge alike is
//! tested.

#![expect(dead_code, reason = "the types are described, never made")]

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

/// The JSON Schema (draft 2020-12) of manifests of version 1. Fields that it does not know are
/// allowed, as they are in manifests. Whether ids are unique, connections lead to nodes, and values
/// fit each other is beyond it.
pub fn manifest_schema() -> Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut schema = generator.into_root_schema_for::<Manifest>().to_value();
    tidy(&mut schema);
    schema
}

/// Takes out what says nothing to a validator: the names of Rust's number types.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_number = |name: &Value| {
                name.as_str().is_some_and(|name| {
                    name.starts_with("uint") || name.starts_with("int") || name == "double"
                })
            };
            if fields.get("format").is_some_and(is_number) {
                fields.remove("format");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// A pipeline: nodes, and connections between them.
#[derive(JsonSchema)]
#[schemars(title = "RemoteMedia manifest v1")]
struct Manifest {
    /// The version of the format.
    version: Version,
    /// What the pipeline is called, and how its worker processes are run.
    #[schemars(default)]
    metadata: Option<Metadata>,
    /// Modules of Python that declare node types used here: names such as "speech.nodes", or paths of
    /// files such as "./nodes.py", which start from the manifest's folder.
    #[schemars(default)]
    modules: Option<Vec<Text>>,
    /// Whether converters are put between nodes that do not agree on a format, such as a sample rate. They
    /// are shown by the plan as nodes of their own. Otherwise it is a problem that names them.
    #[schemars(default)]
    auto_convert: Option<bool>,
    /// The nodes, at least one.
    #[schemars(length(min = 1))]
    nodes: Vec<Node>,
    /// The connections. Without any, every node is fed and drained by the session.
    #[schemars(default)]
    connections: Option<Vec<Connection>>,
}

#[derive(JsonSchema)]
enum Version {
    #[schemars(rename = "v1")]
    V1,
}

/// What the pipeline is called, and how its worker processes are run.
#[derive(JsonSchema)]
struct Metadata {
    /// The pipeline's name; "pipeline" if absent.
    #[schemars(default, length(min = 1))]
    name: Option<String>,
    /// What the pipeline does.
    #[schemars(default)]
    description: Option<String>,
    /// When the manifest was made, in the words of its maker.
    #[schemars(default)]
    created_at: Option<String>,
    /// Settings of worker processes and channels. What is absent is up to the runtime.
    #[schemars(default)]
    multiprocess: Option<Multiprocess>,
}

/// Settings of worker processes and channels.
#[derive(JsonSchema)]
struct Multiprocess {
    /// Most worker processes that the pipeline may have.
    #[schemars(default, range(min = 1))]
    max_processes_per_session: Option<u64>,
    /// Bytes of each channel, a power of two. If absent, the channels share the session's shared
    /// memory.
    #[schemars(default)]
    channel_capacity: Option<PowerOfTwo>,
    /// How many seconds a worker may load without reporting progress.
    #[schemars(default)]
    init_timeout_secs: Option<Seconds>,
    /// The Python interpreter of the workers, or the folder of a virtual environment.
    #[schemars(default, length(min = 1))]
    python_executable: Option<String>,
    /// Whether a full channel makes its publisher wait; true if absent. If false, channels for which
    /// no queue policy is given drop their oldest items.
    #[schemars(default)]
    enable_backpressure: Option<bool>,
    /// The executor of all nodes of a type, by the type's name or a pattern in which `*` stands for
    /// any characters.
    #[schemars(default)]
    executor_overrides: Option<BTreeMap<String, Executor>>,
}

/// What runs a node: Rust in the runtime's process, or Python in a process of its own.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Executor {
    Native,
    Multiprocess,
}

/// One node of the pipeline.
#[derive(JsonSchema)]
struct Node {
    /// Its id, unique in the manifest: letters, digits, '_', '-', '.' and ':'.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[\p{Alphabetic}\p{N}_.:-]+$"))]
    id: String,
    /// Its type: a registered name, or the import path of a Python class, "package.module:Class".
    #[schemars(length(min = 1))]
    node_type: String,
    /// Its parameters, by name.
    #[schemars(default)]
    params: Option<Map<String, Value>>,
    /// What runs it. If absent: what executor_overrides says; native if the type is a registered
    /// native one; a worker if it is one of a Python class, or an import path.
    #[schemars(default)]
    executor: Option<Executor>,
    /// Another name of executor.
    #[schemars(default)]
    runtime_hint: Option<Executor>,
    /// What it needs of the machine; checked before anything is started.
    #[schemars(default)]
    capabilities: Option<Capabilities>,
    /// What becomes of an item on which it has failed when no try is left; "fail" if absent.
    #[schemars(default)]
    on_error: Option<OnError>,
    /// How often an item is tried again, and when.
    #[schemars(default)]
    retry: Option<Retry>,
    /// How many seconds it may take for one item; as many as it wants if absent.
    #[schemars(default)]
    timeout_secs: Option<Seconds>,
    /// When it is not given items any more for a while.
    #[schemars(default)]
    circuit_breaker: Option<CircuitBreaker>,
    /// After which ends its process is started again; "never" if absent. Only for nodes in workers.
    #[schemars(default)]
    restart: Option<Restart>,
    /// How items wait for it, where its connections do not say otherwise.
    #[schemars(default)]
    queue: Option<Queue>,
    /// Variables that its process has beyond the environment of all nodes. Only for nodes in workers.
    #[schemars(default)]
    env: Option<BTreeMap<VariableName, String>>,
    /// The interpreter of its process, or the folder of a virtual environment. A path with a "/" that
    /// is not absolute starts from the manifest's folder. Only for nodes in workers.
    #[schemars(default, length(min = 1))]
    python: Option<String>,
    /// Whether it has a thread of its own; false if absent. Only for native nodes.
    #[schemars(default)]
    own_thread: Option<bool>,
    /// What its process may use. Only for nodes in workers.
    #[schemars(default)]
    limits: Option<Limits>,
    /// Whether its process waits for a debugger before it loads the node, or on which port of this
    /// machine; false if absent. No time is too long for the node then. Only for nodes in workers.
    #[schemars(default)]
    debug: Option<PortOrFlag>,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum PortOrFlag {
    Flag(bool),
    Port(#[schemars(range(min = 1, max = 65_535))] u16),
}

#[derive(JsonSchema)]
#[schemars(inline, extend("minLength" = 1))]
struct Text(String);

/// The name of a variable.
#[derive(JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
#[schemars(inline, extend("pattern" = "^[^=\u{0}]+$"))]
struct VariableName(String);

/// What a node needs of the machine.
#[derive(JsonSchema)]
struct Capabilities {
    /// Whether it needs a GPU, or which.
    #[schemars(default)]
    gpu: Option<GpuOrFlag>,
    /// The cores that it keeps busy, or these and the architecture.
    #[schemars(default)]
    cpu: Option<CpuOrCores>,
    /// The memory that it needs, in gigabytes of 10^9 bytes.
    #[schemars(default)]
    memory_gb: Option<Gigabytes>,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum GpuOrFlag {
    Flag(bool),
    Gpu(Gpu),
}

/// The GPU that a node needs or wants.
#[derive(JsonSchema)]
struct Gpu {
    /// Whether it cannot do without; true if absent. If false, a machine without is a warning.
    #[schemars(default)]
    required: Option<bool>,
    /// Which kind: "cuda" or "nvidia", "rocm" or "amd", "intel", "any"; any if absent.
    #[schemars(default, rename = "type", length(min = 1))]
    kind: Option<String>,
    /// Least memory of its own, in gigabytes of 10^9 bytes.
    #[schemars(default)]
    min_memory_gb: Option<Gigabytes>,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum CpuOrCores {
    Cores(Cores),
    Cpu(Cpu),
}

/// The processors that a node needs.
#[derive(JsonSchema)]
struct Cpu {
    /// The cores that it keeps busy.
    #[schemars(default)]
    cores: Option<Cores>,
    /// The architecture that it is made for, such as "x86_64" or "aarch64".
    #[schemars(default, length(min = 1))]
    arch: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(inline, extend("exclusiveMinimum" = 0))]
struct Cores(f64);

#[derive(JsonSchema)]
#[schemars(inline, extend("exclusiveMinimum" = 0, "maximum" = 1_000_000))]
struct Gigabytes(f64);

#[derive(JsonSchema)]
#[schemars(inline, extend("exclusiveMinimum" = 0, "maximum" = 86_400))]
struct Seconds(f64);

#[derive(JsonSchema)]
#[schemars(inline)]
struct Milliseconds(#[schemars(range(max = 86_400_000))] u64);

#[derive(JsonSchema)]
#[schemars(inline, transform = powers)]
struct PowerOfTwo(u64);

/// Lists what a power of two can be, which a schema cannot say otherwise.
fn powers(schema: &mut schemars::Schema) {
    let powers: Vec<u64> = (0..63).map(|exponent| 1 << exponent).collect();
    schema.insert("enum".to_owned(), powers.into());
    schema.remove("minimum");
}

/// What becomes of an item on which a node has failed: the session ends; the item is left out and
/// reported; the session ends, but every failure is tried again before, not only a transient one.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum OnError {
    Fail,
    Skip,
    Retry,
}

/// How often an item is tried again, and when. The delay before try n is initial_ms times
/// factor^(n-1), at most max_ms.
#[derive(JsonSchema)]
struct Retry {
    /// Most tries after the first; 3 if absent.
    #[schemars(default)]
    max: Option<u32>,
    /// The first delay in milliseconds; 100 if absent.
    #[schemars(default)]
    initial_ms: Option<Milliseconds>,
    /// By which the delay grows; 2 if absent.
    #[schemars(default, range(min = 1, max = 1_000_000))]
    factor: Option<f64>,
    /// The longest delay in milliseconds, at least initial_ms; 10000 if absent.
    #[schemars(default)]
    max_ms: Option<Milliseconds>,
}

/// When a node is not given items any more for a while.
#[derive(JsonSchema)]
struct CircuitBreaker {
    /// Items failed in a row that open the circuit; 0 for never; 5 if absent.
    #[schemars(default)]
    failures: Option<u32>,
    /// How many seconds it stays open until one item is tried; 10 if absent.
    #[schemars(default)]
    reset_after_secs: Option<Seconds>,
}

/// After which ends a process is started again: none; those that are failures, up to a number of
/// times in a row; all.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", deny_unknown_fields)]
enum Restart {
    Never,
    OnFailure {
        /// Most restarts in a row.
        max: u32,
        /// How long to wait before each, and what ends a row.
        #[schemars(default)]
        backoff: Backoff,
    },
    Always {
        /// How long to wait before each, and what ends a row.
        #[schemars(default)]
        backoff: Backoff,
    },
}

/// How long to wait before a restart. The delay before restart n is initial_ms times factor^(n-1), at
/// most max_ms.
#[derive(JsonSchema, Default)]
#[schemars(deny_unknown_fields)]
struct Backoff {
    /// The first delay in milliseconds; 100 if absent.
    #[schemars(default, range(min = 1))]
    initial_ms: u64,
    /// By which the delay grows; 2 if absent.
    #[schemars(default, range(min = 1))]
    factor: f64,
    /// The longest delay in milliseconds, at least initial_ms; 30000 if absent.
    #[schemars(default, range(min = 1))]
    max_ms: u64,
    /// The part of the delay that is random; 0.1 if absent.
    #[schemars(default, range(min = 0, max = 1))]
    jitter: f64,
    /// A process that ran this many milliseconds ends the row; 60000 if absent.
    #[schemars(default, range(min = 1))]
    reset_after_ms: u64,
}

/// How items wait between two nodes.
#[derive(JsonSchema)]
struct Queue {
    /// What happens to an item for which there is no room; "block" if absent.
    #[schemars(default)]
    policy: Option<QueuePolicy>,
    /// Most items that wait; up to the runtime if absent.
    #[schemars(default, range(min = 1, max = 65_536))]
    depth: Option<u32>,
    /// Most bytes that wait, a power of two; up to the runtime if absent.
    #[schemars(default)]
    capacity: Option<PowerOfTwo>,
}

/// What happens to an item for which there is no room: its sender waits; the oldest item makes way;
/// it is dropped itself; only the newest item is kept at all.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum QueuePolicy {
    Block,
    DropOldest,
    DropNewest,
    Latest,
}

/// What a process may use. What is absent is not limited.
#[derive(JsonSchema)]
struct Limits {
    /// Memory, in gigabytes of 10^9 bytes.
    #[schemars(default)]
    memory_gb: Option<Gigabytes>,
    /// The numbers of the CPUs on which it may run.
    #[schemars(default, length(min = 1))]
    cpus: Option<Vec<u32>>,
    /// How willingly it gives way to others: -20 (least) to 19 (most).
    #[schemars(default, range(min = -20, max = 19))]
    niceness: Option<i32>,
    /// How many descriptors it may have open.
    #[schemars(default, range(min = 16))]
    open_files: Option<u64>,
}

/// A connection between two nodes.
#[derive(JsonSchema)]
struct Connection {
    /// Where items come from: the id of a node, or "node.port".
    #[schemars(length(min = 1))]
    from: String,
    /// Where they go: the id of a node, or "node.port".
    #[schemars(length(min = 1))]
    to: String,
    /// How items wait; goes before the queue of the target.
    #[schemars(default)]
    queue: Option<Queue>,
}
