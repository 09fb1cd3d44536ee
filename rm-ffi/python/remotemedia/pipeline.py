"""Pipelines that are put together in Python.

Main class: `Pipeline`, a manifest in the making. It runs nothing itself: the runtime gets its
manifest as JSON.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, cast

from remotemedia.node import Node
from remotemedia.params import declaration_of, plain_params, refused
from remotemedia_runtime import (
    _native,
    execute_pipeline,
    execute_pipeline_with_input,
)
from remotemedia_runtime.errors import GraphError, ManifestError, NodeExecutionError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from remotemedia.session import Session

__all__ = ["NativeNode", "NodeOptions", "Pipeline"]


class NativeNode:
    """A native node of a pipeline, described by its parameters.

    The classes derived from it are in `remotemedia.nodes`, one for each native node type.

    Parameters
    ----------
    **params : object
        The parameters of the node.

    Attributes
    ----------
    node_type : str
        The name of the type.
    params : dict
        The parameters.

    Raises
    ------
    ParameterError
        A ``ValueError``; the node type does not take them.
    """

    node_type: ClassVar[str]
    params: "dict[str, Any]"

    def __init__(self, **params: Any) -> None:
        self.params = plain_params(params, self.node_type)
        problems = _native._check_params(self.node_type, json.dumps(self.params))
        if problems:
            raise refused(self.node_type, problems)

    def __repr__(self) -> str:
        """Show the call that makes it."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{type(self).__name__}({given})"


class NodeOptions(TypedDict, total=False):
    """What a manifest can say of a node beside its type and its parameters."""

    on_error: str
    retry: "Mapping[str, Any]"
    timeout_secs: float
    circuit_breaker: "Mapping[str, Any]"
    restart: "str | Mapping[str, Any]"
    queue: "Mapping[str, Any]"
    env: "Mapping[str, str]"
    python: "str | os.PathLike[str]"
    own_thread: bool
    limits: "Mapping[str, Any]"
    capabilities: "Mapping[str, Any]"
    executor: str
    debug: bool


