"""Pipelines that stay: items are sent and received while they run.

Main classes: `Session`, which waits on the calling thread, and `AsyncSession`, which waits on an
asyncio loop. Both are the same otherwise, and end with everything that they have started.
"""

import atexit
import json
import os
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from remotemedia_runtime import _native
from remotemedia_runtime.errors import ChannelFullError, ManifestError, RemoteMediaError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncSession", "Output", "Progress", "Session"]


class Output(NamedTuple):
    """An item that has left the pipeline.

    Attributes
    ----------
    node : str
        The id of the node that made it.
    item : object
        The item.
    """

    node: str
    item: Any


class Progress(NamedTuple):
    """A step of a node that loads.

    Attributes
    ----------
    node : str
        The node's id.
    node_type : str
        Its type.
    status : str
        "starting", "loading_model", "loading", "ready" or "failed".
    fraction : float
        How far it is, from 0 to 1.
    message : str
        What it does, in its own words.
    """

    node: str
    node_type: str
    status: str
    fraction: float
    message: str


class Serializable(Protocol):
    """What has the text of a manifest, as a `Pipeline` has."""

    @property
    def base_dir(self) -> "Path | None": ...

    def serialize(self) -> str: ...


Source = Serializable | Mapping[str, Any] | str | os.PathLike[str]
"""What a session can be made of: a pipeline, a manifest as a dict or as JSON, or a file's path."""


def manifest_of(source: Source) -> "tuple[str | os.PathLike[str], Path | None]":
    """Give what the runtime reads, a text or the path of a file, and where paths in it start.

    A text that does not begin as JSON does is a path.
    """
    if isinstance(source, str):
        return (source if source.lstrip().startswith("{") else Path(source)), None
    if isinstance(source, os.PathLike):
        return source, None
    if isinstance(source, Mapping):
        try:
            return json.dumps(dict(source)), None
        except (TypeError, ValueError) as error:
            raise ManifestError(f"invalid manifest: {error}") from None
    if not hasattr(source, "serialize"):
        expected = "a Pipeline, a manifest as a dict or as JSON text, or the path of its file"
        raise TypeError(
            f"a session cannot be made of a {type(source).__name__}; it takes {expected}"
        )
    return source.serialize(), source.base_dir


_open: "weakref.WeakSet[_Base]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End what was left open, while it can still be waited for."""
    for session in list(_open):
        try:
            session._end()
        except KeyboardInterrupt:
            # What is left here stays behind, and it is a matter of moments.
            session._end()


def _forget() -> None:
    """Leave what was open to the process that this one was forked from."""
    for session in list(_open):
        session._is_open = False
    _open.clear()


os.register_at_fork(after_in_child=_forget)


class _Base:
    """What both kinds of sessions share."""

    def __init__(
        self,
        pipeline: Source,
        *,
        session_id: "str | None" = None,
        params: "Sequence[str]" = (),
        on_progress: "Callable[[Progress], object] | None" = None,
        timeline: bool = False,
    ) -> None:
        if isinstance(params, str):
            raise TypeError(
                f"params is {params!r}; it takes a list of texts such as 'node.param=value'"
            )
        if on_progress is not None and not callable(on_progress):
            raise TypeError(f"on_progress is {on_progress!r}; it takes a function")
        manifest, base_dir = manifest_of(pipeline)
        self._native = _native._Session(manifest, list(params), session_id, timeline, base_dir)
        self._on_progress = on_progress
        self._is_open = True
        _open.add(self)

    def _step(self, step: "dict[str, Any]") -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(**step))

    @property
    def id(self) -> str:
        """Its name."""
        return self._native.id

    @property
    def status(self) -> str:
        """Where it is in its life.

        "initializing", "ready", "running", "stopping", "stopped", or "error: " with a message.
        """
        return self._native.status

    @property
    def plan(self) -> str:
        """How it runs, as text: executors, threads, channels."""
        return self._native.plan

    def plan_dict(self) -> "dict[str, Any]":
        """How it runs, as a dict."""
        return self._native.plan_dict()

    def available(self) -> "Iterator[Output]":
        """Give the items that are there, without waiting for more.

        Yields
        ------
        Output
            An item.

        Raises
        ------
        RemoteMediaError
            As `receive`.
        """
        while (output := self._next_or_none()) is not None:
            yield output

    def _next_or_none(self) -> "Output | None":
        try:
            return _output(self._native.receive().wait(0))
        except TimeoutError as error:
            # The failure of a session may be one too.
            if isinstance(error, RemoteMediaError):
                raise
            return None

    def finish(self) -> None:
        """End the input: the nodes finish what they have, and the session then ends by itself."""
        self._native.finish()

    def cancel(self) -> None:
        """Make it end as soon as it can, without waiting.

        Whoever receives then gets a `SessionError`.
        """
        self._native.cancel()

    def report(self) -> "dict[str, Any]":
        """Tell what its nodes and connections did.

        Returns
        -------
        dict
            ``name``; ``nodes`` and ``connections``, lists of dicts, empty before the end;
            ``failures`` and ``set_aside``, items that were left out; ``copied_bytes``, into
            shared memory; ``init_time_us``, ``run_time_us`` and ``total_time_us``; ``warnings``;
            ``files``, which it has written; ``timeline``, if one was asked for.
        """
        return self._native.report()

    def _end(self) -> None:
        if self._is_open:
            self._native.close().wait()
            self._forget()

    def _forget(self) -> None:
        self._is_open = False
        _open.discard(self)

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and not self._native.is_over:
            warnings.warn(
                f"session {self.id} was not closed", ResourceWarning, stacklevel=2, source=self
            )

    def __repr__(self) -> str:
        if not hasattr(self, "_native"):
            return f"<{type(self).__name__} that was not made>"
        return f"<{type(self).__name__} {self.id}: {self.status}>"


