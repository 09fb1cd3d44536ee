"""The programs on the pages of the documentation run as they stand there.

Each page is one test, in a folder of its own with a recording `in.wav`. Blocks are taken in their
order. What has a file name (``title="…"``, or a first line ``# name.py``) becomes that file; JSON
without one becomes ``pipeline.json``. Every `python` block runs in a process of its own. In a
`console` block each line, or each line that begins with ``$ ``, is a command; what stands under it
is what it prints, with ``...`` for anything. Blocks of other languages, such as `sh`, are not run.
"""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "rm-ffi/README.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))

FENCE = re.compile(r"^```(\w+)(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


class Block(NamedTuple):
    """A block of code, and its line on the page."""

    language: str
    file: "str | None"
    text: str
    line: int


def blocks_of(page):
    """What is to be run, or to be there when something runs."""
    text = (ROOT / page).read_text()
    for found in FENCE.finditer(text):
        language, options, code = found.groups()
        named = re.search(r'title="([^"]+)"', options) or re.match(r"# (\S+\.py)\n", code)
        file = named[1] if named else "pipeline.json" if language == "json" else None
        if language in ("python", "console", "json"):
            yield Block(language, file, code, text[: found.start()].count("\n") + 1)


def commands_of(text):
    """Each command of a console block, with the lines that it is said to print."""
    lines = text.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [(line, []) for line in lines if line]
    commands = []
    for line in lines:
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif line.strip():
            commands[-1][1].append(line)
    return commands


def run(command, folder, place):
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    # Files that are saved next are not compared with older ones by their time.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, shell=True
    )
    assert done.returncode == 0, f"{place}: {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_block(block, folder, place):
    if block.file is not None:
        (folder / block.file).write_text(block.text)
    if block.language == "python":
        file = block.file or "block.py"
        (folder / file).write_text(block.text)
        run(f"{sys.executable} -W error {file}", folder, place)
    elif block.language == "console":
        for command, expected in commands_of(block.text):
            printed = iter(run(command, folder, place).splitlines())
            for line in expected:
                pattern = line.replace("[", "[[]").replace("...", "*")
                assert any(fnmatch.fnmatchcase(given, pattern) for given in printed), (
                    f"{place}: {command} does not print {line!r}"
                )


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks_of(page))])
@pytest.mark.timeout(120)
def test_the_programs_of_a_page_run(page, tmp_path):
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    if page == "README.md":
        shutil.copytree(ROOT / "examples", tmp_path / "examples", symlinks=True)
    for block in blocks_of(page):
        run_block(block, tmp_path, f"{page}:{block.line}")
