"""Many arrays through native nodes: one call for each, on several threads.

Shows `execute_pipeline_with_input` with NumPy arrays. The interpreter lock is released while native
nodes work, so threads are enough to use all cores.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from remotemedia import Audio
from remotemedia_runtime import execute_pipeline_with_input

MANIFEST = json.dumps(
    {
        "version": "v1",
        "nodes": [
            {"id": "resample", "node_type": "ResampleNode", "params": {"target_rate": 16_000}},
            {"id": "vad", "node_type": "VADNode"},
        ],
        "connections": [{"from": "resample", "to": "vad"}],
    }
)


def recording(seed: int) -> NDArray[np.float32]:
    """Make three seconds of faint noise at 48 kHz, with a tone in the second one."""
    samples = np.random.default_rng(seed).normal(0, 0.0005, 3 * 48_000)
    seconds = np.arange(samples.size) / 48_000
    tone = np.sin(2 * np.pi * (300 + 20 * seed) * seconds)
    samples += np.where((seconds > 1) & (seconds < 2), 0.8 * tone, 0)
    return samples.astype(np.float32)


def segments(samples: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Find where something is heard."""
    ran = execute_pipeline_with_input(MANIFEST, Audio(samples, 48_000))
    found: list[dict[str, Any]] = ran["result"]
    return found


def main() -> None:
    """Work on eight recordings at a time."""
    recordings = [recording(seed) for seed in range(8)]
    with ThreadPoolExecutor() as pool:
        for number, found in enumerate(pool.map(segments, recordings)):
            times = [f"{part['start_ms']:.0f} to {part['end_ms']:.0f} ms" for part in found]
            print(f"recording {number}: {', '.join(times) or 'nothing'}")


if __name__ == "__main__":
    main()
