"""The base class of nodes, without a worker."""

import asyncio
import concurrent.futures
import contextvars

import pytest

from remotemedia import Emit, Input, Node, TransientError
from remotemedia_runtime.errors import CallbackTimeout, ParentGone
from remotemedia_runtime.worker import change_params, is_transient, loop


@pytest.fixture(autouse=True)
def no_loop_is_left():
    yield
    loop.close()


class Says(Exception):
    """Says itself whether it is transient."""

    def __init__(self, transient):
        self.transient = transient


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransientError("busy"), True),
        (type("Busy", (TransientError,), {})(), True),
        (TimeoutError(), True),
        (asyncio.TimeoutError(), True),
        (concurrent.futures.TimeoutError(), True),
        (ConnectionResetError(), True),
        (BlockingIOError(), True),
        (InterruptedError(), True),
        (CallbackTimeout(), True),
        (ParentGone(), False),
        (OSError(5, "I/O error"), False),
        (ValueError(), False),
        (MemoryError(), False),
        (Says(True), True),
        (Says(False), False),
        (Says("yes"), False),
    ],
)
def test_an_error_is_transient_by_its_type_or_because_it_says_so(error, expected):
    assert is_transient(error) is expected


def test_a_node_outside_a_worker_has_no_input():
    assert Node().input == Input(None, None)


def test_an_item_for_a_port_has_its_name():
    assert Node().to("speech", [1]) == Emit("speech", [1])
    with pytest.raises(ValueError, match="a port has no name"):
        Node().to("", "x")


def test_new_parameters_are_put_beside_the_old_ones():
    node = Node()
    node.params = {"a": 1, "b": 2}
    change_params(node, {"b": 3, "c": 4})
    assert node.params == {"a": 1, "b": 3, "c": 4}


class Strict(Node):
    """Takes numbers only, and finds out late."""

    def set_params(self, params):
        super().set_params(params)
        self.params["seen"] = True
        for value in params.values():
            if not isinstance(value, int):
                raise ValueError(f"{value!r} is no number")


class StrictAsync(Strict):
    """Finds out even later."""

    async def set_params(self, params):
        await asyncio.sleep(0)
        super().set_params(params)


@pytest.mark.parametrize("kind", [Strict, StrictAsync])
def test_parameters_that_are_refused_leave_those_that_were(kind):
    node = kind()
    change_params(node, {"a": 1})
    assert node.params == {"a": 1, "seen": True}
    with pytest.raises(ValueError, match="'x' is no number"):
        change_params(node, {"a": 2, "b": "x"})
    assert node.params == {"a": 1, "seen": True}


async def numbers(count, ended):
    try:
        for n in range(count):
            await asyncio.sleep(0)
            yield n
    finally:
        await asyncio.sleep(0)
        ended.append(count)


def test_what_is_plain_stays_what_it_is():
    item = object()
    assert loop.settle(item) is item


def test_a_coroutine_is_run_to_its_end_and_may_give_a_generator():
    async def give(value):
        await asyncio.sleep(0)
        return value

    ended = []
    assert loop.settle(give(7)) == 7
    assert list(loop.settle(give(numbers(2, ended)))) == [0, 1]
    assert ended == [2]


def test_an_asynchronous_generator_is_closed_when_it_is_left_early():
    ended = []
    items = loop.settle(numbers(5, ended))
    assert next(items) == 0
    items.close()
    assert ended == [5]


def test_what_a_generator_raises_comes_after_its_items():
    async def fail():
        yield 1
        raise ValueError("no luck")

    items = loop.settle(fail())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no luck"):
        next(items)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_the_loop_goes_on_after_a_method_that_wanted_to_exit(kind):
    async def leave():
        yield 1
        raise kind

    items = loop.settle(leave())
    assert next(items) == 1
    with pytest.raises(kind):
        next(items)
    ended = []
    assert list(loop.settle(numbers(2, ended))) == [0, 1]
    assert loop.settle(asyncio.sleep(0, "slept")) == "slept"


def test_a_generator_runs_in_the_context_of_its_caller_and_keeps_its_own():
    variable = contextvars.ContextVar("variable")

    async def see():
        yield variable.get()
        variable.set("inner")
        yield variable.get()

    variable.set("outer")
    items = loop.settle(see())
    assert list(items) == ["outer", "inner"]
    assert variable.get() == "outer"


def test_tasks_that_are_left_are_cancelled_at_the_end():
    cancelled = []

    async def wait():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def leave():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        return task

    task = loop.settle(leave())
    loop.close()
    assert cancelled == [True]
    assert task.cancelled()