class Pipeline:
    """Nodes, and connections between them.

    Nodes are connected in the order in which they were added, as long as `connect` is not used.
    From its first use on there are only the connections that it makes.

    Parameters
    ----------
    name : str
        The pipeline's name.
    description : str, optional
        What it does.
    multiprocess : mapping, optional
        Settings of worker processes and channels, as in the manifest's ``metadata.multiprocess``.
    modules : sequence of str
        Modules of Python that register node types which are added by name; see `load_nodes`.
    base_dir : str or os.PathLike, optional
        The folder from which relative paths in parameters start; the current one, when the pipeline
        runs, if it is not given.
    auto_convert : bool
        Whether converters are put between nodes that do not agree on a format. Otherwise that is an
        error, which names the converters.

    Examples
    --------
    >>> p = Pipeline("audio")
    >>> p.add_node(AudioResampleNode(target_rate=16000))
    'resample'
    >>> result = p.run(audio_data)
    """

    name: str
    base_dir: "Path | None"

    def __init__(
        self,
        name: str = "pipeline",
        *,
        description: "str | None" = None,
        multiprocess: "Mapping[str, Any] | None" = None,
        modules: "Sequence[str]" = (),
        base_dir: "str | os.PathLike[str] | None" = None,
        auto_convert: bool = False,
    ) -> None:
        self.name = name
        self.base_dir = None if base_dir is None else Path(base_dir).absolute()
        self._metadata: dict[str, Any] = {}
        if description is not None:
            self._metadata["description"] = description
        if multiprocess is not None:
            self._metadata["multiprocess"] = dict(multiprocess)
        self._rest: dict[str, Any] = {"modules": list(modules)} if modules else {}
        if auto_convert:
            self._rest["auto_convert"] = True
        self._nodes: dict[str, dict[str, Any]] = {}
        self._connections: list[dict[str, Any]] | None = None

    def add_node(
        self,
        node: "NativeNode | Node | type[NativeNode | Node] | str",
        id: "str | None" = None,
        *,
        params: "Mapping[str, Any] | None" = None,
        **options: "Unpack[NodeOptions]",
    ) -> str:
        """Add a node.

        Parameters
        ----------
        node : NativeNode or Node or type or str
            A node made with its parameters, ``Gain(factor=2)``; a class; or a node type as
            manifests write it. Of a Python node only class and parameters are taken: the node that
            runs is made in the worker.
        id : str, optional
            Its id, unique in the pipeline; made of its type if it is not given.
        params : mapping, optional
            Its parameters, beside those that the node was made with.
        **options : object
            What else the manifest says of a node: ``on_error``, ``retry``, ``timeout_secs``,
            ``circuit_breaker``, ``restart``, ``queue``, ``env``, ``python``, ``own_thread``,
            ``limits``, ``capabilities``, ``executor``, ``debug``.

        Returns
        -------
        str
            Its id, for `connect`.

        Raises
        ------
        ParameterError
            A ``ValueError``; the class does not take the parameters.
        ValueError
            The id is taken.
        TypeError
            It is no node, or there is no such option.
        """
        for option in options:
            if option not in NodeOptions.__annotations__:
                raise TypeError(
                    f"add_node has no option {option!r}"
                    f"{_hint(option, NodeOptions.__annotations__)}; parameters are given to the "
                    "node itself, or as params"
                )
        if params is not None and not isinstance(params, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"params are {params!r}, expected a mapping of names to values")
        node_type, given = _described(node, dict(params or {}))
        if id is None:
            id = self._free_id(node_type)
        elif id in self._nodes:
            raise ValueError(f"node id {id!r} is taken in pipeline {self.name!r}")
        described: dict[str, Any] = {"id": id, "node_type": node_type}
        if given:
            described["params"] = given
        described.update(plain_params(options, node_type))
        self._nodes[id] = described
        return id

    def connect(
        self,
        source: str,
        target: str,
        *,
        from_port: "str | None" = None,
        to_port: "str | None" = None,
        queue: "Mapping[str, Any] | None" = None,
    ) -> None:
        """Let what a node gives go to another.

        Parameters
        ----------
        source, target : str
            The ids of the nodes.
        from_port, to_port : str, optional
            The output port of the one and the input port of the other.
        queue : mapping, optional
            How items wait: ``policy``, ``depth``, ``capacity``.

        Raises
        ------
        GraphError
            A ``ValueError``; there is no such node, or it is the same one twice.
        """
        for node in (source, target):
            if node not in self._nodes:
                raise GraphError(
                    f"no node {node!r} in pipeline {self.name!r}{_hint(node, self._nodes)}"
                )
        if source == target:
            raise GraphError(f"node {source!r} is connected to itself")
        connection: dict[str, Any] = {
            "from": source if from_port is None else f"{source}.{from_port}",
            "to": target if to_port is None else f"{target}.{to_port}",
        }
        if queue is not None:
            connection["queue"] = dict(queue)
        if self._connections is None:
            self._connections = []
        self._connections.append(connection)

    def run(self, data: Any = None) -> Any:
        """Run it to its end.

        Parameters
        ----------
        data : object, optional
            One item, which every node without predecessors gets; None for a pipeline that has
            sources of its own.

        Returns
        -------
        object
            What its output node gives, as `execute_pipeline` has it in ``result``.

        Raises
        ------
        RemoteMediaError
            It cannot be run, or failed. Where items were left out by a policy it is a
            `NodeExecutionError` whose attribute ``result`` has what the others gave.
        """
        if data is None:
            done = execute_pipeline(self.serialize(), base_dir=self.base_dir)
        else:
            done = execute_pipeline_with_input(self.serialize(), data, base_dir=self.base_dir)
        if not done["success"]:
            error: Any = NodeExecutionError(done["error"])
            error.result = done["result"]
            raise error
        return done["result"]

    def session(self, **options: Any) -> "Session":
        """Make a session of it, which takes and gives items while it runs.

        Parameters
        ----------
        **options : object
            As for `Session`.

        Returns
        -------
        Session
            To be used as a context manager.
        """
        from remotemedia.session import Session

        return Session(self, **options)

    def validate(self) -> "list[str]":
        """Check it against this installation, without starting anything.

        Returns
        -------
        list of str
            What is odd about it, but stops nothing.

        Raises
        ------
        RemoteMediaError
            It cannot be run; the message lists everything that is wrong.
        """
        planned = _native.plan_manifest(self.serialize(), base_dir=self.base_dir)
        return [f"{warning['pointer']}: {warning['message']}" for warning in planned["warnings"]]

    def plan(self) -> str:
        """Tell how it would run: what in this process, what in workers, and the channels between.

        Returns
        -------
        str
            The plan, for people to read.

        Raises
        ------
        RemoteMediaError
            As `validate`.
        """
        text: str = _native.plan_manifest(self.serialize(), base_dir=self.base_dir)["plan"]
        return text

    def to_dict(self) -> "dict[str, Any]":
        """Give its manifest."""
        connections = self._connections
        if connections is None:
            pairs = pairwise(self._nodes)
            connections = [{"from": source, "to": target} for source, target in pairs]
        manifest = {
            "version": "v1",
            "metadata": {"name": self.name, **self._metadata},
            **self._rest,
            "nodes": list(self._nodes.values()),
            "connections": connections,
        }
        # Nobody else shall change what is in here.
        copied: dict[str, Any] = json.loads(json.dumps(manifest))
        return copied

    def serialize(self) -> str:
        """Give its manifest as JSON text.

        Returns
        -------
        str
            What `execute_pipeline` takes. Paths in it are as they were given; `base_dir` is no part
            of it.
        """
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(
        cls,
        manifest: "Mapping[str, Any]",
        base_dir: "str | os.PathLike[str] | None" = None,
    ) -> "Self":
        """Make a pipeline of a manifest. Nodes added to it are connected by `connect` only.

        Parameters
        ----------
        manifest : mapping
            The manifest.
        base_dir : str or os.PathLike, optional
            The folder from which relative paths start; the current one, when the pipeline runs, if
            it is not given.

        Returns
        -------
        Pipeline
            The pipeline.

        Raises
        ------
        ManifestError
            A ``ValueError``; it is not of the form of a manifest.
        """
        try:
            text = json.dumps(manifest)
        except (TypeError, ValueError) as error:
            raise ManifestError(f"invalid manifest: {error}") from None
        return cls.from_json(text, base_dir)

    @classmethod
    def from_json(cls, text: str, base_dir: "str | os.PathLike[str] | None" = None) -> "Self":
        """Make a pipeline of a manifest's text; as `from_dict`."""
        _native._check_manifest(text)
        rest: dict[str, Any] = json.loads(text)
        metadata: dict[str, Any] = rest.pop("metadata", None) or {}
        pipeline = cls(metadata.pop("name", None) or "pipeline", base_dir=base_dir)
        pipeline._metadata = metadata
        pipeline._nodes = {node["id"]: node for node in rest.pop("nodes")}
        pipeline._connections = rest.pop("connections", None) or []
        del rest["version"]
        pipeline._rest = rest
        return pipeline

    @classmethod
    def from_file(cls, path: "str | os.PathLike[str]") -> "Self":
        """Make a pipeline of a manifest's file, JSON or YAML; its folder becomes the `base_dir`.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        Pipeline
            The pipeline.

        Raises
        ------
        ManifestError
            A ``ValueError``; the file cannot be read, or is no manifest.
        """
        return cls.from_json(_native._read_manifest(path), Path(path).absolute().parent)

    @property
    def nodes(self) -> "list[str]":
        """The ids of its nodes, in the order in which they were added."""
        return list(self._nodes)

    def __repr__(self) -> str:
        """Name it and its nodes."""
        return f"<Pipeline {self.name!r}: {', '.join(self._nodes) or 'no nodes'}>"

    def _free_id(self, node_type: str) -> str:
        name = re.split(r"[:.]", node_type)[-1].removesuffix("Node") or node_type
        # Words begin with a capital, or with the last one of several.
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
        base = re.sub(r"[^\w-]", "_", words) or "node"
        number, free = 1, base
        while free in self._nodes:
            number += 1
            free = f"{base}_{number}"
        return free


def _described(node: Any, params: "dict[str, Any]") -> "tuple[str, dict[str, Any]]":
    """The type and the parameters of what is added to a pipeline."""
    from remotemedia._registry import is_node, node_type_of

    if isinstance(node, str):
        return node, plain_params(params, node)
    if isinstance(node, NativeNode):
        node, params = type(node), {**node.params, **params}
    if isinstance(node, type) and issubclass(node, NativeNode):
        # Not its own `__init__`, for that gives Python's messages of wrong names.
        made = node.__new__(node)
        NativeNode.__init__(made, **params)
        return made.node_type, made.params
    if isinstance(node, Node):
        # What it was made with; read-only for everybody else.
        given_before = node._given  # pyright: ignore[reportPrivateUsage]
        node, params = type(node), {**given_before, **params}
    found = cast(Any, node)
    if not is_node(found):
        raise TypeError(
            f"{node!r} is no node; expected one of remotemedia.nodes, a subclass of "
            "remotemedia.Node, or a node type as text"
        )
    given = plain_params(params, found.__name__)
    declaration_of(found).fill(given)
    return node_type_of(found), given


def _hint(name: str, names: "Mapping[str, Any]") -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
