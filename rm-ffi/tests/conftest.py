"""What all tests share: manifests, the nodes' folder, and the check that nothing is left behind."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from remotemedia_runtime import Audio, execute_pipeline_with_input

NODES = Path(__file__).parent / "nodes"
SHM = Path("/dev/shm")
# Against hangs only, in seconds.
WATCHDOG = 20.0

# A shell starts background jobs with SIGINT ignored, and what they start inherits that; the tests
# are about what a user at a terminal sees.
signal.signal(signal.SIGINT, signal.default_int_handler)


def manifest(*nodes, connections=None, **fields):
    """The text of a manifest; nodes without connections given are a chain.

    A node is ``(id, type)``, ``(id, type, params)`` or ``(id, type, params, fields)``, the last of
    which are its other fields.
    """
    described = [
        dict(zip(("id", "node_type", "params"), node[:3], strict=False), **dict(*node[3:]))
        for node in nodes
    ]
    ids = [node[0] for node in nodes]
    if connections is None:
        connections = list(pairwise(ids))
    pairs = [{"from": start, "to": end} for start, end in connections]
    return json.dumps({"version": "v1", "nodes": described, "connections": pairs, **fields})


# A session of a node in this process, and one of a node in a worker.
SAME = ("same", "PassThroughNode")
ECHO = ("echo", "session_nodes:Echo")
NATIVE = manifest(SAME)
WORKER = manifest(ECHO)


@pytest.fixture(params=[NATIVE, WORKER], ids=["native", "worker"])
def source(request):
    """The manifest of either kind of session."""
    return request.param


def children_of(pid):
    """The processes that a process has started and that live, also as children of children."""
    found = []
    for folder in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (folder / "children").read_text().split()
        except FileNotFoundError:
            # The thread has ended meanwhile.
            continue
        for child in children:
            found += [int(child), *children_of(int(child))]
    return found


def output_until(process, text):
    """What a process has printed on both streams, once that has a text in it."""
    printed = ""
    deadline = time.monotonic() + WATCHDOG
    while text not in printed:
        assert time.monotonic() < deadline, f"no {text!r} in {printed!r}"
        streams = [process.stdout, process.stderr]
        for stream in select.select(streams, [], [], 1.0)[0]:
            printed += os.read(stream.fileno(), 65_536).decode()
    return printed


def said(err):
    """What the command has said, but for what it says where shared memory is small."""
    small = "warning: /connections: the channels may take "
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith(small))


def shared_memory_of(pid):
    """The names in shared memory that a process has open or mapped."""
    names = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if target.startswith((f"{SHM}/remotemedia-", f"{SHM}/rm")):
            names.add(target.removesuffix(" (deleted)"))
    return names


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No child process and no open namespace of this process is left after a test."""
    before = shared_memory_of(os.getpid())
    yield
    # The one that starts processes lives as long as this one, without a child of its own.
    assert children_of(os.getpid()) == []
    assert shared_memory_of(os.getpid()) <= before


@pytest.fixture(autouse=True)
def in_the_nodes_folder(monkeypatch):
    """Manifests given as text find the nodes of the tests: paths start from the current folder."""
    monkeypatch.chdir(NODES)


@pytest.fixture
def manifest_file(tmp_path):
    """Writes a manifest to a file, whose folder finds the nodes of the tests."""

    def write(*nodes, **fields):
        for module in NODES.glob("*.py"):
            link = tmp_path / module.name
            if not link.exists():
                link.symlink_to(module)
        path = tmp_path / "pipeline.json"
        path.write_text(manifest(*nodes, **fields))
        return path

    return write


@pytest.fixture
def command():
    """Starts the command as a user does; ends it with the test."""
    started = []

    def start(*arguments, **options):
        process = subprocess.Popen(
            [sys.executable, "-m", "remotemedia", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def ended(process):
    """How a run of the command has ended: its exit code, and what it printed on both streams."""
    out, err = process.communicate(timeout=25)
    assert "Traceback (most recent call last)" not in err.split("error:")[0]
    return process.returncode, out, err


@pytest.fixture
def sound(tmp_path):
    """A file of a second of noise beside the manifest."""
    noise = np.random.default_rng(2).uniform(-1, 1, 16_000).astype(np.float32)
    path = tmp_path / "sound.wav"
    sink = ("w", "AudioFileSinkNode", {"path": str(path)})
    execute_pipeline_with_input(manifest(sink), Audio(noise, 16_000))
    return path
