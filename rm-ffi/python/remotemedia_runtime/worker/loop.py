"""Runs what nodes give that is asynchronous, on one event loop of this thread.

Main function: `settle`. The loop runs only while one of its callers waits, on the caller's thread.
It does not know items.
"""

import asyncio
import threading
from asyncio import AbstractEventLoop, Task
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import aclosing, contextmanager, suppress
from types import AsyncGeneratorType, CoroutineType
from typing import Any, cast


class _Own(threading.local):
    loop: "AbstractEventLoop | None" = None


_own = _Own()


def settle(result: Any) -> Any:
    """Give what a method gave, awaited; an asynchronous generator becomes a plain one."""
    if isinstance(result, CoroutineType):
        result = _run(cast("CoroutineType[Any, Any, Any]", result))
    if isinstance(result, AsyncGeneratorType):
        return _items(cast("AsyncGeneratorType[Any, Any]", result))
    return result


def close() -> None:
    """Cancel what still runs, and end the loop, if there is one."""
    loop, _own.loop = _own.loop, None
    if loop is None:
        return
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks) if tasks else asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


@contextmanager
def apart() -> "Generator[None, None, None]":
    """Have a new loop for a while, also within a loop of the caller, as in a notebook."""
    before, _own.loop = _own.loop, None
    running = None
    with suppress(RuntimeError):
        running = asyncio.get_running_loop()
    # What asyncio offers to those who make loops.
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        try:
            close()
        finally:
            asyncio._set_running_loop(running)
            _own.loop = before


def _own_loop() -> AbstractEventLoop:
    if _own.loop is None:
        _own.loop = asyncio.new_event_loop()
    return _own.loop


def _run(coroutine: "Coroutine[Any, Any, Any]") -> Any:
    return _own_loop().run_until_complete(coroutine)


def _items(source: "AsyncGenerator[Any, None]") -> "Generator[Any, None, None]":
    """Give the items of a generator, which runs in one task: what it has entered, it can leave."""
    loop = _own_loop()
    made: list[Any] = []
    go_on = asyncio.Event()

    async def pump() -> None:
        async with aclosing(source):
            async for item in source:
                made.append(item)
                # Lent memory is sent as it lies only if nobody else holds it.
                del item
                go_on.clear()
                loop.stop()
                await go_on.wait()

    def ended(task: "Task[None]") -> None:
        # These two have stopped the loop themselves, and have come out of it.
        error = None if task.cancelled() else task.exception()
        if not isinstance(error, SystemExit | KeyboardInterrupt):
            loop.stop()

    task = loop.create_task(pump())
    task.add_done_callback(ended)
    try:
        while True:
            loop.run_forever()
            if not made:
                break
            yield made.pop()
            go_on.set()
        task.result()
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
