"""The five functions, by their contract."""

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import manifest

import remotemedia_runtime
from remotemedia import Audio
from remotemedia_runtime import (
    CycleError,
    GraphError,
    ManifestError,
    MarshalingError,
    NodeExecutionError,
    NodeNotFound,
    ParameterError,
    RemoteMediaError,
    execute_pipeline,
    execute_pipeline_with_input,
    get_available_nodes,
    get_node_metadata,
    validate_manifest,
)

VAD = '{"version":"v1","nodes":[{"id":"vad","node_type":"VADNode"}],"connections":[]}'
NOISE = np.random.default_rng(1).uniform(-1, 1, 16_000).astype(np.float32)
SAME = manifest(("same", "PassThroughNode"))


def test_the_example_of_the_contract_gives_segments():
    result = execute_pipeline_with_input(VAD, NOISE)
    assert result["success"] is True
    assert result["error"] is None
    assert [set(segment) for segment in result["result"]] == [{"start_ms", "end_ms", "energy_db"}]


def test_the_executor_of_the_contract_works_and_silence_has_no_segments():
    validate_manifest(VAD)
    result = execute_pipeline_with_input(VAD, np.zeros(16_000, np.float32))
    assert result["result"] == []


def test_metrics_name_their_units():
    nodes = manifest(("first", "PassThroughNode"), ("second", "PassThroughNode"))
    metrics = execute_pipeline_with_input(nodes, "hello")["metrics"]
    assert metrics["total_time_ms"] > 0
    assert list(metrics["nodes"]) == ["first", "second"]
    node = metrics["nodes"]["second"]
    counts = ("items_in", "items_out", "errors", "retries", "skipped", "flushed", "repeated")
    assert [node[count] for count in counts] == [1, 1, 0, 0, 0, 0, 0]
    sizes = {"bytes_in", "bytes_out", "copied_bytes", "peak_memory_bytes"}
    assert set(node) == {"executor", "time", "total_us", "busy", *counts, *sizes}
    assert set(node["time"]) == {"count", "median_us", "p99_us"}
    assert 0 <= node["busy"] <= 1
    (connection,) = metrics["connections"]
    names = ("from", "to", "messages", "bytes", "copied_bytes", "dropped", "missed", "latency")
    assert set(connection) == set(names)
    assert (connection["from"], connection["to"]) == ("first", "second")
    assert (connection["messages"], connection["copied_bytes"]) == (1, 0)


def test_a_pipeline_with_sources_needs_no_input(tmp_path):
    write = manifest(
        ("same", "PassThroughNode"), ("sink", "AudioFileSinkNode", {"path": f"{tmp_path}/a.wav"})
    )
    assert execute_pipeline_with_input(write, Audio(NOISE, 16_000))["result"] is None
    read = manifest(("source", "AudioFileSourceNode", {"path": f"{tmp_path}/a.wav"}))
    result = execute_pipeline(read)["result"]
    items = result if isinstance(result, list) else [result]
    assert sum(item.frames for item in items) == len(NOISE)


def test_several_output_nodes_give_a_dict():
    nodes = [("in", "PassThroughNode"), ("a", "PassThroughNode"), ("b", "PassThroughNode")]
    both = manifest(*nodes, connections=[("in", "a"), ("in", "b")])
    assert execute_pipeline_with_input(both, "x")["result"] == {"a": "x", "b": "x"}


def test_json_results_are_a_list_and_a_single_other_item_is_itself():
    assert execute_pipeline_with_input(SAME, {"a": 1})["result"] == [{"a": 1}]
    assert execute_pipeline_with_input(SAME, "text")["result"] == "text"
    assert execute_pipeline_with_input(SAME, b"bytes")["result"] == b"bytes"


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (("resample", "ResampleNode", {"target_rate": 8_000}), 8_000),
        (("vad", "VADNode", {"output": "speech", "sample_rate": 48_000}), 48_000),
        (("vad", "VADNode", {"output": "speech"}), 16_000),
    ],
)
def test_bare_samples_are_audio_at_the_rate_of_the_first_node(node, expected):
    result = execute_pipeline_with_input(manifest(node), NOISE)["result"]
    audio = result[0] if isinstance(result, list) else result
    assert audio.sample_rate == expected


