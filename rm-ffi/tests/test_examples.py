"""The programs in `examples/` run, and so does the notebook, in a kernel as Jupyter starts it."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
# What each of them prints in the end.
LAST_LINES = {
    "batch_numpy": "recording 7: 660 to 2340 ms",
    "errors_and_policies": "[0, 4, 3] with {}: the process of moody died at item 2: crash",
    "first_node": "gain 1.0",
    "session_asyncio": "last",
    "session_threads": "3001 items, 60.0 s",
    "video_frames": "29 frames, 7200 pixels changed in the first one",
}


def test_every_program_is_among_those_that_are_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(LAST_LINES)


@pytest.mark.parametrize("name", LAST_LINES)
def test_a_program_prints_what_it_promises(name):
    command = [sys.executable, "-W", "error", "-B", EXAMPLES / f"{name}.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == LAST_LINES[name]


# Starting a kernel takes its time where much else runs.
@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    # It would raise what a cell has raised.
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert outputs[3][-1]["data"]["text/plain"] == "[0.0, 0.5, 1.0]"
