"""Makes the reference vectors of this folder with Pillow.

Each `.bin` file holds, for each filter in the order of FILTERS and each size in the order of SIZES,
the bytes of the scaled picture. The source is made by `picture`, which the Rust test repeats.
Pillow's licence is MIT-CMU; the vectors are numbers that it computed.
"""

import pathlib
import sys

import PIL
from PIL import Image

FILTERS = ["NEAREST", "BOX", "BILINEAR", "BICUBIC", "LANCZOS"]
SOURCE = (37, 29)
# None of them has a pixel whose centre lies just on the edge of a box.
SIZES = [(17, 12), (37, 11), (53, 31), (13, 29)]
CHANNELS = {"gray": ("L", 1), "rgb": ("RGB", 3), "rgba": ("RGBA", 4)}


def picture(channels: int) -> bytes:
    """Slopes, edges and fine structure, different in each channel.

    Values keep away from 0 and 255, since filters that overshoot are clipped between their two
    passes, of which Pillow does the horizontal one first.
    """
    width, height = SOURCE
    values = bytearray()
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                slope = (x * 5 + y * 3 + c * 40) % 256
                edge = 90 if (x // 9 + y // 7 + c) % 2 else 0
                fine = (x * y + c * 7) % 23
                low = 128 if c == 3 else 64
                values.append(low + (slope // 2 + edge + fine) // 2)
    return bytes(values)


for name, (mode, channels) in CHANNELS.items():
    source = Image.frombytes(mode, SOURCE, picture(channels))
    ways = [(size, getattr(Image.Resampling, way)) for way in FILTERS for size in SIZES]
    parts = [source.resize(*way).tobytes() for way in ways]
    pathlib.Path(__file__).with_name(f"{name}.bin").write_bytes(b"".join(parts))
print("made with Pillow", PIL.__version__, "and Python", sys.version.split()[0])
