"""What the package says of itself, and where it does not run."""

import subprocess
import sys
import textwrap
from importlib.metadata import metadata, version

import remotemedia
import remotemedia_runtime

# A free-threaded Python does not find the native module, and is known by its flags.
FREE_THREADED = """
    import sys

    sys.abiflags = "t"
    sys.modules["remotemedia_runtime._native"] = None
    try:
        import remotemedia_runtime
    except ImportError as error:
        print(error)
"""


def run(program):
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_import_on_free_threaded_python_says_that_it_is_not_supported():
    printed = run(FREE_THREADED)
    assert "does not support free-threaded Python" in printed
    assert "use a Python that has the global interpreter lock" in printed


def test_an_import_without_the_native_module_keeps_its_own_message():
    printed = run(FREE_THREADED.replace('sys.abiflags = "t"', 'sys.abiflags = ""'))
    assert "remotemedia_runtime._native" in printed
    assert "free-threaded" not in printed


def test_the_versions_of_packages_and_distribution_agree():
    installed = version("remotemedia-runtime")
    assert remotemedia.__version__ == remotemedia_runtime.__version__ == installed


def test_the_distribution_names_its_licences_and_where_to_read_more():
    said = metadata("remotemedia-runtime")
    assert said["License-Expression"] == "MIT OR Apache-2.0"
    licences = said.get_all("License-File") or []
    assert {"LICENSE-MIT", "LICENSE-APACHE", "LICENSE-THIRD-PARTY.txt"} <= set(licences)
    urls = {url.partition(",")[0] for url in said.get_all("Project-URL") or []}
    assert urls >= {"Repository", "Documentation", "Changelog", "Issues"}
