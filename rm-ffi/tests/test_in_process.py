"""Pipelines whose Python nodes run in the calling process."""

import asyncio
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import NODES, manifest
from declared_nodes import Gain

from remotemedia import Audio, Node, PassThroughNode, Pipeline, ResampleNode, run_in_process
from remotemedia.node import TransientError
from remotemedia_runtime import (
    GraphError,
    ManifestError,
    MarshalingError,
    NodeExecutionError,
    NodeNotFound,
    PythonError,
    execute_pipeline_with_input,
)

SOUND = Audio(np.full(480, 0.25, np.float32), 48_000)


def pipeline(*nodes, **options):
    """A chain of nodes; the options are those of the last one."""
    p = Pipeline()
    for node in nodes[:-1]:
        p.add_node(node)
    p.add_node(nodes[-1], **options)
    return p


def both(text, item):
    """The result of a manifest in workers and in this process."""
    return execute_pipeline_with_input(text, item)["result"], run_in_process(text, item)


def plain(result):
    if isinstance(result, list):
        return [plain(item) for item in result]
    return (result.samples, result.sample_rate) if isinstance(result, Audio) else result


@pytest.mark.parametrize(
    ("nodes", "item"),
    [
        ([("a", "declared_nodes:Gain", {"factor": 2})], SOUND),
        ([("a", "declared_nodes:Repeat", {"times": 2})], "x"),
        ([("a", "sample_nodes:Echo")], "x"),
        ([("a", "sample_nodes:Echo")], {"b": [1, None]}),
        ([("a", "port_nodes:Inputs"), ("b", "PassThroughNode"), ("c", "port_nodes:Inputs")], 1),
        ([("a", "port_nodes:Numbers"), ("b", "port_nodes:Numbers")], 4),
        ([("a", "async_nodes:Stream", {"count": 2})], 2),
    ],
)
def test_the_result_is_that_of_workers(nodes, item):
    in_workers, in_process = both(manifest(*nodes), item)
    # Arrays are not simply equal.
    assert repr(plain(in_process)) == repr(plain(in_workers))


def test_ports_lead_where_connections_say():
    text = manifest(
        ("split", "port_nodes:Splits"),
        ("odd", "port_nodes:Inputs"),
        ("all", "PassThroughNode"),
        connections=[("split.odd", "odd.left"), ("split", "all")],
    )
    in_workers, in_process = both(text, 4)
    assert in_process == in_workers
    assert in_process["odd"][0] == {"item": 1, "node": "split", "port": "left"}


def test_sources_and_sinks_of_the_manifest_run_too(tmp_path):
    import wave

    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.arange(1600, dtype=np.int16).tobytes())
    (tmp_path / "pipeline.json").write_text(
        manifest(
            ("in", "AudioFileSourceNode", {"path": "in.wav"}),
            ("float", "FormatConverterNode"),
            ("gain", "declared_nodes:Gain", {"factor": 1}),
            ("int", "FormatConverterNode", {"format": "i16"}),
            ("out", "AudioFileSinkNode", {"path": "out.wav"}),
        )
    )
    assert run_in_process(tmp_path / "pipeline.json") is None
    with wave.open(str(tmp_path / "out.wav")) as file:
        samples = np.frombuffer(file.readframes(1600), np.int16)
    np.testing.assert_array_equal(samples, np.arange(1600))


def test_nodes_have_the_caller_s_process_and_thread_and_are_cleaned_up():
    calls = []

    class Watched(Node):
        async def initialize(self):
            calls.append(os.getpid())

        def process(self, item):
            calls.append(item.flags.writeable)
            return item

        def finish(self):
            calls.append(self.context.session_id)

        def cleanup(self):
            calls.append("cleanup")

    run_in_process(pipeline(Watched), np.zeros(3))
    assert calls == [os.getpid(), False, "in-process", "cleanup"]


def test_an_exception_is_told_as_of_a_worker_and_has_the_node_s_own_as_its_cause():
    class Fails(Node):
        def process(self, item):
            raise KeyError("there it is")

    with pytest.raises(PythonError) as raised:
        run_in_process(pipeline(PassThroughNode(), Fails), "x")
    error = raised.value
    assert isinstance(error.__cause__, KeyError)
    assert (error.node_id, error.during, error.item) == ("fails", "process", 0)
    assert error.error_type == "KeyError"
    assert "failed to process item 0: KeyError: 'there it is'" in str(error)
    assert error.traceback.endswith("KeyError: 'there it is'")


def test_a_failure_of_a_generator_closes_the_nodes_before():
    closed = []

    class Stream(Node):
        async def process(self, item):
            try:
                yield 1
                yield 2
            finally:
                closed.append("stream")

        def cleanup(self):
            closed.append("cleanup")

    class Fails(Node):
        def initialize(self):
            self.after = self.params.get("after", 0)

        def process(self, item):
            raise ValueError(item)

    with pytest.raises(PythonError):
        run_in_process(pipeline(Stream, Fails), "x")
    assert closed == ["stream", "cleanup"]


