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
            "remotemedia_runtime alone": python("import remotemedia_runtime"),
            "numpy, remotemedia_runtime": python("import numpy, remotemedia_runtime"),
            "numpy, remotemedia": python("import numpy, remotemedia"),
            "numpy, Session and Pipeline": python(
                "import numpy; from remotemedia import Session, Pipeline"
            ),
            "click and rich": python("import click, rich.console, rich.table"),
            "remotemedia --version": process(
                str(Path(sys.executable).with_name("remotemedia")), "--version"
            ),
        },
        seconds=4,
    )
    numpy = found["numpy"].median
    for name in ("remotemedia_runtime", "remotemedia"):
        promise(f"{name} beyond NumPy", (found[f"numpy, {name}"].median - numpy) / 1e3, 50, "ms")
