"""What a worker may call in its parent process: `remotemedia_runtime.callbacks`, or `import kameo`.

The parent's paths are modules and functions here: ``kameo.trading.DataFetch(request)`` gives a
`Call`. Making calls, and waiting for them without the interpreter's lock, is `_native`'s work.
"""

import asyncio
import difflib
import importlib.util
import sys
import weakref
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Generator, MutableSequence
from contextvars import ContextVar, Token
from pathlib import Path
from types import EllipsisType, ModuleType
from typing import Any, Generic, TypeAlias, TypeVar, cast

import remotemedia_runtime
from remotemedia_runtime import _tracing
from remotemedia_runtime._native import _Call, _CallContext, _Inputs, _Mailbox, _Task
from remotemedia_runtime.errors import CallbackError, CallbackNotFound

__all__ = ["Call", "Callback", "Module", "current_context", "install"]

T = TypeVar("T")

current_context: "ContextVar[_CallContext | None]" = ContextVar(
    "remotemedia_call_context", default=None
)
"""The request that the running code serves; callbacks inherit its deadline and its trace."""


Entered: TypeAlias = "tuple[Token[_CallContext | None], Token[Any] | None]"


def enter(context: _CallContext) -> Entered:
    """Begin to serve what was made in a context; give what `leave` wants."""
    outer = current_context.set(context)
    traceparent = context.traceparent
    return outer, None if traceparent is None else _tracing.attach(traceparent)


def leave(entered: Entered) -> None:
    """End what `enter` began."""
    outer, trace = entered
    _tracing.detach(trace)
    current_context.reset(outer)


class Call(Generic[T]):
    """A call of a callback.

    `await` it for its one item, or iterate it, with ``async for`` or ``for``, for all. It is made
    when it is first waited for, not before, and is cancelled when it is closed or forgotten.
    What it raises is a `CallbackError`.
    """

    __slots__ = ("_call", "_path")

    def __init__(self, path: str, call: _Call) -> None:
        self._path = path
        self._call = call

    def __await__(self) -> "Generator[Any, None, T]":
        return self._one().__await__()

    async def _one(self) -> T:
        try:
            item = await receive(self._call)
            if item is ...:
                raise self._no_reply()
            if await receive(self._call) is not ...:
                raise self._many_replies()
        finally:
            self._call.close()
        return item  # type: ignore[no-any-return]

    def result(self) -> T:
        """Wait on this thread for the one item.

        Returns
        -------
        object
            The item.

        Raises
        ------
        CallbackError
            The callback failed, or gave no item, or more than one.
        """
        try:
            item = self._call.wait()
            if item is ...:
                raise self._no_reply()
            if self._call.wait() is not ...:
                raise self._many_replies()
        finally:
            self._call.close()
        return item  # type: ignore[no-any-return]

    def __aiter__(self) -> "Call[T]":
        return self

    async def __anext__(self) -> T:
        item = await receive(self._call)
        if item is ...:
            raise StopAsyncIteration
        return item  # type: ignore[no-any-return]

    def __iter__(self) -> "Call[T]":
        return self

    def __next__(self) -> T:
        item = self._call.wait()
        if item is ...:
            raise StopIteration
        return item  # type: ignore[no-any-return]

    def close(self) -> None:
        """Give the call up, here and in the parent. It has no further items."""
        self._call.close()

    async def aclose(self) -> None:
        """Give the call up, as `close` does."""
        self._call.close()

    def __repr__(self) -> str:
        return f"<call of {self._path}>"

    def _no_reply(self) -> CallbackError:
        return _failed("NoReply", f"{self._path} gave no item; iterate the call to have none")

    def _many_replies(self) -> CallbackError:
        return _failed("ManyReplies", f"{self._path} gave more than one item; iterate the call")


def _failed(error_type: str, message: str) -> CallbackError:
    error = CallbackError(message)
    error.error_type = error_type
    error.message = message
    return error


