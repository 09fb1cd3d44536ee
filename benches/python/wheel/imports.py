"""How long the packages take to import, and the command to answer, as whole processes."""

import subprocess
import sys
from pathlib import Path

from measure import measure, promise


def imports():
    """Measure processes, one after the other."""

    def process(*arguments):
        return lambda: subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)

    def python(code):
        return process(sys.executable, "-c", code)

    found = measure(
        {
            "python": python("pass"),
            "numpy": python("import numpy"),
            "remotemedia_runtime": python("import remotemedia_runtime"),
            "remotemedia": python("import remotemedia"),
            "remotemedia.Session": python("from remotemedia import Session, Pipeline"),
            "click and rich": python("import click, rich.console, rich.table"),
            "remotemedia --version": process(
                str(Path(sys.executable).with_name("remotemedia")), "--version"
            ),
        },
        seconds=4,
    )
    numpy = found["numpy"].median
    for name in ("remotemedia_runtime", "remotemedia"):
        promise(f"{name} beyond NumPy", (found[name].median - numpy) / 1e3, 50, "ms")
