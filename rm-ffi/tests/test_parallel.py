"""Many threads, many processes, and loops other than the standard library's."""

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import NODES, WATCHDOG, manifest

from remotemedia import AsyncSession, Audio, Session
from remotemedia_runtime import (
    CycleError,
    NodeNotFound,
    execute_pipeline_with_input,
    get_available_nodes,
    get_node_metadata,
    validate_manifest,
)

THREADS = 8
ROUNDS = 20
TWO = manifest(("a", "PassThroughNode"), ("b", "PassThroughNode"))
ECHO = manifest(("echo", "session_nodes:Echo"))
CYCLE = manifest(
    ("a", "PassThroughNode"), ("b", "PassThroughNode"), connections=[("a", "b"), ("b", "a")]
)
RESAMPLE = manifest(("resample", "ResampleNode", {"target_rate": 16_000}))


def run_mixed(number, start):
    """Call a bit of everything, and check each answer."""
    samples = np.full(1_000 + number, number, np.float32)
    threshold = get_node_metadata("VADNode")["parameters"]["threshold"]
    start.wait(WATCHDOG)
    with Session(ECHO) as session:
        for turn in range(ROUNDS):
            item = {"thread": number, "turn": turn}
            session.send(item)
            assert execute_pipeline_with_input(TWO, item)["result"] == [item]
            back = execute_pipeline_with_input(TWO, samples)["result"]
            np.testing.assert_array_equal(back, samples)
            assert session.receive(WATCHDOG).item == item
            session.send(samples)
            assert validate_manifest(TWO) is True
            with pytest.raises(CycleError):
                validate_manifest(CYCLE)
            with pytest.raises(NodeNotFound):
                get_node_metadata(f"Node{number}")
            found = get_node_metadata("VADNode")["parameters"]["threshold"]
            assert found == threshold
            assert "VADNode" in get_available_nodes()
            np.testing.assert_array_equal(session.receive(WATCHDOG).item, samples)
        session.finish()
        assert session.receive(WATCHDOG) is None
    assert session.report()["nodes"][0]["items_in"] == 2 * ROUNDS


def test_calls_of_all_kinds_on_eight_threads_do_not_disturb_one_another():
    start = threading.Barrier(THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(run_mixed, number, start) for number in range(THREADS)]:
            done.result()


def test_one_session_can_be_used_by_eight_threads():
    counts = dict.fromkeys(range(THREADS), 0)
    with Session(ECHO) as session, ThreadPoolExecutor(2 * THREADS) as pool:

        def send(number):
            for _ in range(ROUNDS):
                session.send({"number": number})

        def receive():
            return [session.receive(WATCHDOG).item["number"] for _ in range(ROUNDS)]

        sent = [pool.submit(send, number) for number in range(THREADS)]
        received = [pool.submit(receive) for _ in range(THREADS)]
        for done in sent:
            done.result()
        for done in received:
            for number in done.result():
                counts[number] += 1
    assert set(counts.values()) == {ROUNDS}


class Counter:
    """A thread of pure Python that counts as long as it has the interpreter's lock."""

    def __init__(self):
        self.count = 0
        self.goes_on = True
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while self.goes_on:
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *raised):
        self.goes_on = False
        self.thread.join()


def native_run():
    """Compute for a good while without Python."""
    execute_pipeline_with_input(RESAMPLE, Audio(np.zeros(24_000_000, np.float32), 48_000))


def wait_for_an_item():
    """Wait for what does not come."""
    with Session(ECHO) as session, pytest.raises(TimeoutError):
        session.receive(0.3)


@pytest.mark.parametrize("call", [native_run, wait_for_an_item])
def test_python_goes_on_while_the_runtime_computes_or_waits(call):
    with Counter() as counter:
        before, began = counter.count, time.monotonic()
        call()
        seconds = time.monotonic() - began
        meanwhile = counter.count - before
        before = counter.count
        time.sleep(seconds)
        free = counter.count - before
    # A thread that holds the lock lets the others have it for a few milliseconds at its ends.
    assert meanwhile > free / 10


def processes(*arguments):
    """Run the program that starts processes."""
    return subprocess.run(
        [sys.executable, "-W", "error", Path(__file__).with_name("processes.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=NODES,
        timeout=WATCHDOG,
    )


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("pool", ["pool", "executor"])
def test_processes_of_pools_can_run_pipelines(method, pool):
    done = processes(method, pool)
    assert (done.stdout, done.stderr) == ("[0, 200, 400, 600]\n", "")


def test_forked_processes_of_a_pool_are_told_to_be_spawned():
    done = processes("fork", "executor")
    assert done.returncode == 1
    assert "was forked" in done.stderr
    assert "spawn" in done.stderr


def test_other_loops_than_that_of_asyncio_work():
    uvloop = pytest.importorskip("uvloop")

    async def there_and_back():
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        async with AsyncSession(ECHO) as session:
            for number in range(5):
                await session.send({"number": number})
            session.finish()
            assert [output.item["number"] async for output in session] == list(range(5))

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(there_and_back())
    finally:
        loop.close()
