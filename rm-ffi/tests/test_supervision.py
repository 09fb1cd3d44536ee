"""What a user reads of a worker that dies, and that nothing of it is left."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from conftest import NODES, WATCHDOG, children_of, manifest, output_until, said

from remotemedia import Audio
from remotemedia_runtime import (
    InitializationTimeout,
    ProcessCrashError,
    ProcessSpawnError,
    PythonError,
    execute_pipeline,
    execute_pipeline_with_input,
)

CHUNKS = 3


@pytest.fixture
def source(tmp_path):
    """A source of a few items."""
    path = tmp_path / "sound.wav"
    sink = manifest(("w", "AudioFileSinkNode", {"path": str(path)}))
    execute_pipeline_with_input(sink, Audio(np.zeros(160 * CHUNKS, np.float32), 16_000))
    return ("source", "AudioFileSourceNode", {"path": str(path), "chunk_ms": 10})


def ends(how, at=1):
    return ("asr", "supervision_nodes:Ends", {"how": how, "at": at})


def wait_until(condition):
    deadline = time.monotonic() + WATCHDOG
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)


CRASHES = [
    # How it ends; code, signal; the words for both; the reason; what the stacks show.
    ("faults", None, signal.SIGSEGV, "killed by signal SIGSEGV", "crash", "Segmentation fault"),
    ("aborts", None, signal.SIGABRT, "killed by signal SIGABRT", "crash", "Aborted"),
    ("exits", 7, None, "exited with code 7", "crash", None),
    ("is_killed", None, signal.SIGKILL, "killed by signal SIGKILL", "killed", None),
]


@pytest.mark.parametrize(("how", "code", "number", "words", "reason", "fatal"), CRASHES)
def test_a_crash_is_told_with_all_that_is_known_of_it(
    source, how, code, number, words, reason, fatal
):
    with pytest.raises(ProcessCrashError) as raised:
        execute_pipeline(manifest(source, ends(how)))
    error, text = raised.value, str(raised.value)
    assert (error.node_id, error.exit_code, error.signal) == ("asr", code, number)
    assert (error.reason, error.item) == (reason, 1)
    assert (error.stdout, error.stderr.startswith("last words\n")) == ("so far\n", True)
    for expected in ("node asr (supervision_nodes:Ends) died while running", words, "item 1 "):
        assert expected in text
    assert error.report.startswith("asr (pid ")
    assert words in error.report
    assert text.count("last words") == 1
    if fatal is None:
        assert error.traceback is None
    else:
        assert fatal in error.traceback
        assert f"in {how}" in error.traceback
        assert "in waits" in error.traceback
        # Once, and whole.
        assert text.count("most recent call first") == 2
        assert error.traceback in text


@pytest.mark.parametrize(("how", "code", "number", "words", "reason", "fatal"), CRASHES)
def test_the_command_tells_a_crash_once(
    command, manifest_file, source, how, code, number, words, reason, fatal
):
    process = command("run", manifest_file(source, ends(how)), "--quiet")
    _, err = process.communicate(timeout=WATCHDOG)
    assert process.returncode == 1
    assert said(err).startswith("error: node asr (supervision_nodes:Ends) died while running")
    assert err.count(words) == 1
    assert err.count("Fatal Python error") == (fatal is not None)


def test_a_crash_before_the_node_is_ready_says_so():
    with pytest.raises(ProcessCrashError, match="died before it was ready") as raised:
        execute_pipeline_with_input(
            manifest(("n", "sample_nodes:Fail", {"at": "initialize", "how": "os_exit"})), "x"
        )
    assert (raised.value.exit_code, raised.value.item) == (4, None)
    assert raised.value.stderr == "last words\n"


@pytest.mark.parametrize(
    ("how", "name", "message"),
    [("raises", "KeyError", "'no such voice'"), ("swells", "MemoryError", "")],
)
def test_an_exception_is_told_with_its_item_and_its_traceback(source, how, name, message):
    with pytest.raises(PythonError) as raised:
        execute_pipeline(manifest(source, ends(how)))
    error, text = raised.value, str(raised.value)
    assert (error.node_id, error.during, error.item) == ("asr", "process", 1)
    assert error.error_type == name
    assert f"failed to process item 1: {name}: {message}" in text
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert f"in {how}" in error.traceback
    assert text.endswith(error.traceback)
    assert text.count("Traceback") == 1


def test_a_class_that_is_missing_has_no_traceback():
    with pytest.raises(PythonError) as raised:
        execute_pipeline_with_input(manifest(("n", "supervision_nodes:Ende")), "x")
    assert (raised.value.during, raised.value.item) == ("load", None)
    assert (raised.value.error_type, raised.value.traceback) == ("LoadError", None)


def test_a_deadlock_past_its_time_shows_where_each_thread_waits():
    with pytest.raises(InitializationTimeout) as raised:
        execute_pipeline_with_input(
            manifest(
                ("asr", "supervision_nodes:Deadlocks"),
                metadata={"multiprocess": {"init_timeout_secs": 2}},
            ),
            "x",
        )
    error, text = raised.value, str(raised.value)
    assert (error.node_id, error.reason, error.item) == ("asr", "timeout", None)
    assert "in initialize" in error.traceback
    assert "in takes_second" in error.traceback
    assert "warming up" in text
    assert text.count("most recent call first") == 2


def test_an_interpreter_without_the_wheel_is_told_with_its_last_words(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    settings = {"python_executable": str(tmp_path / "venv")}
    with pytest.raises(ProcessSpawnError) as raised:
        execute_pipeline_with_input(
            manifest(("n", "sample_nodes:Echo"), metadata={"multiprocess": settings}), "x"
        )
    error = raised.value
    assert (error.node_id, error.exit_code, error.reason) == ("n", 1, "crash")
    assert "remotemedia_runtime" in error.stderr
    assert "remotemedia_runtime" in str(error)


def test_a_process_that_was_never_started_has_no_end(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/no/such/program\n")
    python.chmod(0o700)
    settings = {"python_executable": str(python)}
    with pytest.raises(ProcessSpawnError) as raised:
        execute_pipeline_with_input(
            manifest(("n", "sample_nodes:Echo"), metadata={"multiprocess": settings}), "x"
        )
    error = raised.value
    assert (error.node_id, error.exit_code, error.signal, error.reason) == ("n", *[None] * 3)


def tells(names=(), **fields):
    node = ("n", "supervision_nodes:Tells", {"names": list(names)})
    return execute_pipeline_with_input(manifest(node, **fields), "x")["result"][0]


def test_a_worker_runs_in_the_virtual_environment_that_is_named(tmp_path):
    # It finds the wheel, and no other module, by a path of its own.
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    paths = [path for path in sys.path if path.endswith("site-packages")]
    (site / "wheel.pth").write_text("\n".join(paths))
    for named in (folder, folder / "bin" / "python"):
        seen = tells(
            ("VIRTUAL_ENV", "PATH"), metadata={"multiprocess": {"python_executable": str(named)}}
        )
        assert seen["prefix"] == str(folder)
        assert seen["environment"]["VIRTUAL_ENV"] == str(folder)
        assert seen["environment"]["PATH"].split(":")[0] == str(folder / "bin")


def test_a_worker_has_the_module_path_of_its_parent(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path))
    seen = tells(("PYTHONPATH", "PYTHONSTARTUP"))
    assert seen["environment"] == {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": None}
    assert seen["path"][0] == str(NODES)
    assert str(tmp_path) in seen["path"]


def test_a_node_that_prints_a_lot_neither_blocks_nor_fills_memory():
    size = 64 << 20
    before = peak_memory()
    node = ("n", "supervision_nodes:Prints", {"bytes": size})
    assert execute_pipeline_with_input(manifest(node), "x")["result"] == "printed"
    assert peak_memory() - before < size / 4


def peak_memory():
    """The most that this process has had in RAM, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def with_argument(argument):
    """The processes that have an argument, which nobody else has."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if argument.encode() in words:
                    found.append(int(folder.name))
    return found


@pytest.fixture
def argument():
    """What tells a process that a node leaves behind from all others; none is left of them."""
    # A number, which `sleep` takes for seconds.
    name = f"1000.{uuid.uuid4().int}"
    yield name
    for pid in with_argument(name):
        os.kill(pid, signal.SIGKILL)


class Run:
    """A run of the command whose node has left a process behind, or holds the lock."""

    def __init__(self, process, text):
        self.process = process
        self.text = output_until(process, text)
        (self.worker,) = [
            pid
            for pid in children_of(process.pid)
            if b"remotemedia_runtime.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        variables = Path(f"/proc/{self.worker}/environ").read_bytes().split(b"\0")
        (ids,) = [text for text in variables if text.startswith(b"REMOTEMEDIA_RUNTIME=")]
        self.runtime = re.split(r"[=,]", ids.decode())[-1]

    def ended(self):
        out, err = self.process.communicate(timeout=WATCHDOG)
        return self.process.returncode, self.text + out + err


@pytest.fixture
def leaves(command, manifest_file, source, argument):
    """Starts a run whose node leaves a process of its own session, and works on."""

    def start(then="waits"):
        params = {"argument": argument, "then": then}
        path = manifest_file(source, ("n", "supervision_nodes:Leaves", params))
        run = Run(command("run", path), "n: left ")
        # In the midst of exec a process has no arguments.
        wait_until(lambda: len(with_argument(argument)) == 1)
        return run

    return start


def has_cgroups():
    """Whether a tree of processes can be killed at once on this machine, by this user."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    folders = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    if not folders:
        return False
    own = Path("/proc/self/cgroup").read_text().split("0::/")[-1].strip()
    return os.access(folders[0] / own, os.W_OK)


