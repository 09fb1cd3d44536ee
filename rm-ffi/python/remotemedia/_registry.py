"""Which node classes there are, by which names, and where a worker finds them.

Main functions: `register_node` and `load_nodes`, for everybody; `prepare`, `describe` and `scan`,
which the runtime calls before it plans a manifest, tells of a node type, or lists them all. What is
found is declared to the runtime, which keeps the only list.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, overload

from remotemedia.node import Node
from remotemedia.params import declaration_of
from remotemedia_runtime import _native
from remotemedia_runtime.errors import ManifestError, ParameterError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "remotemedia.nodes"

_N = TypeVar("_N", bound=type[Node])

_log = logging.getLogger("remotemedia")

# By the name of the node type.
_classes: "dict[str, type[Node]]" = {}
_entries: "dict[str, EntryPoint]" = {}
# By the import path: those of functions are found in no module.
_by_path: "dict[str, type[Node]]" = {}
# The files of modules that were loaded as files, by the names of these modules.
_files: "dict[str, Path]" = {}
# Each held while a module of this name is executed, before which it is not complete.
_loading: "dict[str, threading.RLock]" = {}


@overload
def register_node(name: _N) -> _N: ...


@overload
def register_node(
    name: "str | None" = None,
    *,
    description: "str | None" = None,
    version: "str | None" = None,
    accepts: "Sequence[str | Mapping[str, Any]]" = (),
    produces: "Sequence[str | Mapping[str, Any]]" = (),
    input_ports: "Sequence[str]" = (),
    output_ports: "Sequence[str]" = (),
    capabilities: "Sequence[str]" = (),
) -> "Callable[[_N], _N]": ...


def register_node(
    name: "str | type[Node] | None" = None,
    *,
    description: "str | None" = None,
    version: "str | None" = None,
    accepts: "Sequence[str | Mapping[str, Any]]" = (),
    produces: "Sequence[str | Mapping[str, Any]]" = (),
    input_ports: "Sequence[str]" = (),
    output_ports: "Sequence[str]" = (),
    capabilities: "Sequence[str]" = (),
) -> Any:
    """Give a node class a name, by which manifests can call it in this process.

    To be used as a decorator, with or without arguments. What else is said of the class is told by
    `remotemedia_runtime.get_node_metadata`, and checked before anything starts.

    Parameters
    ----------
    name : str, optional
        The name; that of the class if it is not given.
    description : str, optional
        What the node does; the first paragraph of the class's docstring if it is not given.
    version : str, optional
        Its version; that of its package if it is not given.
    accepts, produces : sequence of str or mapping
        The types of data that it takes and gives: of "audio", "video", "text", "tensor", "json" and
        "binary". Without any it may be all of them. Formats of audio and video can be named too:
        ``{"audio": {"sample_rate": 16000, "channels": [1, 2], "format": "f32"}}`` (``layout`` as
        well), ``{"video": {"width": {"min": 1, "max": 640}, "height": 480, "format": "rgb24"}}``.
        Nodes that give other formats are no neighbours then, unless the manifest's ``auto_convert``
        has converters put in between.
    input_ports, output_ports : sequence of str
        The ports that connections may name. Without any they may name all.
    capabilities : sequence of str
        What it needs of the machine, such as "gpu".

    Returns
    -------
    type or callable
        The class, or the decorator.

    Raises
    ------
    ValueError
        The name is that of a native node or of another class, or holds ":" or blanks.
    TypeError
        The class is no subclass of `remotemedia.Node`, or what it declares cannot be.

    Examples
    --------
    >>> @register_node("gain", accepts=["audio"], produces=["audio"])
    ... class Gain(Node):
    ...     class Params:
    ...         factor: float = 2.0

    A model that takes one format only:

    >>> speech = {"audio": {"sample_rate": 16000, "channels": 1, "format": "f32"}}
    >>> @register_node("recogniser", accepts=[speech], produces=["text"])
    ... class Recogniser(Node):
    ...     def process(self, audio):
    ...         return "…"
    """
    if name is not None and not isinstance(name, str | type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name!r} is neither a name nor a subclass of remotemedia.Node")
    facts: dict[str, Any] = {
        "accepts": _native._data_types(json.dumps(list(accepts))),
        "produces": _native._data_types(json.dumps(list(produces))),
        "takes": list(accepts),
        "gives": list(produces),
        "input_ports": list(input_ports),
        "output_ports": list(output_ports),
        "capabilities": list(capabilities),
    }
    if description is not None:
        facts["description"] = description
    if version is not None:
        facts["version"] = version

    def register(node: Any) -> Any:
        if not is_node(node):
            raise TypeError(f"{node!r} is no subclass of remotemedia.Node, so it is no node")
        given = node.__name__ if not isinstance(name, str) else name
        if not given or any(letter == ":" or letter.isspace() for letter in given):
            raise ValueError(
                f"a node type cannot be called {given!r}: it is empty or holds ':' or blanks"
            )
        node._node_facts = facts  # pyright: ignore[reportPrivateUsage]
        declare(node, given)
        _classes[given] = node
        return node

    return register(name) if isinstance(name, type) else register


def load_nodes(
    module: "str | os.PathLike[str]", base_dir: "str | os.PathLike[str] | None" = None
) -> "list[str]":
    """Import a module for its node classes.

    Parameters
    ----------
    module : str or os.PathLike
        Its name, such as ``"speech.nodes"``, or the path of its file: a path object, or a text with
        a ``/`` or with ``.py`` at its end.
    base_dir : str or os.PathLike, optional
        The folder from which paths start, and which is searched for modules too; the current one if
        it is not given.

    Returns
    -------
    list of str
        The node types that it has: registered names, or import paths of those without one.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    Exception
        What importing it raises, such as `ModuleNotFoundError`.
    """
    base = Path.cwd() if base_dir is None else Path(base_dir)
    if isinstance(module, str) and "/" not in module and not module.endswith(".py"):
        import importlib

        with searching(base):
            loaded = importlib.import_module(module)
    else:
        loaded = load_file(base / module)
    found: list[str] = []
    for value in vars(loaded).values():
        if is_node(value) and value.__module__ == loaded.__name__:
            names = [name for name, node in _classes.items() if node is value]
            found += names or [node_type_of(value)]
    return found


def load_file(path: Path) -> ModuleType:
    """Import a file as a module of its own; once."""
    from hashlib import blake2b

    path = path.resolve()
    mark = blake2b(os.fsencode(path), digest_size=4).hexdigest()
    name = f"remotemedia_nodes_{path.stem}_{mark}"
    with _loading.setdefault(name, threading.RLock()):
        known = sys.modules.get(name)
        return _execute(path, name) if known is None else known


def _execute(path: Path, name: str) -> ModuleType:
    import importlib.util

    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no file of Python; expected a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _files[name] = path
    try:
        with searching(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name], _files[name]
        raise
    return module


@contextmanager
def searching(folder: Path) -> "Generator[None, None, None]":
    """Have modules found in a folder first."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def is_node(value: object) -> "TypeGuard[type[Node]]":
    """Whether something is a class of nodes."""
    return isinstance(value, type) and issubclass(value, Node) and value is not Node


