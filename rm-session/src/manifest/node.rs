//! From JSON to a [`NodeSpec`].
//!
//! Main function: [`node`]. It knows the fields of a node and what each may hold; it does not know
//! node types, and not which fields make sense for which of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use rm_bridge::{
    CircuitBreaker, ExecutorType, ItemPolicy, Limits, OnError, QueuePolicy, RestartPolicy,
    RetryPolicy,
};
use rm_core::NodeId;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::cursor::{Cursor, Object, describe};
use super::{Capabilities, GpuSpec, NodeSpec, QueueSpec};
use crate::problem::{ProblemKind, Report};

const NODE: &[&str] = &[
    "id",
    "node_type",
    "params",
    "executor",
    "runtime_hint",
    "capabilities",
    "on_error",
    "retry",
    "timeout_secs",
    "circuit_breaker",
    "restart",
    "queue",
    "env",
    "python",
    "own_thread",
    "limits",
    "debug",
];
const CAPABILITIES: &[&str] = &["gpu", "cpu", "memory_gb"];
const GPU: &[&str] = &["required", "type", "min_memory_gb"];
const CPU: &[&str] = &["cores", "arch"];
const RETRY: &[&str] = &["max", "initial_ms", "factor", "max_ms"];
const CIRCUIT_BREAKER: &[&str] = &["failures", "reset_after_secs"];
const QUEUE: &[&str] = &["policy", "depth", "capacity"];
const LIMITS: &[&str] = &["memory_gb", "cpus", "niceness", "open_files"];

pub(super) const EXECUTORS: &[(&str, ExecutorType)] =
    &[("native", ExecutorType::Native), ("multiprocess", ExecutorType::Multiprocess)];
const ON_ERROR: &[(&str, OnError)] =
    &[("fail", OnError::Fail), ("skip", OnError::Skip), ("retry", OnError::Retry)];
const POLICIES: &[(&str, QueuePolicy)] = &[
    ("block", QueuePolicy::Block),
    ("drop_oldest", QueuePolicy::DropOldest),
    ("drop_newest", QueuePolicy::DropNewest),
    ("latest", QueuePolicy::Latest),
];

pub(super) const POWER_OF_TWO: &str = "a number of bytes that is a power of two";
/// Longest time that can be given: a day.
const MAX_SECS: f64 = 86_400.0;
const MAX_MS: u64 = 86_400_000;
/// Most items that a channel queues.
const MAX_DEPTH: usize = 65_536;
/// What a gigabyte is: as on the label of a disk, 10⁹ bytes.
const GIGABYTE: f64 = 1e9;
/// More memory than any machine has, so that sums cannot overflow.
const MAX_GIGABYTES: f64 = 1e6;

/// Reads one node. Its id is noted among `places` even where the node has problems, so that one
/// mistake is not reported again at every connection.
pub(super) fn node<'a>(
    at: Cursor<'a>,
    report: &mut Report,
    place: usize,
    places: &mut BTreeMap<&'a str, usize>,
) -> Option<NodeSpec> {
    let fields = &at.object(report, NODE)?;
    let id = fields
        .required(report, "id", "a string")
        .and_then(|at| node_id(&at, report, place, places));
    let node_type = fields.required(report, "node_type", "a string").and_then(|at| at.text(report));
    let executor = executor(fields, report);
    let params = match fields.optional("params") {
        Some(at) => at.expect(report, "an object", at.value.is_object().then(|| at.value.clone())),
        None => Some(Value::Object(Map::new())),
    };
    let capabilities = capabilities(fields, report);
    let policy = policy(fields, report);
    let restart = fields.optional("restart").and_then(|at| restart(&at, report));
    let queue = queue(fields, report);
    let env = fields.optional("env").and_then(|at| env(&at, report));
    let python = fields.optional("python").and_then(|at| at.text(report)).map(PathBuf::from);
    let own_thread = fields.optional("own_thread").and_then(|at| at.boolean(report));
    let limits = limits(fields, report);
    let debug = fields.optional("debug").and_then(|at| debug(&at, report));
    Some(NodeSpec {
        id: id?,
        node_type: node_type?.to_owned(),
        params: params?,
        executor,
        capabilities,
        policy,
        restart: restart.unwrap_or_default(),
        queue,
        env: env.unwrap_or_default(),
        python,
        own_thread: own_thread.unwrap_or(false),
        limits,
        debug,
    })
}

