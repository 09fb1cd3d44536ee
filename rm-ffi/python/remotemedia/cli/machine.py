"""What this machine offers: looked up in files of the kernel, nothing is started.

Main function: `findings`. What is needed and missing is told from what is only advisable.
"""

import fcntl
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from remotemedia.cli.common import size

_SHM = Path("/dev/shm")
_CGROUPS = Path("/sys/fs/cgroup")
_MIB = 1024 * 1024
# By default a pipeline's queues may take so much, and half of that is what two of them take.
_MUCH_SHM = 256 * _MIB
_LITTLE_SHM = 64 * _MIB
_FEW_FILES = 1024
_OPTIONAL = {
    "opentelemetry": "traces across processes",
    "debugpy": "debugging of workers",
    "pydantic": "parameters as models",
}


class Finding(NamedTuple):
    """Something about this machine.

    Attributes
    ----------
    name : str
        What it is about.
    status : str
        "ok", "info", "warning", or "missing", of what is needed.
    value : str
        What was found.
    advice : str or None
        What to do about it.
    """

    name: str
    status: str
    value: str
    advice: str | None = None


def findings() -> Iterator[Finding]:
    """Look at everything."""
    yield Finding("kernel", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    implementation = platform.python_implementation()
    yield Finding("Python", "ok", f"{implementation} {platform.python_version()}, {sys.executable}")
    yield from _packages()
    yield from _processors()
    yield _memory()
    yield _shared_memory()
    yield _open_files()
    yield _kernel_call("pidfd_open", lambda: os.pidfd_open(os.getpid()), "Linux 5.3")
    yield _kernel_call("memfd_create", lambda: os.memfd_create("doctor"), "Linux 3.17")
    yield _user_namespaces()
    yield _cgroup()
    yield _leftovers()


def _packages() -> Iterator[Finding]:
    for name in ("remotemedia-runtime", "numpy", "click", "rich"):
        yield Finding(name, "ok", _version(name) or "not installed as a package")
    for name, use in _OPTIONAL.items():
        is_there = util.find_spec(name) is not None
        version = _version("opentelemetry-api" if name == "opentelemetry" else name)
        found = version or "there" if is_there else "not installed"
        yield Finding(name, "ok" if is_there else "info", f"{found} (optional: {use})")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processors() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    advice = "a pipeline with Python nodes is faster with two or more" if cores < 2 else None
    yield Finding("processors", "warning" if advice else "ok", str(cores), advice)
    quota, _, period = (_of_cgroup("cpu.max") or "max").partition(" ")
    if quota != "max" and period:
        yield Finding("processor quota", "info", f"{int(quota) / int(period):.2f} processors")
    else:
        yield Finding("processor quota", "ok", "none")


def _memory() -> Finding:
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    limit = _of_cgroup("memory.max")
    held = f", limited to {size(int(limit))}" if limit and limit.isdigit() else ""
    return Finding("memory", "ok", f"{size(pages * page)}{held}")


def _shared_memory() -> Finding:
    try:
        found = os.statvfs(_SHM)
    except OSError as error:
        return Finding("shared memory", "missing", f"{_SHM}: {error.strerror}", "mount a tmpfs")
    if not os.access(_SHM, os.W_OK | os.X_OK):
        return Finding("shared memory", "missing", f"{_SHM} is not writable", f"chmod 1777 {_SHM}")
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    value = f"{size(total)}, {size(free)} free"
    advice = (
        "in a container give more: --shm-size=1g (Docker), or a volume "
        "emptyDir of medium Memory at /dev/shm (Kubernetes)"
    )
    if free < _LITTLE_SHM:
        return Finding("shared memory", "warning", value, advice)
    if total < _MUCH_SHM:
        return Finding("shared memory", "warning", value, f"{advice}; large items need it")
    return Finding("shared memory", "ok", value)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    value = f"{soft} (at most {'any' if hard == resource.RLIM_INFINITY else hard})"
    if 0 <= soft < _FEW_FILES:
        return Finding("open files", "warning", value, "raise it: ulimit -n 4096")
    return Finding("open files", "ok", value)


def _kernel_call(name: str, call: Callable[[], int], since: str) -> Finding:
    try:
        os.close(call())
    except OSError as error:
        advice = f"it needs {since}, and a sandbox that allows it"
        return Finding(name, "missing", error.strerror or str(error), advice)
    return Finding(name, "ok", "works")


def _user_namespaces() -> Finding:
    text = _read(Path("/proc/sys/user/max_user_namespaces"))
    value = f"at most {text}" if text else "none"
    return Finding("user namespaces", "ok" if text and text != "0" else "info", value)


def _cgroup() -> Finding:
    folder = _own_cgroup()
    if folder is None:
        return Finding("cgroup", "info", "no version 2 here", _no_cgroup())
    controllers = (_read(folder / "cgroup.controllers") or "").split()
    if not os.access(folder, os.W_OK):
        return Finding("cgroup", "info", f"{folder} is not writable", _no_cgroup())
    memory = "with" if "memory" in controllers else "without"
    return Finding("cgroup", "ok", f"{folder} is writable, {memory} the memory controller")


def _no_cgroup() -> str:
    return (
        "limits of memory then hold for each process of a node and not for all together; "
        "start with: systemd-run --user --scope -p Delegate=yes …"
    )


def _own_cgroup() -> Path | None:
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        if line.startswith("0::"):
            # Beside version 1 it lies one deeper.
            for root in (_CGROUPS, _CGROUPS / "unified"):
                folder = root / line[3:].lstrip("/")
                if (folder / "cgroup.procs").exists():
                    return folder
    return None


def _of_cgroup(name: str) -> str | None:
    folder = _own_cgroup()
    return _read(folder / name) if folder else None


def _leftovers() -> Finding:
    user = os.getuid()
    locks = [
        *_SHM.glob(f"remotemedia-{user}/*.lock"),
        *_SHM.glob(f"remotemedia-processes-{user}/*"),
    ]
    dead = [lock for lock in locks if _is_unlocked(lock)]
    if dead:
        advice = "remotemedia clean removes it; so does the next run"
        return Finding("leftovers", "warning", f"of {len(dead)} killed runs", advice)
    return Finding("leftovers", "ok", "none")


def _is_unlocked(path: Path) -> bool:
    """Whether nobody lives to whom it belongs: the kernel lets go of the locks of the dead."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
