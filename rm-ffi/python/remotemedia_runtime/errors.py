"""What the runtime raises.

Every exception is a `RemoteMediaError`, and also one of Python's own, so that either can be caught.
"""

__all__ = [
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
]


class RemoteMediaError(Exception):
    """Any failure that the runtime reports.

    Attributes
    ----------
    node_id : str or None
        The node that failed, where it was one.
    """

    node_id: "str | None" = None


class ManifestError(RemoteMediaError, ValueError):
    """The manifest is no JSON, or does not have the form of a manifest."""


class GraphError(RemoteMediaError, ValueError):
    """The connections of the manifest cannot be."""


class CycleError(GraphError):
    """The connections of the manifest lead in a circle."""


class NodeNotFound(RemoteMediaError, KeyError):
    """There is no such node type."""

    # A KeyError would show the representation of its message.
    __str__ = Exception.__str__


class MarshalingError(RemoteMediaError, TypeError):
    """An object cannot be sent, or an item has no form in Python."""


class SessionError(RemoteMediaError, RuntimeError):
    """The run failed for a reason that lies in no node."""


class NodeExecutionError(RemoteMediaError, RuntimeError):
    """A native node failed."""


class PythonError(RemoteMediaError, RuntimeError):
    """A Python node raised an exception; the message ends with its traceback."""


class ProcessSpawnError(RemoteMediaError, RuntimeError):
    """The process of a Python node could not be started."""


class InitializationTimeout(RemoteMediaError, RuntimeError):
    """A Python node did not get ready in time."""


class ProcessCrashError(RemoteMediaError, RuntimeError):
    """The process of a Python node died.

    Attributes
    ----------
    exit_code : int or None
        The code with which it exited, if it exited by itself.
    signal : int or None
        The signal that ended it, if one did.
    report : str or None
        All that is known of the process, with its last output.
    """

    exit_code: "int | None" = None
    signal: "int | None" = None
    report: "str | None" = None
