"""The command, as a user runs it."""

import json
import os
import select
import signal
import subprocess
import sys

import pytest
from conftest import WATCHDOG, children_of, ended, manifest, said, shared_memory_of

from remotemedia import __version__
from remotemedia_runtime import get_available_nodes

SOURCE = ("source", "AudioFileSourceNode", {"path": "sound.wav"})
COUNT = ("count", "sample_nodes:Describe")


def test_run_shows_progress_items_files_and_tables(command, manifest_file, sound, tmp_path):
    path = manifest_file(
        SOURCE,
        ("context", "sample_nodes:Context"),
        ("out", "AudioFileSinkNode", {"path": "out.wav"}),
        connections=[("source", "context"), ("source", "out")],
    )
    code, out, err = ended(command("run", path))
    assert code == 0, err
    assert "context: a quarter (25%)" in err
    assert "context: ready" in err
    assert "context: {" in out
    assert f"wrote {tmp_path / 'out.wav'}" in out
    for word in ("nodes", "connections", "multiprocess", "median µs", "p99 µs", "copied"):
        assert word in out


def test_text_items_are_shown_as_they_are(command, manifest_file, sound):
    path = manifest_file(SOURCE, ("say", "sample_nodes:Say", {"text": "grüß dich"}))
    code, out, err = ended(command("run", path, "--quiet"))
    # Where /dev/shm is small, as in a container, that is a warning.
    told = [line for line in err.splitlines() if "/dev/shm" not in line]
    assert (code, told) == (0, [])
    assert set(out.splitlines()) == {"say: grüß dich"}


def test_json_is_one_object_and_nothing_else(command, manifest_file, sound, tmp_path):
    path = manifest_file(
        SOURCE,
        ("same", "PassThroughNode"),
        ("vad", "VADNode"),
        ("out", "AudioFileSinkNode", {"path": "out.wav"}),
        connections=[("source", "same"), ("source", "vad"), ("source", "out")],
        metadata={"name": "all of it"},
        future=1,
    )
    code, out, err = ended(command("run", path, "--json"))
    assert code == 0, err
    report = json.loads(out)
    assert set(report) >= {
        *("name", "outputs", "files", "nodes", "connections", "warnings"),
        *("init_time_us", "run_time_us", "total_time_us", "failures", "set_aside"),
    }
    assert report["name"] == "all of it"
    assert report["files"] == [str(tmp_path / "out.wav")]
    assert [node["node"] for node in report["nodes"]] == ["source", "same", "vad", "out"]
    audio = [item["audio"] for item in report["outputs"]["same"]]
    assert sum(item["frames"] for item in audio) == 16_000
    assert {item["sample_rate"] for item in audio} == {16_000}
    assert "end_ms" in report["outputs"]["vad"][0]
    assert "future" in report["warnings"][0]["message"] + report["warnings"][0]["pointer"]


def test_set_overrides_a_parameter(command, manifest_file, sound):
    path = manifest_file(SOURCE, ("rate", "ResampleNode"))
    code, out, _ = ended(command("run", path, "--json", "--set", "rate.target_rate=8000"))
    assert code == 0
    items = json.loads(out)["outputs"]["rate"]
    assert items[0]["audio"]["sample_rate"] == 8_000


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("rate", 2, "node.param=value"),
        ("rat.target_rate=1", 2, 'did you mean "rate"?'),
        ("rate.target_rate=fast", 3, "expected a whole number"),
        ("rate.traget_rate=1", 3, 'did you mean "target_rate"?'),
    ],
)
def test_a_wrong_override_is_named(command, manifest_file, sound, override, code, message):
    path = manifest_file(SOURCE, ("rate", "ResampleNode"))
    found, out, err = ended(command("run", path, "--set", override))
    assert (found, out) == (code, "")
    assert message in err
    assert err.startswith("error: " if code == 3 else "Usage: ")


@pytest.mark.parametrize(
    ("nodes", "code", "message"),
    [
        ([("a", "VADNod")], 3, 'did you mean "VADNode"?'),
        ([("a", "AudioFileSourceNode", {"path": "no.wav"})], 1, "no.wav"),
        ([SOURCE, ("bad", "sample_nodes:Fail", {"at": "initialize"})], 1, "in initialize"),
        ([SOURCE, ("bad", "sample_nodes:Fail", {"at": "process"})], 1, "in process"),
        ([SOURCE, ("b", "sample_nodes:Fail", {"at": "process", "how": "os_exit"})], 1, "code 4"),
        ([SOURCE, ("bad", "sample_nodes:Ecko")], 3, "it has: "),
    ],
)
def test_a_failed_run_is_one_message_and_a_code(
    command, manifest_file, sound, nodes, code, message
):
    found, out, err = ended(command("run", manifest_file(*nodes), "--quiet"))
    assert (found, out) == (code, "")
    assert said(err).startswith("error: ")
    assert message in err


