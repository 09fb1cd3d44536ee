"""What the wheel costs its user in Python, each figure beside its peer or limit.

Run by ``cargo xtask bench python``; arguments name the parts to run. It measures the
installed wheel, and what it compares does the same work.
"""

import os
import sys

import numpy as np
from audio import audio
from calls import calls
from conversions import conversions
from imports import imports
from metrics import metrics
from workers import workers

import remotemedia_runtime

PARTS = {
    "calls": calls,
    "metrics": metrics,
    "audio": audio,
    "conversions": conversions,
    "imports": imports,
    "workers": workers,
}


def main(names):
    """Run the parts of these names, or all."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    print(f"wheel {remotemedia_runtime.__version__}, Python {sys.version.split()[0]}, ", end="")
    print(f"NumPy {np.__version__}, {os.cpu_count()} processors; times are medians (p99)")
    for name in names or PARTS:
        print(f"\n== {name}")
        PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
