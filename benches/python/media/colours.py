"""`VideoConverterNode` beside OpenCV and libyuv: 1080p NV12 to RGB, and other pairs.

BT.601 in the limited range, which is what both of them have. Everybody writes into memory that is
there. libyuv and our node use one thread, OpenCV one and as many as there are processors.
"""

import ctypes

import numpy as np
import picture
from measure import measure
from ours import given, node
from peers import library, package
from picture import HEIGHT, WIDTH

from remotemedia_runtime import VideoFrame

# Two ways to round and to place chroma differ by less than this on average.
LIKE = 1.0
OPENCV = "OpenCV, one thread"


def colours():
    """Measure pairs, and how far each result is from the reference."""
    planes = picture.luma_and_chroma()
    rgb = reference(planes)
    cv2, libyuv = package("cv2"), library("libyuv.so.0")
    print("1080p NV12 to RGB, BT.601, limited range; beside each how far it is from float64")
    compare(nv12_to_rgb(planes, cv2, libyuv), np.clip(np.rint(rgb), 0, 255).astype(np.uint8), cv2)
    packed = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    print("\n1080p RGB to I420")
    compare(rgb_to_i420(packed, cv2), None, cv2)
    print("\n1080p RGB to BGR, with alpha")
    compare(rgb_to_bgra(packed, cv2), None, cv2)
    print("\n1080p NV12 to I420")
    compare(nv12_to_i420(planes, libyuv), None, cv2)


def compare(ways, expected, cv2):
    """Check that all give the same picture, and measure; the first one is ours.

    OpenCV's threads begin and end with their number, so that this is not changed between calls.
    """
    if cv2:
        cv2.setNumThreads(1)
    pictures = {name: way() for name, way in ways.items() if not name.startswith("memcpy")}
    first = expected if expected is not None else next(iter(pictures.values()))
    for name, found in pictures.items():
        levels = np.abs(found.astype(np.int16).ravel() - first.ravel())
        assert levels.mean() < LIKE, (name, levels.mean())

    def beside(name, _):
        if name not in pictures or pictures[name] is first:
            return ""
        return picture.difference(pictures[name].reshape(first.shape), first)

    measure(ways, beside=beside)
    if cv2 and OPENCV in ways:
        every = cv2.getNumberOfCPUs()
        cv2.setNumThreads(every)
        measure({f"OpenCV, {every} threads": ways[OPENCV]})


def reference(planes):
    """Compute RGB in float64 by ITU-R BT.601, chroma repeated."""
    luma = planes[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH).astype(np.float64)
    chroma = planes[WIDTH * HEIGHT :].reshape(HEIGHT // 2, WIDTH // 2, 2).astype(np.float64)
    blue, red = np.moveaxis(chroma.repeat(2, axis=0).repeat(2, axis=1) - 128, 2, 0) * 255 / 224
    luma = (luma - 16) * 255 / 219
    # kr = 0.299, kb = 0.114.
    green = luma - (2 * (1 - 0.299) * 0.299 * red + 2 * (1 - 0.114) * 0.114 * blue) / 0.587
    return np.stack([luma + 2 * (1 - 0.299) * red, green, luma + 2 * (1 - 0.114) * blue], axis=-1)


def converter(samples, source, target):
    """Give a call of a running node."""
    running = node("VideoConverterNode", format=target, matrix="bt601", range="limited")
    item = VideoFrame(samples, source, WIDTH, HEIGHT)
    return lambda: given(running.process(item))[0].data


def copied(array):
    """Give a copy into memory that is there."""
    out = np.zeros_like(array)
    return {f"memcpy of {array.nbytes / 1e6:.1f} MB": lambda: np.copyto(out, array)}


def nv12_to_rgb(planes, cv2, libyuv):
    """Give the ways to do it."""
    rows = planes.reshape(HEIGHT * 3 // 2, WIDTH)
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ways = {"VideoConverterNode": converter(planes, "nv12", "rgb24")}
    if cv2:
        space = np.zeros_like(out)
        ways[OPENCV] = lambda: cv2.cvtColor(rows, cv2.COLOR_YUV2RGB_NV12, dst=space)
    if libyuv:
        # Its name for the order R, G, B in memory.
        ways["libyuv"] = by_libyuv(
            libyuv.NV12ToRAW, [(rows, WIDTH), (rows[HEIGHT:], WIDTH), (out, WIDTH * 3)], out
        )
    return ways | copied(out)


def rgb_to_i420(packed, cv2):
    """Give the ways to do it."""
    ways = {"VideoConverterNode": converter(packed, "rgb24", "yuv420p")}
    out = np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8)
    if cv2:
        ways[OPENCV] = lambda: cv2.cvtColor(packed, cv2.COLOR_RGB2YUV_I420, dst=out)
    return ways | copied(packed)


def rgb_to_bgra(packed, cv2):
    """Give the ways to do it."""
    ways = {"VideoConverterNode": converter(packed, "rgb24", "bgra32")}
    out = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    if cv2:
        ways[OPENCV] = lambda: cv2.cvtColor(packed, cv2.COLOR_RGB2BGRA, dst=out)
    return ways | copied(out)


def nv12_to_i420(planes, libyuv):
    """Give the ways to do it."""
    ways = {"VideoConverterNode": converter(planes, "nv12", "yuv420p")}
    out, rows = np.zeros_like(planes), planes.reshape(-1, WIDTH)
    if libyuv:
        blue = out[WIDTH * HEIGHT :]
        red = blue[WIDTH * HEIGHT // 4 :]
        places = [(rows, WIDTH), (rows[HEIGHT:], WIDTH), (out, WIDTH)]
        ways["libyuv"] = by_libyuv(
            libyuv.NV12ToI420, [*places, (blue, WIDTH // 2), (red, WIDTH // 2)], out
        )
    return ways | copied(planes)


def by_libyuv(function, places, out):
    """Give a call of libyuv: places and the bytes of a row in turns, then width and height."""
    arguments = []
    for array, row_bytes in places:
        arguments += [ctypes.c_void_p(array.ctypes.data), ctypes.c_int(row_bytes)]
    arguments += [ctypes.c_int(WIDTH), ctypes.c_int(HEIGHT)]

    def convert():
        assert function(*arguments) == 0
        return out

    # What the addresses belong to has to stay.
    convert.places = places
    return convert
