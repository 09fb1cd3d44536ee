"""Runs `calls.py` under valgrind, and tells of what has to do with the native module.

``python rm-ffi/tests/valgrind/check.py`` with the Python that has the wheel; valgrind itself is
Debian's package of that name. Reads and writes of wrong memory and memory that is lost count if the
native module is among their callers. What it loses when it is imported counts for nothing, as that
is once: PyO3 keeps the members of classes so. Values that were never written are not looked for:
optimised code, of the interpreter and of safe Rust, reads such and makes nothing of them. Workers
run without valgrind.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from remotemedia_runtime import _native

# As it is mapped: with no link in its path.
MODULE = os.path.realpath(_native.__file__)


def is_ours(error):
    """Tell whether an error has to do with the module."""
    frames = list(error.iter("frame"))
    is_import = any(frame.findtext("fn") == "_imp_exec_dynamic" for frame in frames)
    return not is_import and any(frame.findtext("obj") == MODULE for frame in frames)


def describe(error):
    """Write an error with its stacks."""
    what = error.findtext("what") or error.findtext("xwhat/text")
    lines = [f"{error.findtext('kind')}: {what}"]
    for stack in error.iter("stack"):
        for frame in stack.iter("frame"):
            place = ":".join(filter(None, (frame.findtext("file"), frame.findtext("line"))))
            lines.append(f"    {frame.findtext('fn', '?')} ({place or frame.findtext('obj')})")
        lines.append("")
    return "\n".join(lines)


def main():
    """Run it, and fail if anything is ours."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found.xml")
        command = [
            *("valgrind", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=60"),
            *("--xml=yes", f"--xml-file={found}", "--undef-value-errors=no"),
            *("--fair-sched=yes", "--error-limit=no"),
            *(sys.executable, Path(__file__).with_name("calls.py")),
        ]
        # The interpreter's own allocator would hide what is done with a block of memory.
        subprocess.run(command, check=True, env=os.environ | {"PYTHONMALLOC": "malloc"})
        errors = list(ElementTree.parse(found).getroot().iter("error"))
    ours = [error for error in errors if is_ours(error)]
    for error in ours:
        print(describe(error))
    for name, of in (("the native module", ours), ("others", errors)):
        kinds = Counter(error.findtext("kind") for error in of if of is ours or error not in ours)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        print(f"of {name}: {counts or 'nothing'}")
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
