"""What the media nodes do and what they cost, each figure beside its peer, in one run.

Run by ``cargo xtask bench media``, or as ``python benches/python/media [topic ...]`` by any Python
that has the wheel. It measures the installed wheel. A peer that is not installed is left out, and
a line says how to get it. How times are taken is what `benches/python/wheel/measure.py` says.
"""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# The measuring is shared with the bench of the wheel, and with the tests of the nodes.
sys.path += [str(ROOT / "benches/python/wheel"), str(ROOT / "rm-ffi/tests")]

# Each is a module with a function of its name.
TOPICS = ("resampling", "formats", "speech", "colours", "scaling", "decoding", "graph")


def main(names):
    """Run the topics of these names, or all."""
    import numpy as np

    import remotemedia_runtime

    unknown = [name for name in names if name not in TOPICS]
    if unknown:
        sys.exit(f"no topic {unknown[0]!r}; there are {', '.join(TOPICS)}")
    print(f"wheel {remotemedia_runtime.__version__}, Python {sys.version.split()[0]}, ", end="")
    print(f"NumPy {np.__version__}, {os.cpu_count()} processors; times are medians (p99)")
    for name in names or TOPICS:
        print(f"\n== {name}", flush=True)
        getattr(importlib.import_module(name), name)()


if __name__ == "__main__":
    main(sys.argv[1:])
