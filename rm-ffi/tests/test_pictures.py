"""What nodes make of pictures, beside the same computed in float64."""

import math

import numpy as np
import pytest
from conftest import manifest

from remotemedia import VideoFrame
from remotemedia_runtime import execute_pipeline_with_input

# Kr and Kb of ITU-R BT.601 and BT.709.
MATRICES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
# Black, and how many levels luma and chroma have, at 8 bits (ITU-T H.273, section 8.3).
RANGES = {"limited": (16, 219, 224), "full": (0, 255, 255)}
WIDTH, HEIGHT = 322, 178
# With these pictures Pillow 13.0.0 is up to 1.17 from its filters in float64: it rounds to 8 bits
# twice, and the second direction makes more of what the first has rounded.
LEVELS = 1.25
# How far Pillow's filters reach from the middle, in pixels of the smaller picture.
REACH = {"box": 0.5, "bilinear": 1, "bicubic": 2, "lanczos3": 3}


def through(node_type, frame, **params):
    """What a node makes of a frame."""
    text = manifest(("node", node_type, params))
    return execute_pipeline_with_input(text, frame)["result"]


def planes(rng, black, luma_levels, chroma_levels):
    """Luma of full size and chroma of half of it, with all that a range has."""
    luma = rng.integers(black, black + luma_levels + 1, (HEIGHT, WIDTH), np.uint8)
    low, high = 128 - chroma_levels // 2, min(128 + chroma_levels // 2, 255)
    chroma = rng.integers(low, high + 1, (HEIGHT // 2, WIDTH // 2, 2), np.uint8)
    return luma, chroma


def rgb_of(luma, chroma, matrix, range_name):
    """RGB in float64: the formulas of ITU-T H.273, chroma repeated."""
    (red_part, blue_part), (black, luma_levels, chroma_levels) = (
        MATRICES[matrix],
        RANGES[range_name],
    )
    chroma = (chroma.repeat(2, axis=0).repeat(2, axis=1) - 128.0) / chroma_levels
    luma, blue, red = (luma - float(black)) / luma_levels, chroma[..., 0], chroma[..., 1]
    red = luma + 2 * (1 - red_part) * red
    blue = luma + 2 * (1 - blue_part) * blue
    green = (luma - red_part * red - blue_part * blue) / (1 - red_part - blue_part)
    return np.clip(255 * np.stack([red, green, blue], axis=-1), 0, 255)


@pytest.mark.parametrize("range_name", RANGES)
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("layout", ["nv12", "nv21", "yuv420p"])
def test_rgb_of_luma_and_chroma_is_within_one_level_of_the_formulas(layout, matrix, range_name):
    luma, chroma = planes(np.random.default_rng(1), *RANGES[range_name])
    stored = {
        "nv12": chroma,
        "nv21": chroma[..., ::-1],
        "yuv420p": np.moveaxis(chroma, 2, 0),
    }[layout]
    samples = np.concatenate([luma.ravel(), stored.ravel()])
    frame = VideoFrame(samples, layout, WIDTH, HEIGHT)
    params = {"format": "rgb24", "matrix": matrix, "range": range_name}
    found = through("VideoConverterNode", frame, **params)
    assert (found.format, found.width, found.height) == ("rgb24", WIDTH, HEIGHT)
    expected = np.rint(rgb_of(luma, chroma, matrix, range_name))
    assert np.abs(found.data.reshape(expected.shape) - expected).max() <= 1


def weight(name, at):
    """The weight of a pixel so many pixels of the smaller picture from the middle."""
    at = abs(at)
    if name == "box":
        return 1.0
    if name == "bilinear":
        return 1 - at
    if name == "lanczos3":
        return np.sinc(at) * np.sinc(at / 3)
    # Keys's cubic with a = -0.5.
    if at < 1:
        return (1.5 * at - 2.5) * at * at + 1
    return ((-0.5 * at + 2.5) * at - 4) * at + 2


def matrix_of(name, source, target):
    """What each pixel of a row is made of, as Pillow's `precompute_coeffs` has it."""
    scale = source / target
    widened = max(scale, 1.0)
    reach = REACH[name] * widened
    weights = np.zeros((target, source))
    for place, row in enumerate(weights):
        middle = (place + 0.5) * scale
        begin = max(math.floor(middle - reach + 0.5), 0)
        end = min(math.floor(middle + reach + 0.5), source)
        for pixel in range(begin, end):
            row[pixel] = weight(name, (pixel + 0.5 - middle) / widened)
        row /= row.sum()
    return weights


@pytest.mark.parametrize("size", [(107, 59), (161, 89), (500, 300)])
@pytest.mark.parametrize("name", REACH)
def test_a_scaled_picture_is_as_near_to_its_filter_as_pillow_is(name, size):
    width, height = size
    # Within a range that no filter leaves, so that nothing is cut off between the two directions.
    pixels = np.random.default_rng(1).integers(80, 176, (HEIGHT, WIDTH, 3), np.uint8)
    frame = VideoFrame(pixels, "rgb24")
    found = through("VideoScaleNode", frame, width=width, height=height, filter=name)
    assert (found.format, found.width, found.height) == ("rgb24", width, height)
    across = np.einsum("tw,hwc->htc", matrix_of(name, WIDTH, width), pixels)
    expected = np.einsum("th,hwc->twc", matrix_of(name, HEIGHT, height), across)
    assert np.abs(found.data - expected).max() < LEVELS