def test_what_has_left_its_session_is_gone_after_a_normal_end(
    command, manifest_file, source, argument
):
    params = {"argument": argument, "then": "ends"}
    process = command("run", manifest_file(source, ("n", "supervision_nodes:Leaves", params)))
    out, err = process.communicate(timeout=WATCHDOG)
    assert process.returncode == 0, err
    assert "n: left " in out
    assert with_argument(argument) == []


def test_what_has_left_its_session_is_gone_after_ctrl_c(leaves, argument):
    run = leaves()
    run.process.send_signal(signal.SIGINT)
    code, text = run.ended()
    assert code == 130, text
    assert with_argument(argument) == []


def test_what_has_left_its_session_is_gone_after_the_worker_was_killed(leaves, argument):
    run = leaves()
    os.kill(run.worker, signal.SIGKILL)
    code, text = run.ended()
    assert code == 1
    assert "error: node n (supervision_nodes:Leaves) died while running" in text
    assert re.search(r"killed by signal SIGKILL after [^:]*: killed", text), text
    assert with_argument(argument) == []


@pytest.mark.skipif(not has_cgroups(), reason="without cgroups, this is left to `clean`")
def test_what_has_left_its_session_is_gone_when_the_parent_was_killed(leaves, argument):
    run = leaves()
    run.process.kill()
    run.ended()
    wait_until(lambda: with_argument(argument) == [])