class Session(_Base):
    """A pipeline that runs, for code that waits on its own thread.

    Parameters
    ----------
    pipeline : Pipeline, dict, str or os.PathLike
        What to run: a pipeline, a manifest as a dict or as JSON text, or the path of its file, from
        whose folder relative paths in it start.
    session_id : str, optional
        A name; by default one that nobody can guess.
    params : sequence of str
        Parameters as ``"node.param=value"``, which go before those of the manifest.
    on_progress : callable, optional
        Called with a `Progress` for each step of a node that loads. What it raises ends the
        session.
    timeline : bool, optional
        Whether to record on what the time of each item goes in each node, for `report`.

    Raises
    ------
    ManifestError, GraphError, NodeNotFound
        The manifest cannot be run. Nothing has been started then.
    ResourceLimitError
        There are too many processes or sessions.

    Notes
    -----
    Methods may be called on several threads, so one can send while another receives. An array that
    is sent is not copied: it belongs to the session from then on, and must not be changed.

    Handlers of signals run while a method waits on the main thread: Ctrl-C raises
    `KeyboardInterrupt` there, and leaving the ``with`` block then ends the session.

    Examples
    --------
    >>> with Session("pipeline.json") as session:  # doctest: +SKIP
    ...     session.send(samples)
    ...     session.finish()
    ...     for output in session:
    ...         print(output.node, output.item)
    """

    def start(self) -> "Self":
        """Start all nodes and wait until they are ready. A ``with`` block does it.

        Returns
        -------
        Session
            This session.

        Raises
        ------
        RemoteMediaError
            A node failed to load or died; the session has ended then.
        """
        self._native.initialize(self._step).wait()
        return self

    def __enter__(self) -> "Self":
        try:
            return self.start()
        except BaseException:
            self._native.cancel()
            self.close()
            raise

    def __exit__(
        self,
        exc_type: "type[BaseException] | None",
        error: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        self.close()

    def send(self, item: Any, to: "str | None" = None, timeout: "float | None" = None) -> None:
        """Send an item, waiting for room.

        Parameters
        ----------
        item : object
            What `remotemedia_runtime.execute_pipeline_with_input` takes.
        to : str, optional
            The node that gets it, or ``"node.port"``; by default every node that takes items from
            outside.
        timeout : float, optional
            Seconds to wait for room at most; 0 does not wait.

        Raises
        ------
        ChannelFullError
            There was no room in that time.
        MarshalingError
            The item, or something in it, cannot be sent.
        NodeNotFound
            No node of that name takes items from outside.
        SessionError
            The session is not ready, or takes no items any more.
        """
        try:
            self._native.send(item, to).wait(timeout)
        except TimeoutError:
            if timeout is None:
                # A handler of signals has raised it.
                raise
            message = f"no room for the item within {timeout} s; it was not sent"
            raise ChannelFullError(message) from None

    def receive(self, timeout: "float | None" = None) -> "Output | None":
        """Wait for the next item that leaves the pipeline.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; 0 does not wait.

        Returns
        -------
        Output or None
            The item; None when the session has ended well.

        Raises
        ------
        TimeoutError
            None came in that time.
        RemoteMediaError
            What ended the session, after everything that was complete.
        """
        return _output(self._native.receive().wait(timeout))

    def __iter__(self) -> "Iterator[Output]":
        while (output := self.receive()) is not None:
            yield output

    def flush(self) -> None:
        """Drop everything that is queued: nothing comes out any more of what was sent before."""
        self._native.flush().wait()

    def set_params(self, node: str, params: "Mapping[str, Any]") -> None:
        """Give a node new values of parameters, between two items.

        Parameters
        ----------
        node : str
            Its id.
        params : mapping
            Those that change.

        Raises
        ------
        ParameterError
            It does not have or take them; nothing has changed.
        NodeNotFound
            There is no such node.
        """
        self._native.set_params(node, dict(params)).wait()

    def stats(self) -> "dict[str, Any]":
        """Tell what it has done so far.

        Returns
        -------
        dict
            ``status``, ``uptime_us``, ``nodes`` and ``channels`` (lists of dicts), ``processes``,
            ``memory_bytes``, ``waiting_outputs``, ``flushed_outputs``.
        """
        return self._native.statistics().wait()

    def events(self) -> "Iterator[dict[str, Any]]":
        """Tell what happens from now on, until the session has ended.

        Yields
        ------
        dict
            Its ``event`` is "status", "progress", "item_skipped", "node_restarts",
            "node_restarted", "dead_letter" or "missed" (of which there were too many to wait).
        """
        events = self._native.events()

        def follow() -> "Iterator[dict[str, Any]]":
            while (event := events.next().wait()) is not None:
                yield event

        return follow()

    def close(self) -> None:
        """End everything and wait until nothing is left. Closing twice is fine."""
        self._end()


class AsyncSession(_Base):
    """A pipeline that runs, for code on an asyncio loop.

    It takes what `Session` takes, and does what that does. Its methods are awaited, but for those
    that do not wait: `finish`, `cancel`, `available`, `report`, `plan_dict` and `events`, whose
    iterator is an asynchronous one.

    Notes
    -----
    What is awaited may be cancelled, and be given a time limit by `asyncio.wait_for`: an item that
    was not received stays, an item that had no room was not sent.

    Examples
    --------
    >>> async def main():
    ...     async with AsyncSession("pipeline.json") as session:
    ...         await session.send(samples)
    ...         session.finish()
    ...         async for output in session:
    ...             print(output.node, output.item)
    """

    async def start(self) -> "Self":
        """Start all nodes and wait until they are ready; see `Session.start`."""
        await _done(self._native.initialize(self._step))
        return self

    async def __aenter__(self) -> "Self":
        try:
            return await self.start()
        except BaseException:
            self._native.cancel()
            await self.close()
            raise

    async def __aexit__(
        self,
        exc_type: "type[BaseException] | None",
        error: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        await self.close()

    async def send(self, item: Any, to: "str | None" = None) -> None:
        """Send an item, waiting for room; see `Session.send`."""
        await _done(self._native.send(item, to))

    async def receive(self) -> "Output | None":
        """Wait for the next item that leaves the pipeline; see `Session.receive`."""
        return _output(await _done(self._native.receive()))

    async def __aiter__(self) -> "AsyncIterator[Output]":
        while (output := await self.receive()) is not None:
            yield output

    async def flush(self) -> None:
        """Drop everything that is queued; see `Session.flush`."""
        await _done(self._native.flush())

    async def set_params(self, node: str, params: "Mapping[str, Any]") -> None:
        """Give a node new values of parameters; see `Session.set_params`."""
        await _done(self._native.set_params(node, dict(params)))

    async def stats(self) -> "dict[str, Any]":
        """Tell what it has done so far; see `Session.stats`."""
        found: dict[str, Any] = await _done(self._native.statistics())
        return found

    def events(self) -> "AsyncIterator[dict[str, Any]]":
        """Tell what happens from now on; see `Session.events`."""
        events = self._native.events()

        async def follow() -> "AsyncIterator[dict[str, Any]]":
            while (event := await _done(events.next())) is not None:
                yield event

        return follow()

    async def close(self) -> None:
        """End everything and wait until nothing is left. Closing twice is fine."""
        if self._is_open:
            await _done(self._native.close())
            self._forget()


def _output(received: "tuple[str, Any] | None") -> "Output | None":
    return None if received is None else Output(*received)


async def _done(task: "_native._Task") -> Any:
    # asyncio is not loaded for those who do without it.
    from remotemedia_runtime import _callbacks

    try:
        return await _callbacks.receive(task)
    except BaseException:
        # The exception keeps this frame, and what is not given up keeps its place in line.
        task.close()
        raise
