"""Python nodes in workers of their own."""

import os

import numpy as np
import pytest
from conftest import NODES, manifest

from remotemedia import Audio, Node
from remotemedia_runtime import (
    InitializationTimeout,
    ManifestError,
    ProcessCrashError,
    PythonError,
    execute_pipeline_with_input,
)

DATA = np.arange(16, dtype=np.float32).reshape(4, 4)


def run(name, item=DATA, params=None, **fields):
    text = manifest(("node", f"sample_nodes:{name}", params or {}), **fields)
    return execute_pipeline_with_input(text, item)


@pytest.mark.parametrize("item", ["text", b"\0bytes", {"a": [1, None, 2.5]}, [], 7, True])
def test_an_item_comes_back_from_a_worker_as_it_was(item):
    result = run("Echo", item)["result"]
    assert result == (item if isinstance(item, str | bytes) else [item])


def test_arrays_and_audio_come_back_from_a_worker_as_they_were():
    np.testing.assert_array_equal(run("Echo")["result"], DATA)
    back = run("Echo", Audio(DATA[:, :2], 44_100))["result"]
    assert back.sample_rate == 44_100
    np.testing.assert_array_equal(back.samples, DATA[:, :2])


def test_a_worker_sees_read_only_aligned_shared_memory():
    (seen,) = run("Describe")["result"]
    assert seen["type"] == "ndarray"
    assert (seen["shape"], seen["dtype"], seen["sum"]) == ([4, 4], "float32", 120.0)
    assert seen["aligned"]
    assert not seen["writeable"]
    (seen,) = run("Describe", Audio(DATA[0], 8_000))["result"]
    assert seen["repr"] == "Audio(4 frames, 1 channels, float32, 8000 Hz)"


def test_a_bare_array_is_audio_only_for_a_python_node_that_has_a_rate():
    samples = DATA.ravel()
    (seen,) = run("Describe", samples)["result"]
    assert seen["type"] == "ndarray"
    (seen,) = run("Describe", samples, {"sample_rate": 8_000})["result"]
    assert seen["type"] == "Audio"


def test_a_node_may_keep_every_item():
    count = 300
    nodes = [("count", "sample_nodes:Count", {"count": count}), ("keep", "sample_nodes:Keep")]
    result = execute_pipeline_with_input(manifest(*nodes), "go")
    assert result["result"] == [[4.0 * n for n in range(count)]]
    (connection,) = result["metrics"]["connections"]
    assert (connection["messages"], connection["missed"]) == (count, 0)


def test_what_a_worker_gave_outlives_its_run():
    result = run("Count", "go", {"count": 3, "size": 1000})["result"]
    assert [float(item.sum()) for item in result] == [0, 1000, 2000]


def test_a_generator_gives_items_one_by_one_and_none_gives_nothing():
    assert run("Count", "go", {"count": 0})["result"] == []
    result = run("Count", "go", {"count": 3})
    assert len(result["result"]) == 3
    node = result["metrics"]["nodes"]["node"]
    assert (node["items_in"], node["items_out"], node["time"]["count"]) == (1, 3, 1)


def test_a_node_knows_its_place():
    (context,) = run("Context", "go", {"a": [1]})["result"]
    assert context["node_id"] == "node"
    assert context["base_dir"] == str(NODES)
    assert context["params"] == {"a": [1]}
    assert context["session_id"]
    assert context["pid"] != os.getpid()


def copied(result, nodes=2):
    (connection,) = result["metrics"]["connections"]
    return connection["copied_bytes"]


def run_loan(how):
    """Runs a node that lends, and one that looks at what comes."""
    nodes = [("lend", "sample_nodes:Loans", {"how": how}), ("same", "sample_nodes:Echo")]
    return execute_pipeline_with_input(manifest(*nodes), DATA)


@pytest.mark.parametrize("how", ["plain", "yielded", "weak", "dropped"])
def test_a_loan_that_nobody_else_holds_is_sent_without_a_copy(how):
    result = run_loan(how)
    np.testing.assert_array_equal(result["result"], DATA * 2)
    assert copied(result) == 0


def test_a_loan_of_no_type_is_what_numpy_makes_of_it():
    result = run_loan("of_no_type")["result"]
    assert (result.dtype, result.tolist()) == (np.empty(3, None).dtype, [0.5] * 3)


def test_audio_of_a_loan_is_sent_without_a_copy():
    result = run_loan("audio")
    audio = result["result"]
    assert (audio.sample_rate, audio.samples.shape) == (48_000, (4, 2))
    assert (audio.samples == 7).all()
    assert copied(result) == 0


@pytest.mark.parametrize("how", ["kept", "viewed", "exported", "base_kept"])
def test_a_loan_that_can_still_be_reached_is_copied(how):
    result = run_loan(how)
    np.testing.assert_array_equal(result["result"], DATA * 2)
    assert copied(result) == DATA.nbytes


def test_audio_of_a_loan_that_is_kept_is_copied():
    result = run_loan("audio_kept")
    np.testing.assert_array_equal(result["result"].samples, DATA * 2)
    assert copied(result) == DATA.nbytes