class Callback:
    """A function of the parent process."""

    __slots__ = ("__name__", "__qualname__", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self.__qualname__ = path
        self.__name__ = path.rpartition(".")[2]

    def __call__(self, request: Any, /) -> "Call[Any]":
        """Prepare a call.

        Parameters
        ----------
        request : object
            What is sent: plain values, lists, dicts, dataclasses. It is read now, once.

        Returns
        -------
        Call
            The call, which is made when it is first waited for.

        Raises
        ------
        MarshalingError
            The request cannot be sent; the message says which part of it.
        """
        native = _Call(self._path, request, current_context.get(), _tracing.current())
        return Call(self._path, native)

    def __repr__(self) -> str:
        return f"<callback {self._path}>"


class Module(ModuleType):
    """Callbacks and modules of them, by their names."""

    def __init__(self, name: str, paths: "list[str]", stubs: "Path | None") -> None:
        super().__init__(name, "Callbacks of the parent process, and their types.")
        # So that modules in it can be imported.
        self.__path__: MutableSequence[str] = []
        self._paths = paths
        self._stubs = stubs

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name in self._load_types():
            return vars(self)[name]
        path = f"{self.__name__}.{name}"
        root = path.partition(".")[0]
        known = [f"{root}.{path}" for path in self._paths]
        if not known:
            raise CallbackNotFound(f"no callback {path!r}; the parent has registered none")
        near = difflib.get_close_matches(path, known, n=3, cutoff=0.5)
        hint = f"nearest are: {', '.join(near)}" if near else f"there are: {', '.join(known)}"
        raise CallbackNotFound(f"no callback {path!r}; {hint}")

    def _load_types(self) -> "set[str]":
        """Take in the types of this module's callbacks, once; give their names."""
        stubs, self._stubs = self._stubs, None
        _, _, below = self.__name__.partition(".")
        if stubs is None or not below:
            return set()
        file = stubs.joinpath("kameo_types", *below.split("."), "__init__.py")
        name = f"kameo_types.{below}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None or not file.is_file():
            return set()
        types = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up.
        sys.modules[name] = types
        spec.loader.exec_module(types)
        own = {
            name: value
            for name, value in vars(types).items()
            if not name.startswith("_")
            and name not in vars(self)
            # Unions are texts, for type checkers.
            and (isinstance(value, str) or getattr(value, "__module__", None) == types.__name__)
        }
        vars(self).update(own)
        return set(own)

    def __dir__(self) -> "list[str]":
        self._load_types()
        return sorted(name for name in vars(self) if not name.startswith("_"))


def install(paths: "list[str]", stubs: "Path | None") -> None:
    """Make the modules of the paths that the parent has told, and let them be imported.

    Parameters
    ----------
    paths : list of str
        The paths.
    stubs : Path or None
        The folder with the types of the callbacks, if the parent has written one.
    """
    root = Module("kameo", paths, stubs)
    vars(root)["Call"] = Call
    sys.modules["kameo"] = root
    for path in paths:
        *modules, name = path.split(".")
        at = root
        for module in modules:
            inner = vars(at).get(module)
            if inner is None:
                inner = Module(f"{at.__name__}.{module}", paths, stubs)
                setattr(at, module, inner)
                sys.modules[inner.__name__] = inner
            at = inner
        setattr(at, name, Callback(path))
    remotemedia_runtime.callbacks = root


_mailboxes: "weakref.WeakKeyDictionary[AbstractEventLoop, _Mailbox]" = weakref.WeakKeyDictionary()


def mailbox_of(loop: AbstractEventLoop) -> _Mailbox:
    """Give the mailbox of a loop, which belongs to the running thread."""
    mailbox = _mailboxes.get(loop)
    return watch(loop, _Mailbox(), _misplaced) if mailbox is None else mailbox


def watch(loop: AbstractEventLoop, mailbox: _Mailbox, take: "Callable[[Any], None]") -> _Mailbox:
    """Let a loop hear of what comes into a mailbox; requests, and their end, are for `take`."""
    _mailboxes[loop] = mailbox
    loop.add_reader(mailbox.fileno(), _ring, mailbox, take)
    return mailbox


def _ring(mailbox: _Mailbox, take: "Callable[[Any], None]") -> None:
    for letter in mailbox.take():
        if not isinstance(letter, Future):
            take(letter)
            continue
        waiter = cast("Future[None]", letter)
        if not waiter.done():
            waiter.set_result(None)


def _misplaced(letter: object) -> None:
    raise AssertionError(f"{letter!r} is for another mailbox")


async def receive(source: "_Call | _Inputs | _Task") -> "Any | EllipsisType":
    """Wait for the next item of a call, or of inputs, in a task; `...` is the end."""
    loop = asyncio.get_running_loop()
    mailbox = mailbox_of(loop)
    waiter = loop.create_future()
    item = source.poll(mailbox, waiter)
    while item is waiter:
        await waiter
        waiter = loop.create_future()
        item = source.poll(mailbox, waiter)
    return item
