"""What becomes of an item on which a Python node fails, where the manifest says nothing of it."""

import pytest
from conftest import manifest

from remotemedia_runtime import PythonError, execute_pipeline_with_input


def run(name, item="x", **params):
    text = manifest(("node", f"failing_nodes:{name}", params))
    result = execute_pipeline_with_input(text, item)
    return result["result"], result["metrics"]["nodes"]["node"]


def test_a_transient_failure_is_tried_again_and_the_item_comes_once():
    result, node = run("Flaky", failures=2, error="transient")
    assert result == [{"item": "x", "tries": 3}]
    assert (node["items_in"], node["items_out"]) == (1, 1)
    assert (node["errors"], node["retries"], node["skipped"]) == (2, 2, 0)


def test_a_transient_failure_that_stays_is_the_runs_failure_after_the_last_try():
    with pytest.raises(PythonError, match="failed to process item 0: TransientError: no luck"):
        run("Flaky", failures=4, error="transient")
    assert run("Flaky", failures=3, error="transient")[0] == [{"item": "x", "tries": 4}]


def test_another_failure_is_not_tried_again():
    with pytest.raises(PythonError, match="failed to process item 0: ValueError: no luck"):
        run("Flaky", failures=1, error="other")


@pytest.mark.parametrize("name", ["FlakyStream", "FlakyAsync"])
def test_what_a_generator_gave_before_it_failed_is_not_repeated(name):
    result, node = run(name, error="transient")
    assert result == [0, 1, 2, 3, 4]
    assert (node["errors"], node["retries"], node["items_out"]) == (2, 2, 5)


def test_a_node_knows_by_which_way_an_item_came():
    numbers = ("numbers", "port_nodes:Numbers")
    nodes = [numbers, ("node", "port_nodes:Inputs")]
    result = execute_pipeline_with_input(manifest(*nodes), 2)["result"]
    come = [{"item": n, "node": "numbers", "port": None} for n in range(2)]
    assert result == [*come, [True, None, None]]
    result = execute_pipeline_with_input(manifest(("node", "port_nodes:Inputs")), "x")["result"]
    assert result[0] == {"item": "x", "node": None, "port": None}
