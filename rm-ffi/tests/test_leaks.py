"""Nothing grows with the number of calls: memory, objects, references, files, threads.

The short form makes a thousand calls of each kind. With the number of calls in the variable
``SOAK_CALLS`` (100000, say) the same tests take minutes and show leaks of a few bytes a call;
``pytest -s`` then prints what was found. What is found after the calls, two thirds and one third of
them is compared: a leak grows always, while caches and pools fill at some time.
"""

import array
import asyncio
import gc
import json
import os
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import WATCHDOG, children_of, manifest

from remotemedia import AsyncSession, Audio, Session, VideoFrame, run_in_process
from remotemedia_runtime import (
    ManifestError,
    MarshalingError,
    NodeExecutionError,
    NodeNotFound,
    PythonError,
    execute_pipeline,
    execute_pipeline_with_input,
    get_available_nodes,
    get_node_metadata,
    validate_manifest,
)
from remotemedia_runtime._native import _convert

SOAK = int(os.environ.get("SOAK_CALLS", "0"))
CALLS = SOAK or 1_000
# What may be there more after a third of the calls: bytes of memory, and objects.
MEMORY = 1 << 19
OBJECTS = 100

pytestmark = pytest.mark.timeout(0 if SOAK else 30)

TWO = manifest(("a", "PassThroughNode"), ("b", "PassThroughNode"))
ECHO = manifest(("echo", "session_nodes:Echo"))
SCALE = manifest(("s", "session_nodes:Scale"))
REFUSES = manifest(("refuses", "session_nodes:FailsOnText"))
MISSING = manifest(("missing", "AudioFileSourceNode", {"path": "/no/such.wav"}))
SAMPLES = np.zeros(960, np.float32)
PIXELS = np.zeros((36, 64, 3), np.uint8)


class Tensor:
    """A tensor of another package."""

    def __dlpack__(self, **options):
        return SAMPLES.__dlpack__(**options)

    def __dlpack_device__(self):
        return SAMPLES.__dlpack_device__()


ITEMS = [
    SAMPLES,
    SAMPLES[::2],
    Audio(SAMPLES, 48_000),
    {"audio": SAMPLES, "sample_rate": 48_000},
    VideoFrame(PIXELS, "rgb24"),
    {"frame": PIXELS, "format": "rgb24"},
    array.array("f", [1, 2]),
    Tensor(),
    bytearray(b"bytes"),
    b"bytes",
    "text",
    {"a": [1, 2.5, None, "text"]},
]
WATCHED = [*ITEMS, PIXELS, int, float, np.ndarray, np.dtype(np.float32), Audio, VideoFrame]


class Usage(NamedTuple):
    """What this process and its workers have."""

    memory: int
    objects: int
    files: int
    threads: int
    references: "list[int]"

    @classmethod
    def now(cls):
        gc.collect()
        processes = [Path(f"/proc/{pid}") for pid in (os.getpid(), *children_of(os.getpid()))]
        pages = sum(int((of / "statm").read_text().split()[1]) for of in processes)
        return cls(
            pages * os.sysconf("SC_PAGESIZE"),
            sys.getallocatedblocks(),
            sum(len(os.listdir(of / "fd")) for of in processes),
            sum(len(os.listdir(of / "task")) for of in processes),
            [sys.getrefcount(of) for of in WATCHED],
        )


