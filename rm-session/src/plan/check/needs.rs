//! Whether the machine and the limits of the runtime allow what a manifest asks for.
//!
//! Main function: [`needs`]. Everything is compared by numbers; nothing is tried.

use rm_bridge::QueuePolicy;

use super::Choice;
use crate::config::RuntimeConfig;
use crate::machine::{GpuVendor, Machine, has_interpreter};
use crate::manifest::{ExecutorType, GpuSpec, Manifest, NodeSpec};
use crate::plan::SharedMemoryPlan;
use crate::plan::layout::{NamedBy, interpreter};
use crate::plan::print::bytes;
use crate::problem::{ProblemKind, Report};

/// Checks processes, interpreters, cores, memory, GPUs and architectures.
pub(in crate::plan) fn needs(
    manifest: &Manifest,
    choices: &[Option<Choice>],
    config: &RuntimeConfig,
    machine: &Machine,
    report: &mut Report,
) {
    let is_worker = |node: usize| {
        let executor = choices[node].as_ref().map(|choice| choice.executor);
        executor == Some(ExecutorType::Multiprocess)
    };
    let workers: Vec<_> = (0..choices.len()).filter(|node| is_worker(*node)).collect();
    processes(manifest, workers.len(), config, report);
    interpreters(manifest, &workers, config, report);
    for (index, node) in manifest.nodes().iter().enumerate() {
        capabilities(node, index, machine, report);
    }
    cores(manifest, machine, report);
    memory(manifest, &workers, config, machine, report);
    for &index in &workers {
        cpus(&manifest.nodes()[index], index, machine, report);
        input_queue(&manifest.nodes()[index], index, report);
    }
}

fn processes(manifest: &Manifest, workers: usize, config: &RuntimeConfig, report: &mut Report) {
    let limits = [
        (
            manifest.max_processes(),
            "/metadata/multiprocess/max_processes_per_session",
            "the limit is",
        ),
        (config.max_processes_per_session, "/nodes", "the runtime's limit for a session is"),
        (config.max_processes, "/nodes", "the runtime's limit for all sessions is"),
    ];
    for (limit, pointer, text) in limits {
        if let Some(max) = limit.filter(|max| workers > *max) {
            let message = format!("the pipeline has {workers} worker processes, {text} {max}");
            report.problem(ProblemKind::Limit, pointer, message);
        }
    }
}

fn interpreters(
    manifest: &Manifest,
    workers: &[usize],
    config: &RuntimeConfig,
    report: &mut Report,
) {
    let mut told = false;
    for &index in workers {
        let node = &manifest.nodes()[index];
        let Some((python, by)) = interpreter(node, manifest, config) else { continue };
        if by == NamedBy::Config || (by == NamedBy::Manifest && told) || has_interpreter(&python) {
            continue;
        }
        let pointer = match by {
            NamedBy::Node => format!("/nodes/{index}/python"),
            _ => "/metadata/multiprocess/python_executable".to_owned(),
        };
        told |= by == NamedBy::Manifest;
        let message = format!(
            "there is no interpreter {:?}; expected the path of one, the folder of a virtual \
             environment, or a name on the search path",
            python.display().to_string()
        );
        report.problem(ProblemKind::Interpreter, pointer, message);
    }
}

fn capabilities(node: &NodeSpec, index: usize, machine: &Machine, report: &mut Report) {
    let pointer = |field: &str| format!("/nodes/{index}/capabilities/{field}");
    let wants = &node.capabilities;
    if let Some(cores) = wants.cores.filter(|cores| *cores > machine.cores as f64) {
        let message = format!("needs {cores} cores, the machine has {}", machine.cores);
        report.problem(ProblemKind::Capability, pointer("cpu"), message);
    }
    if let Some(arch) = &wants.arch
        && normal_arch(arch) != normal_arch(&machine.arch)
    {
        let message = format!("is made for {arch:?}, the machine is {:?}", machine.arch);
        report.problem(ProblemKind::Capability, pointer("cpu/arch"), message);
    }
    if let Some(gpu) = &wants.gpu
        && let Some(message) = lacking_gpu(gpu, machine)
    {
        if gpu.required {
            report.problem(ProblemKind::Capability, pointer("gpu"), message);
        } else {
            report.warning(pointer("gpu"), message);
        }
    }
}

/// One name for what goes by several.
fn normal_arch(arch: &str) -> String {
    let lower = arch.to_ascii_lowercase();
    match lower.as_str() {
        "amd64" | "x64" | "x86-64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        "i386" | "i686" => "x86".to_owned(),
        _ => lower,
    }
}

