"""Nothing is left behind, however a run ends; and a run that waits uses no processor.

Every test starts the command as a user does, with two workers, and looks at what it started: its
processes, its shared memory, its files.
"""

import os
import re
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import SHM, WATCHDOG, children_of, output_until, shared_memory_of

from remotemedia import Audio
from remotemedia_runtime import execute_pipeline_with_input

ECHO = ("echo", "lifecycle_nodes:Echo")


@pytest.fixture
def source(tmp_path):
    """A source with some items."""
    path = tmp_path / "sound.wav"
    sink = f'{{"id": "w", "node_type": "AudioFileSinkNode", "params": {{"path": "{path}"}}}}'
    text = f'{{"version": "v1", "nodes": [{sink}]}}'
    execute_pipeline_with_input(text, Audio(np.zeros(16_000, np.float32), 16_000))
    return ("source", "AudioFileSourceNode", {"path": str(path)})


class Run:
    """A run of the command, and all that it has in the machine."""

    def __init__(self, process, wait_for):
        self.process = process
        self.temporary = set(os.listdir(tempfile.gettempdir()))
        self.text = output_until(process, wait_for)
        self.workers = children_of(process.pid)
        names = " ".join(shared_memory_of(process.pid))
        self.namespaces = set(re.findall(r"/(?:remotemedia-\d+/|rm)([0-9a-f]{16})", names))
        assert self.files(), "the run has no shared memory"

    def files(self):
        """What there is in shared memory under the names of this run."""
        found = [*SHM.iterdir(), *SHM.glob("remotemedia-*/*")]
        return [str(path) for path in found if any(n in path.name for n in self.namespaces)]

    def wait_for_workers(self):
        """Wait until no worker is left."""
        deadline = time.monotonic() + WATCHDOG
        while any(Path(f"/proc/{pid}").exists() for pid in self.workers):
            assert time.monotonic() < deadline, f"of {self.workers} some are alive"
            time.sleep(0.01)

    def ended(self):
        """Wait for the end; give exit code and everything printed."""
        out, err = self.process.communicate(timeout=WATCHDOG)
        return self.process.returncode, self.text + out + err

    def check_nothing_is_left(self):
        """No worker, no shared memory, no socket (they have no names), no temporary file."""
        assert [pid for pid in self.workers if Path(f"/proc/{pid}").exists()] == []
        assert self.files() == []
        new = set(os.listdir(tempfile.gettempdir())) - self.temporary
        assert [name for name in new if "remotemedia" in name or name.startswith("rm")] == []


def test_nothing_is_left_after_success(command, manifest_file, source):
    # The end of loading is a moment at which everything is there.
    run = Run(command("run", manifest_file(source, ECHO, ("b", ECHO[1]))), "b: ready")
    code, text = run.ended()
    assert code == 0, text
    assert len(run.workers) == 2
    run.check_nothing_is_left()


def test_nothing_is_left_after_ctrl_c_while_loading(command, manifest_file, source):
    path = manifest_file(source, ECHO, ("slow", "lifecycle_nodes:LoadsForEver"))
    run = Run(command("run", path), "half of it")
    run.process.send_signal(signal.SIGINT)
    code, text = run.ended()
    assert code == 130, text
    assert "Traceback" not in text
    run.check_nothing_is_left()


def test_nothing_is_left_after_ctrl_c_in_mid_stream(command, manifest_file, source):
    path = manifest_file(source, ("slow", "lifecycle_nodes:WorksForEver"), ECHO)
    run = Run(command("run", path), "echo: one")
    assert len(run.workers) == 2
    run.process.send_signal(signal.SIGINT)
    code, text = run.ended()
    assert code == 130, text
    run.check_nothing_is_left()


def test_nothing_is_left_after_sigterm(command, manifest_file, source):
    path = manifest_file(source, ("slow", "lifecycle_nodes:WorksForEver"), ECHO)
    run = Run(command("run", path), "echo: one")
    run.process.terminate()
    code, text = run.ended()
    assert code not in (0, -signal.SIGTERM), text
    run.check_nothing_is_left()


@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_worker_is_named_and_nothing_is_left(command, manifest_file, source, which):
    path = manifest_file(source, ("slow", "lifecycle_nodes:WorksForEver"), ECHO)
    run = Run(command("run", path), "echo: one")
    os.kill(run.workers[which], signal.SIGKILL)
    code, text = run.ended()
    assert code == 1, text
    assert "error: node " in text
    assert "SIGKILL" in text
    run.check_nothing_is_left()


@pytest.mark.parametrize("moment", ["half of it", "echo: one"])
@pytest.mark.parametrize("cleaner", ["clean", "run"])
def test_a_killed_parent_takes_its_workers_along_and_the_next_start_removes_the_rest(
    command, manifest_file, source, moment, cleaner
):
    slow = "LoadsForEver" if moment == "half of it" else "WorksForEver"
    run = Run(
        command("run", manifest_file(source, ("slow", f"lifecycle_nodes:{slow}"), ECHO)), moment
    )
    run.process.kill()
    assert run.ended()[0] == -signal.SIGKILL
    run.wait_for_workers()
    if cleaner == "clean":
        process = command("clean")
    else:
        process = command("run", manifest_file(source, ECHO))
    _, err = process.communicate(timeout=WATCHDOG)
    assert process.returncode == 0, err
    run.check_nothing_is_left()


def processor_seconds(pids):
    """What the processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_a_session_that_waits_uses_no_processor(command, manifest_file, source):
    path = manifest_file(source, ("slow", "lifecycle_nodes:WorksForEver"), ECHO)
    run = Run(command("run", path), "echo: one")
    processes = [run.process.pid, *run.workers]
    assert len(processes) == 3
    time.sleep(0.5)
    before, began = processor_seconds(processes), time.monotonic()
    time.sleep(5)
    used, elapsed = processor_seconds(processes) - before, time.monotonic() - began
    run.process.send_signal(signal.SIGINT)
    run.ended()
    assert used < 0.01 * elapsed, f"{used} s of processor time in {elapsed} s"
    run.check_nothing_is_left()
