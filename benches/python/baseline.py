"""What the same work costs without the runtime: in one process, and over multiprocessing.Pipe.

Prints one JSON object: for each size in bytes the median and the 99th percentile, in microseconds,
of one call of each node in this process and of one round trip to a child process over a pipe.
"""

import json
import multiprocessing
import sys
import time

import numpy as np

SIZES = [64, 3_840, 64 << 10, 1 << 20, 4 << 20, 10 << 20]


def touch(samples):
    """Do what the node Touch does."""
    return b"same" if samples[0] == samples[-1] else b"other"


def measure(work, calls, limit=2.0):
    """Time `work` `calls` times, or as often as fits into `limit` seconds."""
    for _ in range(max(1, calls // 10)):
        work()
    times = []
    end = time.perf_counter() + limit
    for _ in range(calls):
        began = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - began)
        if time.perf_counter() > end:
            break
    median, p99 = np.percentile(times, [50, 99]) / 1e3
    return {"median_us": median, "p99_us": p99}


def serve(pipe):
    """Answer each message as the node that its first byte names."""
    while True:
        doubles, samples = pipe.recv()
        if samples is None:
            return
        pipe.send(samples * 2 if doubles else touch(samples))


def main():
    """Measure everything and print it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=serve, args=(theirs,))
    child.start()
    result = {}
    for size in SIZES:
        samples = np.ones(size // 4, np.float32)
        out = np.empty_like(samples)

        def round_trip(doubles, samples=samples):
            ours.send((doubles, samples))
            return ours.recv()

        calls = 5_000 if size <= 1 << 20 else 500
        result[size] = {
            "touch": measure(lambda samples=samples: touch(samples), calls),
            "double": measure(
                lambda samples=samples, out=out: np.multiply(samples, 2, out=out), calls
            ),
            "pipe_touch": measure(lambda: round_trip(False), calls),
            "pipe_double": measure(lambda: round_trip(True), calls),
        }
    ours.send((False, None))
    child.join()
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
