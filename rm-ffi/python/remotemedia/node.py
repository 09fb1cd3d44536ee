"""The base class of Python nodes, and what they give and are given beside items."""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from typing_extensions import Self


class TransientError(Exception):
    """What a node raises where the same work may succeed when it is tried again.

    Raised by `process`, it has the node given the same item again, as often as the node's policy
    allows. So have `TimeoutError`, `ConnectionError`, `BlockingIOError` and `InterruptedError`; of
    any other exception its attribute ``transient`` decides, if it has one that is a bool.
    """


@dataclass(frozen=True)
class Context:
    """Where a node runs, and what it is at.

    Attributes
    ----------
    node_id : str
        The node's id in the manifest.
    session_id : str
        The session that it runs in.
    base_dir : pathlib.Path
        The folder from which relative paths in parameters start: that of the manifest's file, or
        the current folder if the manifest came from a text.
    """

    node_id: str
    session_id: str
    base_dir: Path
    _hooks: Any = field(default=None, repr=False, compare=False)

    @property
    def port(self) -> "str | None":
        """The input port that the item in work is for, if its connection names one."""
        return None if self._hooks is None else self._hooks.port()

    @property
    def sequence(self) -> "int | None":
        """The position of the item in work in the channel by which it came, from 0.

        None outside of `Node.process`.
        """
        return None if self._hooks is None else self._hooks.sequence()

    @property
    def deadline(self) -> "float | None":
        """Until when the item in work is to be done, as `time.time` counts; None for no limit.

        It is the item's own deadline, or the end of the time that the manifest's ``timeout_secs``
        gives the node for it, whichever comes first.
        """
        return None if self._hooks is None else self._hooks.deadline()

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the outcome any more.

        The session ends, or was flushed since the item came. A node that takes long may look now
        and then, and return early.
        """
        return self._hooks is not None and self._hooks.is_cancelled()


@dataclass(frozen=True)
class Input:
    """By which way an item came.

    Attributes
    ----------
    node : str or None
        The node that made it; None where it came from outside the pipeline.
    port : str or None
        The port of this node that the connection names, if it names one.
    """

    node: str | None = None
    port: str | None = None


@dataclass(frozen=True)
class Emit:
    """An item for one port of the node's output; made by `Node.to`.

    Attributes
    ----------
    port : str
        The port.
    item : object
        The item.
    """

    port: str
    item: Any


class Node:
    """A node of a pipeline, to be derived from.

    One object serves one node of one run. Its methods are called on the main thread of a process
    of its own, one after another: `initialize`, then `process` for every item, then `finish`, then
    `cleanup`; between items `set_params` and `flush`. `loan`, `progress` and `to` are there to be
    called; all others may be ``async def``.

    Attributes
    ----------
    params : dict or object
        The parameters, with later changes: an object of the class's ``Params`` if it has such a
        class; otherwise a dict, with the defaults of all arguments of ``__init__``.
    context : Context
        Where the node runs.
    input : Input
        By which way the item came that `process` is called with.

    Notes
    -----
    Items are `Audio`, `VideoFrame`, ``numpy.ndarray``, ``str``, ``bytes``, and whatever JSON holds:
    dicts, lists, numbers, booleans. Arrays that come in are read-only views of shared memory;
    keeping one is safe. What a node gives may also be ``{"audio": array, "sample_rate": hz}``,
    ``{"frame": array, "format": name}``, or an object of the buffer protocol or of DLPack.

    Methods that are ``async def`` run on an event loop of the worker's own, each to its end before
    the next one is called. Between calls the loop stands still, and with it tasks that a method
    has left behind.

    What `process` raises is the item's failure. The node's policy says whether the node is given
    the item again (see `TransientError`), the item is left out, or the run ends. An item that
    comes again is the same one; of what the node had given of it before it failed, nothing is sent
    twice, so a node that is asked again has to give the same in the same order. `SystemExit` and
    `KeyboardInterrupt` are no failures of an item: they end the node, and so the run.

    A class that says which parameters it takes has them checked before its process starts, and
    told by `remotemedia_runtime.get_node_metadata`. It says so by a class ``Params`` in it (a
    dataclass, a pydantic model, or a class with nothing but type hints), or by arguments of its
    ``__init__``. Types are ``float``, ``int``, ``bool``, ``str``, ``list``, ``dict``, ``Literal``,
    enums, paths and what is ``Optional`` of them; ``Annotated`` adds a `Range` or a description,
    and a NumPy docstring adds descriptions too. A class that says nothing takes any parameters.

    A line ``params: Params`` in the class tells type checkers what `params` is.

    A node can be made outside of a worker, for a test or for `Pipeline.add_node`; its parameters
    are then given as keyword arguments.

    Examples
    --------
    >>> class Gain(Node):
    ...     class Params:
    ...         factor: float = 2.0
    ...
    ...     def process(self, item):
    ...         return Audio(item.samples * self.params.factor, item.sample_rate)
    >>> Gain(factor=3).params.factor
    3.0
    """

    # Of what type they are is for the class to say.
    params: Any
    context: Context
    input: Input
    _hooks: Any = None
    _given: dict[str, Any]
    _declaration: Any
    _node_facts: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> "Self":
        """Make the node complete also outside a worker, for instance in a test of its own."""
        from remotemedia.params import declaration_of

        node = super().__new__(cls)
        declaration = declaration_of(cls)
        node._given = declaration.named(args, kwargs)
        node.params = declaration.given(args, kwargs)
        node.context = Context("", "", Path.cwd())
        node.input = Input()
        return node

    def initialize(self) -> "Awaitable[None] | None":
        """Prepare for the first item: load models, open devices."""
        return None

    def process(self, item: Any) -> Any:
        """Handle one item.

        Parameters
        ----------
        item : object
            The item.

        Returns
        -------
        object
            One item, None for nothing, or a generator or an asynchronous one, which yields items:
            each is sent as soon as it is yielded. Instead of an item, an `Emit` that `to` has made
            of one.

        Raises
        ------
        Exception
            The node has failed on this item.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to process an item")

    def finish(self) -> Any:
        """Give what is still held back, once no more items come; as `process` gives items."""
        return None

    def set_params(self, params: dict[str, Any]) -> "Awaitable[None] | None":
        """Take new values of parameters, between two items.

        As it stands, it puts them into `params`. A node that has more to do, or takes only some
        values, overrides it.

        Parameters
        ----------
        params : dict
            Those that change.

        Raises
        ------
        ValueError
            The values are refused, by this or any other exception; the message is given to whoever
            wanted the change. `params` is then as it was, and the node has to be too.

        Notes
        -----
        Values that the class has declared are checked before. A node that takes its parameters by
        ``__init__`` has to override this method, or it refuses all changes.
        """
        from remotemedia.params import declaration_of

        declaration = declaration_of(type(self))
        if declaration.style == "init":
            raise ValueError(
                f"{type(self).__name__} takes its parameters only when it is made; to take them "
                "later, it would have to override set_params"
            )
        self.params = declaration.changed(self.params, params)
        return None

    def flush(self) -> "Awaitable[None] | None":
        """Drop what is held back: nobody wants what was made of the items so far."""
        return None

    def cleanup(self) -> "Awaitable[None] | None":
        """Free what `initialize` took. Called last, also after a failure."""
        return None

    def to(self, port: str, item: Any) -> Emit:
        """Address an item to a port, to be returned or yielded in place of the item.

        Only connections from ``node.port`` get it, and only items without a port go by connections
        that name none. An array from `loan` that goes to a port is copied.

        Parameters
        ----------
        port : str
            The port's name, as the manifest's connections give it.
        item : object
            The item; None is nothing.

        Returns
        -------
        Emit
            The item with its port.

        Raises
        ------
        ValueError
            The name is empty.

        Examples
        --------
        >>> class Split(Node):
        ...     def process(self, item):
        ...         yield self.to("loud" if item.samples.max() > 0.5 else "quiet", item)
        """
        if not port:
            raise ValueError("a port has no name; an item for no port is given as it is")
        return Emit(port, item)

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell the session how far `initialize` is. It also gives the node more time.

        Parameters
        ----------
        fraction : float
            From 0 to 1.
        message : str
            What the node does.
        """
        if self._hooks is not None:
            self._hooks.progress(fraction, message)

    def loan(
        self, shape: "int | tuple[int, ...]", dtype: "DTypeLike" = np.float32
    ) -> "NDArray[Any]":
        """Borrow an array in the shared memory of the node's output, to be sent without a copy.

        To be used in `process` and `finish`. Write into the array (``numpy.multiply(x, 2,
        out=array)``), and return or yield it, or an ``Audio`` or a ``VideoFrame`` of it. It is
        copied after all if it can still be reached: if the node keeps it, or gives a slice or a
        reshaped view of it. An array that is not sent is given back when it is dropped.

        Parameters
        ----------
        shape : int or tuple of int
            Shape of the array.
        dtype : dtype
            Type of its elements.

        Returns
        -------
        numpy.ndarray
            A writable array. What it holds at first is of no meaning.
        """
        if self._hooks is None:
            return np.empty(shape, dtype)
        array: NDArray[Any] = self._hooks.loan(shape, dtype)
        return array
