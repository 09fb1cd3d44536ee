"""Tries the installed wheel: what a new user would do in the first minutes.

Run by `cargo xtask wheel --release --smoke` in a fresh environment of each Python, with warnings as
errors. It prints one line. It is no test of what the package does in particular.
"""

import json
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import files, version
from pathlib import Path

import numpy as np

import remotemedia
import remotemedia_runtime
from remotemedia import Audio, Session

NODE = """
from remotemedia import Audio, Node


class Double(Node):
    def process(self, item):
        return Audio(item.samples * 2, item.sample_rate)
"""


def command(*arguments: str) -> str:
    """Run the command of this environment, and give what it prints."""
    program = Path(sysconfig.get_path("scripts"), "remotemedia")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def main() -> None:
    """Try everything once."""
    installed = version("remotemedia-runtime")
    assert remotemedia.__version__ == remotemedia_runtime.__version__ == installed
    assert Path(remotemedia.__file__).is_relative_to(sys.prefix), remotemedia.__file__
    assert installed in command("--version")
    assert "run" in command("--help")

    names = {path.name for path in files("remotemedia-runtime") or []}
    assert {"LICENSE-MIT", "LICENSE-APACHE", "LICENSE-THIRD-PARTY.txt", "py.typed"} <= names, names

    nodes = remotemedia_runtime.get_available_nodes()
    assert "VADNode" in nodes, nodes
    for node in nodes:
        assert remotemedia_runtime.get_node_metadata(node)["name"] == node
    assert "VADNode" in command("nodes")
    if "doctor" in command("--help"):
        command("doctor")

    second = np.sin(np.linspace(0, 440 * 2 * np.pi, 16_000, dtype=np.float32))
    manifest = {
        "version": "v1",
        "nodes": [{"id": "vad", "node_type": "VADNode"}],
        "connections": [],
    }
    ran = remotemedia_runtime.execute_pipeline_with_input(json.dumps(manifest), second)
    assert ran["success"], ran

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "smoke_nodes.py").write_text(NODE)
        path = Path(folder, "pipeline.json")
        manifest["nodes"] = [{"id": "double", "node_type": "smoke_nodes:Double"}]
        path.write_text(json.dumps(manifest))
        assert "smoke_nodes:Double" in command("validate", str(path))
        with Session(path) as session:
            for _ in range(3):
                session.send(Audio(second, 16_000))
            session.finish()
            outputs = list(session)
        assert len(outputs) == 3
        for output in outputs:
            np.testing.assert_allclose(output.item.samples, second * 2)
    print(f"remotemedia {installed} works with NumPy {np.__version__}", end="")
    print(f" on {sys.implementation.cache_tag}, {len(nodes)} native nodes")


main()