def node_type_of(node: "type[Node]") -> str:
    """The import path of a class, under which it is declared from now on."""
    node_type = f"{node.__module__}:{node.__qualname__}"
    declare(node, node_type)
    _by_path[node_type] = node
    return node_type


def declare(node: "type[Node]", name: str, path: "str | None" = None) -> None:
    """Tell the runtime what there is to know of a class."""
    found, folder = _place_of(node)
    _native._declare_node(json.dumps(declaration_of(node).metadata(name)), path or found, folder)


def _place_of(node: "type[Node]") -> "tuple[str, str | None]":
    """Where a worker finds a class, and the folder that it has to search for that."""
    name = node.__module__
    if name == "__main__":
        main = sys.modules[name]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None and spec.name != "__main__":
            name = spec.name
        elif file is not None and Path(file).is_file():
            return f"{Path(file).resolve()}:{node.__qualname__}", None
    elif name in _files:
        return f"{_files[name]}:{node.__qualname__}", None
    return f"{name}:{node.__qualname__}", _folder_of(name)


def _folder_of(name: str) -> "str | None":
    """The folder of a module's top package; None for one that every interpreter searches."""
    module = sys.modules.get(name.partition(".")[0])
    if module is None and "." not in name:
        module = sys.modules.get("__main__")
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    path = Path(file).absolute()
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    return None if folder.name in ("site-packages", "dist-packages") else str(folder)


def unreachable(node: "type[Node]") -> "str | None":
    """Why no worker can find a class; None if it can."""
    if "." in node.__qualname__:
        where = "it is not at the top level of its module"
    elif node.__module__ == "__main__" and _place_of(node)[0].startswith("__main__:"):
        where = "it has no file of its own, as in an interactive session, a notebook or an archive"
    else:
        return None
    return (
        f"a worker cannot import the class {node.__qualname__}: {where}; put it into a module, or "
        "run the pipeline by remotemedia.run_in_process"
    )