fn node_id<'a>(
    at: &Cursor<'a>,
    report: &mut Report,
    place: usize,
    places: &mut BTreeMap<&'a str, usize>,
) -> Option<NodeId> {
    let text = at.string(report)?;
    match places.entry(text) {
        Entry::Vacant(free) => {
            free.insert(place);
        }
        Entry::Occupied(first) => {
            let shown = describe(at.value);
            let message = format!("node id {shown} is taken by /nodes/{}/id", first.get());
            report.problem(ProblemKind::DuplicateNode, &at.pointer, message);
            return None;
        }
    }
    match NodeId::new(text) {
        Ok(id) => Some(id),
        Err(error) => {
            report.problem(ProblemKind::NodeId, &at.pointer, error.to_string());
            None
        }
    }
}

fn executor(fields: &Object<'_>, report: &mut Report) -> Option<ExecutorType> {
    let first = fields.optional("executor").map(|at| at.one_of(report, EXECUTORS));
    let Some(alias) = fields.optional("runtime_hint") else { return first? };
    let second = alias.one_of(report, EXECUTORS);
    if let (Some(Some(first)), Some(second)) = (first, second)
        && first != second
    {
        let message = format!(
            "{:?} contradicts \"executor\", which is {:?}; they mean the same",
            second.name(),
            first.name()
        );
        report.problem(ProblemKind::Value, alias.pointer, message);
    }
    first.flatten().or(second)
}

fn capabilities(fields: &Object<'_>, report: &mut Report) -> Capabilities {
    let mut found = Capabilities::default();
    let Some(fields) =
        fields.optional("capabilities").and_then(|at| at.object(report, CAPABILITIES))
    else {
        return found;
    };
    found.gpu = fields.optional("gpu").and_then(|at| gpu(at, report));
    if let Some(at) = fields.optional("cpu") {
        (found.cores, found.arch) = cpu(at, report);
    }
    found.memory = fields.optional("memory_gb").and_then(|at| gigabytes(&at, report));
    found
}

fn gpu(at: Cursor<'_>, report: &mut Report) -> Option<GpuSpec> {
    match at.value {
        Value::Bool(required) => {
            required.then_some(GpuSpec { required: true, kind: None, min_memory: None })
        }
        Value::Object(_) => {
            let fields = at.object(report, GPU)?;
            let required = fields.optional("required").and_then(|at| at.boolean(report));
            let kind = fields.optional("type").and_then(|at| at.text(report));
            let min_memory = fields.optional("min_memory_gb").and_then(|at| gigabytes(&at, report));
            let required = required.unwrap_or(true);
            Some(GpuSpec { required, kind: kind.map(ToOwned::to_owned), min_memory })
        }
        _ => {
            at.mistyped(report, "true, false or an object");
            None
        }
    }
}

fn cpu(at: Cursor<'_>, report: &mut Report) -> (Option<f64>, Option<String>) {
    const CORES: &str = "a number of cores above 0";
    let is_cores = |cores: f64| cores > 0.0;
    match at.value {
        Value::Object(_) => {
            let Some(fields) = at.object(report, CPU) else { return (None, None) };
            let cores = fields.optional("cores");
            let cores = cores.and_then(|at| at.number(report, CORES, is_cores));
            let arch = fields.optional("arch").and_then(|at| at.text(report));
            (cores, arch.map(ToOwned::to_owned))
        }
        Value::Number(_) => (at.number(report, CORES, is_cores), None),
        _ => {
            at.mistyped(report, &format!("{CORES} or an object"));
            (None, None)
        }
    }
}

