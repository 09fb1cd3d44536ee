"""What four computing nodes take one after another in one interpreter.

Prints one JSON object: how many turns of `compute` take ten milliseconds here, and how many
microseconds an item took in each of four nodes in a row, on average.
"""

import json
import sys
import time

import numpy as np
from bench_nodes import Compute, compute

NODES = 4
ITEMS = 100
TARGET = 0.010


def calibrate():
    """Give the number of turns that take ten milliseconds."""
    turns = 10_000
    for _ in range(5):
        times = []
        for _ in range(9):
            began = time.perf_counter()
            compute(turns)
            times.append(time.perf_counter() - began)
        turns = max(1, int(turns * TARGET / sorted(times)[len(times) // 2]))
    return turns


def main():
    """Measure and print."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else calibrate()
    nodes = [Compute() for _ in range(NODES)]
    for node in nodes:
        node.params = {"turns": turns}
    began = time.perf_counter()
    for _ in range(ITEMS):
        item = np.zeros(3_840, np.uint8)
        for node in nodes:
            item = node.process(item)
    item_us = (time.perf_counter() - began) / ITEMS * 1e6
    json.dump({"turns": turns, "item_us": item_us}, sys.stdout)


if __name__ == "__main__":
    main()