def check_steady(work, count):
    """Do work so often; what grows in each of the last two thirds of it is a leak."""
    found = []
    for _ in range(3):
        for _ in range(count // 3):
            work()
        found.append(Usage.now())
    memory, objects, files, threads = (
        min(later - earlier for earlier, later in pairwise(column))
        for column in zip(*(usage[:4] for usage in found), strict=True)
    )
    if SOAK:
        print(f"\n{count} calls; in each of the last two thirds {memory / 1024:+.0f} KiB ", end="")
        print(f"of {found[-1].memory >> 20} MiB, {objects:+} objects, {files:+} files, ", end="")
        print(f"{threads:+} threads")
    assert memory < MEMORY
    assert objects < OBJECTS
    assert files <= 0
    assert threads <= 0
    # The last item may be let go of a moment after its outcome is here.
    deadline = time.monotonic() + WATCHDOG
    while has_more(Usage.now().references, found[0].references):
        assert time.monotonic() < deadline, (Usage.now().references, found[0].references)


def has_more(references, before):
    return any(now > then for now, then in zip(references, before, strict=True))


def raising(error, call, *arguments):
    """Give a call that has to raise."""

    def work():
        with pytest.raises(error):
            call(*arguments)

    return work


CALLED = {
    "native runs": lambda: execute_pipeline_with_input(TWO, SAMPLES),
    "native runs that fail": raising(NodeExecutionError, execute_pipeline, MISSING),
    "runs that refuse": raising(MarshalingError, execute_pipeline_with_input, TWO, {"a": {1}}),
    "validation": lambda: validate_manifest(TWO),
    "refused manifests": raising(ManifestError, validate_manifest, TWO[:-2]),
    "names": get_available_nodes,
    "metadata": lambda: get_node_metadata("VADNode"),
    "unknown names": raising(NodeNotFound, get_node_metadata, "VADNod"),
    "conversions": lambda: [_convert(item) for item in ITEMS],
    "refused conversions": raising(MarshalingError, _convert, {"a": {1}}),
    "runs in this process": lambda: run_in_process(json.loads(ECHO), SAMPLES),
}


@pytest.mark.parametrize("name", CALLED)
def test_calls_leave_nothing(name):
    # For an unknown name the installed packages are searched.
    check_steady(CALLED[name], CALLS // 20 if name == "unknown names" else CALLS)


@pytest.mark.parametrize("source", [TWO, ECHO], ids=["native", "worker"])
def test_items_leave_nothing(source):
    items = [item for item in ITEMS if not isinstance(item, Tensor)]
    turn = iter(range(2 * CALLS))
    with Session(source) as session:

        def there_and_back():
            session.send(items[next(turn) % len(items)])
            session.receive(WATCHDOG)

        check_steady(there_and_back, CALLS)


@contextmanager
def loop():
    """An asyncio loop; gives what runs a coroutine on it."""
    made = asyncio.new_event_loop()
    try:
        yield made.run_until_complete
    finally:
        made.close()


@pytest.mark.parametrize("source", [TWO, ECHO], ids=["native", "worker"])
def test_items_leave_nothing_on_a_loop(source):
    async def there_and_back():
        await session.send(SAMPLES)
        await session.receive()

    with loop() as run:
        session = run(AsyncSession(source).start())
        check_steady(lambda: run(there_and_back()), CALLS)
        run(session.close())


def test_waits_that_are_given_up_leave_nothing():
    async def give_up():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting.receive(), 1e-4)

    with Session(TWO) as session:

        def time_out():
            with pytest.raises(TimeoutError):
                session.receive(0)

        check_steady(time_out, CALLS)
    with loop() as run:
        waiting = run(AsyncSession(TWO).start())
        check_steady(lambda: run(give_up()), CALLS)
        run(waiting.close())


def test_what_is_asked_of_a_session_leaves_nothing():
    factors = iter(range(1, 2 + CALLS))
    with Session(SCALE) as session:

        def ask():
            session.set_params("s", {"factor": next(factors)})
            session.flush()
            session.stats()
            session.plan_dict()
            session.report()
            session.events()

        check_steady(ask, CALLS // 5)


def test_native_sessions_leave_nothing():
    def once():
        with Session(TWO) as session:
            session.send(SAMPLES)
            session.finish()
            assert len(list(session)) == 1

    check_steady(once, CALLS // 5)


def test_sessions_on_loops_leave_nothing():
    async def once():
        async with AsyncSession(TWO) as session:
            await session.send(SAMPLES)
            session.finish()
            assert [output.node async for output in session] == ["b"]

    check_steady(lambda: asyncio.run(once()), CALLS // 5)


def test_sessions_with_workers_leave_nothing():
    def once():
        with Session(ECHO) as session:
            session.send(SAMPLES)
            session.finish()
            assert len(list(session)) == 1

    check_steady(once, max(10, CALLS // 300))


def test_workers_that_fail_leave_nothing():
    check_steady(
        raising(PythonError, execute_pipeline_with_input, REFUSES, "x"), max(10, CALLS // 300)
    )
