"""What `rm-process/tests/python` has served: functions of every kind."""

import asyncio
import contextvars
import sys
import threading
from pathlib import Path

import kameo
from remotemedia_runtime import CallbackError, CallbackTimeout, callbacks

COUNTS = {"closed": 0, "cancelled": 0}


class OddError(Exception):
    """An exception of this module's own."""


def echo(request):
    return request


def nothing(request):
    return None


def one(request):
    match request:
        case {"raise": kind}:
            raise {
                "value": ValueError,
                "odd": OddError,
                "exit": SystemExit,
                "interrupt": KeyboardInterrupt,
            }[kind](f"as told: {kind}")
        case "deep":
            return recurse(request)
        case "unsendable":
            return {"items": [1, {"price": object()}]}
        case "counts":
            return COUNTS
        case _:
            return request


def recurse(request):
    return recurse(request)


def count(request):
    """Numbers from 0; raises at one of them."""
    try:
        for number in range(request["to"]):
            if number == request.get("fail_at"):
                raise OddError(f"at {number}")
            yield number if "ballast" not in request else [number, "x" * request["ballast"]]
    finally:
        COUNTS["closed"] += 1


def count_or_tell(request):
    return COUNTS if request == "counts" else count(request)


async def one_async(request):
    match request:
        case {"raise": kind}:
            await asyncio.sleep(0)
            raise {
                "value": ValueError,
                "odd": OddError,
                "exit": SystemExit,
                "interrupt": KeyboardInterrupt,
                "cancelled": asyncio.CancelledError,
            }[kind](f"as told: {kind}")
        case "hang":
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                COUNTS["cancelled"] += 1
                raise
        case "counts":
            return COUNTS
        case _:
            return request


GATE = []


async def meet(request):
    """Answers nobody before all have come: they are served at once."""
    GATE.append(asyncio.get_running_loop().create_future())
    if len(GATE) == request["all"]:
        for place in GATE:
            place.set_result(None)
    await GATE[request["number"]]
    return request["number"]


async def count_async(request):
    if request == "counts":
        yield COUNTS
        return
    try:
        for number in range(request["to"]):
            if number == request.get("fail_at"):
                raise OddError(f"at {number}")
            if request.get("hang_at") == number:
                await asyncio.get_running_loop().create_future()
            yield number if "ballast" not in request else [number, "x" * request["ballast"]]
    finally:
        await asyncio.sleep(0)
        COUNTS["closed"] += 1


def add(request, inputs):
    total = 0
    for item in inputs:
        total += item
        yield item + request
    yield total


async def add_async(request, inputs):
    total = 0
    async for item in inputs:
        total += item
        yield item + request
    yield total


def total(request, inputs):
    return request + sum(inputs)


class Methods:
    """A function by a dotted name."""

    async def twice(self, request):
        return request * 2


METHODS = Methods()


async def twice_by(path, value):
    return await getattr(callbacks.test, path)(value)


async def storm(request):
    """Callbacks of three kinds, all at once; how many of each came back as they should."""

    async def call(kind, number):
        path, expected = [
            ("One", [number]),
            ("Three", [number, number + 1, number + 2]),
            ("Nothing", []),
        ][kind]
        call = getattr(kameo.test, path)(number)
        return kind, [item async for item in call] == expected

    calls = [call(kind, number) for number in range(request) for kind in range(3)]
    right = [0, 0, 0]
    for kind, is_right in await asyncio.gather(*calls):
        right[kind] += is_right
    return right


def storm_by_threads(request):
    right = [[0, 0, 0] for _ in range(8)]

    def work(own, numbers):
        for number in numbers:
            own[0] += kameo.test.One(number).result() == number
            own[1] += list(kameo.test.Three(number)) == [number, number + 1, number + 2]
            own[2] += list(kameo.test.Nothing(number)) == []

    threads = [
        threading.Thread(target=work, args=(right[at], range(at, request, 8))) for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [sum(of_kind) for of_kind in zip(*right, strict=True)]


async def storm_by_loops(request):
    """The same from loops of other threads."""
    own = [asyncio.to_thread(asyncio.run, storm(request // 4)) for _ in range(4)]
    return [sum(of_kind) for of_kind in zip(*await asyncio.gather(*own), strict=True)]


def caught(call):
    try:
        return list(call)
    except CallbackError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return [kinds, error.error_type, error.message, str(error)]


def callback(request):
    """Calls what it is told to, and tells what that raised."""
    match request:
        case {"path": path, "value": value}:
            at = kameo
            for part in path.split("."):
                at = getattr(at, part)
            return caught(at(value))
        case {"lookup": path}:
            try:
                return repr(eval(path, {"kameo": kameo}))
            except AttributeError as error:
                return [type(error).__name__, str(error)]
        case "same":
            return kameo is callbacks and sys.modules["kameo.test"] is kameo.test
        case "dir":
            return [dir(kameo), dir(kameo.test), dir(kameo.test.deep)]
        case "imported":
            from kameo.test.deep import One

            return One(1).result()
        case "one_of_three":
            return caught(iter(kameo.test.Three(1))), result_of(kameo.test.Three(1))
        case "one_of_none":
            return result_of(kameo.test.Nothing(1))
        case "unsendable":
            try:
                kameo.test.One({"a": [object()]})
            except TypeError as error:
                return [type(error).__name__, str(error)]
        case "uncaught":
            return kameo.test.Fails(1).result()
        case "hang":
            return caught(kameo.test.Hangs(1))
        case "hang_in_thread":
            context = contextvars.copy_context()
            found = []
            thread = threading.Thread(
                target=context.run, args=(lambda: found.append(caught(kameo.test.Hangs(1))),)
            )
            thread.start()
            thread.join()
            return found[0]
        case "drop":
            calls = [kameo.test.Endless(1) for _ in range(3)]
            firsts = [next(call) for call in calls]
            calls.pop().close()
            calls.clear()
            return firsts
        case "context":
            return kameo.test.Context(1).result()


def result_of(call):
    try:
        return call.result()
    except CallbackError as error:
        return [error.error_type, str(error)]


async def callback_async(request):
    match request:
        case "hang":
            try:
                await kameo.test.Hangs(1)
            except CallbackTimeout as error:
                return str(error)
        case "context":
            return await asyncio.create_task(_context())
        case "drop":
            async for first in kameo.test.Endless(1):
                return first
        case "one_of_three":
            try:
                await kameo.test.Three(1)
            except CallbackError as error:
                return [error.error_type, str(error)]
        case _:
            return await kameo.test.One(request)


async def _context():
    return await kameo.test.Context(1)


def variants(request):
    """Both forms of tuple variants."""
    return ["Tuple", "hello", 42] if request == "list" else {"Tuple": ["hello", 42]}


def touch(request):
    """Yields until nobody wants more, and tells that in a file."""
    try:
        while True:
            yield 0
    finally:
        Path(request).touch()


async def by_dataclass(request):
    """Call with a generated dataclass, of which one field is left to Rust's default."""
    import kameo
    from kameo.trading import DataFetchRequest

    assert "DataFetchRequest" in dir(kameo.trading)
    assert isinstance(kameo.trading.DataFetch(DataFetchRequest(symbol="X")), kameo.Call)
    return await kameo.trading.DataFetch(DataFetchRequest(symbol=request))
