"""Nodes whose methods are asynchronous, in workers of their own."""

import numpy as np
import pytest
from conftest import manifest

from remotemedia_runtime import PythonError, execute_pipeline_with_input

DATA = np.arange(4, dtype=np.float32)


def run(name, item="x", params=None):
    text = manifest(("node", f"async_nodes:{name}", params or {}))
    return execute_pipeline_with_input(text, item)


def test_all_methods_may_be_asynchronous_and_run_one_after_another(tmp_path):
    cleaned = tmp_path / "cleaned"
    nodes = [
        ("numbers", "port_nodes:Numbers"),
        ("node", "async_nodes:Methods", {"cleaned": str(cleaned)}),
    ]
    result = execute_pipeline_with_input(manifest(*nodes), 3)["result"]
    ran = ["initialize"] + [f"{what} {n}" for n in range(3) for what in ("begin", "end")]
    assert result == [0, 1, 2, ran]
    assert cleaned.read_text() == "cleaned"


def test_an_asynchronous_generator_gives_items_one_by_one():
    result = run("Stream", params={"count": 3})
    assert [
        str(item) if isinstance(item, str) else float(item[0]) for item in result["result"]
    ] == [
        0.0,
        1.0,
        2.0,
        "end",
    ]
    node = result["metrics"]["nodes"]["node"]
    assert (node["items_in"], node["items_out"], node["time"]["count"]) == (1, 4, 1)


def test_a_loan_of_an_asynchronous_generator_is_sent_without_a_copy():
    nodes = [("lend", "async_nodes:Lends"), ("same", "sample_nodes:Echo")]
    result = execute_pipeline_with_input(manifest(*nodes), DATA)
    np.testing.assert_array_equal(result["result"], DATA * 2)
    (connection,) = result["metrics"]["connections"]
    assert connection["copied_bytes"] == 0


@pytest.mark.parametrize("at", ["initialize", "process", "finish"])
def test_what_an_asynchronous_method_raises_is_the_nodes_failure(at):
    with pytest.raises(PythonError) as raised:
        run("FailsAsync", params={"at": at})
    error = raised.value
    assert (error.node_id, error.during, error.error_type) == ("node", at, "ValueError")
    assert f"no luck in {at}" in str(error)
    assert "async_nodes.py" in error.traceback


def test_a_task_that_is_left_behind_does_not_keep_the_worker():
    assert run("LeavesTask")["result"] == "x"
