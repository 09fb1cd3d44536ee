"""Formats of audio, against NumPy: every pair that has a type there, channels, layouts, rates."""

import itertools

import numpy as np
import pytest
from conftest import manifest

from remotemedia import Audio
from remotemedia_runtime import NodeExecutionError, execute_pipeline_with_input

# NumPy's type and the bits of each format. 24-bit samples come out as int32 of full scale.
FORMATS = {
    "f32": (np.float32, None),
    "f64": (np.float64, None),
    "i16": (np.int16, 16),
    "i24": (np.int32, 24),
    "i32": (np.int32, 32),
    "u8": (np.uint8, 8),
}
PAIRS = list(itertools.product([name for name in FORMATS if name != "i24"], FORMATS))


def through(samples, *params, rate=48_000, node="FormatConverterNode"):
    """Run samples through a chain of nodes of a type, one for each set of parameters."""
    nodes = [(f"n{place}", node, each) for place, each in enumerate(params)]
    result = execute_pipeline_with_input(manifest(*nodes), Audio(samples, rate))["result"]
    items = result if isinstance(result, list) else [result]
    return np.concatenate([item.samples for item in items])


def some(name, frames=4_096, channels=2):
    """Samples of a format: any that it has, and some beyond full scale where there are such."""
    dtype, bits = FORMATS[name]
    random = np.random.default_rng(8)
    if bits is None:
        samples = random.uniform(-1.1, 1.1, (frames, channels)).astype(dtype)
        samples[:9, 0] = [0, 1, -1, 2, -2, np.nan, np.inf, -np.inf, np.finfo(dtype).tiny]
        # Halves of the steps of 8 and of 16 bits.
        samples[10:266, 0] = (np.arange(-128, 128) + 0.5) / 128
        samples[300:812, 0] = (np.arange(-256, 256) + 0.5) / 32_768
        return samples
    info = np.iinfo(dtype)
    samples = random.integers(info.min, info.max, (frames, channels), dtype, endpoint=True)
    samples[:2, 0] = [info.min, info.max]
    if name == "i32":
        samples[10:1034, 0] = (np.arange(-512, 512) << 7) + (1 << 6)
        samples[1100:2124, 0] = (np.arange(-512, 512) << 15) + (1 << 15)
        samples[2200:2456, 0] = (np.arange(-128, 128) << 24) + (1 << 23)
    return samples


def expected(samples, source, target):
    """What the samples become: integers over their full scale, rounded once, halves to even."""
    dtype, bits = FORMATS[target]
    if source == target:
        return samples
    source_bits = FORMATS[source][1]
    if source_bits is None:
        # Exact for both: 64-bit floats hold all of either format.
        values = samples.astype(np.float64)
    else:
        offset = 128 if source == "u8" else 0
        values = (samples.astype(np.float64) - offset) / 2.0 ** (source_bits - 1)
    if bits is None:
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    scale = 2.0 ** (bits - 1)
    finite = np.nan_to_num(values, nan=0.0, posinf=2.0, neginf=-2.0)
    rounded = np.rint(finite * scale)
    integers = np.clip(rounded, -scale, scale - 1).astype(np.int64)
    if target == "i24":
        integers <<= 8
    return (integers + (128 if target == "u8" else 0)).astype(dtype)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_format_becomes_another_as_numpy_says(source, target):
    samples = some(source)
    found = through(samples, {"format": target})
    wanted = expected(samples, source, target)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("target", FORMATS)
def test_24_bits_become_any_format_as_numpy_says(target):
    samples = some("i32") & ~0xFF
    found = through(samples, {"format": "i24"}, {"format": target})
    np.testing.assert_array_equal(found, expected(samples, "i32", target))


@pytest.mark.parametrize("source", [name for name in FORMATS if name != "i24"])
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_way_through_planes_changes_nothing(source, target, channels):
    samples = some(source, frames=2_500, channels=channels)
    planar = {"format": target, "layout": "planar"}
    back = {"format": "keep", "layout": "interleaved"}
    found = through(samples, planar, back)
    wanted = expected(samples, source, target)
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


def test_an_item_of_planes_shows_its_channels_in_columns():
    samples = some("i16")
    np.testing.assert_array_equal(through(samples, {"format": "i16", "layout": "planar"}), samples)


@pytest.mark.parametrize("source", ["f32", "f64", "i16", "i32", "u8"])
@pytest.mark.parametrize("channels", [2, 3])
def test_several_channels_become_their_mean(source, channels):
    samples = some(source, channels=channels)
    samples = samples[~np.isnan(samples).any(axis=1)][10:]
    as_f64 = expected(samples, source, "f64")
    with np.errstate(invalid="ignore"):
        total = sum(as_f64[:, channel] for channel in range(channels))
        wanted = (total / channels).astype(np.float32)
    np.testing.assert_array_equal(through(samples, {"channels": 1}), wanted)


@pytest.mark.parametrize("dither", ["rectangular", "triangular"])
def test_dither_leaves_the_mean_of_what_lies_between_two_steps(dither):
    values = np.linspace(-0.9, 0.9, 7, dtype=np.float32)
    samples = np.repeat(values, 20_000)
    params = {"format": "u8", "dither": dither, "dither_seed": 5}
    found = through(samples, params).astype(np.float64).reshape(7, -1)
    np.testing.assert_array_equal(through(samples, params).reshape(7, -1), found)
    error = found - 128 - values[:, None].astype(np.float64) * 128
    assert np.abs(error.mean(axis=1)).max() < 0.02
    # Half a step at most from rounding, and the noise.
    assert np.abs(error).max() <= {"rectangular": 1.0, "triangular": 1.5}[dither]


def test_gains_of_a_matrix_are_applied_as_numpy_does():
    samples = some("f32")[900:]
    matrix = np.array([[0.5, 0.5], [1.0, -1.0], [0.0, 0.25]], np.float32)
    found = through(samples, {"matrix": matrix.tolist()}, node="ChannelMixerNode")
    np.testing.assert_allclose(found, samples @ matrix.T, atol=1e-6)
    swapped = through(samples, {"map": [1, 0]}, node="ChannelMixerNode")
    np.testing.assert_array_equal(swapped, samples[:, ::-1])
    with pytest.raises(NodeExecutionError, match="audio of 2 channels"):
        through(samples[:, :1], {"matrix": matrix.tolist()}, node="ChannelMixerNode")


@pytest.mark.parametrize("quality", ["low", "medium", "high"])
@pytest.mark.parametrize(
    ("source", "target"),
    [(48_000, 16_000), (44_100, 16_000), (16_000, 48_000), (44_100, 48_000), (44_101, 48_000)],
)
def test_another_rate_has_the_exact_length_and_the_same_times(quality, source, target):
    frames = source // 2 + 7
    low = min(source, target)
    frequencies = [0.01 * low, 0.13 * low, 0.3 * low]
    seconds = np.arange(frames) / source
    samples = np.sum([np.sin(2 * np.pi * f * seconds) for f in frequencies], axis=0) / 3
    params = {"target_rate": target, "quality": quality}
    found = through(samples.astype(np.float32), params, rate=source, node="ResampleNode")
    assert len(found) == -(-frames * target // source)
    seconds = np.arange(len(found)) / target
    wanted = np.sum([np.sin(2 * np.pi * f * seconds) for f in frequencies], axis=0) / 3
    middle = slice(len(found) // 4, -len(found) // 4)
    error = np.abs(found - wanted)[middle].max()
    assert error < {"low": 1e-3, "medium": 1e-4, "high": 3e-6}[quality]
