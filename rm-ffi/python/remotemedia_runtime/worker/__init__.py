"""The Python half of a worker: a process that runs one Python node for a session.

It is started by a session, as ``python -m remotemedia_runtime.worker``; nobody else needs it.
"""

import asyncio
import concurrent.futures
import importlib
import os
import sys
import traceback
from copy import copy
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from remotemedia import Context, Node, TransientError
from remotemedia._registry import load_file
from remotemedia.params import declaration_of
from remotemedia_runtime import _native
from remotemedia_runtime.errors import ParameterError
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
    folder: "str | os.PathLike[str] | None" = None,
) -> Node:
    """Make the node of an import path and give it everything but `initialize`."""
    base = Path(base_dir) if base_dir is not None else Path.cwd()
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    sys.path.insert(0, str(base))
    return make_node(find_node(node_type), params, node_id, session_id, base, hooks)


def make_node(
    cls: type[Node],
    params: dict[str, Any],
    node_id: str,
    session_id: str,
    base: Path,
    hooks: Any,
) -> Node:
    """Make a node of a class and give it everything but `initialize`."""
    declaration = declaration_of(cls)
    if declaration.style == "open":
        node = cls()
        node.params = params
    else:
        node = declaration.make(params)
    node.context = Context(node_id, session_id, base, hooks)
    node._hooks = hooks
    return node


def find_node(node_type: str) -> type[Node]:
    """Give the class of an import path.

    Raises
    ------
    LoadError
        There is none.
    Exception
        What its module raises.
    """
    name, _, class_name = node_type.rpartition(":")
    try:
        module = _import(name)
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


def _import(name: str) -> ModuleType:
    # What it defines is wanted. If it is what the user runs, it might start what this worker is of.
    _native._bar_runs(name)
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = Path(name)
        # Modules beside it may be imported at any time.
        sys.path.insert(1, str(path.parent))
        return load_file(path)
    finally:
        _native._bar_runs()


def _is_node(value: object) -> TypeGuard[type[Node]]:
    return isinstance(value, type) and issubclass(value, Node) and value is not Node


def change_params(node: Node, params: dict[str, Any]) -> None:
    """Give a node new values of parameters; whatever it raises, it keeps the ones that it had."""
    before = node.params
    # For a node that changes them where they are.
    node.params = copy(before)
    try:
        declaration_of(type(node)).changed(before, params)
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
    if isinstance(error, LoadError | ParameterError):
        return name, str(error), ""
    return name, str(error), "".join(traceback.format_exception(error))
