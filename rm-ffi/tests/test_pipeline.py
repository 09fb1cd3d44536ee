"""Pipelines that are put together in Python."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import manifest
from declared_nodes import Gain, Paint, Repeat

import remotemedia
from remotemedia import (
    Audio,
    AudioResampleNode,
    FormatConverterNode,
    MultiprocessNode,
    Node,
    ParameterError,
    PassThroughNode,
    Pipeline,
    ResampleNode,
    RustExecutor,
    VADNode,
    nodes,
)
from remotemedia.runtime import executor
from remotemedia_runtime import (
    CycleError,
    GraphError,
    ManifestError,
    NodeExecutionError,
    NodeNotFound,
    get_available_nodes,
)

SOUND = Audio(np.full(480, 0.25, np.float32), 48_000)


def test_the_example_of_the_contract_runs():
    p = Pipeline("audio")
    p.add_node(AudioResampleNode(target_rate=16000))
    result = p.run(SOUND)
    sounds = result if isinstance(result, list) else [result]
    assert {sound.sample_rate for sound in sounds} == {16_000}
    assert sum(sound.frames for sound in sounds) == 160


def test_nodes_are_chained_in_the_order_of_adding():
    p = Pipeline()
    ids = [p.add_node(node) for node in (PassThroughNode(), Gain(factor=2), Gain)]
    assert ids == p.nodes == ["pass_through", "gain", "gain_2"]
    assert p.to_dict()["connections"] == [
        {"from": "pass_through", "to": "gain"},
        {"from": "gain", "to": "gain_2"},
    ]
    np.testing.assert_array_equal(p.run(SOUND).samples, np.ones(480, np.float32))


def test_connections_that_are_made_are_the_only_ones():
    p = Pipeline()
    split = p.add_node("port_nodes:Splits")
    odd, even = (p.add_node("port_nodes:Inputs", id) for id in ("odd", "even"))
    p.connect(split, odd, from_port="odd", queue={"depth": 3})
    p.connect(split, even, from_port="even", to_port="left")
    assert p.to_dict()["connections"] == [
        {"from": "splits.odd", "to": "odd", "queue": {"depth": 3}},
        {"from": "splits.even", "to": "even.left"},
    ]
    result = p.run(3)
    assert result["odd"][0] == {"item": 1, "node": "splits", "port": None}
    assert [item["item"] for item in result["even"][:-1]] == [0, 2]


def test_a_connection_needs_two_nodes_that_there_are():
    p = Pipeline("mine")
    p.add_node(PassThroughNode(), "first")
    with pytest.raises(
        GraphError, match="no node 'frist' in pipeline 'mine'; did you mean 'first'"
    ):
        p.connect("frist", "first")
    with pytest.raises(GraphError, match="connected to itself"):
        p.connect("first", "first")


def test_an_id_is_taken_once():
    p = Pipeline("mine")
    p.add_node(PassThroughNode(), "a")
    with pytest.raises(ValueError, match="node id 'a' is taken in pipeline 'mine'"):
        p.add_node(PassThroughNode(), "a")


@pytest.mark.parametrize(
    ("node_type", "expected"),
    [
        ("VADNode", "vad"),
        ("AudioFileSourceNode", "audio_file_source"),
        ("HTTPServer", "http_server"),
        ("a.b:GainNode", "gain"),
        ("a.b.Gain", "gain"),
        ("my node!", "my_node_"),
        ("Node", "node"),
    ],
)
def test_an_id_is_made_of_the_type(node_type, expected):
    assert Pipeline().add_node(node_type) == expected


def test_options_are_what_a_manifest_says_of_a_node():
    p = Pipeline(multiprocess={"init_timeout_secs": 9}, description="it", modules=["m"])
    p.add_node(Repeat(times=2), on_error="skip", python=Path("venv/bin/python"), debug=True)
    described = p.to_dict()
    assert described["nodes"] == [
        {
            "id": "repeat",
            "node_type": "declared_nodes:Repeat",
            "params": {"times": 2},
            "on_error": "skip",
            "python": "venv/bin/python",
            "debug": True,
        }
    ]
    assert described["metadata"]["multiprocess"] == {"init_timeout_secs": 9}
    assert (described["metadata"]["description"], described["modules"]) == ("it", ["m"])


def test_what_is_no_option_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match=r"no option 'on_eror'; did you mean 'on_error'\?"):
        Pipeline().add_node(PassThroughNode(), on_eror="skip")
    with pytest.raises(TypeError, match="parameters are given to the node itself"):
        Pipeline().add_node(Gain, factor=2)


def test_parameters_are_a_mapping():
    with pytest.raises(TypeError, match=r"params are \[1\], expected a mapping"):
        Pipeline().add_node(Gain, params=[1])


@pytest.mark.parametrize("node", [3, object, Node, None])
def test_what_is_no_node_is_refused(node):
    with pytest.raises(TypeError, match="is no node; expected"):
        Pipeline().add_node(node)


def test_parameters_are_checked_when_a_node_is_made_or_added():
    with pytest.raises(
        ParameterError, match='ResampleNode: parameter "target_rate" is 1, expected'
    ):
        ResampleNode(target_rate=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        ResampleNode(rate=1)
    with pytest.raises(ParameterError, match=r'"target_rte"; did you mean "target_rate"'):
        Pipeline().add_node(ResampleNode, params={"target_rte": 1})
    with pytest.raises(ParameterError, match='parameter "size" is missing'):
        Pipeline().add_node(Paint)
    with pytest.raises(ParameterError, match='parameter "factor" is "x"'):
        Pipeline().add_node(Gain(factor=2), params={"factor": "x"})


def test_parameters_beside_the_node_go_before_its_own():
    p = Pipeline()
    p.add_node(Gain(factor=2, mode="hard"), params={"factor": 3})
    p.add_node(VADNode(threshold=-20), params={"mode": "energy"})
    first, second = p.to_dict()["nodes"]
    assert first["params"] == {"factor": 3, "mode": "hard"}
    assert second["params"]["threshold"] == -20


def test_nobody_changes_a_pipeline_through_its_manifest():
    p = Pipeline()
    p.add_node(Gain(factor=2))
    p.to_dict()["nodes"][0]["params"]["factor"] = 3
    assert p.to_dict()["nodes"][0]["params"]["factor"] == 2


def test_what_fails_is_raised():
    p = Pipeline()
    p.add_node("nowhere")
    with pytest.raises(NodeNotFound, match="unknown node type"):
        p.run("x")
    empty = Pipeline()
    with pytest.raises(ManifestError, match="expected at least one node"):
        empty.run("x")
    circle = Pipeline()
    for id in "ab":
        circle.add_node(PassThroughNode(), id)
    circle.connect("a", "b")
    circle.connect("b", "a")
    with pytest.raises(CycleError):
        circle.validate()


def test_items_left_out_are_raised_with_the_result_of_the_others():
    p = Pipeline()
    p.add_node("failing_nodes:Unsendable", on_error="skip")
    with pytest.raises(NodeExecutionError, match="1 items were left out") as raised:
        p.run("x")
    assert raised.value.result == "first"


def test_a_pipeline_tells_how_it_would_run():
    p = Pipeline("mine")
    p.add_node(PassThroughNode())
    p.add_node(Gain)
    assert p.plan().startswith("mine: nodes 2, stages 1, workers 1")
    assert p.validate() == []
    p.add_node(PassThroughNode(), "alone")
    p.connect("pass_through", "gain")
    assert p.validate() == ['/nodes/2: no connection leads to node "alone" or from it']


def test_a_manifest_and_a_pipeline_are_the_same(tmp_path):
    text = manifest(("a", "PassThroughNode"), ("b", "declared_nodes:Gain", {"factor": 2}), other=1)
    p = Pipeline.from_json(text)
    assert p.to_dict() == json.loads(text) | {"metadata": {"name": "pipeline"}}
    assert Pipeline.from_dict(p.to_dict()).to_dict() == p.to_dict()
    file = tmp_path / "pipeline.yaml"
    file.write_text("version: v1\nmetadata: {name: of a file}\nnodes: [{id: a, node_type: X}]\n")
    p = Pipeline.from_file(file)
    assert (p.name, p.nodes, p.base_dir) == ("of a file", ["a"], tmp_path)


def test_paths_start_from_the_folder_of_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "beside.py").write_text(
        "from remotemedia import Node\n"
        "class Where(Node):\n"
        "    def process(self, item):\n"
        "        return str(self.context.base_dir)\n"
    )
    file = folder / "pipeline.json"
    file.write_text(manifest(("where", "beside:Where")))
    monkeypatch.chdir(tmp_path)
    assert Pipeline.from_file(file).run("x") == str(folder)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: Pipeline.from_json("{"), "invalid JSON"),
        (lambda: Pipeline.from_json("[]"), "expected an object"),
        (lambda: Pipeline.from_dict({"version": "v1", "nodes": [{}]}), "/nodes/0/id: missing"),
        (lambda: Pipeline.from_dict({"nodes": object()}), "not JSON serializable"),
        (lambda: Pipeline.from_file("nothing.json"), "cannot read manifest nothing.json"),
    ],
)
def test_what_is_no_manifest_makes_no_pipeline(read, message):
    with pytest.raises(ManifestError, match=message):
        read()


def test_a_pipeline_makes_sessions_of_itself():
    p = Pipeline()
    p.add_node(PassThroughNode())
    with p.session() as session:
        session.send("x")
        session.finish()
        assert [output.item for output in session] == ["x"]


def test_the_executor_of_the_contract_runs_manifests():
    assert executor.RustExecutor is RustExecutor
    text = manifest(("vad", "VADNode"))
    result = RustExecutor().execute(json.loads(text), np.zeros(16_000, np.float32))
    assert result["success"] is True
    assert result["result"] == []
    assert RustExecutor.available_nodes() == get_available_nodes()
    failing = manifest(("a", "failing_nodes:Unsendable", {}, {"on_error": "skip"}))
    with pytest.raises(RuntimeError, match="1 items were left out"):
        RustExecutor().execute(json.loads(failing), "x")
    with pytest.raises(ValueError, match="invalid manifest"):
        RustExecutor().execute({}, "x")


def test_the_classes_of_native_nodes_are_up_to_date(tmp_path):
    file = tmp_path / "nodes.py"
    subprocess.run([sys.executable, "-m", "remotemedia._generate", file], check=True)
    expected = "run `python -m remotemedia._generate`"
    assert Path(nodes.__file__).read_text() == file.read_text(), expected
    assert AudioResampleNode is ResampleNode
    assert FormatConverterNode().params == {
        "format": "f32",
        "channels": 0,
        "layout": "interleaved",
        "dither": "none",
        "dither_seed": 0,
    }
    assert set(nodes.__all__) <= set(dir(remotemedia))


def test_names_of_the_package_are_all_there():
    assert MultiprocessNode is Node
    for name in remotemedia.__all__:
        assert getattr(remotemedia, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = remotemedia.Nothing
