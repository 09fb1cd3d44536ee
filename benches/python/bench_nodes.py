"""Nodes for the benches: what a Python node does at least, and one that writes into a loan."""

import numpy as np

from remotemedia import Audio, Node


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
