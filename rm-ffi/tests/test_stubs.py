"""The stubs of callbacks, as type checkers read them.

The stubs are those in rm-process/testdata/stubs/expected; that they are what is generated is
checked there.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STUBS = Path(__file__).parents[2] / "rm-process/testdata/stubs"
EXPECTED = STUBS / "expected"
# Pyright's rule and mypy's code, at the end of a line of wrong.py.
WRONG = re.compile(r"# wrong: (\w+), ([\w-]+)$")


@pytest.fixture
def programs(tmp_path):
    """A copy of the programs, with settings that find the stubs."""
    shutil.copytree(STUBS / "programs", tmp_path, dirs_exist_ok=True)
    settings = {"include": ["."], "extraPaths": [str(EXPECTED)], "typeCheckingMode": "strict"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    return tmp_path


def expected_mistakes(programs, checker):
    """Line numbers, and what each is to be blamed for."""
    lines = (programs / "wrong.py").read_text().splitlines()
    found = [(number, WRONG.search(line)) for number, line in enumerate(lines, 1)]
    return {(number, match[checker]) for number, match in found if match}


def run(programs, *command, **env):
    """What a checker prints. Its status says whether it found a mistake."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=programs,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_pyright_accepts_right_use_and_blames_each_wrong_one(programs):
    report = json.loads(
        run(programs, "pyright", "--outputjson", PYRIGHT_PYTHON_IGNORE_WARNINGS="1")
    )
    found = {"right.py": set(), "wrong.py": set()}
    for message in report["generalDiagnostics"]:
        place = (message["range"]["start"]["line"] + 1, message["rule"])
        found[Path(message["file"]).name].add(place)
    # What follows from an unknown name is not a mistake of its own.
    consequences = {place for place in found["wrong.py"] if place[1].startswith("reportUnknown")}
    assert found["right.py"] == set()
    assert found["wrong.py"] - consequences == expected_mistakes(programs, 1)


def test_pyright_finds_nothing_in_the_stubs(tmp_path):
    shutil.copytree(EXPECTED, tmp_path, dirs_exist_ok=True)
    (tmp_path / "pyrightconfig.json").write_text(
        '{"include": ["."], "typeCheckingMode": "standard"}'
    )
    report = json.loads(
        run(tmp_path, "pyright", "--outputjson", PYRIGHT_PYTHON_IGNORE_WARNINGS="1")
    )
    assert report["generalDiagnostics"] == []
    assert report["summary"]["filesAnalyzed"] > 0


def test_mypy_accepts_right_use_and_blames_each_wrong_one(programs):
    command = ("mypy", "--strict", "--no-error-summary", "--cache-dir", os.devnull)
    assert run(programs, *command, "right.py", MYPYPATH=str(EXPECTED)) == ""
    output = run(programs, *command, "wrong.py", MYPYPATH=str(EXPECTED))
    errors = re.findall(r"^wrong\.py:(\d+): error: .*\[([\w-]+)\]$", output, re.MULTILINE)
    assert {(int(line), code) for line, code in errors} == expected_mistakes(programs, 2)
