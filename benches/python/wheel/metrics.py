"""What the metrics of a run cost: what is left of a call beside reading, planning and running."""

import time

import numpy as np
from calls import chain
from measure import LEAST, Times, promise

from remotemedia_runtime import execute_pipeline_with_input, validate_manifest

SECONDS = 1.5
# The promise is for pipelines of up to ten nodes, as is that of validation.
TYPICAL = (1, 10)


def metrics():
    """Measure runs of one small item through native nodes that do nothing.

    A run counts and times while it goes on; the dict of the metrics is made at its end. What is
    left of the call beside the run, and beside validating its manifest, holds making that dict, the
    item's conversion in and out, and the watch for signals.
    """
    print(f"{'nodes':<7}{'call':<22}{'the run itself':<22}{'validating':<22}left for the metrics")
    item = np.zeros(16, np.float32)
    found = {}
    for count in (*TYPICAL, 50):
        text = chain(count)
        whole, runs, plans, left = [], [], [], []
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end or len(whole) < LEAST:
            began = time.perf_counter_ns()
            result = execute_pipeline_with_input(text, item)
            called = time.perf_counter_ns()
            validate_manifest(text)
            validated = time.perf_counter_ns()
            whole.append(called - began)
            plans.append(validated - called)
            runs.append(result["metrics"]["total_time_ms"] * 1e6)
            left.append(whole[-1] - plans[-1] - runs[-1])
        columns = "".join(f"{Times(found)!s:<22}" for found in (whole, runs, plans, left))
        print(f"{count:<7}{columns}".rstrip())
        found[count] = Times(left).median
    for count in TYPICAL:
        promise(f"the metrics of {count} nodes", found[count], 100, "µs")
