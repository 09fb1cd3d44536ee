//! What a machine and a runtime lack for a manifest.

use crate::config::RuntimeConfig;
use crate::machine::{Gpu, GpuVendor, Machine};
use crate::plan::Plan;
use crate::plan::tests::{machine, parse, registry};

use serde_json::{Value, json};

/// The problems and the warnings of a manifest with this node twice, `a` and `b`.
fn found(
    fields: Value,
    settings: Value,
    config: &RuntimeConfig,
    machine: &Machine,
) -> (Vec<String>, Vec<String>) {
    let node = |id: &str| {
        let mut node = json!({"id": id, "node_type": "m:C"});
        let object = node.as_object_mut().expect("it is one");
        object.extend(fields.as_object().expect("fields are an object").clone());
        node
    };
    let nodes = json!([node("a"), node("b")]);
    let document = json!({"version": "v1", "metadata": {"multiprocess": settings}, "nodes": nodes});
    match Plan::with(parse(document), &registry(), config, machine) {
        Ok(plan) => (Vec::new(), plan.warnings.iter().map(ToString::to_string).collect()),
        Err(error) => (error.problems().iter().map(ToString::to_string).collect(), Vec::new()),
    }
}

#[track_caller]
fn check(capabilities: Value, machine: &Machine, problem: Option<&str>) {
    let fields = json!({"capabilities": capabilities});
    let (problems, _) = found(fields, json!({}), &RuntimeConfig::default(), machine);
    assert_eq!(problems.first().map(String::as_str), problem, "{problems:?}");
}

fn with_gpus(gpus: Vec<Gpu>) -> Machine {
    Machine { gpus, ..machine() }
}

#[test]
fn a_gpu_that_is_needed_must_be_there() {
    let at = "/nodes/0/capabilities/gpu";
    let none = machine();
    let nvidia = with_gpus(vec![Gpu { vendor: GpuVendor::Nvidia, memory: None }]);
    let amd = with_gpus(vec![Gpu { vendor: GpuVendor::Amd, memory: Some(8 << 30) }]);
    check(json!({"gpu": true}), &none, Some(&format!("{at}: needs a GPU, the machine has none")));
    check(json!({"gpu": true}), &amd, None);
    check(json!({"gpu": {"type": "cuda"}}), &nvidia, None);
    check(json!({"gpu": {"type": "Any", "min_memory_gb": 8}}), &amd, None);
    // What is not known is not held against a GPU.
    check(json!({"gpu": {"type": "nvidia", "min_memory_gb": 80}}), &nvidia, None);
    check(
        json!({"gpu": {"type": "cuda"}}),
        &amd,
        Some(&format!("{at}: needs a cuda GPU, the machine has 1 of other kinds")),
    );
    check(
        json!({"gpu": {"type": "rocm", "min_memory_gb": 24}}),
        &amd,
        Some(&format!("{at}: needs a rocm GPU with 22.4 GiB of memory, the largest has 8 GiB")),
    );
    check(
        json!({"gpu": {"type": "gtx"}}),
        &nvidia,
        Some(&format!(
            "{at}: there is no kind of GPU \"gtx\"; expected \"cuda\", \"rocm\", \"intel\" or \"any\""
        )),
    );
}

#[test]
fn a_gpu_that_is_only_wanted_is_a_warning() {
    let fields = json!({"capabilities": {"gpu": {"required": false}}});
    let (problems, warnings) = found(fields, json!({}), &RuntimeConfig::default(), &machine());
    assert!(problems.is_empty());
    assert_eq!(warnings[0], "/nodes/0/capabilities/gpu: needs a GPU, the machine has none");
}

