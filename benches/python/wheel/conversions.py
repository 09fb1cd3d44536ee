"""What it costs to bring data into the runtime and out of it again, in one process."""

import array
import pickle

import numpy as np
from measure import measure

from remotemedia_runtime import Audio, VideoFrame
from remotemedia_runtime._native import _convert


class Tensor:
    """A tensor of another package, that can be had by DLPack only."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        """Give what it holds."""
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        """Give where it lies."""
        return self.values.__dlpack_device__()


def conversions():
    """Measure conversions, there and back, of 20 ms of audio and of a picture."""
    samples = np.zeros(960, np.float32)
    frame = np.zeros((1080, 1920, 3), np.uint8)
    items = {
        "array of 3.84 KB": samples,
        "Audio of it": Audio(samples, 48_000),
        "dict of it": {"audio": samples, "sample_rate": 48_000},
        "array.array of it": array.array("f", samples.tolist()),
        "DLPack of it": Tensor(samples),
        "every other of its samples": samples[::2],
        "text": "some text",
        "JSON": {"text": "hello", "words": [1, 2.5, None, "more"]},
        "1080p VideoFrame": VideoFrame(frame, "rgb24"),
        "1080p dict": {"frame": frame, "format": "rgb24"},
        "1080p turned, copied once": frame[::-1],
    }
    found = {}
    for name, item in items.items():
        found[name] = lambda item=item: _convert(item)
    found |= {
        "peer: np.from_dlpack of 3.84 KB": lambda: np.from_dlpack(samples),
        "peer: pickle of 3.84 KB, there and back": lambda: pickle.loads(pickle.dumps(samples, 5)),
        "peer: 1080p copied by NumPy": lambda: frame.copy(),
    }

    def copied(name, times):
        return "" if name.startswith("peer") else f"{_convert(items[name])[1]} bytes copied"

    measure(found, beside=copied)
