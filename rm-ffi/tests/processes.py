"""A program that runs pipelines in processes of a pool; see `test_parallel`."""

import concurrent.futures
import multiprocessing
import sys

import numpy as np
from conftest import manifest

from remotemedia import Session
from remotemedia_runtime import execute_pipeline_with_input

TWO = manifest(("a", "PassThroughNode"), ("b", "PassThroughNode"))
ECHO = manifest(("echo", "session_nodes:Echo"))


def work(number):
    samples = np.full(100, number, np.float64)
    native = execute_pipeline_with_input(TWO, samples)["result"]
    with Session(ECHO) as session:
        session.send(samples)
        return int(native.sum() + session.receive(20).item.sum())


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    # This process has used the runtime before it starts others.
    work(1)
    if sys.argv[2] == "pool":
        with context.Pool(2) as pool:
            print(pool.map(work, range(4)))
            pool.close()
            pool.join()
    else:
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            print(list(pool.map(work, range(4))))
