"""Runs media and AI pipelines: native nodes in this process, Python nodes in their own.

The functions take a manifest as JSON text. Nodes are written with `remotemedia.Node`.
"""

import sys
from typing import TYPE_CHECKING, Any

try:
    from remotemedia_runtime._native import (
        Audio,
        VideoFrame,
        __version__,
        execute_pipeline,
        execute_pipeline_with_input,
        get_available_nodes,
        get_node_metadata,
        validate_manifest,
    )
except ImportError:
    # Such a Python looks for native modules of other names, and would say that there is none.
    if "t" in sys.abiflags:
        raise ImportError(
            "remotemedia_runtime does not support free-threaded Python; use a Python that has the "
            "global interpreter lock"
        ) from None
    raise
from remotemedia_runtime.errors import (
    CallbackError,
    CallbackNotFound,
    CallbackTimeout,
    ChannelFullError,
    CycleError,
    GraphError,
    InitializationTimeout,
    InputError,
    ItemTimeout,
    ManifestError,
    MarshalingError,
    NodeClassNotFound,
    NodeExecutionError,
    NodeNotFound,
    NodeParameterError,
    ParameterError,
    ParentGone,
    ProcessCrashError,
    ProcessLimitError,
    ProcessSpawnError,
    PythonError,
    RemoteMediaError,
    ResourceLimitError,
    SessionError,
    SessionNameError,
)

__all__ = [
    "Audio",
    "CallbackError",
    "CallbackNotFound",
    "CallbackTimeout",
    "ChannelFullError",
    "CycleError",
    "GraphError",
    "InitializationTimeout",
    "InputError",
    "ItemTimeout",
    "ManifestError",
    "MarshalingError",
    "NodeClassNotFound",
    "NodeExecutionError",
    "NodeNotFound",
    "NodeParameterError",
    "ParameterError",
    "ParentGone",
    "ProcessCrashError",
    "ProcessLimitError",
    "ProcessSpawnError",
    "PythonError",
    "RemoteMediaError",
    "ResourceLimitError",
    "SessionError",
    "SessionNameError",
    "VideoFrame",
    "__version__",
    "execute_pipeline",
    "execute_pipeline_with_input",
    "get_available_nodes",
    "get_node_metadata",
    "validate_manifest",
]

if TYPE_CHECKING:
    from remotemedia_runtime._callbacks import Module

    callbacks: Module


def __getattr__(name: str) -> Any:
    # In a worker it is set before any other code runs.
    if name == "callbacks":
        raise ImportError(
            "callbacks can be had only in a worker, a process that was started by a parent "
            "that registered some"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
