"""``nodes``, ``graph``, ``bench``, ``doctor``, ``completion``: what is not a run by itself."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import ended, manifest

from remotemedia.cli.bench import summary
from remotemedia.cli.drawing import drawing_of
from remotemedia.cli.svg import svg
from remotemedia_runtime import _native

SOURCE = ("source", "AudioFileSourceNode", {"path": "sound.wav"})
COUNT = ("count", "sample_nodes:Describe")
ECHO = ("echo", "sample_nodes:Echo")
SVG = "{http://www.w3.org/2000/svg}"


def test_a_node_is_described_with_ranges_and_units(command):
    code, out, _ = ended(command("nodes", "AudioFileSourceNode"))
    assert code == 0
    assert "path" in out
    assert "required" in out
    assert "1 to 10000, ms, default 20" in out
    code, out, _ = ended(command("nodes", "ResampleNode", "--json"))
    assert json.loads(out)["parameters"]["target_rate"]["unit"] == "Hz"


def test_a_python_class_is_described_by_its_import_path(command):
    # The fixture's current folder is that of the nodes.
    code, out, err = ended(command("nodes", "declared_nodes:Gain"))
    assert code == 0, err
    assert out.startswith("declared_nodes:Gain: Makes audio louder.\n")
    assert "factor (float, 0 to 10, times, default 2.0)" in out
    assert 'mode (string, soft | hard, default "soft")' in out
    code, out, _ = ended(command("nodes", "declared_nodes:Paint", "--json"))
    assert json.loads(out)["executor"] == "python"
    code, out, _ = ended(command("nodes", "declared_nodes:Paint"))
    assert "title (string or null, default null)" in out


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("talking_nodes:Tlak", 2, "it has: Talk"),
        ("no_such_module:Talk", 2, "no module 'no_such_module'"),
        ("broken_import:Talk", 1, "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_a_python_class_that_cannot_be_had_is_explained(command, name, code, message):
    found, out, err = ended(command("nodes", name))
    assert (found, out) == (code, "")
    assert message in err


def test_what_a_module_prints_when_it_is_imported_is_no_answer(command, tmp_path):
    (tmp_path / "loud.py").write_text(
        "from remotemedia import Node\nprint('hear me')\nclass Loud(Node):\n    pass\n"
    )
    path = tmp_path / "pipeline.json"
    path.write_text(manifest(("loud", "loud:Loud")))
    for arguments in (["validate", path, "--json"], ["nodes", "loud:Loud", "--json"]):
        code, out, err = ended(command(*arguments, cwd=tmp_path))
        assert code == 0, err
        assert json.loads(out)
        assert "hear me" in err
    # A run has it imported by the worker alone.
    code, out, err = ended(command("run", path, "--json", cwd=tmp_path))
    assert json.loads(out)["outputs"] == {}
    assert "loud | hear me" in err.splitlines()
    assert "hear me" not in err.splitlines()


def test_a_graph_is_said_in_mermaid_and_dot(command, manifest_file):
    path = manifest_file(SOURCE, ("rate", "ResampleNode"), COUNT, metadata={"name": 'my "one"'})
    code, out, _ = ended(command("graph", path))
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "flowchart LR"
    assert "  subgraph stage_0 [stage 0]" in lines
    assert '  n0 -->|"call"| n1' in lines
    assert any(line.startswith('  n1 ==>|"100 items, ') for line in lines)
    code, out, _ = ended(command("graph", path, "--format", "dot"))
    assert code == 0
    assert out.startswith('digraph "my \\"one\\"" {\n')
    assert "n0 -> n1" in out


def test_a_graph_is_a_picture_with_what_a_run_has_measured(command, manifest_file, sound, tmp_path):
    path = manifest_file(SOURCE, ("rate", "ResampleNode"), COUNT, metadata={"name": "<one>"})
    picture = tmp_path / "graph.svg"
    code, out, err = ended(command("graph", path, "--run", "-o", picture))
    assert (code, out) == (0, ""), err
    root = ElementTree.parse(picture).getroot()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for text in ("source", "ResampleNode", "multiprocess, worker 0", "50 in, 50 out, busy"):
        assert any(found.startswith(text) for found in texts), texts
    assert any(found.startswith("50 items, ") for found in texts)
    assert any(" µs, p99 " in found for found in texts)
    assert root.find(f"{SVG}title").text == "<one>"


def boxes_of(described):
    """Where the boxes of a picture are."""
    plan = _native.plan_manifest(json.dumps(described))["details"]
    root = ElementTree.fromstring(svg(drawing_of(plan, None)))
    boxes = [one for one in root.iter(f"{SVG}rect") if "box" in one.get("class", "")]
    sides = ("x", "y", "width", "height")
    return [tuple(float(box.get(side)) for side in sides) for box in boxes], root


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_boxes_of_a_picture_lie_apart_and_within_it(count):
    nodes = [{"id": f"n{n}", "node_type": "PassThroughNode"} for n in range(count)]
    # Every node has the two before it, and some one that is far away.
    pairs = {
        (n - step, n) for n in range(count) for step in (1, 2, 5) if n % step == 0 and n >= step
    }
    links = [{"from": f"n{start}", "to": f"n{end}"} for start, end in sorted(pairs)]
    boxes, root = boxes_of({"version": "v1", "nodes": nodes, "connections": links})
    assert len(boxes) == count
    for x, y, width, height in boxes:
        assert x >= 0
        assert y >= 0
        assert x + width <= float(root.get("width"))
        assert y + height <= float(root.get("height"))
    for place, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[:place]:
            apart = x >= left + wide or left >= x + width or y >= top + high or top >= y + height
            assert apart
    for start, end in pairs:
        assert boxes[start][0] + boxes[start][2] < boxes[end][0]


def test_a_graph_goes_where_it_is_told_or_says_why_not(command, manifest_file, tmp_path):
    path = manifest_file(ECHO)
    code, _, err = ended(command("graph", path, "-o", tmp_path / "no" / "where.svg"))
    assert code == 1
    assert "No such file" in err
    code, _, err = ended(command("graph", path, "-o", tmp_path / "graph.pdf"))
    assert (code, "graph.pdf says no form: end it in one of" in err) == (2, True)
    assert not (tmp_path / "graph.pdf").exists()
    code, _, err = ended(command("graph", path, "--input", "x.txt"))
    assert code == 2
    assert "--run" in err


def test_bench_measures_items_that_are_sent(command, manifest_file, tmp_path):
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    path = manifest_file(ECHO, ("again", "sample_nodes:Echo"))
    code, out, err = ended(command("bench", path, "-i", tmp_path / "in.txt", "-n", 50, "--json"))
    assert code == 0, err
    found = json.loads(out)
    assert found["items"] == 50
    assert found["items_per_second"] > 0
    latency = found["end_to_end"]["again"]
    assert latency["count"] == 50
    assert 0 < latency["median_us"] <= latency["p99_us"]
    # With those that went before.
    assert found["connections"][0]["messages"] == 70
    assert found["worker_memory_bytes"] > 0
    assert found["own_memory_bytes"] > 0
    assert found["cpu_seconds"] >= 0


def test_bench_keeps_a_rate(command, manifest_file, tmp_path):
    (tmp_path / "in.txt").write_text("one\n")
    options = ("-i", tmp_path / "in.txt", "-n", 20, "--rate", 100, "--json")
    code, out, err = ended(command("bench", manifest_file(ECHO), *options))
    assert code == 0, err
    # Twenty items at a distance of a hundredth of a second.
    assert json.loads(out)["seconds"] >= 0.19


def test_bench_runs_a_pipeline_with_sources_again(command, manifest_file, sound):
    path = manifest_file(SOURCE, ("same", "PassThroughNode"))
    code, out, err = ended(command("bench", path, "-t", "0.05"))
    assert code == 0, err
    assert "items/s" in out
    assert "runs" in out
    code, out, _ = ended(command("bench", path, "-t", "0.05", "--json"))
    found = json.loads(out)
    assert found["items"] == 50 * found["runs"]
    assert found["end_to_end"] == {}


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        ([ECHO], [], "say --input"),
        ([ECHO], ["-i", "empty.txt"], "no items"),
        ([SOURCE], ["-n", "5"], "without sources"),
        ([ECHO], ["-i", "-", "-i", "echo=x.txt"], "one --input"),
        ([ECHO], ["-t", "0"], "range"),
    ],
)
def test_what_cannot_be_measured_is_named(
    command, manifest_file, sound, tmp_path, nodes, options, message
):
    for name in ("empty.txt", "x.txt"):
        (tmp_path / name).write_text("")
    code, _, err = ended(command("bench", manifest_file(*nodes), *options, cwd=tmp_path))
    assert code == 2
    assert message in err


def test_median_and_percentile_are_those_of_the_values():
    assert summary([])["count"] == 0
    found = summary([float(n) for n in range(200)])
    assert found == {"count": 200, "median_us": 99.5, "p99_us": 198.0}


def test_doctor_says_what_there_is_and_tries_a_run(command):
    code, out, _ = ended(command("doctor", "--json"))
    found = json.loads(out)
    by_name = {finding["name"]: finding for finding in found["findings"]}
    assert code == (0 if found["ok"] else 1)
    assert by_name["a native node"]["status"] == "ok"
    assert by_name["a Python node"]["status"] == "ok", by_name
    for name in ("kernel", "Python", "numpy", "shared memory", "open files", "cgroup", "leftovers"):
        assert by_name[name]["value"]
    for finding in found["findings"]:
        assert finding["status"] in ("ok", "info", "warning", "missing")
        assert finding["advice"] or finding["status"] in ("ok", "info")


def test_doctor_fails_where_something_is_missing(command):
    # Without an interpreter no Python node can run.
    environment = {**os.environ, "REMOTEMEDIA_PYTHON": "/no/such/python"}
    code, out, _ = ended(command("doctor", env=environment))
    assert code == 1
    assert "missing a Python node" in out
    assert "/no/such/python" in out


def test_clean_has_json(command):
    code, out, _ = ended(command("clean", "--json"))
    assert code == 0
    assert set(json.loads(out)) == {"removed", "skipped"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(command, shell):
    code, out, err = ended(command("completion", shell))
    assert code == 0, err
    assert "_REMOTEMEDIA_COMPLETE" in out


def completed(*words):
    """What is offered for the last word."""
    environment = {
        "_REMOTEMEDIA_COMPLETE": "zsh_complete",
        "COMP_WORDS": " ".join(("remotemedia", *map(str, words))),
        "COMP_CWORD": str(len(words)),
    }
    program = "from remotemedia.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=25,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()[1::3]


def test_words_are_completed(manifest_file):
    path = manifest_file(("rate", "ResampleNode"), ("other", "PassThroughNode"))
    assert completed("va") == ["validate"]
    assert completed("nodes", "VAD") == ["VADNode"]
    assert completed("run", path, "--set", "ra") == ["rate."]
    assert completed("run", path, "--set", "rate.ta") == ["rate.target_rate="]
    assert completed("run", "/no/such/file", "--set", "ra") == []