fn policy(fields: &Object<'_>, report: &mut Report) -> ItemPolicy {
    let default = ItemPolicy::default();
    let on_error = fields.optional("on_error").and_then(|at| at.one_of(report, ON_ERROR));
    let retry = fields.optional("retry").and_then(|at| retry(at, report));
    let timeout = fields.optional("timeout_secs").and_then(|at| seconds(&at, report));
    let breaker = fields.optional("circuit_breaker").and_then(|at| circuit_breaker(at, report));
    ItemPolicy {
        on_error: on_error.unwrap_or(default.on_error),
        retry: retry.unwrap_or(default.retry),
        timeout: timeout.or(default.timeout),
        circuit_breaker: breaker.unwrap_or(default.circuit_breaker),
    }
}

fn retry(at: Cursor<'_>, report: &mut Report) -> Option<RetryPolicy> {
    let fields = at.object(report, RETRY)?;
    let mut policy = RetryPolicy::default();
    if let Some(max) = fields.optional("max").and_then(|at| count(&at, report)) {
        policy.max = max;
    }
    if let Some(initial) = fields.optional("initial_ms").and_then(|at| milliseconds(&at, report)) {
        policy.initial = initial;
    }
    let factor = fields.optional("factor");
    let growing = |factor: f64| (1.0..=1e6).contains(&factor);
    if let Some(factor) =
        factor.and_then(|at| at.number(report, "a number from 1 to 1000000", growing))
    {
        policy.factor = factor;
    }
    let longest = fields.optional("max_ms");
    let at_longest = longest.as_ref().map(|at| at.pointer.clone());
    match longest.and_then(|at| milliseconds(&at, report)) {
        Some(max) if max < policy.initial => {
            let initial = policy.initial.as_millis();
            let message = format!("{} is below initial_ms, which is {initial}", max.as_millis());
            report.problem(ProblemKind::Value, at_longest.unwrap_or_default(), message);
        }
        Some(max) => policy.max_delay = max,
        // A first delay that is longer than the default bound is meant to be that long.
        None => policy.max_delay = policy.max_delay.max(policy.initial),
    }
    Some(policy)
}

fn circuit_breaker(at: Cursor<'_>, report: &mut Report) -> Option<CircuitBreaker> {
    let fields = at.object(report, CIRCUIT_BREAKER)?;
    let default = CircuitBreaker::default();
    let failures = fields.optional("failures").and_then(|at| count(&at, report));
    let reset_after = fields.optional("reset_after_secs").and_then(|at| seconds(&at, report));
    Some(CircuitBreaker {
        failures: failures.unwrap_or(default.failures),
        reset_after: reset_after.unwrap_or(default.reset_after),
    })
}

fn restart(at: &Cursor<'_>, report: &mut Report) -> Option<RestartPolicy> {
    const NAMES: &[&str] = &["never", "on_failure", "always"];
    let name = match at.value {
        Value::String(name) => name,
        Value::Object(fields) if fields.len() == 1 => fields.keys().next()?,
        _ => {
            at.mistyped(report, "\"never\", {\"on_failure\": {…}} or {\"always\": {…}}");
            return None;
        }
    };
    if !NAMES.contains(&name.as_str()) {
        let hint = report.hint(name.get(..60).unwrap_or(name), NAMES.iter().copied());
        at.mistyped_with(report, "\"never\", {\"on_failure\": {…}} or {\"always\": {…}}", &hint);
        return None;
    }
    match RestartPolicy::deserialize(at.value) {
        Ok(policy) => Some(policy),
        Err(_) if name == "on_failure" && at.value.is_string() => {
            at.mistyped(report, "{\"on_failure\": {\"max\": …}}, with the most restarts in a row");
            None
        }
        Err(_) if name == "always" && at.value.is_string() => {
            at.mistyped(report, "{\"always\": {}}");
            None
        }
        Err(error) => {
            report.problem(ProblemKind::Value, at.pointer.clone() + "/" + name, error.to_string());
            None
        }
    }
}

