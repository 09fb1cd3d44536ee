"""Serves the calls of a worker's parent by one Python function.

Plain functions and generator functions run on the main thread. Of generators several may be begun:
one whose caller does not consume is left alone until it does. Coroutine functions and asynchronous
generator functions run on one asyncio loop, all calls at once.

What a function raises is its answer, whatever it is, `SystemExit` too; the worker serves on.
"""

import asyncio
import builtins
import contextvars
import difflib
import functools
import importlib
import inspect
import sys
import traceback
from asyncio import Future, Task
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import GeneratorType, TracebackType
from typing import Any, NamedTuple, cast

from remotemedia_runtime import _tracing
from remotemedia_runtime._callbacks import current_context, receive, watch
from remotemedia_runtime._native import _Inputs, _Mailbox, _Request

# Longest traceback that is sent, in characters.
_MAX_TRACEBACK = 12_000

_OWN_FOLDER = str(Path(__file__).parent.parent)


class NotServed(Exception):
    """The function cannot be had, and why."""

    def __init__(self, reason: str, module: str, function: "str | None" = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.module = module
        if function is not None:
            self.function = function


class Served(NamedTuple):
    """A function, and how it is called."""

    function: "Callable[..., Any]"
    is_async: bool
    is_stream: bool
    takes_inputs: bool


def load(module: str, function: str) -> Served:
    """Find a function, and what kind it is.

    Raises
    ------
    NotServed
        There is none.
    """
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that this one imports may be missing too; that is for its traceback to show.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _not_imported(module, error) from None
        reason = f"no module {error.name!r}; searched: {', '.join(sys.path)}"
        raise NotServed(reason, module) from None
    except BaseException as error:
        raise _not_imported(module, error) from None
    found: Any = imported
    for part in function.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NotServed(_nearest(function, imported), module, function) from None
    if not callable(found):
        reason = f"; it is of type {type(found).__name__}, which cannot be called"
        raise NotServed(reason, module, function)
    return _kind_of(found)


def _not_imported(module: str, error: BaseException) -> NotServed:
    # The parent finds it in what this process prints. The import system's own frames say nothing.
    frames = _without(error.__traceback__, _OWN_FOLDER, "<frozen importlib", importlib.__file__)
    traceback.print_exception(type(error), error, frames)
    return NotServed(f"{type_name(error)}: {_text(error)}", module)


def _nearest(function: str, module: Any) -> str:
    names = cast("dict[str, Any]", vars(module))
    callables = [
        name for name, value in names.items() if callable(value) and not name.startswith("_")
    ]
    near = difflib.get_close_matches(function, callables, n=3)
    if near:
        return f"; nearest: {', '.join(near)}"
    return f"; it has: {', '.join(callables)}" if callables else "; it has none"


def _kind_of(function: "Callable[..., Any]") -> Served:
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    plain = inspect.unwrap(plain)
    if not inspect.isroutine(plain) and not isinstance(plain, type):
        plain = type(plain).__call__
    is_async_stream = inspect.isasyncgenfunction(plain)
    try:
        takes_inputs = "inputs" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Functions of C do not always tell.
        takes_inputs = False
    return Served(
        function,
        is_async=is_async_stream or inspect.iscoroutinefunction(plain),
        is_stream=is_async_stream or inspect.isgeneratorfunction(plain),
        takes_inputs=takes_inputs,
    )


def serve(mailbox: _Mailbox, served: Served) -> None:
    """Serve what comes into the mailbox until no more comes and everything is answered."""
    if served.is_async:
        asyncio.run(_Loop(mailbox, served).run())
        return
    working = True
    begun: set[_Answer] = set()
    while working or begun:
        for letter in mailbox.wait():
            if letter is None:
                working = False
                continue
            if isinstance(letter, _Request):
                answer = _Answer(letter, mailbox, served)
            else:
                answer = letter
            begun.add(answer)
            if answer.context.run(answer.go_on):
                begun.discard(answer)


def _enter(request: _Request) -> None:
    """Put the running context into that of a request."""
    context = request.context
    if context is not None:
        current_context.set(context)
        traceparent = context.traceparent
        if traceparent is not None:
            _tracing.attach(traceparent)


class _Answer:
    """A call that is answered on the main thread."""

    def __init__(self, request: _Request, mailbox: _Mailbox, served: Served) -> None:
        self.request = request
        self.mailbox = mailbox
        self.served = served
        self.context = contextvars.copy_context()
        self.items: Iterator[Any] | None = None

    def go_on(self) -> bool:
        """Answer as far as it goes; whether the call is over."""
        request = self.request
        if self.items is None:
            return self._begin()
        sent = request.sent(self.mailbox, self)
        return self._stream(self.items, sent)

    def _begin(self) -> bool:
        request = self.request
        if request.is_over:
            request.give_up()
            return True
        payload = request.payload()
        if payload is ...:
            return True
        _enter(request)
        try:
            if self.served.takes_inputs:
                inputs = request.take_inputs()
                result = self.served.function(
                    payload, inputs=iter(()) if inputs is None else inputs
                )
            else:
                result = self.served.function(payload)
            if not isinstance(result, GeneratorType):
                request.reply(result)
                return True
        except BaseException as error:
            request.raised(*describe(error))
            return True
        self.items = result
        return self._stream(result, True)

    def _stream(self, items: Any, sent: Any) -> bool:
        request = self.request
        try:
            while sent is True:
                try:
                    item = next(items)
                except StopIteration:
                    request.finish()
                    return True
                sent = request.send(item, self.mailbox, self)
            if sent is self:
                return False
            items.close()
        except BaseException as error:
            request.raised(*describe(error))
        return True


class _Loop:
    """The calls that are answered on an asyncio loop."""

    def __init__(self, mailbox: _Mailbox, served: Served) -> None:
        self.mailbox = mailbox
        self.served = served
        self.tasks: set[Task[None]] = set()

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended = self.loop.create_future()
        watch(self.loop, self.mailbox, self.take)
        await self.ended
        while self.tasks:
            await asyncio.wait(self.tasks)

    def take(self, request: "_Request | None") -> None:
        if request is None:
            if not self.ended.done():
                self.ended.set_result(None)
            return
        answer = self.answer_stream if self.served.is_stream else self.answer_one
        task = self.loop.create_task(answer(request))
        self.tasks.add(task)
        task.add_done_callback(functools.partial(self.done, request))
        unwanted = self.loop.create_future()
        unwanted.add_done_callback(functools.partial(_cancel, request, task))
        request.watch(self.mailbox, unwanted)

    def done(self, request: _Request, task: "Task[None]") -> None:
        self.tasks.discard(task)
        # One that was cancelled before it began has said nothing; of others this is nothing new.
        request.give_up()

    async def answer_one(self, request: _Request) -> None:
        try:
            payload = request.payload()
            if payload is not ...:
                _enter(request)
                request.reply(await self.call(request, payload))
        except BaseException as error:
            self.failed(request, error)

    async def answer_stream(self, request: _Request) -> None:
        try:
            payload = request.payload()
            if payload is ...:
                return
            _enter(request)
            items = self.call(request, payload)
            try:
                async for item in items:
                    if not await self.send(request, item):
                        break
                else:
                    request.finish()
            finally:
                await items.aclose()
        except BaseException as error:
            self.failed(request, error)

    def call(self, request: _Request, payload: Any) -> Any:
        if not self.served.takes_inputs:
            return self.served.function(payload)
        return self.served.function(payload, inputs=_async_inputs(request.take_inputs()))

    async def send(self, request: _Request, item: Any) -> bool:
        waiter = self.loop.create_future()
        sent = request.send(item, self.mailbox, waiter)
        while sent is waiter:
            await waiter
            waiter = self.loop.create_future()
            sent = request.sent(self.mailbox, waiter)
        return sent is True

    def failed(self, request: _Request, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError) and request.is_over:
            request.give_up()
        else:
            request.raised(*describe(error))


def _cancel(request: _Request, task: "Task[None]", _: "Future[None]") -> None:
    # One that has noticed by itself is tidying up.
    if request.is_open:
        task.cancel()


async def _async_inputs(inputs: "_Inputs | None") -> "AsyncIterator[Any]":
    if inputs is None:
        return
    while (item := await receive(inputs)) is not ...:
        yield item


def type_name(error: BaseException) -> str:
    """The name of an exception's type, with its module unless that is `builtins`."""
    kind = type(error)
    if kind.__module__ == builtins.__name__:
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def describe(error: BaseException) -> "tuple[str, str, str]":
    """Give an exception's type, message and traceback as texts; without the worker's own frames."""
    frames = _without(error.__traceback__, _OWN_FOLDER)
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except Exception:
        # Its parts may be of any kind, and raise in their turn.
        lines = traceback.format_tb(frames)
    return type_name(error), _text(error), _shortened("".join(lines))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} that cannot be shown>"


def _without(frames: "TracebackType | None", *files: str) -> "TracebackType | None":
    """The frames from the first one on that is not of these files."""
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(files):
        frames = frames.tb_next
    return frames


def _shortened(text: str) -> str:
    """The head of a long traceback and its end, in whole lines."""
    if len(text) <= _MAX_TRACEBACK:
        return text
    head, _, rest = text.partition("\n")
    kept = rest[-_MAX_TRACEBACK:]
    kept = kept[kept.find("\n") + 1 :]
    left_out = rest.count("\n") - kept.count("\n")
    return f"{head}\n  [{left_out} lines left out]\n{kept}"