def test_bare_integers_are_audio_too_and_other_arrays_are_tensors():
    samples = (NOISE * 32_767).astype(np.int16)
    convert = manifest(("convert", "FormatConverterNode", {"format": "f32"}))
    audio = execute_pipeline_with_input(convert, samples)["result"]
    assert audio.samples.dtype == np.float32
    matrix = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(execute_pipeline_with_input(SAME, matrix)["result"], matrix)


def test_valid_manifests_are_true_also_with_node_types_of_elsewhere():
    assert validate_manifest(VAD) is True
    assert validate_manifest(manifest(("a", "NodeOfTomorrow"))) is True
    assert validate_manifest(manifest(("a", "not.installed:Node"))) is True


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('{"version": "v1",\n "nodes": [}', ManifestError, "line 2 column 12"),
        ('{"version": "v1", "nodes": []}', ManifestError, "at least one node"),
        ("", ManifestError, "line 1"),
        (manifest(("a", "VADNode", {"treshold": 1})), ParameterError, '"threshold"'),
        (manifest(("a", "VADNode", {"threshold": "loud"})), ParameterError, "expected a number"),
        (manifest(("a", "VADNode"), ("a", "VADNode")), ManifestError, '"a"'),
        (
            manifest(("a", "PassThroughNode"), connections=[("a", "b")]),
            GraphError,
            '"b"',
        ),
        (
            manifest(
                ("a", "PassThroughNode"),
                ("b", "PassThroughNode"),
                connections=[("a", "b"), ("b", "a")],
            ),
            CycleError,
            "a -> b -> a",
        ),
    ],
)
def test_an_invalid_manifest_is_a_value_error_that_says_where(text, error, message):
    for call in (validate_manifest, execute_pipeline):
        with pytest.raises(error) as raised:
            call(text)
        assert type(raised.value) is error
        assert isinstance(raised.value, ValueError)
        assert message in str(raised.value)


def test_an_unknown_node_type_is_a_key_error_with_the_nearest_name():
    text = manifest(("a", "VADNod", {"threshold": 1}))
    with pytest.raises(KeyError) as raised:
        execute_pipeline(text)
    assert type(raised.value) is NodeNotFound
    assert 'did you mean "VADNode"?' in str(raised.value)
    with pytest.raises(KeyError, match='did you mean "ResampleNode"'):
        get_node_metadata("ResmapleNode")


def test_a_native_node_that_fails_is_a_runtime_error_with_its_id():
    text = manifest(("missing", "AudioFileSourceNode", {"path": "/no/such.wav"}))
    with pytest.raises(RuntimeError) as raised:
        execute_pipeline(text)
    assert type(raised.value) is NodeExecutionError
    assert raised.value.node_id == "missing"
    assert "/no/such.wav" in str(raised.value)


def test_input_that_cannot_be_sent_is_a_type_error():
    with pytest.raises(TypeError, match="type set cannot be sent") as raised:
        execute_pipeline_with_input(SAME, {1, 2})
    assert type(raised.value) is MarshalingError
    assert isinstance(raised.value, RemoteMediaError)


def test_input_for_a_pipeline_that_takes_none_is_refused(tmp_path):
    path = f"{tmp_path}/a.wav"
    write = manifest(("sink", "AudioFileSinkNode", {"path": path}))
    execute_pipeline_with_input(write, Audio(NOISE, 16_000))
    text = manifest(("source", "AudioFileSourceNode", {"path": path}))
    with pytest.raises(GraphError, match="takes no input"):
        execute_pipeline_with_input(text, "hello")


def test_the_wrong_type_of_manifest_is_a_type_error():
    with pytest.raises(TypeError):
        execute_pipeline({"version": "v1"})