def find(node_type: str, importing: bool = False) -> "type[Node] | None":
    """Give the class of a node type, and have it declared; None if it is not known here.

    `importing` says whether a module may be imported for it. An installed package whose class is
    not imported yet is declared without its parameters.
    """
    node = _classes.get(node_type)
    if node is not None:
        declare(node, node_type)
        return node
    module, separator, name = node_type.rpartition(":")
    if not separator:
        if node_type not in _entries:
            scan()
        if (entry := _entries.get(node_type)) is not None:
            return _of_entry(node_type, entry, importing)
        module, separator, name = node_type.rpartition(".")
    if not separator or not all(part.isidentifier() for part in (*module.split("."), name)):
        return _by_path.get(node_type)
    found: Any = sys.modules.get(module)
    if found is None and importing:
        import importlib

        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise
    found = getattr(found, name, None)
    if not is_node(found):
        return _by_path.get(node_type)
    declare(found, f"{module}:{name}")
    return found


def _of_entry(name: str, entry: "EntryPoint", importing: bool) -> "type[Node] | None":
    node = getattr(sys.modules.get(entry.module), entry.attr, None)
    if node is None and importing:
        node = entry.load()
    if node is None:
        return None
    if not is_node(node):
        raise TypeError(f"entry point {name!r}, {entry.value}, is no subclass of remotemedia.Node")
    declare(node, name, f"{entry.module}:{entry.attr}")
    return node


def scan() -> None:
    """Look for node types in the entry points of installed packages, without importing these."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        known = _entries.get(entry.name)
        if known is not None and known.value == entry.value:
            continue
        _entries[entry.name] = entry
        if entry.name in _classes:
            continue
        folder = None if entry.dist is None else Path(str(entry.dist.locate_file(""))).absolute()
        package = None if entry.dist is None else entry.dist.metadata["Name"]
        metadata: dict[str, Any] = {
            "name": entry.name,
            "version": "" if entry.dist is None else entry.dist.version,
            "description": "" if package is None else f"of the package {package}",
            "capabilities": [],
            "parameters": [],
            "accepts": [],
            "produces": [],
            "source": False,
            "open_params": True,
        }
        if folder is not None and folder.name in ("site-packages", "dist-packages"):
            folder = None
        path = f"{entry.module}:{entry.attr}"
        try:
            _native._declare_node(json.dumps(metadata), path, folder)
        except ValueError as error:
            _log.warning("the entry point %r of %s is left out: %s", entry.name, package, error)


def describe(node_type: str) -> None:
    """Have a node type declared with all that its class says; the runtime calls it."""
    find(node_type, importing=True)


def prepare(
    nodes: "list[tuple[int, str, str]]",
    modules: "list[str]",
    base_dir: "str | os.PathLike[str] | None",
    purpose: str,
) -> None:
    """Have the node types of a manifest declared, and check what only Python can.

    The runtime calls it before it plans a manifest.

    Parameters
    ----------
    nodes : list of tuple
        Of each node that is no native one its place in the manifest, its type, and its parameters
        as JSON.
    modules : list of str
        The modules that the manifest names.
    base_dir : str or None
        The folder from which paths in it start.
    purpose : str
        "run" in workers; "plan" for how that would be; "check" for a look at what may be meant for
        another installation, for which nothing is imported; or "in_process".

    Raises
    ------
    ManifestError
        A module cannot be loaded, a class cannot be imported by workers, or refuses parameters.
    """
    problems: list[str] = []
    for index, module in enumerate(modules if purpose != "check" else ()):
        try:
            load_nodes(module, base_dir)
        except (Exception, SystemExit) as error:
            message = f"{module!r} cannot be loaded: {type(error).__name__}: {error}"
            raise ManifestError(
                f"the manifest cannot be run: /modules/{index}: {message}"
            ) from error
    for index, node_type, text in nodes:
        try:
            node = find(node_type, importing=purpose == "plan")
        except (Exception, SystemExit) as error:
            message = f"{node_type!r} cannot be loaded: {type(error).__name__}: {error}"
            problems.append(f"/nodes/{index}/node_type: {message}")
            continue
        if node is None:
            continue
        if purpose in ("run", "plan") and (reason := unreachable(node)) is not None:
            problems.append(f"/nodes/{index}/node_type: {reason}")
        problems += _refused(node, index, json.loads(text))
    if len(problems) == 1:
        raise ManifestError(f"the manifest cannot be run: {problems[0]}")
    if problems:
        raise ManifestError("the manifest cannot be run:" + "".join(f"\n  {p}" for p in problems))


def _refused(node: "type[Node]", index: int, params: "dict[str, Any]") -> "list[str]":
    """What the class itself does not like about parameters that are of the right types."""
    declaration = declaration_of(node)
    # The rest is found when the manifest is planned, with everything else that is wrong.
    if declaration.style != "params" or declaration.problems(params):
        return []
    try:
        declaration.fill(params)
    except ParameterError as error:
        return [f"/nodes/{index}/params/{name}: {message}" for name, message in error.problems]
    return []