def test_a_manifest_that_is_none_is_named_with_its_place(command, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"version": "v1",\n "nodes": [}')
    for verb in ("run", "validate"):
        code, _, err = ended(command(verb, broken))
        assert code == 3
        assert f"{broken} at line 2 column 12" in err
        code, _, err = ended(command(verb, tmp_path / "missing.json"))
        assert code == 3
        assert "missing.json: No such file" in err


def test_validate_shows_the_plan(command, manifest_file):
    path = manifest_file(SOURCE, COUNT)
    code, out, _ = ended(command("validate", path))
    assert code == 0
    assert "nodes 2, stages 1, workers 1" in out
    code, out, _ = ended(command("validate", path, "--json", "--set", "source.path=other.wav"))
    assert code == 0
    plan = json.loads(out)
    assert [node["executor"] for node in plan["nodes"]] == ["native", "multiprocess"]
    assert plan["nodes"][0]["params"]["path"] == "other.wav"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Commands:"),
        (["rnu"], 'did you mean "run"?'),
        (["run"], "MANIFEST"),
        (["nodes", "VADNod"], 'did you mean "VADNode"?'),
        (["run", "--fly"], "--fly"),
        (["completion", "csh"], "bash"),
    ],
)
def test_a_wrong_command_line_is_code_2(command, arguments, message):
    code, _, err = ended(command(*arguments))
    assert code == 2
    assert "Usage:" in err
    assert message in err


def test_help_and_version_import_no_command(command):
    code, out, _ = ended(command("--help"))
    assert code == 0
    for word in ("run", "graph", "doctor", "Exit codes:", "130", "143"):
        assert word in out
    script = "import sys\nfrom remotemedia.cli.app import cli\n"
    script += "cli.main(['--help'], standalone_mode=False)\n"
    script += "print([name for name in sys.modules if name.split('.')[0] == 'rich'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    code, out, _ = ended(command("--version"))
    assert (code, out) == (0, f"remotemedia, version {__version__}\n")


def test_a_manifest_that_is_a_folder_or_forbidden_is_named(command, tmp_path):
    for verb in ("run", "validate", "graph", "bench"):
        code, _, err = ended(command(verb, tmp_path))
        assert code == 3
        assert "Is a directory" in err


def test_a_manifest_in_yaml_is_read(command, tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text("version: v1\nnodes:\n  - id: same\n    node_type: PassThroughNode\n")
    code, out, _ = ended(command("validate", path))
    assert code == 0
    assert "same (PassThroughNode" in out
    path.write_text("version: v1\nnodes: [")
    code, _, err = ended(command("validate", path))
    assert code == 3
    assert str(path) in err
    assert "line 2" in err


def test_a_name_that_is_no_utf8_is_shown_somehow(command, tmp_path):
    folder = os.fsencode(tmp_path)
    path = folder + b"/p\xff.json"
    with open(path, "w") as file:
        file.write(manifest(("a", "VADNod")))
    code, _, err = ended(command("validate", os.fsdecode(path)))
    assert code == 3
    assert 'did you mean "VADNode"' in err
    code, _, err = ended(command("validate", os.fsdecode(path) + "x"))
    assert code == 3
    assert "No such file" in err


def test_a_reader_that_has_seen_enough_ends_the_run_quietly(command, manifest_file, sound):
    path = manifest_file(SOURCE, ("say", "sample_nodes:Say", {"text": "x" * 5000}))
    process = command("run", path, "-q", "-o", "-")
    assert process.stdout.readline() == "x" * 5000 + "\n"
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=25)
    assert process.returncode == 1
    assert said(err) == ""


def test_nodes_are_listed_and_described(command):
    code, out, _ = ended(command("nodes"))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == get_available_nodes()
    code, out, _ = ended(command("nodes", "ResampleNode"))
    assert code == 0
    assert "target_rate (integer, " in out
    assert "default 16000" in out
    code, out, _ = ended(command("nodes", "--json"))
    assert [node["name"] for node in json.loads(out)] == get_available_nodes()


def test_clean_says_what_it_did(command):
    code, out, _ = ended(command("clean"))
    assert code == 0
    assert "remove" in out


@pytest.fixture
def stuck(command, manifest_file, sound, tmp_path):
    """Starts a run whose Python node never comes back; gives the run and the pid of the worker."""

    def start(at):
        # Opening the reading end waits until the node opens the other.
        fifo = tmp_path / "working"
        os.mkfifo(fifo)
        params = {"at": at, "file": str(fifo)}
        process = command("run", manifest_file(SOURCE, ("stuck", "sample_nodes:Sleep", params)))
        worker = int(fifo.read_text())
        assert worker in children_of(process.pid)
        return process, worker

    return start


def is_gone(names):
    return not any(os.path.exists(name) for name in names)


@pytest.mark.parametrize("at", ["initialize", "process"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_leaves_nothing(stuck, at, number, code):
    process, worker = stuck(at)
    names = shared_memory_of(process.pid)
    assert names
    process.send_signal(number)
    found, _, err = ended(process)
    assert found == code, err
    assert err.splitlines()[-1] == f"error: {'interrupted' if code == 130 else 'terminated'}"
    assert not os.path.exists(f"/proc/{worker}")
    assert is_gone(names)


def test_what_a_killed_run_leaves_is_cleaned(stuck, command):
    process, worker = stuck("process")
    names = shared_memory_of(process.pid)
    watch = os.pidfd_open(worker)
    try:
        process.kill()
        process.wait()
        # The worker dies with its parent.
        assert select.select([watch], [], [], 25)[0]
    finally:
        os.close(watch)
    code, out, _ = ended(command("clean"))
    assert code == 0
    assert "remove" in out
    assert is_gone(names)


def test_a_run_that_fails_says_so_in_json_too(command, manifest_file):
    process = command(
        "run", manifest_file(("bad", "sample_nodes:Fail", {"at": "initialize"})), "--json"
    )
    out, err = process.communicate(timeout=WATCHDOG)
    failure = json.loads(out)["error"]
    assert (failure["type"], failure["node"]) == ("PythonError", "bad")
    assert failure["message"] in err