#[test]
fn cores_and_architecture_must_be_there() {
    let machine = machine();
    check(
        json!({"cpu": 4}),
        &machine,
        Some("/nodes/0/capabilities/cpu: needs 4 cores, the machine has 2"),
    );
    check(json!({"cpu": {"cores": 1, "arch": "amd64"}}), &machine, None);
    check(
        json!({"cpu": {"arch": "arm64"}}),
        &machine,
        Some("/nodes/0/capabilities/cpu/arch: is made for \"arm64\", the machine is \"x86_64\""),
    );
    // Cores are shared: too many together are only slow.
    let fields = json!({"capabilities": {"cpu": 1.5}});
    let (problems, warnings) = found(fields, json!({}), &RuntimeConfig::default(), &machine);
    assert!(problems.is_empty());
    assert_eq!(
        warnings,
        ["/nodes: the nodes want 3 cores together, the machine has 2; they will share them"]
    );
}

#[test]
fn memory_is_summed_and_compared_with_machine_and_runtime() {
    let machine = machine();
    check(json!({"memory_gb": 4}), &machine, None);
    check(
        json!({"memory_gb": 5}),
        &machine,
        Some("/nodes: the nodes need 9.3 GiB of memory together, 8 GiB can be had"),
    );
    check(json!({"memory_gb": 5}), &Machine { memory: None, ..machine.clone() }, None);
    let config =
        RuntimeConfig { max_memory_per_session: Some(1 << 30), ..RuntimeConfig::default() };
    let fields = json!({"capabilities": {"memory_gb": 0.1}, "limits": {"memory_gb": 1}});
    assert_eq!(
        found(fields, json!({}), &config, &machine).0,
        ["/nodes: the nodes may use 1.9 GiB of memory together, the runtime's limit is 1 GiB"]
    );
    let fields = json!({"capabilities": {"memory_gb": 2}, "limits": {"memory_gb": 1}});
    let (problems, _) = found(fields, json!({}), &RuntimeConfig::default(), &machine);
    assert_eq!(
        problems[0],
        "/nodes/0/limits/memory_gb: is 953.7 MiB, but the node needs 1.9 GiB by its capabilities"
    );
}

#[test]
fn cpus_must_be_usable() {
    let fields = json!({"limits": {"cpus": [1, 7]}});
    let (problems, _) = found(fields.clone(), json!({}), &RuntimeConfig::default(), &machine());
    assert_eq!(
        problems[0],
        "/nodes/0/limits/cpus: CPU 7 cannot be used here, expected some of 0, 1"
    );
    let unknown = Machine { cpus: [].into(), ..machine() };
    assert!(found(fields, json!({}), &RuntimeConfig::default(), &unknown).0.is_empty());
}

#[test]
fn caps_of_the_runtime_hold_whatever_a_manifest_asks_for() {
    let generous = json!({"max_processes_per_session": 10});
    let session = RuntimeConfig { max_processes_per_session: Some(1), ..RuntimeConfig::default() };
    assert_eq!(
        found(json!({}), generous.clone(), &session, &machine()).0,
        ["/nodes: the pipeline has 2 worker processes, the runtime's limit for a session is 1"]
    );
    let all = RuntimeConfig { max_processes: Some(1), ..RuntimeConfig::default() };
    assert_eq!(
        found(json!({}), generous, &all, &machine()).0,
        ["/nodes: the pipeline has 2 worker processes, the runtime's limit for all sessions is 1"]
    );
}

#[test]
fn an_interpreter_that_is_named_must_be_there() {
    let expected = "expected the path of one, the folder of a virtual environment, or a name on the \
                    search path";
    let settings = json!({"python_executable": "/no/such/python"});
    let config = RuntimeConfig::default();
    // Once, although it is that of two nodes.
    assert_eq!(
        found(json!({}), settings.clone(), &config, &machine()).0,
        [format!(
            "/metadata/multiprocess/python_executable: there is no interpreter \
             \"/no/such/python\"; {expected}"
        )]
    );
    let fields = json!({"python": "no-such-python"});
    let (problems, _) = found(fields, settings.clone(), &config, &machine());
    let message =
        format!("/nodes/0/python: there is no interpreter \"no-such-python\"; {expected}");
    assert_eq!((problems[0].as_str(), problems.len()), (message.as_str(), 2));
    assert!(found(json!({"python": "sh"}), settings, &config, &machine()).0.is_empty());
}
