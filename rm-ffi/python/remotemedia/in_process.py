"""Runs a pipeline with its Python nodes in the calling process, for debuggers and profilers.

Main function: `run_in_process`. It walks the graph itself, one item at a time, on the calling
thread. It does not replace a session: nothing runs at the same time, and no process protects the
caller from what a node does.
"""

import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from types import GeneratorType
from typing import Any, NamedTuple, TypeAlias, cast

from remotemedia._registry import find, searching
from remotemedia.node import Emit, Input, Node
from remotemedia.pipeline import Pipeline
from remotemedia_runtime import Audio, _native
from remotemedia_runtime.errors import GraphError, NodeExecutionError, PythonError

__all__ = ["run_in_process"]


def run_in_process(
    pipeline: "Pipeline | Mapping[str, Any] | str | os.PathLike[str]", data: Any = None
) -> Any:
    """Run a pipeline to its end, its Python nodes in this process.

    Breakpoints and profilers work as in any other code, and exceptions have the frames of the node:
    what is raised has the node's own exception as its ``__cause__``. Also nodes that no worker
    could import can run: of an interactive session, of a notebook, of a function.

    Items go through the graph one at a time, each as far as it gets before the next one. The
    policies ``on_error`` and ``retry`` hold as in a worker. What is about processes, queues and
    time does not: ``restart``, ``timeout_secs``, ``circuit_breaker``, ``queue``, ``limits``,
    ``env``, ``python``, ``debug``.

    Parameters
    ----------
    pipeline : Pipeline or mapping or str or os.PathLike
        The pipeline; a manifest as a dict or as JSON text, or the path of its file.
    data : object, optional
        One item, which every node without predecessors gets; None for a pipeline that has sources
        of its own.

    Returns
    -------
    object
        As `Pipeline.run`.

    Raises
    ------
    RemoteMediaError
        As `Pipeline.run`; a `PythonError` for what a Python node raises.
    """
    if isinstance(pipeline, str) and pipeline.lstrip().startswith("{"):
        pipeline = Pipeline.from_json(pipeline)
    elif isinstance(pipeline, str | os.PathLike):
        pipeline = Pipeline.from_file(pipeline)
    elif not isinstance(pipeline, Pipeline):
        pipeline = Pipeline.from_dict(pipeline)
    from remotemedia_runtime.worker import loop

    base = pipeline.base_dir or Path.cwd()
    with searching(base), loop.apart():
        plan, item = _native._plan_in_process(pipeline.serialize(), str(base), data)
        walk = _Walk(plan, base)
        try:
            walk.start(item is not None)
            walk.feed(item)
            walk.finish()
        finally:
            walk.cleanup()
    return walk.result()


class _Part(NamedTuple):
    """What a node gave: an item, and the port."""

    port: "str | None"
    item: Any


_Parts: TypeAlias = Generator[_Part, None, None]