def test_clean_removes_what_a_killed_parent_has_left_and_says_what(leaves, argument, command):
    # Any runtime of this user that starts meanwhile may clean before.
    for _ in range(10):
        run = leaves()
        (left,) = with_argument(argument)
        run.process.kill()
        run.ended()
        wait_until(lambda worker=run.worker: not Path(f"/proc/{worker}").exists())
        process = command("clean")
        out, err = process.communicate(timeout=WATCHDOG)
        assert process.returncode == 0, err
        wait_until(lambda: with_argument(argument) == [])
        said = out.splitlines()
        if f"removed runtime {run.runtime}" in said:
            break
    else:
        pytest.skip("other runtimes of this user start all the time")
    assert any(re.fullmatch("removed shared memory [0-9a-f]{16}", line) for line in said), out
    if not has_cgroups():
        assert f"removed process {left}" in said


def test_a_worker_that_holds_the_interpreters_lock_dies_with_its_parent(
    command, manifest_file, source
):
    run = Run(command("run", manifest_file(source, ("n", "supervision_nodes:Holds"))), "holding")
    run.process.kill()
    run.ended()
    wait_until(lambda: not Path(f"/proc/{run.worker}").exists())
    command("clean").communicate(timeout=WATCHDOG)


def test_a_worker_that_is_stopped_dies_with_its_parent(command, manifest_file, source):
    run = Run(command("run", manifest_file(source, ("n", "supervision_nodes:Holds"))), "holding")
    os.kill(run.worker, signal.SIGSTOP)
    run.process.kill()
    run.ended()
    wait_until(lambda: not Path(f"/proc/{run.worker}").exists())
    command("clean").communicate(timeout=WATCHDOG)
