"""What `ResampleNode` keeps and what it takes out, between the common rates."""

import json

import numpy as np
import pytest
from tones import judge

from remotemedia import Audio
from remotemedia_runtime._native import _NativeNode

PAIRS = [(48_000, 16_000), (44_100, 16_000), (16_000, 48_000), (44_100, 48_000), (48_000, 44_100)]
TONES = 96


def resampled(samples, source, target, **params):
    """All that a node makes of samples, which come as one item."""
    node = _NativeNode("ResampleNode", "node", json.dumps({"target_rate": target, **params}))
    node.initialize()
    parts = node.process(Audio(samples, source)) + node.finish()
    return np.concatenate([item.samples.reshape(-1) for _, item in parts])


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_high_quality_keeps_the_pass_band_and_rejects_all_else(source, target):
    quality = judge(lambda samples: resampled(samples, source, target), source, target, TONES)
    assert quality.ripple_db < 0.1
    assert quality.rejection_db > 100


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_sine_comes_out_in_its_place_and_length(source, target):
    frames = source // 2 + 1
    step = 2 * np.pi * 1_000
    sine = np.sin(step * np.arange(frames) / source).astype(np.float32)
    found = resampled(sine, source, target)
    assert len(found) == -(-frames * target // source)
    inner = slice(target // 20, -target // 20)
    expected = np.sin(step * np.arange(len(found)) / target)
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-4)
