"""Nodes for the benches: what a Python node does at least, and one that writes into a loan."""

import time

import numpy as np

from remotemedia import Audio, Node

# Words of eight bytes that a payload's stamps may take, with their number.
STAMPS = 64


class Touch(Node):
    """Reads the first and the last sample and answers with a few bytes."""

    def process(self, item):
        """Answer whether both are alike."""
        samples = item.samples
        return b"same" if samples[0] == samples[-1] else b"other"


class Double(Node):
    """Writes twice its input into memory that is sent as it is."""

    def process(self, item):
        """Give audio of the same length."""
        samples = item.samples
        out = self.loan(samples.shape, np.float32)
        np.multiply(samples, 2, out=out)
        return Audio(out, item.sample_rate)


class Forward(Node):
    """Gives on what it gets, with two stamps, as the node of that name in Rust does."""

    def process(self, item):
        """Copy the item into memory that is sent as it is, and write when it came and went."""
        received = time.monotonic_ns()
        out = self.loan(item.shape, item.dtype)
        out[...] = item
        stamps = out[: min(out.size, STAMPS * 8) // 8 * 8].view(np.uint64)
        count = int(stamps[0])
        if count + 2 < stamps.size:
            stamps[0] = count + 2
            stamps[count + 1] = received
            stamps[count + 2] = time.monotonic_ns()
        return out


class Burst(Node):
    """Makes as many items as its input says."""

    def process(self, item):
        """Yield arrays that say how many follow."""
        for left in reversed(range(int(item.view(np.uint64)[0]))):
            # An array that has a name here would be copied.
            yield self.numbered(left)

    def numbered(self, left):
        """Make one that is sent as it is."""
        out = self.loan(self.params["size"], np.uint8)
        out[:8].view(np.uint64)[0] = left
        return out


class Tally(Node):
    """Counts items, and gives their number when the last has come."""

    def initialize(self):
        """Begin at zero."""
        self.count = 0

    def process(self, item):
        """Count."""
        self.count += 1
        if int(item[:8].view(np.uint64)[0]) > 0:
            return None
        count, self.count = self.count, 0
        return np.array([count], np.uint64).view(np.uint8)


def compute(turns):
    """Keep the interpreter busy."""
    number = 0
    for turn in range(turns):
        number = (number * 31 + turn) & 0xFFFF
    return number


class Compute(Node):
    """Computes in Python for each item."""

    def process(self, item):
        """Compute, and give the item on."""
        compute(self.params["turns"])
        return item
