//! Machines made of files, and this one.

use super::*;

use tempfile::TempDir;

fn machine(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a folder can be made");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }
    root
}

#[test]
fn this_machine_has_a_core_and_memory() {
    let machine = Machine::probe();
    assert!(machine.cores >= 1);
    assert!(machine.cpus.len() >= machine.cores);
    assert!(machine.memory.unwrap() > 1 << 20);
    assert_eq!(machine.arch, std::env::consts::ARCH);
    if let Some(shm) = machine.shared_memory {
        assert!(shm.free <= shm.total);
    }
}

#[test]
fn cpus_and_available_memory_are_read() {
    let root = machine(&[
        ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-2,5\n"),
        ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   2048 kB\n"),
    ]);
    assert_eq!(cpus(root.path()), Some([0, 1, 2, 5].into()));
    assert_eq!(available(root.path()), Some(2 << 20));
    assert_eq!(limit(root.path()), None);
}

#[test]
fn the_lowest_limit_of_a_cgroup_and_those_above_it_counts() {
    let root = machine(&[
        ("proc/self/cgroup", "0::/a/b\n"),
        ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ("sys/fs/cgroup/a/memory.max", "1000\n"),
        ("sys/fs/cgroup/memory.max", "5000\n"),
    ]);
    assert_eq!(limit(root.path()), Some(1_000));
    let root = machine(&[
        ("proc/self/cgroup", "5:cpu:/\n4:memory:/x\n0::/\n"),
        ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "3000\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ]);
    assert_eq!(limit(root.path()), Some(3_000));
    // In a container the path may be one of the host's.
    let root = machine(&[
        ("proc/self/cgroup", "0::/../other\n"),
        ("sys/fs/cgroup/memory.max", "7000\n"),
        ("sys/fs/other/memory.max", "1\n"),
    ]);
    assert_eq!(limit(root.path()), Some(7_000));
}

#[test]
fn gpus_that_compute_are_found_and_virtual_ones_are_not() {
    let root = machine(&[
        ("dev/nvidia0", ""),
        ("dev/nvidia1", ""),
        ("dev/nvidiactl", ""),
        ("dev/nvidia-uvm", ""),
        ("sys/class/drm/card0/device/vendor", "0x1002\n"),
        ("sys/class/drm/card0/device/mem_info_vram_total", "17163091968\n"),
        ("sys/class/drm/card0-HDMI-A-1/device/vendor", "0x1002\n"),
        ("sys/class/drm/card1/device/vendor", "0x1af4\n"),
        ("sys/class/drm/card2/device/vendor", "0x8086\n"),
        ("sys/class/drm/renderD128/device/vendor", "0x8086\n"),
    ]);
    let gpu = |vendor, memory| Gpu { vendor, memory };
    let nvidia = gpu(GpuVendor::Nvidia, None);
    let amd = gpu(GpuVendor::Amd, Some(17_163_091_968));
    assert_eq!(gpus(root.path()), [nvidia.clone(), nvidia, amd, gpu(GpuVendor::Intel, None)]);
    assert!(gpus(machine(&[]).path()).is_empty());
}

#[test]
fn an_interpreter_is_on_the_search_path_or_a_path_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    assert!(has_interpreter(Path::new("sh")));
    assert!(has_interpreter(Path::new("/bin/sh")));
    assert!(has_interpreter(folder.path()));
    assert!(!has_interpreter(Path::new("no-such-python")));
    assert!(!has_interpreter(&folder.path().join("bin/python")));
}

#[test]
fn what_was_found_lately_is_this_machine() {
    let (first, second) = (Machine::recent(), Machine::recent());
    assert_eq!((first.cores, &first.arch), (second.cores, &second.arch));
    assert_eq!(first.cores, Machine::probe().cores);
}