class _Failure(Exception):
    """A node has failed on something; the cause says how, `error` how it is told."""

    def __init__(self, error: Exception, transient: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.transient = transient


class _Native:
    """A native node."""

    def __init__(self, planned: "dict[str, Any]", base: Path) -> None:
        params = json.dumps(planned["params"])
        self.node = _native._NativeNode(planned["node_type"], planned["id"], params, str(base))
        self.is_source = self.node.is_source

    def initialize(self) -> None:
        self.node.initialize()

    def process(self, item: Any, way: Input, number: int) -> "_Parts":
        return self._parts(lambda: self.node.process(item, way.node, way.port))

    def produce(self) -> "tuple[list[_Part], bool]":
        made, more = self.node.produce()
        return [_Part(*part) for part in made], more

    def finish(self) -> "_Parts":
        return self._parts(self.node.finish)

    def cleanup(self) -> None:
        # What it has, it frees when it is dropped.
        pass

    def _parts(self, call: "Callable[[], list[tuple[str | None, Any]]]") -> "_Parts":
        try:
            made = call()
        except Exception as error:
            raise _Failure(error, getattr(error, "transient", False)) from error
        for part in made:
            yield _Part(*part)


class _Python:
    """A Python node, called as its worker would."""

    is_source = False

    def __init__(self, planned: "dict[str, Any]", base: Path) -> None:
        self.id, self.node_type = planned["id"], planned["node_type"]
        self.planned, self.base = planned, base
        self.node: Node | None = None

    def initialize(self) -> None:
        from remotemedia_runtime.worker import find_node, loop, make_node

        during = "load"
        try:
            declared = self.planned.get("class")
            place: str = declared["path"] if declared else self.node_type
            node = find(self.node_type, importing=True) or find_node(place)
            params = self.planned["params"]
            self.node = make_node(node, params, self.id, "in-process", self.base, None)
            during = "initialize"
            loop.settle(self.node.initialize())
        except Exception as error:
            raise self._error(during, None, error) from error

    def process(self, item: Any, way: Input, number: int) -> "_Parts":
        node = self._made()

        def call() -> Any:
            node.input = way
            return node.process(_native._as_sent(item))

        return self._parts("process", number, call)

    def produce(self) -> "tuple[list[_Part], bool]":
        return [], False

    def finish(self) -> "_Parts":
        node = self._made()
        node.input = Input()
        return self._parts("finish", None, node.finish)

    def cleanup(self) -> None:
        from remotemedia_runtime.worker import loop

        if self.node is None:
            return
        try:
            loop.settle(self.node.cleanup())
        except Exception:
            # As in a worker: the node is over, and why it is, is known.
            import traceback

            traceback.print_exc()

    def _made(self) -> Node:
        assert self.node is not None
        return self.node

    def _parts(self, during: str, number: "int | None", call: "Callable[[], Any]") -> "_Parts":
        from remotemedia_runtime.worker import is_transient, loop

        given: Any = None
        try:
            given = loop.settle(call())
            several = cast(Iterable[Any], given if isinstance(given, GeneratorType) else (given,))
            for made in several:
                part = _Part(made.port, made.item) if isinstance(made, Emit) else _Part(None, made)
                if part.item is not None:
                    # What cannot be sent is the failure of who has made it.
                    yield part._replace(item=_native._as_sent(part.item))
        except Exception as error:
            failure = _Failure(self._error(during, number, error), is_transient(error))
            raise failure from error
        finally:
            if isinstance(given, GeneratorType):
                given.close()

    def _error(self, during: str, number: "int | None", error: Exception) -> PythonError:
        from remotemedia_runtime.worker import describe_failure

        name, message, traceback = describe_failure(error)
        place = during if number is None else f"{during} item {number}"
        text = f"node {self.id} ({self.node_type}) failed to {place}: {name}: {message}"
        told = PythonError(f"{text}\n{traceback.rstrip()}".rstrip())
        told.node_id, told.during, told.item = self.id, during, number
        told.error_type, told.traceback = name, traceback.rstrip() or None
        return told


_RETRY = {
    "max": 3,
    "initial": {"secs": 0, "nanos": 100_000_000},
    "factor": 2.0,
    "max_delay": {"secs": 10, "nanos": 0},
}


class _Step:
    """A node with where its items go, and its policy."""

    def __init__(self, planned: "dict[str, Any]", base: Path) -> None:
        self.id = planned["id"]
        self.node: _Native | _Python = (_Native if planned["executor"] == "native" else _Python)(
            planned, base
        )
        policy: dict[str, Any] = planned.get("policy") or {}
        self.on_error: str = policy.get("on_error", "fail")
        # As `rm_bridge::RetryPolicy` has it.
        retry: dict[str, Any] = policy.get("retry") or _RETRY
        self.tries: int = retry["max"]
        self.delay, self.factor = _seconds(retry["initial"]), float(retry["factor"])
        self.max_delay = _seconds(retry["max_delay"])
        # To which node, from which port of this one, to which port of that one.
        self.ways: list[tuple[_Step, str | None, str | None]] = []
        self.results: list[Any] | None = None
        self.items = 0

    def work(self, item: Any, way: Input) -> "Generator[_Part, None, _Failure | None]":
        """Give what the node makes of an item; returns how it failed if the item is left out."""
        number, self.items = self.items, self.items + 1
        sent = attempt = 0
        while True:
            made = 0
            try:
                with closing(self.node.process(item, way, number)) as parts:
                    for part in parts:
                        made += 1
                        if made > sent:
                            sent = made
                            yield part
                return None
            except _Failure as failure:
                if attempt < self.tries and (failure.transient or self.on_error == "retry"):
                    attempt += 1
                    time.sleep(min(self.delay * self.factor ** (attempt - 1), self.max_delay))
                elif self.on_error == "skip":
                    return failure
                else:
                    raise failure.error from failure.__cause__


class _Walk:
    """One run through a plan."""

    def __init__(self, plan: "dict[str, Any]", base: Path) -> None:
        self.plan = plan
        ids = [node["id"] for node in plan["nodes"]]
        # Converters that were put in between give on the items of another node.
        self.origins = {
            ids[place]: ids[conversion["from"]]
            for conversion in plan.get("conversions", ())
            for place in conversion["by"]
        }
        self.steps = [_Step(planned, base) for planned in plan["nodes"]]
        for edge in plan["edges"]:
            start, end = self.step(edge["from"]), self.step(edge["to"])
            start.ways.append((end, edge.get("from_port"), edge.get("to_port")))
        for index in plan["outputs"]:
            self.steps[index].results = []
        self.failures: list[_Failure] = []
        self.started: list[_Step] = []

    def step(self, index: int) -> _Step:
        return self.steps[index]

    def start(self, has_input: bool) -> None:
        if has_input and not self.plan["inputs"]:
            raise GraphError("the pipeline takes no input: each of its first nodes is a source")
        for step in self.steps:
            self.started.append(step)
            step.node.initialize()

    def feed(self, item: Any) -> None:
        """Give the input, and what the sources give, to the nodes that come first."""
        for index in self.plan["inputs"] if item is not None else ():
            self.give(self.step(index), item, Input())
        sources = [step for step in self.steps if step.node.is_source]
        while sources:
            for step in list(sources):
                parts, more = step.node.produce()
                for part in parts:
                    self.send(step, part)
                if not more:
                    sources.remove(step)

    def give(self, step: _Step, item: Any, way: Input) -> None:
        with closing(step.work(item, way)) as work:
            while True:
                try:
                    part = next(work)
                except StopIteration as end:
                    if end.value is not None:
                        self.failures.append(end.value)
                    return
                self.send(step, part)

    def send(self, step: _Step, part: _Part) -> None:
        if step.results is not None and part.port is None:
            step.results.append(part.item)
        for target, from_port, to_port in step.ways:
            if from_port == part.port:
                self.give(target, part.item, Input(self.origins.get(step.id, step.id), to_port))

    def finish(self) -> None:
        """Have all nodes give what they hold back, each after those before it."""
        waiting = {id(step): 0 for step in self.steps}
        for step in self.steps:
            for target, _, _ in step.ways:
                waiting[id(target)] += 1
        ready = [step for step in self.steps if waiting[id(step)] == 0]
        while ready:
            step = ready.pop(0)
            try:
                with closing(step.node.finish()) as parts:
                    for part in parts:
                        self.send(step, part)
            except _Failure as failure:
                raise failure.error from failure.__cause__
            for target, _, _ in step.ways:
                waiting[id(target)] -= 1
                if waiting[id(target)] == 0:
                    ready.append(target)

    def cleanup(self) -> None:
        for step in self.started:
            step.node.cleanup()

    def result(self) -> Any:
        """Give the items of the output nodes, in the form of `execute_pipeline`."""
        results = [step for step in self.steps if step.results is not None]
        found: Any = {step.id: _collected(step.results or []) for step in results}
        if len(results) < 2:
            found = next(iter(found.values()), None)
        if not self.failures:
            return found
        count, first = len(self.failures), self.failures[0]
        error: Any = NodeExecutionError(f"{count} items were left out; the first: {first}")
        error.result = found
        raise error from first.__cause__


def _collected(items: "list[Any]") -> Any:
    is_json = not any(
        isinstance(item, Audio | str | bytes) or hasattr(item, "dtype") for item in items
    )
    return items[0] if len(items) == 1 and not is_json else items


def _seconds(time: "dict[str, int]") -> float:
    return time["secs"] + time["nanos"] / 1e9
