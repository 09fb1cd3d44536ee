"""The Python half of a worker: a process that runs one Python node for a session.

It is started by a session, as ``python -m remotemedia_runtime.worker``; nobody else needs it.
"""

import asyncio
import concurrent.futures
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any, TypeGuard

from remotemedia import Context, Node, TransientError
from remotemedia_runtime.worker import loop

# Until Python 3.11 the modules had exceptions of their own for an elapsed time.
_TRANSIENT = (
    TransientError,
    TimeoutError,
    asyncio.TimeoutError,
    concurrent.futures.TimeoutError,
    ConnectionError,
    BlockingIOError,
    InterruptedError,
)


class LoadError(Exception):
    """The class of a node cannot be had; the message says it all."""


def load_node(
    node_type: str,
    params: dict[str, Any],
    node_id: str,
    session_id: str,
    base_dir: "str | os.PathLike[str] | None",
    hooks: Any,
) -> Node:
    """Make the node of an import path and give it everything but `initialize`."""
    base = Path(base_dir) if base_dir is not None else Path.cwd()
    sys.path.insert(0, str(base))
    node = _class_of(node_type)()
    node.params = params
    node.context = Context(node_id, session_id, base, hooks)
    node._hooks = hooks
    return node


def _class_of(node_type: str) -> type[Node]:
    name, _, class_name = node_type.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that this one imports may be missing too; that is for its traceback to show.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise LoadError(f"no module {error.name!r}; searched: {', '.join(sys.path)}") from None
    found = getattr(module, class_name, None)
    if found is None:
        nodes = [key for key, value in vars(module).items() if _is_node(value)]
        hint = f"; it has: {', '.join(nodes)}" if nodes else ""
        raise LoadError(f"module {name!r} ({module.__file__}) has no {class_name!r}{hint}")
    if not _is_node(found):
        raise LoadError(f"{class_name!r} in module {name!r} is no subclass of remotemedia.Node")
    return found


def _is_node(value: object) -> TypeGuard[type[Node]]:
    return isinstance(value, type) and issubclass(value, Node) and value is not Node


def change_params(node: Node, params: dict[str, Any]) -> None:
    """Give a node new values of parameters; whatever it raises, it keeps the ones that it had."""
    before = node.params
    node.params = dict(before)
    try:
        loop.settle(node.set_params(params))
    except BaseException:
        node.params = before
        raise


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed when it is tried again."""
    transient = getattr(error, "transient", None)
    return transient if isinstance(transient, bool) else isinstance(error, _TRANSIENT)


def describe_failure(error: BaseException) -> tuple[str, str, str]:
    """Give an exception's type, message and traceback as texts."""
    name = type(error).__name__
    if isinstance(error, LoadError):
        return name, str(error), ""
    return name, str(error), "".join(traceback.format_exception(error))
