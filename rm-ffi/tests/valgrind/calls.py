"""A bit of everything that the native module does; `check.py` runs it under valgrind."""

import array
import asyncio
import gc
import json
import os
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

import remotemedia_runtime as runtime
from remotemedia import AsyncSession, Audio, Session, VideoFrame, run_in_process
from remotemedia_runtime._native import _convert

NODES = Path(__file__).parent.parent / "nodes"
ROUNDS = 20
SAMPLES = np.linspace(-1, 1, 4_800, dtype=np.float32)
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
    SAMPLES.reshape(2, -1).T,
    SAMPLES.astype(">f4"),
    Audio(SAMPLES, 48_000),
    {"audio": SAMPLES.reshape(-1, 2), "sample_rate": 48_000},
    VideoFrame(PIXELS, "rgb24"),
    {"frame": bytes(12), "format": "nv12", "width": 4, "height": 2},
    array.array("f", [1, 2]),
    Tensor(),
    bytearray(b"bytes"),
    b"bytes",
    "text",
    {"a": [1, 2.5, None, "text", {"b": True}]},
]
REFUSED = [{"a": {1, 2}}, {"audio": SAMPLES.astype("i8"), "sample_rate": 1}, object(), {1: 2}]


def chain(*node_types):
    """Write the manifest of nodes in a row."""
    nodes = [{"id": f"n{n}", "node_type": name, "params": {}} for n, name in enumerate(node_types)]
    connections = [{"from": f"n{n}", "to": f"n{n + 1}"} for n in range(len(nodes) - 1)]
    return json.dumps({"version": "v1", "nodes": nodes, "connections": connections})


SAME = chain("PassThroughNode", "PassThroughNode")
NATIVE = chain("ResampleNode", "FormatConverterNode", "VADNode")
ECHO = chain("session_nodes:Echo")


def convert():
    """Bring data in and out."""
    for item in ITEMS:
        back, _ = _convert(item)
        if hasattr(back, "__dlpack__"):
            np.from_dlpack(back)
    for item in REFUSED:
        with suppress(runtime.MarshalingError):
            _convert(item)


def describe():
    """Ask for what is known."""
    for name in runtime.get_available_nodes():
        runtime.get_node_metadata(name)
    for text in (SAME, NATIVE, ECHO, SAME[:-2], chain("NoSuchNode")):
        with suppress(ValueError):
            runtime.validate_manifest(text)
    with suppress(KeyError):
        runtime.get_node_metadata("VADNod")


def execute():
    """Run pipelines, also some that fail."""
    runtime.execute_pipeline_with_input(NATIVE, Audio(SAMPLES, 48_000))
    for item in ITEMS:
        runtime.execute_pipeline_with_input(SAME, item)
    for item in REFUSED:
        with suppress(runtime.MarshalingError):
            runtime.execute_pipeline_with_input(SAME, item)
    with suppress(runtime.NodeNotFound):
        runtime.execute_pipeline(chain("NoSuchNode"))
    run_in_process(json.loads(ECHO), SAMPLES)


def session(manifest):
    """Send and receive, also on several threads."""
    with Session(manifest) as made:
        for item in ITEMS:
            made.send(item)
            made.receive()
        with suppress(TimeoutError):
            made.receive(0)
        threads = [threading.Thread(target=made.send, args=("x",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made.flush()
        made.stats()
        made.finish()
        list(made)
    made.report()


async def on_a_loop(manifest):
    """Do the same on a loop."""
    async with AsyncSession(manifest) as made:
        for item in ITEMS:
            await made.send(item)
            await made.receive()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(made.receive(), 0.01)
        made.finish()
        assert [output async for output in made] == []


def main():
    """Do all of it."""
    os.chdir(NODES)
    for _ in range(ROUNDS):
        convert()
        describe()
        execute()
    for manifest in (SAME, ECHO):
        for _ in range(2):
            session(manifest)
            asyncio.run(on_a_loop(manifest))
    gc.collect()


if __name__ == "__main__":
    main()