def test_what_cannot_be_loaded_or_initialized_is_told():
    for node, during, kind in [
        ("nothing_of_this_name:Gain", "load", "LoadError"),
        ("sample_nodes:NotANode", "load", "LoadError"),
        ("broken_import:Anything", "load", "ModuleNotFoundError"),
    ]:
        with pytest.raises(PythonError) as raised:
            run_in_process(manifest(("a", node)), "x")
        assert (raised.value.during, raised.value.error_type) == (during, kind)

    class Fails(Node):
        def initialize(self):
            raise OSError("no device")

    with pytest.raises(PythonError, match="failed to initialize: OSError: no device"):
        run_in_process(pipeline(Fails), "x")


def test_items_are_tried_again_without_giving_anything_twice():
    class Flaky(Node):
        tries = 0

        def process(self, item):
            yield "first"
            type(self).tries += 1
            if self.tries < 3:
                raise TransientError("busy")
            yield "second"

    p = pipeline(Flaky, retry={"initial_ms": 0})
    assert run_in_process(p, "x") == ["first", "second"]
    Flaky.tries = -5
    with pytest.raises(PythonError, match="TransientError: busy"):
        run_in_process(p, "x")


def test_a_failure_that_does_not_pass_is_tried_again_where_the_manifest_says_so():
    class Fails(Node):
        tries = 0

        def process(self, item):
            type(self).tries += 1
            raise ValueError("no")

    for on_error, tries in [("fail", 1), ("retry", 3)]:
        Fails.tries = 0
        with pytest.raises(PythonError):
            run_in_process(
                pipeline(Fails, on_error=on_error, retry={"max": 2, "initial_ms": 0}), "x"
            )
        assert Fails.tries == tries


def test_items_left_out_are_raised_with_the_result_of_the_others():
    text = manifest(
        ("a", "port_nodes:Numbers"), ("b", "failing_nodes:SkipsOdd", {}, {"on_error": "skip"})
    )
    left_out = r"2 items were left out; the first: node b \(fa"
    with pytest.raises(NodeExecutionError, match=left_out) as raised:
        run_in_process(text, 4)
    assert raised.value.result == [0, 2]
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_native_node_that_fails_is_named():
    with pytest.raises(
        NodeExecutionError, match="node resample failed to process an item"
    ) as raised:
        run_in_process(pipeline(ResampleNode(target_rate=8000)), "no sound")
    assert raised.value.node_id == "resample"


def test_what_cannot_be_sent_is_the_failure_of_who_made_it():
    class Makes(Node):
        def process(self, item):
            return {1, 2}

    with pytest.raises(PythonError, match="MarshalingError") as raised:
        run_in_process(pipeline(Makes, PassThroughNode()), "x")
    assert raised.value.node_id == "makes"
    with pytest.raises(MarshalingError):
        run_in_process(pipeline(PassThroughNode()), object())


def test_ends_that_are_no_failures_go_through():
    class Exits(Node):
        def process(self, item):
            sys.exit(3)

    with pytest.raises(SystemExit):
        run_in_process(pipeline(Exits, on_error="skip"), "x")


def test_it_runs_within_a_loop_as_in_a_notebook():
    class Waits(Node):
        async def process(self, item):
            await asyncio.sleep(0)
            return item

    async def within():
        result = run_in_process(pipeline(Waits), "x")
        await asyncio.sleep(0)
        return result

    assert asyncio.run(within()) == "x"


def test_it_runs_within_a_node_of_its_own_and_in_several_threads():
    class Waits(Node):
        async def process(self, item):
            await asyncio.sleep(0)
            return item

    class Nests(Node):
        async def process(self, item):
            await asyncio.sleep(0)
            inner = run_in_process(pipeline(Waits), item)
            await asyncio.sleep(0)
            yield inner

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: run_in_process(pipeline(Nests), f"{n}"), range(20)))
    assert found == [f"{n}" for n in range(20)]


def test_bare_samples_are_audio_for_a_node_that_takes_audio():
    result = run_in_process(pipeline(ResampleNode(target_rate=16_000)), np.zeros(10, np.float32))
    assert result.sample_rate == 16_000


def test_a_manifest_that_cannot_be_run_is_refused_as_by_workers():
    for wrong, error, message in [
        (manifest(("a", "Nothing")), NodeNotFound, "unknown node type"),
        (manifest(("a", "declared_nodes:Gain", {"factor": 99})), ManifestError, "expected from 0"),
        ("{", ManifestError, "invalid JSON"),
        ({"version": "v1", "nodes": []}, ManifestError, "expected at least one node"),
    ]:
        with pytest.raises(error, match=message):
            run_in_process(wrong, "x")
    text = manifest(("a", "AudioFileSourceNode", {"path": "in.wav"}))
    with pytest.raises(GraphError, match="the pipeline takes no input"):
        run_in_process(text, "x")


def test_nothing_of_it_is_left_in_the_module_path():
    before = list(sys.path)
    run_in_process(json.loads(manifest(("a", "sample_nodes:Echo"))), "x")
    assert sys.path == before
    assert NODES.is_dir()
    np.testing.assert_array_equal(run_in_process(pipeline(Gain), SOUND).samples, [0.5] * 480)
