"""A run of native nodes, and a round trip through a worker: does it work here at all?

Main functions: `run_native` and `run_worker`. Each gives what it took, or raises what went wrong.
"""

import json
import time
from typing import Any

from remotemedia.node import Node

_SENT = "does it come back?"


class Echo(Node):
    """Gives every item back; it is what the worker runs."""

    def process(self, item: Any) -> Any:
        """Give the item back."""
        return item


def _round_trip(node_type: str) -> float:
    from remotemedia_runtime import execute_pipeline_with_input

    manifest = {"version": "v1", "nodes": [{"id": "selftest", "node_type": node_type}]}
    began = time.monotonic()
    result = execute_pipeline_with_input(json.dumps(manifest), _SENT)
    if result["result"] != _SENT:
        raise RuntimeError(f"sent {_SENT!r}, and {result['result']!r} came back")
    return time.monotonic() - began


def run_native() -> float:
    """Run an item through a native node; gives the seconds that it took."""
    return _round_trip("PassThroughNode")


def run_worker() -> float:
    """Run an item through a Python node in a process of its own; gives the seconds."""
    return _round_trip("remotemedia.cli.selftest:Echo")