fn lacking_gpu(gpu: &GpuSpec, machine: &Machine) -> Option<String> {
    let kind = gpu.kind.as_deref().filter(|kind| !kind.eq_ignore_ascii_case("any"));
    let vendor = kind.map(GpuVendor::from_name);
    let Ok(vendor) = vendor.map(|vendor| vendor.ok_or(())).transpose() else {
        let kind = kind.unwrap_or_default();
        return Some(format!(
            "there is no kind of GPU {kind:?}; expected \"cuda\", \"rocm\", \"intel\" or \"any\""
        ));
    };
    let fitting = machine.gpus.iter().filter(|gpu| vendor.is_none_or(|kind| gpu.vendor == kind));
    let found: Vec<_> = fitting.collect();
    let name = kind.map(|kind| format!("{kind} ")).unwrap_or_default();
    if found.is_empty() {
        let others = machine.gpus.len();
        return Some(format!(
            "needs a {name}GPU, the machine has {}",
            match others {
                0 => "none".to_owned(),
                others => format!("{others} of other kinds"),
            }
        ));
    }
    let needed = gpu.min_memory?;
    // What is not known is not held against a GPU.
    let most = found.iter().map(|gpu| gpu.memory.unwrap_or(u64::MAX)).max()?;
    (most < needed).then(|| {
        let (needed, most) = (bytes(needed), bytes(most));
        format!("needs a {name}GPU with {needed} of memory, the largest has {most}")
    })
}

/// Cores are shared, so wanting more of them than there are is slow and not wrong.
fn cores(manifest: &Manifest, machine: &Machine, report: &mut Report) {
    let wanted: f64 = manifest.nodes().iter().filter_map(|node| node.capabilities.cores).sum();
    let most = manifest.nodes().iter().filter_map(|node| node.capabilities.cores);
    let fits_alone = most.fold(0.0, f64::max) <= machine.cores as f64;
    if wanted > machine.cores as f64 && fits_alone {
        let message = format!(
            "the nodes want {wanted} cores together, the machine has {}; they will share them",
            machine.cores
        );
        report.warning("/nodes", message);
    }
}

fn memory(
    manifest: &Manifest,
    workers: &[usize],
    config: &RuntimeConfig,
    machine: &Machine,
    report: &mut Report,
) {
    let nodes = manifest.nodes();
    let total = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0, u64::saturating_add);
    let needed = total(&mut nodes.iter().filter_map(|node| node.capabilities.memory));
    if let Some(available) = machine.memory.filter(|available| needed > *available) {
        let (needed, available) = (bytes(needed), bytes(available));
        let message = format!("the nodes need {needed} of memory together, {available} can be had");
        report.problem(ProblemKind::Capability, "/nodes", message);
    }
    for (index, node) in nodes.iter().enumerate() {
        if let (Some(needed), Some(most)) = (node.capabilities.memory, node.limits.max_memory)
            && needed > most
        {
            let (needed, most) = (bytes(needed), bytes(most));
            let pointer = format!("/nodes/{index}/limits/memory_gb");
            let message = format!("is {most}, but the node needs {needed} by its capabilities");
            report.problem(ProblemKind::Setting, pointer, message);
        }
    }
    let Some(limit) = config.max_memory_per_session else { return };
    let mut of_each = nodes.iter().enumerate().filter_map(|(index, node)| {
        let most = node.limits.max_memory.filter(|_| workers.contains(&index));
        most.or(node.capabilities.memory)
    });
    let asked = total(&mut of_each);
    if asked > limit {
        let (asked, limit) = (bytes(asked), bytes(limit));
        let message =
            format!("the nodes may use {asked} of memory together, the runtime's limit is {limit}");
        report.problem(ProblemKind::Limit, "/nodes", message);
    }
}

fn cpus(node: &NodeSpec, index: usize, machine: &Machine, report: &mut Report) {
    let Some(cpus) = &node.limits.cpus else { return };
    let missing = cpus.iter().find(|cpu| !machine.cpus.contains(cpu));
    if let (Some(cpu), false) = (missing, machine.cpus.is_empty()) {
        let allowed: Vec<_> = machine.cpus.iter().map(ToString::to_string).collect();
        let message =
            format!("CPU {cpu} cannot be used here, expected some of {}", allowed.join(", "));
        report.problem(ProblemKind::Capability, format!("/nodes/{index}/limits/cpus"), message);
    }
}

fn input_queue(node: &NodeSpec, index: usize, report: &mut Report) {
    let drops = node.queue.policy.is_some_and(|policy| policy != QueuePolicy::Block);
    if drops && node.restart != rm_bridge::RestartPolicy::Never {
        let message = "the node is started again after a failure, so what waits for it is kept; \
                       expected \"block\"";
        report.problem(ProblemKind::Setting, format!("/nodes/{index}/queue/policy"), message);
    }
}

/// Warns where `/dev/shm` cannot hold what the channels may take.
pub(in crate::plan) fn shared_memory(memory: SharedMemoryPlan, report: &mut Report) {
    if let Some(free) = memory.free.filter(|free| *free < memory.needed) {
        let (needed, free) = (bytes(memory.needed), bytes(free));
        let message = format!(
            "the channels may take {needed} of shared memory, {free} are free in /dev/shm; a \
             container has 64 MB unless it is started with --shm-size, and channel_capacity makes \
             the channels smaller"
        );
        report.warning("/connections", message);
    }
}