@pytest.mark.parametrize("how", ["frame", "frame_of_rows"])
def test_a_frame_of_a_loan_is_sent_without_a_copy(how):
    result = run_loan(how)
    frame = result["result"]
    assert (frame.width, frame.height, frame.data.min(), frame.data.max()) == (4, 2, 7, 7)
    assert copied(result) == 0


@pytest.mark.parametrize("how", ["frame_kept", "frame_of_other_bytes"])
def test_a_frame_of_a_loan_that_is_kept_or_changed_still_arrives(how):
    frame = run_loan(how)["result"]
    assert repr(frame) == "VideoFrame(4 x 2, rgb24, 25 fps)"
    assert frame.data.min() == frame.data.max() == 7


def test_a_part_of_a_loan_is_copied():
    result = run_loan("slice")
    np.testing.assert_array_equal(result["result"], DATA[1:] * 2)
    assert copied(result) == DATA[1:].nbytes


def test_a_loan_that_is_yielded_twice_comes_twice():
    result = run_loan("twice")
    assert len(result["result"]) == 2
    for item in result["result"]:
        np.testing.assert_array_equal(item, DATA * 2)


@pytest.mark.parametrize(("how", "message"), [("too_many", "held already"), ("of_objects", "loan")])
def test_a_loan_that_cannot_be_is_an_exception_in_the_node(how, message):
    with pytest.raises(PythonError, match=message):
        run_loan(how)


def test_a_loan_for_nobody_is_ordinary_memory():
    node = Node()
    assert node.loan((2, 3)).shape == (2, 3)
    node.progress(0.5, "nobody hears it")


@pytest.mark.parametrize(
    ("at", "message", "line"),
    [
        ("initialize", "failed to initialize: ValueError: no luck in initialize", "in initialize"),
        ("process", "failed to process item 0: ValueError: no luck in process", "in process"),
        ("generator", "failed to process item 0: ValueError: no luck in generator", "in generate"),
        ("finish", "failed to finish: ValueError: no luck in finish", "in finish"),
    ],
)
def test_an_exception_is_raised_with_its_traceback_and_cleaned_up_after(
    tmp_path, at, message, line
):
    cleaned = tmp_path / "cleaned"
    with pytest.raises(RuntimeError) as raised:
        run("Fail", params={"at": at, "cleaned": str(cleaned)})
    assert type(raised.value) is PythonError
    assert raised.value.node_id == "node"
    text = str(raised.value)
    assert message in text
    assert "Traceback (most recent call last)" in text
    assert "sample_nodes.py" in text
    assert line in text
    assert cleaned.read_text() == "cleaned"


def test_a_failing_cleanup_fails_nothing():
    assert run("Fail", "x", {"at": "cleanup"})["result"] == "x"


def test_a_result_that_cannot_be_sent_is_the_nodes_failure():
    with pytest.raises(PythonError, match=r'output\["bad"\]\[1\]: .* set has no JSON form'):
        run("Fail", params={"at": "result"})
    with pytest.raises(PythonError, match="NoProcess does not say how"):
        run("NoProcess")


def test_an_exit_by_python_is_reported_as_such():
    with pytest.raises(PythonError, match="failed to process item 0: SystemExit: 3"):
        run("Fail", params={"at": "process", "how": "exit"})


@pytest.mark.parametrize("at", ["initialize", "process"])
def test_a_worker_that_exits_is_reported_with_its_code_and_last_words(at):
    with pytest.raises(RuntimeError, match="last words") as raised:
        run("Fail", params={"at": at, "how": "os_exit"})
    assert type(raised.value) is ProcessCrashError
    assert (raised.value.node_id, raised.value.exit_code, raised.value.signal) == ("node", 4, None)


def test_a_worker_that_is_killed_is_reported_with_the_signal():
    with pytest.raises(ProcessCrashError, match="SIGKILL") as raised:
        run("Fail", params={"at": "process", "how": "kill"})
    assert (raised.value.exit_code, raised.value.signal) == (None, 9)
    assert "SIGKILL" in raised.value.report


def test_a_worker_that_is_never_ready_is_given_up():
    with pytest.raises(InitializationTimeout) as raised:
        run(
            "Fail",
            params={"at": "initialize", "how": "hang"},
            metadata={"multiprocess": {"init_timeout_secs": 1}},
        )
    assert raised.value.node_id == "node"


@pytest.mark.parametrize(
    ("node_type", "message"),
    [
        ("no_such_module:Node", "no module 'no_such_module'; searched: "),
        ("sample_nodes:Ecko", "has no 'Ecko'; it has: Echo, "),
        ("sample_nodes:NotANode", "'NotANode' in module 'sample_nodes' is no subclass"),
        ("broken_import:Node", "No module named 'there_is_no_such_module'"),
    ],
)
def test_a_class_that_cannot_be_had_is_named(node_type, message):
    with pytest.raises(PythonError) as raised:
        execute_pipeline_with_input(manifest(("node", node_type)), "x")
    assert "failed to load" in str(raised.value)
    assert message in str(raised.value)


def test_an_interpreter_that_is_none_is_named():
    where = '/metadata/multiprocess/python_executable: there is no interpreter "/no/such/python"'
    with pytest.raises(ManifestError, match=where):
        run("Echo", metadata={"multiprocess": {"python_executable": "/no/such/python"}})
