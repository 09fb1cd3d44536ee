"""The picture that the bench of video converts and scales, and how two results are compared."""

import numpy as np

WIDTH, HEIGHT = 1920, 1080


def luma_and_chroma():
    """Make a frame in NV12, in the limited range: waves of all lengths, edges, and noise."""
    rng = np.random.default_rng(1)
    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    waves = np.sin((across**2 + down**2) / 4_000) + np.sin(across / 37) * np.cos(down / 23)
    luma = 126 + 50 * waves + rng.uniform(-8, 8, waves.shape)
    luma[(across // 240 + down // 135) % 5 == 0] += 60
    chroma = np.stack([across[::2, ::2] / WIDTH, down[::2, ::2] / HEIGHT], axis=-1)
    chroma = 128 + 80 * (chroma - 0.5) + rng.uniform(-4, 4, chroma.shape)
    planes = np.concatenate([luma.ravel(), chroma.ravel()])
    return np.clip(np.rint(planes), 16, 235).astype(np.uint8)


def colours():
    """Make a frame in RGB of the same kind."""
    planes = luma_and_chroma()
    luma = planes[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH)
    return np.stack([luma, np.roll(luma, 60, axis=1), luma[::-1]], axis=-1)


def difference(found, expected):
    """Say how far two pictures are apart: at most, and how much of them by how much."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    levels = np.abs(found.astype(np.int16) - expected)
    beyond = np.mean(levels > 1)
    return f"at most {levels.max()} levels, mean {levels.mean():.3f}, {beyond:.2%} more than 1"
