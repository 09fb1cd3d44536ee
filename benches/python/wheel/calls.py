"""What a call into the native module costs, beside calls of C and of Python."""

import json
import time

import numpy as np
from measure import measure, promise

from remotemedia_runtime import Audio, get_available_nodes, get_node_metadata, validate_manifest


def chain(count, node_type="PassThroughNode", **params):
    """Write the manifest of so many nodes in a row."""
    nodes = [
        {"id": f"n{number}", "node_type": node_type, "params": params} for number in range(count)
    ]
    connections = [{"from": f"n{number}", "to": f"n{number + 1}"} for number in range(count - 1)]
    return json.dumps({"version": "v1", "nodes": nodes, "connections": connections})


def nothing():
    """Do nothing."""


def calls():
    """Measure calls that do little."""
    one, ten = chain(1), chain(10)
    # It makes a pair of two small numbers: the least that a native method does.
    empty = Audio(np.zeros(1, np.float32), 16_000).__dlpack_device__
    found = measure(
        {
            "a Python function that does nothing": nothing,
            "time.monotonic(), in C": time.monotonic,
            "a native method that does nothing": empty,
            "get_available_nodes()": get_available_nodes,
            "get_node_metadata(...)": lambda: get_node_metadata("ResampleNode"),
            "validate_manifest(...) of 1 node": lambda: validate_manifest(one),
            "validate_manifest(...) of 10 nodes": lambda: validate_manifest(ten),
            "json.loads(...) of the same": lambda: json.loads(ten),
        }
    )
    promise("an empty call", found["a native method that does nothing"].median, 1, "µs")
    promise("get_available_nodes()", found["get_available_nodes()"].median, 1, "µs")
    ten_nodes = found["validate_manifest(...) of 10 nodes"].median
    promise("10 nodes validated", ten_nodes / 1e3, 5, "ms")
