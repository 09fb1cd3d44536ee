"""Runs media and AI pipelines: native nodes in this process, Python nodes in their own.

The functions take a manifest as JSON text. Nodes are written with `remotemedia.Node`.
"""

from remotemedia_runtime._native import (
    Audio,
    __version__,
    execute_pipeline,
    execute_pipeline_with_input,
    get_available_nodes,
    get_node_metadata,
    validate_manifest,
)
from remotemedia_runtime.errors import (
    CycleError,
    GraphError,
    InitializationTimeout,
    ManifestError,
    MarshalingError,
    NodeExecutionError,
    NodeNotFound,
    ProcessCrashError,
    ProcessSpawnError,
    PythonError,
    RemoteMediaError,
    SessionError,
)

__all__ = [
    "Audio",
    "CycleError",
    "GraphError",
    "InitializationTimeout",
    "ManifestError",
    "MarshalingError",
    "NodeExecutionError",
    "NodeNotFound",
    "ProcessCrashError",
    "ProcessSpawnError",
    "PythonError",
    "RemoteMediaError",
    "SessionError",
    "__version__",
    "execute_pipeline",
    "execute_pipeline_with_input",
    "get_available_nodes",
    "get_node_metadata",
    "validate_manifest",
]
