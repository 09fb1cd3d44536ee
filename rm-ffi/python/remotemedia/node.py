"""The base class of Python nodes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from typing_extensions import Self


@dataclass(frozen=True)
class Context:
    """Where a node runs.

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


class Node:
    """A node of a pipeline, to be derived from.

    One object serves one node of one run. Its methods are called on the main thread of a process
    of its own, one after another: `initialize`, then `process` for every item, then `finish`, then
    `cleanup`.

    Attributes
    ----------
    params : dict
        The parameters that the manifest gives.
    context : Context
        Where the node runs.

    Notes
    -----
    Items are `Audio`, ``numpy.ndarray``, ``str``, ``bytes``, and whatever JSON holds: dicts, lists,
    numbers, booleans. Arrays that come in are read-only views of shared memory; keeping one is
    safe.

    Examples
    --------
    >>> class Gain(Node):
    ...     def process(self, item):
    ...         return Audio(item.samples * self.params["factor"], item.sample_rate)
    """

    params: dict[str, Any]
    context: Context
    _hooks: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "Self":
        """Make the node complete also outside a worker, for instance in a test of its own."""
        node = super().__new__(cls)
        node.params = {}
        node.context = Context("", "", Path.cwd())
        return node

    def initialize(self) -> None:
        """Prepare for the first item: load models, open devices."""

    def process(self, item: Any) -> Any:
        """Handle one item.

        Parameters
        ----------
        item : object
            The item.

        Returns
        -------
        object
            One item, None for nothing, or a generator that yields items: each is sent as soon as
            it is yielded.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to process an item")

    def finish(self) -> Any:
        """Give what is still held back, once no more items come; as `process` gives items."""
        return None

    def cleanup(self) -> None:
        """Free what `initialize` took. Called last, also after a failure."""

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
        out=array)``), and return or yield it, or an ``Audio`` of it. It is copied after all if it
        can still be reached: if the node keeps it, or gives a slice or a reshaped view of it. An
        array that is not sent is given back when it is dropped.

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
