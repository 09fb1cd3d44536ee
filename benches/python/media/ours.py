"""Our nodes, as the bench runs them.

Main functions: `node`, for calls without a session around them, and `streamed`, for a session.
"""

import json
import threading

from remotemedia_runtime._native import _NativeNode


def node(node_type, **params):
    """Make a native node that is called directly, without a session."""
    made = _NativeNode(node_type, "bench", json.dumps(params))
    made.initialize()
    return made


def given(parts):
    """Give those items of a call that go to connections which name no port."""
    return [item for port, item in parts if port is None]


def whole(node_type, item, **params):
    """Give all that a new node makes of one item."""
    made = node(node_type, **params)
    return given(made.process(item)) + given(made.finish())


def chain(*nodes):
    """Write the manifest of nodes in a row: pairs of a type and its parameters."""
    described = [
        {"id": f"n{number}", "node_type": node_type, "params": params}
        for number, (node_type, params) in enumerate(nodes)
    ]
    connections = [{"from": f"n{end - 1}", "to": f"n{end}"} for end in range(1, len(nodes))]
    return json.dumps({"version": "v1", "nodes": described, "connections": connections})


def streamed(session, items):
    """Send items on one thread and receive on this one to the end; give all results."""

    def send_all():
        for item in items:
            session.send(item)
        session.finish()

    sender = threading.Thread(target=send_all)
    sender.start()
    results = [output.item for output in session]
    sender.join()
    return results
