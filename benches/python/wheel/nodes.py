"""The nodes of the bench of workers."""

import numpy as np

from remotemedia import Node, VideoFrame


class Echo(Node):
    """Gives its item back."""

    def process(self, item):
        """Do nothing else."""
        return item


class Invert(Node):
    """Turns light and dark of a picture."""

    def process(self, frame):
        """Write into memory that is sent as it is."""
        out = self.loan(frame.data.shape, np.uint8)
        return VideoFrame(np.invert(frame.data, out=out), frame.format)
