"""What becomes of items by the policy that the manifest gives a Python node, and ports."""

import numpy as np
import pytest
from conftest import manifest

from remotemedia_runtime import ItemTimeout, PythonError, execute_pipeline_with_input

NUMBERS = ("numbers", "port_nodes:Numbers")
# Fast enough for tests.
RETRY = {"max": 3, "initial_ms": 1, "factor": 2.0, "max_ms": 4}


def failing(name, policy, **params):
    return ("node", f"failing_nodes:{name}", params, policy)


def run(*nodes, item="x", **fields):
    result = execute_pipeline_with_input(manifest(*nodes, **fields), item)
    return result["result"], result["metrics"]["nodes"]


def test_an_item_that_fails_is_left_out_and_the_others_come():
    result, nodes = run(NUMBERS, failing("SkipsOdd", {"on_error": "skip"}), item=6)
    assert result == [0, 2, 4]
    node = nodes["node"]
    assert (node["items_in"], node["items_out"]) == (6, 3)
    assert (node["errors"], node["retries"], node["skipped"]) == (3, 0, 3)


def test_the_same_item_ends_the_run_where_the_policy_is_to_fail():
    with pytest.raises(PythonError, match="failed to process item 1: ValueError: 1 is odd"):
        run(NUMBERS, failing("SkipsOdd", {"on_error": "fail"}), item=6)


def test_every_failure_is_tried_again_where_the_policy_is_to_retry():
    policy = {"on_error": "retry", "retry": RETRY}
    result, nodes = run(failing("Flaky", policy, failures=3, error="other"))
    assert result == [{"item": "x", "tries": 4}]
    assert (nodes["node"]["errors"], nodes["node"]["retries"]) == (3, 3)
    with pytest.raises(PythonError, match="ValueError: no luck"):
        run(failing("Flaky", policy, failures=4, error="other"))


@pytest.mark.parametrize("most", [0, 1])
def test_a_transient_failure_is_tried_as_often_as_the_policy_says(most):
    policy = {"retry": RETRY | {"max": most}}
    with pytest.raises(PythonError, match="TransientError: no luck"):
        run(failing("Flaky", policy, failures=most + 1, error="transient"))
    result, _ = run(failing("Flaky", policy, failures=most, error="transient"))
    assert result == [{"item": "x", "tries": most + 1}]


def test_a_transient_failure_that_stays_is_left_out_after_the_last_try():
    policy = {"on_error": "skip", "retry": RETRY}
    result, nodes = run(NUMBERS, failing("Flaky", policy, failures=5, error="transient"), item=2)
    # Four tries of the first item; the second one is done by the sixth try of all.
    assert result == [{"item": 1, "tries": 6}]
    node = nodes["node"]
    assert (node["errors"], node["retries"], node["skipped"]) == (5, 4, 1)


def test_a_generator_that_fails_is_skipped_after_what_it_gave():
    policy = {"on_error": "skip"}
    result, nodes = run(failing("FlakyStream", policy, error="other"))
    assert result == [0, 1, 2]
    assert nodes["node"]["skipped"] == 1


def test_what_cannot_be_sent_is_a_failure_as_any_other():
    result, nodes = run(failing("Unsendable", {"on_error": "retry", "retry": RETRY}))
    assert result == ["first", "try 2"]
    assert (nodes["node"]["errors"], nodes["node"]["items_out"]) == (1, 2)


def test_a_node_that_exits_is_not_skipped():
    with pytest.raises(PythonError, match="failed to process item 0: SystemExit: 3"):
        run(failing("Exits", {"on_error": "skip"}))


def test_a_node_that_takes_too_long_over_an_item_is_named_with_it():
    with pytest.raises(ItemTimeout, match="at item 0 for more than 200ms") as raised:
        run(failing("Hangs", {"timeout_secs": 0.2}))
    error = raised.value
    assert isinstance(error, TimeoutError)
    assert (error.node_id, error.item, error.reason) == ("node", 0, "timeout")
    assert "in process" in error.traceback


def test_items_go_by_the_connections_of_their_port():
    nodes = [("splits", "port_nodes:Splits"), *((name, "sample_nodes:Echo") for name in "abc")]
    connections = [("splits.even", "a"), ("splits.odd", "b"), ("splits", "c")]
    result, found = run(*nodes, item=5, connections=connections)
    assert result == {"a": [0, 2, 4], "b": [1, 3], "c": [0, 1, 2, 3, 4]}
    assert found["splits"]["items_out"] == 10


def test_an_array_in_lent_memory_goes_to_a_port_too():
    data = np.arange(4, dtype=np.float32)
    nodes = [("splits", "port_nodes:SplitsOne"), *((name, "sample_nodes:Echo") for name in "ab")]
    result, _ = run(*nodes, item=data, connections=[("splits.out", "a"), ("splits", "b")])
    np.testing.assert_array_equal(result["a"], data * 2)
    assert result["b"] == []


def test_a_node_knows_from_where_and_for_which_port_an_item_came():
    nodes = [("a", "sample_nodes:Echo"), ("b", "port_nodes:Inputs")]
    result, _ = run(*nodes, item="x", connections=[("a", "b.main"), ("a", "b.side")])
    come = [{"item": "x", "node": "a", "port": port} for port in ("main", "side")]
    assert result == [*come, [True, None, None]]


def test_a_connection_reports_its_ports():
    nodes = [("a", "port_nodes:Splits"), ("b", "sample_nodes:Echo")]
    text = manifest(*nodes, connections=[("a.odd", "b.in")])
    (connection,) = execute_pipeline_with_input(text, 4)["metrics"]["connections"]
    assert (connection["from"], connection["from_port"]) == ("a", "odd")
    assert (connection["to"], connection["to_port"]) == ("b", "in")
    assert (connection["messages"], connection["dropped"]) == (2, 0)
