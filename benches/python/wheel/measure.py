"""Times calls, one after the other in turns, and prints them as a table.

Main functions: `measure` and `promise`. What is compared is measured in the same seconds, so that a
change of the machine's pace meets all of it.
"""

import itertools
import time

import numpy as np

# Seconds for each row of a table, and how long a batch of short calls takes.
SECONDS = 0.5
BATCH_NS = 20_000
LEAST = 20


class Times:
    """What one call takes, in microseconds."""

    def __init__(self, samples_ns):
        self.median, self.p99 = np.percentile(samples_ns, [50, 99]) / 1e3

    def __str__(self):
        return f"{number(self.median)} ({number(self.p99)}) µs"


def number(value):
    """Write a number with three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def time_of(call, count):
    """Give the nanoseconds of a call, the mean of so many in a row."""
    rounds = itertools.repeat(None, count)
    began = time.perf_counter_ns()
    for _ in rounds:
        call()
    return (time.perf_counter_ns() - began) / count


def batch_of(call):
    """Give how many calls are timed together: one where the clock's own time does not matter."""
    call()
    once = min(time_of(call, 1) for _ in range(5))
    return max(1, round(BATCH_NS / max(once, 1)))


def times_of(calls, seconds=SECONDS):
    """Time calls in turns.

    Each of what is timed together is short, so that the p99 of calls below 20 µs is that of means.
    """
    counts = {name: batch_of(call) for name, call in calls.items()}
    samples = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or min(map(len, samples.values())) < LEAST:
        for name, call in calls.items():
            samples[name].append(time_of(call, counts[name]))
    return {name: Times(found) for name, found in samples.items()}


def measure(calls, seconds=SECONDS, beside=None):
    """Time calls, print them, and give the times by name.

    Parameters
    ----------
    calls : dict
        Functions without parameters, by what they are called in the table.
    seconds : float
        How long each of them is measured.
    beside : callable, optional
        Gives a text to stand beside a row, of its name and its times.
    """
    found = times_of(calls, seconds)
    width = max(map(len, found))
    for name, times in found.items():
        print(f"{name:<{width}}  {times!s:<24}{beside(name, times) if beside else ''}".rstrip())
    return found


def promise(text, value, limit, unit):
    """Print whether what is promised has been kept."""
    met = "met:   " if value < limit else "MISSED:"
    print(f"{met} {text}: {number(value)} {unit}, promised below {number(limit)} {unit}")
