"""Write nodes for media and AI pipelines in Python, and put pipelines together.

A node is a class derived from `Node`. A manifest names it by its import path,
``package.module:Class``, or by the name that `register_node` gives it; it then runs in a process of
its own, and its items come to it through shared memory. `Pipeline` makes manifests of such nodes
and of the native ones, whose classes are in `remotemedia.nodes` and here.
"""

from typing import TYPE_CHECKING, Any

from remotemedia.node import Context, Emit, Input, Node, TransientError
from remotemedia_runtime import Audio, VideoFrame, __version__
from remotemedia_runtime.errors import ParameterError

if TYPE_CHECKING:
    from remotemedia import nodes
    from remotemedia._registry import load_nodes, register_node
    from remotemedia.in_process import run_in_process
    from remotemedia.nodes import *  # noqa: F403
    from remotemedia.params import Range
    from remotemedia.pipeline import NativeNode, NodeOptions, Pipeline
    from remotemedia.runtime.executor import RustExecutor
    from remotemedia.session import AsyncSession, Output, Progress, Session

__all__ = [
    "AsyncSession",
    "Audio",
    "Context",
    "Emit",
    "Input",
    "MultiprocessNode",
    "NativeNode",
    "Node",
    "NodeOptions",
    "Output",
    "ParameterError",
    "Pipeline",
    "Progress",
    "Range",
    "RustExecutor",
    "Session",
    "TransientError",
    "VideoFrame",
    "__version__",
    "load_nodes",
    "register_node",
    "run_in_process",
]

if TYPE_CHECKING:
    __all__ += nodes.__all__

# A node in a process of its own, which all nodes in Python have.
MultiprocessNode = Node

# What is imported when it is first used: a worker needs little of it.
_LAZY = {
    "AsyncSession": "session",
    "NativeNode": "pipeline",
    "NodeOptions": "pipeline",
    "Output": "session",
    "Pipeline": "pipeline",
    "Progress": "session",
    "Range": "params",
    "RustExecutor": "runtime.executor",
    "Session": "session",
    "load_nodes": "_registry",
    "register_node": "_registry",
    "run_in_process": "in_process",
}


def __getattr__(name: str) -> Any:
    import importlib

    module = _LAZY.get(name, "nodes")
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> "list[str]":
    import importlib

    nodes: list[str] = importlib.import_module(f"{__name__}.nodes").__all__
    return sorted({*globals(), *__all__, *nodes})
