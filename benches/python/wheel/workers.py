"""What a worker costs for each item beyond a call of its node in one process.

Beside it `multiprocessing.Pipe`, which pickles the same arrays to a process that does the same.
"""

import asyncio
import json
import multiprocessing
import threading
import time
from pathlib import Path

import numpy as np
from measure import LEAST, SECONDS, Times, measure, number
from nodes import Echo

from remotemedia import AsyncSession, Session, VideoFrame, run_in_process

HERE = Path(__file__).parent
STOP = "stop"


def serve(pipe):
    """Give each array back, a picture inverted."""
    while not isinstance(array := pipe.recv(), str):
        pipe.send(np.invert(array) if array.ndim == 3 else array)


def invert(frame):
    """Do what the node Invert does, in plain memory."""
    return VideoFrame(np.invert(frame.data), frame.format)


def workers():
    """Measure items there and back, one at a time and many at once."""
    samples = np.zeros(960, np.float32)
    pixels = np.zeros((1080, 1920, 3), np.uint8)
    frame = VideoFrame(pixels, "rgb24")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    peer = context.Process(target=serve, args=(theirs,))
    peer.start()
    echo = Echo().process
    print("20 ms of audio, 3.84 KB, given back")
    compare("nodes:Echo", samples, lambda: echo(samples), ours, samples, 5_000)
    print("\na 1080p picture, 6.22 MB, inverted")
    compare("nodes:Invert", frame, lambda: invert(frame), ours, pixels, 300)
    ours.send(STOP)
    peer.join()


def compare(node_type, item, direct, pipe, array, count):
    """Measure a node in all the ways in which it can be run."""
    node = {"id": "node", "node_type": node_type, "params": {}}
    source = {"version": "v1", "nodes": [node], "connections": []}
    manifest = HERE / f".{node_type.partition(':')[2]}.json"
    manifest.write_text(json.dumps(source))
    try:
        run(manifest, item, direct, pipe, array, count)
    finally:
        manifest.unlink()


def run(manifest, item, direct, pipe, array, count):
    """Measure it, with its manifest in a file of the folder of the nodes."""

    def by_pipe():
        pipe.send(array)
        return pipe.recv()

    with Session(manifest) as session:

        def by_session():
            session.send(item)
            return session.receive()

        found = measure(
            {
                "the node called directly": direct,
                "Session, send and receive": by_session,
                "Pipe, send and recv": by_pipe,
            },
            seconds=2 * SECONDS,
        )
        beyond = (
            found["Session, send and receive"].median - found["the node called directly"].median
        )
        print_rate("Session, many at once", at_once(session.send, session.receive, item, count))
    print_rate("Pipe, many at once", at_once(pipe.send, pipe.recv, array, count))
    one_at_a_time, rate = asyncio.run(in_loop(manifest, item, count))
    print(f"{'AsyncSession, send and receive':<32}{one_at_a_time}")
    print_rate("AsyncSession, many at once", rate)
    measure({"run_in_process, a whole run": lambda: run_in_process(manifest, item)})
    print(f"a worker takes {number(beyond)} µs an item beyond a direct call")


def print_rate(name, rate):
    """Print how many items come in a second."""
    print(f"{name:<32}{number(rate)} items/s")


def at_once(send, receive, item, count):
    """Send on one thread and receive on this one; give items in a second."""

    def send_all():
        for _ in range(count):
            send(item)

    sender = threading.Thread(target=send_all)
    began = time.perf_counter()
    sender.start()
    for _ in range(count):
        receive()
    seconds = time.perf_counter() - began
    sender.join()
    return count / seconds


async def in_loop(manifest, item, count):
    """Measure the same on an asyncio loop."""
    async with AsyncSession(manifest) as session:
        samples = []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(samples) < LEAST:
            began = time.perf_counter_ns()
            await session.send(item)
            await session.receive()
            samples.append(time.perf_counter_ns() - began)

        async def send_all():
            for _ in range(count):
                await session.send(item)

        began = time.perf_counter()
        sender = asyncio.create_task(send_all())
        for _ in range(count):
            await session.receive()
        seconds = time.perf_counter() - began
        await sender
    return Times(samples[len(samples) // 10 :]), count / seconds