/// The queue that a node or a connection gives.
pub(super) fn queue(fields: &Object<'_>, report: &mut Report) -> QueueSpec {
    let Some(fields) = fields.optional("queue").and_then(|at| at.object(report, QUEUE)) else {
        return QueueSpec::default();
    };
    let policy = fields.optional("policy").and_then(|at| at.one_of(report, POLICIES));
    let depth = fields.optional("depth");
    let depth_at = depth.as_ref().map(|at| at.pointer.clone());
    let depth = depth.and_then(|at| {
        at.size(report, "a whole number from 1 to 65536", |n| (1..=MAX_DEPTH).contains(&n))
    });
    if policy == Some(QueuePolicy::Latest) && depth.is_some_and(|depth| depth != 1) {
        let message = "a queue of policy \"latest\" keeps one item, expected 1 or nothing";
        report.problem(ProblemKind::Value, depth_at.unwrap_or_default(), message);
    }
    let capacity = fields.optional("capacity");
    QueueSpec {
        policy,
        depth: depth.and_then(|depth| u32::try_from(depth).ok()),
        capacity: capacity.and_then(|at| at.size(report, POWER_OF_TWO, usize::is_power_of_two)),
    }
}

fn env(at: &Cursor<'_>, report: &mut Report) -> Option<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (name, value) in at.entries(report)? {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = "cannot be the name of a variable: it is empty or holds '=' or NUL";
            report.problem(ProblemKind::Value, value.pointer, message);
            continue;
        }
        let text = value.value.as_str().filter(|text| !text.contains('\0'));
        if let Some(text) = value.expect(report, "a string without NUL", text) {
            variables.insert(name.to_owned(), text.to_owned());
        }
    }
    Some(variables)
}

fn debug(at: &Cursor<'_>, report: &mut Report) -> Option<u16> {
    let port = match at.value {
        Value::Bool(debug) => return debug.then_some(0),
        value => value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
    };
    at.expect(report, "true, false or a port from 1 to 65535", port)
}

fn limits(fields: &Object<'_>, report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    let Some(fields) = fields.optional("limits").and_then(|at| at.object(report, LIMITS)) else {
        return limits;
    };
    limits.max_memory = fields.optional("memory_gb").and_then(|at| gigabytes(&at, report));
    limits.cpus = fields.optional("cpus").and_then(|at| {
        let numbers = at.value.as_array().filter(|list| !list.is_empty()).and_then(|list| {
            let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
            list.iter().map(number).collect()
        });
        at.expect(report, "a list of numbers of CPUs from 0, not empty", numbers)
    });
    limits.niceness = fields.optional("niceness").and_then(|at| {
        let number = at.value.as_i64().filter(|n| (-20..=19).contains(n));
        at.expect(report, "a whole number from -20 to 19", number.and_then(|n| n.try_into().ok()))
    });
    limits.open_files = fields.optional("open_files").and_then(|at| {
        let number = at.value.as_u64().filter(|n| *n >= 16);
        at.expect(report, "a whole number of at least 16", number)
    });
    limits
}

fn count(at: &Cursor<'_>, report: &mut Report) -> Option<u32> {
    let number = at.value.as_u64().and_then(|n| u32::try_from(n).ok());
    at.expect(report, "a whole number of at least 0", number)
}

fn milliseconds(at: &Cursor<'_>, report: &mut Report) -> Option<Duration> {
    let number = at.value.as_u64().filter(|n| *n <= MAX_MS).map(Duration::from_millis);
    at.expect(report, &format!("a whole number of milliseconds, at most {MAX_MS}"), number)
}

/// A time above nothing, at most a day.
pub(super) fn seconds(at: &Cursor<'_>, report: &mut Report) -> Option<Duration> {
    let seconds = at.value.as_f64().filter(|secs| *secs > 0.0 && *secs <= MAX_SECS);
    let time = seconds.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    at.expect(report, &format!("a number of seconds above 0, at most {MAX_SECS}"), time)
}

/// Bytes, from a number of gigabytes of 10⁹ bytes each.
fn gigabytes(at: &Cursor<'_>, report: &mut Report) -> Option<u64> {
    let expected = format!("a number of gigabytes above 0, at most {MAX_GIGABYTES}");
    let number = at.number(report, &expected, |n| n > 0.0 && n <= MAX_GIGABYTES)?;
    // The range has been checked, and a part of a byte does not count.
    Some((number * GIGABYTE) as u64)
}
