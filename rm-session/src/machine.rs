//! What the machine has: cores, memory, GPUs, shared memory.
//!
//! Main type: [`Machine`]. A plan is checked against it before anything is started. It is read from
//! files of the kernel, without any vendor's library, so the memory of some GPUs stays unknown. No
//! interpreter is started and nothing is measured.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

#[cfg(test)]
mod tests;

/// Where POSIX shared memory lies.
const SHM: &str = "/dev/shm";

/// What a machine has, as far as it is known; a value that can also be made by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Cores that this process may keep busy, with quotas of cgroups taken into account.
    pub cores: usize,
    /// The numbers of the CPUs that this process may use; empty where they are not known.
    pub cpus: BTreeSet<usize>,
    /// The processor architecture under the name that Rust has for it, such as `x86_64`.
    pub arch: String,
    /// Bytes of memory that can be had: what the kernel thinks available, and no more than the
    /// limit of this process's cgroup. `None` where it is not known.
    pub memory: Option<u64>,
    /// The GPUs that can be used.
    pub gpus: Vec<Gpu>,
    /// The room in `/dev/shm`; `None` where there is none.
    pub shared_memory: Option<SharedMemory>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Who made it.
    pub vendor: GpuVendor,
    /// Its memory in bytes, where it is known.
    pub memory: Option<u64>,
}

/// Who made a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuVendor {
    /// NVIDIA, whose interface is CUDA.
    Nvidia,
    /// AMD, whose interface is ROCm.
    Amd,
    /// Intel.
    Intel,
}

impl GpuVendor {
    /// The vendor that a manifest means: by name, or by the name of its interface.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "nvidia" | "cuda" => Some(Self::Nvidia),
            "amd" | "rocm" | "hip" => Some(Self::Amd),
            "intel" | "xpu" => Some(Self::Intel),
            _ => None,
        }
    }
}

/// The room in `/dev/shm`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SharedMemory {
    /// What is free.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

impl Machine {
    /// This machine, as it is now. It takes some dozens of microseconds.
    pub fn probe() -> Self {
        let root = Path::new("/");
        Self {
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            cpus: cpus(root).unwrap_or_default(),
            arch: std::env::consts::ARCH.to_owned(),
            memory: [available(root), limit(root)].into_iter().flatten().min(),
            gpus: gpus(root),
            shared_memory: shared_memory(),
        }
    }

    /// This machine, as it was at most 100 ms ago: for who plans many short runs.
    pub fn recent() -> Self {
        const MAX_AGE: Duration = Duration::from_millis(100);
        static LAST: Mutex<Option<(Instant, Machine)>> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((probed, machine)) if probed.elapsed() < MAX_AGE => machine.clone(),
            _ => last.insert((Instant::now(), Self::probe())).1.clone(),
        }
    }
}

/// The value of a line `name: value` of a file.
fn field(path: PathBuf, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned())
}

fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A list such as `0-3,8`.
fn cpus(root: &Path) -> Option<BTreeSet<usize>> {
    let list = field(root.join("proc/self/status"), "Cpus_allowed_list")?;
    let mut found = BTreeSet::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        found.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(found)
}

fn available(root: &Path) -> Option<u64> {
    let kilobytes = field(root.join("proc/meminfo"), "MemAvailable")?;
    kilobytes.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest limit of memory of this process's cgroup and of those above it, version 2 or 1. A
/// container sees its own cgroup as the root of the hierarchy, so the root counts as well.
fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let mount = root.join(mount);
        // A path that leads out of what this process sees is not followed.
        let path = path.trim_start_matches('/');
        let path = if path.split('/').any(|part| part == "..") { "" } else { path };
        let folders = Path::new(path).ancestors().map(|folder| mount.join(folder));
        folders.filter_map(|folder| number(folder.join(file))).min()
    });
    limits.min()
}

/// The GPUs that programs can reach: NVIDIA's by their device files, others by the kernel's list of
/// graphics devices. Virtual ones, which compute nothing, are of other vendors.
fn gpus(root: &Path) -> Vec<Gpu> {
    let names = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let numbered = |name: &str, prefix: &str| name.strip_prefix(prefix).is_some_and(is_number);
    let nvidia = names("dev").into_iter().filter(|name| numbered(name, "nvidia"));
    let mut gpus: Vec<_> =
        nvidia.map(|_| Gpu { vendor: GpuVendor::Nvidia, memory: None }).collect();
    for card in names("sys/class/drm").iter().filter(|name| numbered(name, "card")) {
        let device = root.join("sys/class/drm").join(card).join("device");
        let vendor = match fs::read_to_string(device.join("vendor")).unwrap_or_default().trim() {
            "0x1002" => GpuVendor::Amd,
            "0x8086" => GpuVendor::Intel,
            _ => continue,
        };
        gpus.push(Gpu { vendor, memory: number(device.join("mem_info_vram_total")) });
    }
    gpus
}

fn shared_memory() -> Option<SharedMemory> {
    let found = rustix::fs::statvfs(SHM).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some(SharedMemory { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
}

/// Whether there is something that could be the interpreter of this name: a program on the search
/// path, or a path that exists. Whether it works shows when it is started.
pub(crate) fn has_interpreter(python: &Path) -> bool {
    let bare = python.components().count() == 1 && !python.has_root();
    let on_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(python).is_file())
    };
    (bare && on_path()) || python.exists()
}
