"""`VideoScaleNode` beside OpenCV, Pillow and libyuv: 1080p to 640 x 360.

Filters of one name are not the same. Ours and Pillow's are widened where the picture becomes
smaller, so that it does not alias. OpenCV's linear and cubic take four and sixteen pixels however
small it becomes; its area is the mean of what a pixel covers, as our box. So after ours comes what
does the same, and then what only has the same name. Everybody uses one thread.
"""

import ctypes

import numpy as np
import picture
from measure import measure
from ours import given, node
from peers import library, package
from picture import HEIGHT, WIDTH

from remotemedia_runtime import VideoFrame

SIZE = (640, 360)
# What does the same differs by rounding of its weights only.
LEVELS = 1
# Our filter, that of Pillow, and what of OpenCV has the same name; whether the latter is the same.
FILTERS = (
    ("box", "BOX", "INTER_AREA", True),
    ("bilinear", "BILINEAR", "INTER_LINEAR", False),
    ("bicubic", "BICUBIC", "INTER_CUBIC", False),
    ("lanczos3", "LANCZOS", "INTER_LANCZOS4", False),
    ("nearest", "NEAREST", "INTER_NEAREST", False),
)


def scaling():
    """Measure each filter on RGB, then NV12."""
    colours, cv2, pillow = picture.colours(), package("cv2"), package("PIL")
    if pillow:
        pillow = package("PIL.Image")
    for name, by_pillow, by_opencv, is_same in FILTERS:
        print(f"1080p RGB to {SIZE[0]} x {SIZE[1]}, {name}; beside each how far it is from ours")
        ways = {"VideoScaleNode": scaler(colours, "rgb24", name)}
        if pillow:
            image, way = pillow.fromarray(colours), getattr(pillow.Resampling, by_pillow)
            ways[f"Pillow {by_pillow}"] = lambda image=image, way=way: np.asarray(
                image.resize(SIZE, way)
            )
        if cv2:
            ways[f"OpenCV {by_opencv}"] = opencv(cv2, colours, getattr(cv2, by_opencv))
        compare(ways, {way for way in ways if way.startswith("Pillow") or is_same})
        print()
    planes = picture.luma_and_chroma()
    print("1080p NV12 to 640 x 360, bilinear and box; beside each how far it is from the first")
    ways = {f"VideoScaleNode, {name}": scaler(planes, "nv12", name) for name in ("box", "bilinear")}
    if libyuv := library("libyuv.so.0"):
        ways["libyuv, box"] = by_libyuv(libyuv, planes, 3)
        ways["libyuv, bilinear"] = by_libyuv(libyuv, planes, 2)
    compare(ways, set())


def compare(ways, same):
    """Check those that do the same, and measure all."""
    pictures = {name: way().copy() for name, way in ways.items()}
    first = next(iter(pictures.values()))
    for name in same:
        levels = np.abs(pictures[name].astype(np.int16) - first).max()
        assert levels <= LEVELS, (name, levels)

    def beside(name, _):
        return "" if pictures[name] is first else picture.difference(pictures[name], first)

    measure(ways, beside=beside)


def scaler(samples, name, by):
    """Give a call of a running node."""
    running = node("VideoScaleNode", width=SIZE[0], height=SIZE[1], filter=by)
    item = VideoFrame(samples, name, WIDTH, HEIGHT)
    return lambda: given(running.process(item))[0].data


def opencv(cv2, array, way):
    """Give a call of OpenCV, with one thread."""
    cv2.setNumThreads(1)
    out = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    return lambda: cv2.resize(array, SIZE, dst=out, interpolation=way)


def by_libyuv(libyuv, planes, way):
    """Give a call of its NV12Scale."""
    width, height = SIZE
    out = np.zeros(width * height * 3 // 2, np.uint8)

    def place(array, offset, row_bytes):
        return [ctypes.c_void_p(array.ctypes.data + offset), ctypes.c_int(row_bytes)]

    def size(*sides):
        return [ctypes.c_int(side) for side in sides]

    source = place(planes, 0, WIDTH) + place(planes, WIDTH * HEIGHT, WIDTH) + size(WIDTH, HEIGHT)
    target = place(out, 0, width) + place(out, width * height, width) + size(*SIZE)

    def scale():
        assert libyuv.NV12Scale(*source, *target, ctypes.c_int(way)) == 0
        return out

    return scale