def test_every_node_is_described():
    names = get_available_nodes()
    assert names == sorted(names)
    assert {"VADNode", "ResampleNode", "FormatConverterNode"} <= set(names)
    for name in names:
        metadata = get_node_metadata(name)
        assert metadata["name"] == name
        assert isinstance(metadata["capabilities"], list)
        for parameter in metadata["parameters"].values():
            assert {"type", "description"} <= set(parameter)
        json.dumps(metadata)
    threshold = get_node_metadata("VADNode")["parameters"]["threshold"]
    assert (threshold["type"], threshold["default"]) == ("float", -30.0)


def test_calls_from_many_threads_do_not_disturb_one_another():
    results = {}

    def call(n):
        for _ in range(10):
            results[n] = execute_pipeline_with_input(SAME, {"n": n})["result"]

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [{"n": n}] for n in range(8)}


FORK = """
import os
from conftest import manifest
from remotemedia_runtime import execute_pipeline_with_input

text = manifest(("same", "PassThroughNode"))
execute_pipeline_with_input(text, "x")
child = os.fork()
if child == 0:
    try:
        execute_pipeline_with_input(text, "x")
    except RuntimeError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_forked_process_is_refused():
    folder = str(Path(__file__).parent)
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    assert "was forked" in done.stdout
    assert "spawn" in done.stdout


def test_who_was_told_of_signals_is_told_again_after_a_run():
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno())
        try:
            execute_pipeline_with_input(SAME, "x")
        finally:
            assert signal.set_wakeup_fd(before) == writing.fileno()


def test_the_package_exports_what_it_says():
    assert all(hasattr(remotemedia_runtime, name) for name in remotemedia_runtime.__all__)
    assert remotemedia_runtime.__version__


def test_bytes_and_copies_are_counted_for_each_node():
    samples = np.zeros(1_000, np.float32)
    text = manifest(("same", "PassThroughNode"), ("echo", "sample_nodes:Echo"))
    metrics = execute_pipeline_with_input(text, samples)["metrics"]
    same, echo = metrics["nodes"]["same"], metrics["nodes"]["echo"]
    assert (same["bytes_in"], same["bytes_out"]) == (4_000, 4_000)
    # Into the channel to the worker; what a worker gives back of its input is copied again.
    assert (same["copied_bytes"], echo["copied_bytes"]) == (4_000, 4_000)
    assert (metrics["bytes"], metrics["copied_bytes"]) == (8_000, 8_000)
    assert same["peak_memory_bytes"] == 0
    assert echo["peak_memory_bytes"] > 1_000_000
    assert metrics["peak_memory_bytes"] > 1_000_000
    assert 0 < echo["time"]["median_us"] <= echo["total_us"] * 1.02


def test_what_stays_in_this_process_is_not_copied():
    text = manifest(("a", "PassThroughNode"), ("b", "PassThroughNode"))
    metrics = execute_pipeline_with_input(text, np.zeros(1_000, np.float32))["metrics"]
    assert (metrics["bytes"], metrics["copied_bytes"]) == (8_000, 0)


def test_what_a_node_makes_in_lent_memory_is_not_copied():
    node = ("l", "sample_nodes:Loans", {"how": "plain"})
    result = execute_pipeline_with_input(manifest(node), np.zeros(1_000, np.float32))
    made = result["metrics"]["nodes"]["l"]
    assert made["bytes_out"] == 4_000
    assert made["copied_bytes"] == 0


def test_what_a_node_gives_in_another_order_is_copied_twice_and_counted():
    metrics = execute_pipeline_with_input(
        manifest(("t", "session_nodes:Transposes")), np.zeros((50, 20), np.float32)
    )["metrics"]
    # Into this order, then into shared memory; and the input into shared memory.
    assert metrics["nodes"]["t"]["copied_bytes"] == 8_000
    assert metrics["copied_bytes"] == 12_000
