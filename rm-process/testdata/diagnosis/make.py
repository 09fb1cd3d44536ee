"""Writes what each case of `cases.py` prints into a folder named after this interpreter's version.

Run in this folder, with each interpreter whose output is to be kept: `python3.13 make.py`. Only
numpy is needed besides, and its case is left out where it is not installed. The folder in which
the interpreter is installed is written as /usr, so that no machine's paths are kept.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

# Cases that need no script, with the arguments of the interpreter.
OTHERS = {
    "syntax_error": ["-c", "def (:"],
    "indentation_error": ["-c", "if True:\nx = 1"],
    "colours": ["cases.py", "during_handling"],
    "lost_standard_library": ["cases.py", "killed"],
}
ENVIRONMENT = {
    "colours": {"PYTHON_COLORS": "1"},
    "lost_standard_library": {"PYTHONHOME": "/nonexistent"},
}


def main():
    folder = Path("{}.{}".format(*sys.version_info))
    folder.mkdir(exist_ok=True)
    names = re.findall(r"^def (\w+)\(\):", Path("cases.py").read_text(), re.MULTILINE)
    cases = {name: ["cases.py", name] for name in names} | OTHERS
    if importlib.util.find_spec("numpy") is None:
        del cases["memory_of_numpy"]
    for name, arguments in cases.items():
        done = subprocess.run(
            [sys.executable, "-u", "-X", "faulthandler", *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/bin"} | ENVIRONMENT.get(name, {}),
            text=True,
        )
        text = done.stderr.replace(sys.executable, "/usr/bin/python3")
        for path, shown in ((sys.prefix, "/usr"), (sys.base_prefix, "/usr"), (Path.cwd(), ".")):
            text = text.replace(f"{path}/", f"{shown}/")
        (folder / f"{name}.txt").write_text(text)


main()
