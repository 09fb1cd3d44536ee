"""What the runtime raises.

Every exception is a `RemoteMediaError`, and also one of Python's own, so that either can be caught.
"""

__all__ = [
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


class ParameterError(ManifestError):
    """A node does not have such parameters, or does not take these values of them.

    Attributes
    ----------
    parameter : str or None
        The first parameter that is wrong, where that is known.
    problems : list of tuple of str
        The name of each wrong parameter ("" for none), and what is wrong with it.
    """

    parameter: "str | None" = None
    problems: "list[tuple[str, str]]" = []  # noqa: RUF012


class GraphError(RemoteMediaError, ValueError):
    """The connections of the manifest cannot be."""


class CycleError(GraphError):
    """The connections of the manifest lead in a circle."""


class NodeNotFound(RemoteMediaError, KeyError):
    """There is no such node type, or no such node in a session."""

    # A KeyError would show the representation of its message.
    __str__ = Exception.__str__


class MarshalingError(RemoteMediaError, TypeError):
    """An object cannot be sent, or an item has no form in Python."""


class ChannelFullError(RemoteMediaError, RuntimeError):
    """There was no room for an item in the time given; it was not sent."""


class SessionError(RemoteMediaError, RuntimeError):
    """The run failed for a reason that lies in no node."""


class SessionNameError(SessionError, ValueError):
    """A session cannot have the name that it is to have, or another one has it."""


class NodeExecutionError(RemoteMediaError, RuntimeError):
    """A native node failed."""


class PythonError(RemoteMediaError, RuntimeError):
    """A Python node raised an exception; the message ends with its traceback.

    Attributes
    ----------
    during : str or None
        What failed: "load", "initialize", "process" or "finish".
    item : int or None
        The item in work, counted from 0 over all inputs of the node.
    error_type : str or None
        The name of the exception's type.
    traceback : str or None
        The exception's traceback; None for a class that could not be found.
    """

    during: "str | None" = None
    item: "int | None" = None
    error_type: "str | None" = None
    traceback: "str | None" = None


class NodeClassNotFound(NodeNotFound, PythonError):
    """The class of a Python node cannot be found in its worker."""

    # A KeyError would show the representation of its message.
    __str__ = Exception.__str__


class NodeParameterError(ParameterError, PythonError):
    """A Python node does not take its parameters, as its worker has found."""


class _ProcessFailure(RemoteMediaError, RuntimeError):
    """What the exceptions that tell of a process's end have in common."""

    exit_code: "int | None" = None
    signal: "int | None" = None
    reason: "str | None" = None
    item: "int | None" = None
    traceback: "str | None" = None
    stdout: "str | None" = None
    stderr: "str | None" = None
    report: "str | None" = None


class ProcessSpawnError(_ProcessFailure):
    """The process of a Python node could not be started.

    It has the attributes of a `ProcessCrashError`, which are None where there was no process.
    """


class InitializationTimeout(_ProcessFailure):
    """A Python node did not get ready in time.

    It has the attributes of a `ProcessCrashError`; the traceback shows where the node was.
    """


class ProcessCrashError(_ProcessFailure):
    """The process of a Python node died.

    Attributes
    ----------
    exit_code : int or None
        The code with which it exited, if it exited by itself.
    signal : int or None
        The signal that ended it, if one did.
    reason : str or None
        What kind of end it was: "normal", "crash", "killed", "timeout", or "resource limit" with
        the limit in parentheses, such as "resource limit (memory)".
    item : int or None
        The item in work, counted from 0 over all inputs of the node.
    traceback : str or None
        The traceback of the exception that ended it, or the stacks of all its threads.
    stdout, stderr : str or None
        The last 64 KiB that it printed.
    report : str or None
        All that is known of the process, for a person.
    """


class ResourceLimitError(_ProcessFailure):
    """A limit does not allow it: of processes, of sessions, or of what a process may use.

    It has the attributes of a `ProcessCrashError`, which are None where there was no process.
    """


class ProcessLimitError(ResourceLimitError, ProcessCrashError):
    """The process of a Python node died of one of its limits, such as that of its memory."""


class ItemTimeout(ProcessCrashError, TimeoutError):
    """A Python node was at one item for longer than its policy allows, and its process was ended.

    The traceback shows where the node was.
    """


class _CallFailure(RemoteMediaError, RuntimeError):
    """What the exceptions that tell of a failure in the parent process have in common."""

    error_type: "str | None" = None
    message: "str | None" = None
    traceback: "str | None" = None


class CallbackError(_CallFailure):
    """A callback failed.

    Attributes
    ----------
    error_type : str or None
        The Rust type of the handler's error, or the name of a `PythonExecutionError` for what
        failed on the way to the handler; None where the parent said nothing.
    message : str or None
        What the parent said.
    traceback : str or None
        The traceback, where it was Python code again that failed.
    """


class CallbackNotFound(CallbackError, AttributeError):
    """The parent process has registered no such callback; the message names those that are near."""


class CallbackTimeout(CallbackError, TimeoutError):
    """The deadline of the request that is served has passed, and with it that of its callbacks."""


class ParentGone(CallbackError, ConnectionError):
    """The parent process has ended, or takes no more callbacks."""

    # It does not come back.
    transient = False


class InputError(_CallFailure):
    """The items that follow a request ended before they were complete.

    It has the attributes of a `CallbackError`.
    """
