"""Node classes that the runtime knows by name: registered, of files, of installed packages.

What is registered stays so for the life of a process, so most of it is tried in one of its own.
"""

import json
import os
import subprocess
import sys
import textwrap
import threading
import types
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from conftest import NODES, WATCHDOG, manifest
from declared_nodes import Gain, Paint

from remotemedia import Node, Pipeline, load_nodes, register_node
from remotemedia_runtime import (
    ManifestError,
    NodeNotFound,
    _native,
    execute_pipeline_with_input,
    get_available_nodes,
    get_node_metadata,
    validate_manifest,
)

SOUND = "Audio(np.ones(4, np.float32), 16_000)"
HEAD = """
import json
import sys
import numpy as np
from remotemedia import *
from remotemedia_runtime import *

def manifest(*nodes, **fields):
    nodes = [dict(zip(("id", "node_type", "params"), node)) for node in nodes]
    return json.dumps({"version": "v1", "nodes": nodes, **fields})

"""
GAIN = """
class Gain(Node):
    '''Makes audio louder.'''

    class Params:
        factor: float = 2.0

    def process(self, item):
        return (item.samples * self.params.factor).tolist()

"""


@pytest.fixture
def script(tmp_path):
    """Runs a script of a name, in a folder of its own; gives what it prints, as JSON."""

    def run(text, *arguments, name="script.py", cwd=None, env=None, code=0):
        (tmp_path / name).write_text(HEAD + text)
        done = subprocess.run(
            [sys.executable, *(arguments or (tmp_path / name,))],
            cwd=cwd or NODES,
            env=os.environ | (env or {}),
            capture_output=True,
            text=True,
            timeout=WATCHDOG,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    return run


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder as of installed packages, with one that has nodes."""
    folder = tmp_path / "installed"
    (folder / "speech").mkdir(parents=True)
    (folder / "speech/__init__.py").write_text('__version__ = "1.2"\n')
    (folder / "speech/nodes.py").write_text("import sys\nfrom remotemedia import Node\n" + GAIN)
    (folder / "speech/broken.py").write_text("import nothing_of_this_name\n")
    info = folder / "speech_nodes-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: speech-nodes\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[remotemedia.nodes]\n"
        "speech-gain = speech.nodes:Gain\n"
        "speech-broken = speech.broken:Gain\n"
        "speech-text = speech.nodes:sys\n"
        "VADNode = speech.nodes:Gain\n"
    )
    return folder


def test_a_registered_name_is_listed_described_and_run(script):
    found = script(
        "@register_node('gain', version='3', accepts=['audio'], output_ports=['side'])"
        + GAIN
        + f"""
if __name__ == "__main__":
    before = get_available_nodes()
    text = manifest(("a", "gain", {{"factor": 3}}))
    validate_manifest(text)
    result = execute_pipeline_with_input(text, {SOUND})["result"]
    print(json.dumps([before, get_node_metadata("gain"), result]))
"""
    )
    names, described, result = found
    assert "gain" in names
    assert names == sorted(names)
    assert described["parameters"]["factor"]["default"] == 2.0
    assert (described["version"], described["accepts"]) == ("3", ["audio"])
    assert (described["executor"], described["output_ports"]) == ("python", ["side"])
    assert described["class"].endswith("/script.py:Gain")
    assert result == [[3.0] * 4]


def test_a_decorator_without_arguments_takes_the_name_of_the_class(script):
    found = script("@register_node" + GAIN + "print(json.dumps(get_available_nodes()))")
    assert "Gain" in found


def test_a_class_of_a_module_that_is_run_is_found_by_its_workers(script, tmp_path):
    body = (
        GAIN
        + f"""
if __name__ == "__main__":
    p = Pipeline()
    p.add_node(Gain(factor=4))
    print(json.dumps(p.run({SOUND})))
"""
    )
    assert script(body, "-m", "module", name="module.py", cwd=tmp_path) == [[4.0] * 4]


def test_a_class_of_a_module_that_only_the_parent_finds_is_found_by_its_workers(script, tmp_path):
    (tmp_path / "beside.py").write_text("from remotemedia import Node\n" + GAIN)
    body = f"""
import beside
p = Pipeline()
p.add_node(beside.Gain(factor=4))
print(json.dumps(p.run({SOUND})))
"""
    assert script(body, cwd="/") == [[4.0] * 4]


@pytest.mark.parametrize("arguments", [(), ("-m", "script")])
def test_a_script_that_starts_pipelines_when_it_is_imported_is_told_so(script, tmp_path, arguments):
    body = GAIN + f"p = Pipeline()\np.add_node(Gain)\np.run({SOUND})\n"
    message = script(body, *arguments, cwd=tmp_path, code=1)
    assert "starts a pipeline while a worker loads it" in message
    assert 'put that under `if __name__ == "__main__":`' in message


@pytest.mark.parametrize("how", ["text", "function"])
def test_a_class_that_no_worker_can_import_is_told_so_before_anything_starts(script, how):
    run = f"p = Pipeline()\np.add_node(Gain)\np.run({SOUND})\n"
    if how == "text":
        message = script("", "-c", HEAD + GAIN + run, code=1)
        assert "it has no file of its own, as in an interactive session" in message
    else:
        message = script("def f():\n" + textwrap.indent(GAIN + run, "    ") + "f()\n", code=1)
        assert "it is not at the top level of its module" in message
    assert "put it into a module, or run the pipeline by remotemedia.run_in_process" in message
    assert "/nodes/0/node_type" in message


def test_a_name_of_another_is_refused():
    with pytest.raises(ValueError, match='node type "VADNode" is registered already'):
        register_node("VADNode")(Gain)
    with pytest.raises(ValueError, match="a node type cannot be called 'a:b'"):
        register_node("a:b")(Gain)
    with pytest.raises(ValueError, match="a node type cannot be called ''"):
        register_node("")(Gain)
    with pytest.raises(TypeError, match="is no subclass of"):
        register_node("a")(int)
    with pytest.raises(TypeError, match="is no subclass of"):
        register_node("a")(Node)
    with pytest.raises(TypeError, match="neither a name nor a subclass"):
        register_node(3)
    with pytest.raises(ValueError, match='no type of data "sound"; expected one of audio, video'):
        register_node("a", accepts=["sound"])
    assert not {"a", "a:b", ""} & set(get_available_nodes())


def test_a_name_of_another_class_is_refused_and_one_of_the_same_described_anew(script):
    found = script("""
def make(default, module="m"):
    class Params: factor: float = default
    return type("Gain", (Node,), {"Params": Params, "__module__": module, "__qualname__": "Gain"})

register_node("gain")(make(1.0))
register_node("gain")(make(5.0))
try:
    register_node("gain")(make(1.0, "other"))
except ValueError as error:
    print(json.dumps([get_node_metadata("gain")["parameters"]["factor"]["default"], str(error)]))
""")
    assert found == [5.0, 'node type "gain" is registered already, for the class m:Gain']


def test_parameters_of_an_imported_class_are_checked_before_anything_starts():
    for params, message in [
        ({"factor": 11}, '/nodes/0/params/factor: parameter "factor" is 11, expected from 0 to 10'),
        ({"factr": 1}, '/nodes/0/params/factr: unknown parameter "factr"; did you mean "factor"?'),
    ]:
        for call in (validate_manifest, lambda text: execute_pipeline_with_input(text, "x")):
            with pytest.raises(ManifestError) as raised:
                call(manifest(("a", "declared_nodes:Gain", params)))
            assert message in str(raised.value)
    with pytest.raises(ManifestError, match='/nodes/0/params/: parameter "size" is too large'):
        validate_manifest(manifest(("a", "declared_nodes:Paint", {"size": 99})))
    with pytest.raises(ManifestError, match='/nodes/1/params/size: parameter "size" is missing'):
        validate_manifest(manifest(("b", "PassThroughNode"), ("a", "declared_nodes.Paint")))


def test_parameters_of_a_class_that_only_the_worker_knows_are_checked_there(script):
    body = """
text = manifest(("a", "declared_nodes:Gain", {"factor": "loud"}))
try:
    execute_pipeline_with_input(text, "x")
except PythonError as error:
    print(json.dumps([str(error), error.node_id, error.during, error.traceback]))
"""
    message, node, during, traceback = script(body)
    assert (node, during, traceback) == ("a", "load", None)
    assert 'ParameterError: Gain: parameter "factor" is "loud", expected a number' in message


def test_a_worker_has_declared_parameters_as_the_class_wants_them():
    text = manifest(("a", "declared_nodes:Paint", {"size": 2, "colour": "blue", "title": None}))
    (result,) = execute_pipeline_with_input(text, {})["result"]
    assert result == {
        "size": 2,
        "title": None,
        "kinds": ["int", "Colour", "PosixPath", "tuple", "NoneType"],
    }
    text = manifest(("a", "declared_nodes:Repeat", {"times": 2}))
    (result,) = execute_pipeline_with_input(text, "x")["result"]
    assert result == {"text": "xx", "params": {"times": 2, "word": ""}}


def test_an_import_path_is_described_and_its_module_imported_for_that():
    described = get_node_metadata("declared_nodes:Gain")
    assert described["name"] == "declared_nodes:Gain"
    assert described["class"] == "declared_nodes:Gain"
    assert described["parameters"]["factor"] == {
        "type": "float",
        "default": 2.0,
        "min": 0.0,
        "max": 10.0,
        "unit": "times",
        "description": "by how much",
    }
    assert "declared_nodes:Gain" not in get_available_nodes()
    with pytest.raises(NodeNotFound, match="no node type"):
        get_node_metadata("declared_nodes:Gian")
    with pytest.raises(NodeNotFound, match='no node type "nothing'):
        get_node_metadata("nothing.at_all:Gain")
    for name in ("", ":", "a:", ".a:B", "os:path", "a b:C"):
        with pytest.raises(NodeNotFound, match=f'no node type "{name}"'):
            get_node_metadata(name)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        get_node_metadata("broken_import:Anything")
    assert get_node_metadata("VADNode")["executor"] == "native"


def test_modules_are_loaded_by_name_or_file(script, tmp_path):
    (tmp_path / "more.py").write_text(
        "from remotemedia import *\nimport helper\n"
        "@register_node('more')" + GAIN + "class Other(Gain):\n    pass\n"
    )
    (tmp_path / "helper.py").write_text("")
    body = f"""
folder = {str(tmp_path)!r}
if __name__ == "__main__":
    by_file = load_nodes("./more.py", folder)
    again = load_nodes(folder + "/more.py")
    by_name = load_nodes("declared_nodes", ".")
    result = execute_pipeline_with_input(manifest(("a", "more")), {SOUND})["result"]
    print(json.dumps([by_file, again, by_name, result, get_node_metadata("more")["class"]]))
"""
    by_file, again, by_name, result, path = script(body)
    assert by_file == again == ["more", by_file[1]]
    assert by_file[1].endswith(":Other")
    assert by_name == ["declared_nodes:Gain", "declared_nodes:Paint", "declared_nodes:Repeat"]
    assert result == [[2.0] * 4]
    assert path == f"{tmp_path}/more.py:Gain"


def test_a_module_that_cannot_be_loaded_is_named():
    with pytest.raises(FileNotFoundError, match=r"no file .*/nothing\.py"):
        load_nodes("./nothing.py")
    with pytest.raises(ModuleNotFoundError):
        load_nodes("nothing_of_this_name")
    text = manifest(("a", "PassThroughNode"), modules=["declared_nodes", "./nothing.py"])
    with pytest.raises(
        ManifestError, match=r"/modules/1: '\./nothing\.py' cannot be loaded: FileN"
    ):
        _native.plan_manifest(text)


def test_validation_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "never.py").write_text("raise SystemExit('it was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert validate_manifest(manifest(("a", "never:Node"), modules=["never", "./nothing.py"]))
    with pytest.raises(ManifestError, match="it was imported"):
        _native.plan_manifest(manifest(("a", "never:Node")))


def test_modules_of_a_manifest_are_loaded_from_its_folder(script, tmp_path):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    nodes = "from remotemedia import *\n@register_node('{}')" + GAIN
    (folder / "one.py").write_text(nodes.format("one"))
    (folder / "two.py").write_text(nodes.format("two"))
    file = folder / "pipeline.json"
    chain = (("a", "one"), ("b", "PassThroughNode"))
    file.write_text(manifest(*chain, modules=["./one.py", "two"]))
    body = f"""
p = Pipeline.from_file({str(file)!r})
p.add_node("two", "c", params={{"factor": 8}})
p.connect("b", "c")
before = list(sys.path)
try:
    p.run({SOUND})
except PythonError as error:
    # A list is no audio: both nodes ran.
    print(json.dumps([error.node_id, error.error_type, sys.path == before]))
"""
    assert script(body, cwd="/") == ["c", "AttributeError", True]


def test_entry_points_of_packages_are_node_types(script, packages):
    body = f"""
import logging
from remotemedia_runtime._native import plan_manifest
messages = []
handler = logging.Handler()
handler.emit = lambda record: messages.append(record.getMessage())
logging.getLogger("remotemedia").addHandler(handler)

names = get_available_nodes()
listed = "speech" in sys.modules
result = execute_pipeline_with_input(manifest(("a", "speech-gain")), {SOUND})["result"]
run = "speech" in sys.modules
described = get_node_metadata("speech-gain")
try:
    validate_manifest(manifest(("a", "speech-gain", {{"factor": "x"}})))
except ManifestError as error:
    refused = str(error)
try:
    plan_manifest(manifest(("a", "speech-broken")))
except ManifestError as error:
    broken = str(error)
errors = [broken]
for name in ("speech-broken", "speech-text"):
    try:
        get_node_metadata(name)
    except Exception as error:
        errors.append(f"{{type(error).__name__}}: {{error}}")
print(json.dumps([names, listed, result, run, described, refused, errors, messages]))
"""
    found = script(body, env={"PYTHONPATH": f"{packages}:{os.environ.get('PYTHONPATH', '')}"})
    names, listed, result, run, described, refused, errors, messages = found
    assert {"speech-gain", "speech-broken", "speech-text"} < set(names)
    assert (listed, run) == (False, False)
    assert result == [[2.0] * 4]
    assert described["description"] == "Makes audio louder."
    assert (described["class"], described["version"]) == ("speech.nodes:Gain", "1.2")
    assert described["parameters"]["factor"]["type"] == "float"
    assert 'parameter "factor" is "x", expected a number' in refused
    assert "/nodes/0/node_type: 'speech-broken' cannot be loaded: ModuleNotFound" in errors.pop(0)
    assert errors == [
        "ModuleNotFoundError: No module named 'nothing_of_this_name'",
        "TypeError: entry point 'speech-text', speech.nodes:sys, is no subclass of "
        "remotemedia.Node",
    ]
    (message,) = messages
    assert message.startswith("the entry point 'VADNode' of speech-nodes is left out")


def test_an_entry_point_that_comes_later_is_found_when_it_is_named(script, packages):
    body = f"""
before = get_available_nodes()
sys.path.insert(0, {str(packages)!r})
result = execute_pipeline_with_input(manifest(("a", "speech-gain")), {SOUND})["result"]
print(json.dumps(["speech-gain" in before, result, "speech-gain" in get_available_nodes()]))
"""
    assert script(body) == [False, [[2.0] * 4], True]


def test_what_describes_no_node_is_not_declared():
    for text in ("", "[]", "{}", '{"name": 1}'):
        with pytest.raises(ValueError, match=r"."):
            _native._declare_node(text, "m:C")
    with pytest.raises(ValueError, match="expected"):
        _native._check_params("NoSuchNode", "{}")


def test_names_of_classes_are_listed_quickly_and_as_new_lists():
    first, second = get_available_nodes(), get_available_nodes()
    assert first == second
    first.clear()
    assert get_available_nodes() == second


def test_what_a_worker_says_of_parameters_is_what_the_parent_says():
    p = Pipeline()
    p.add_node(Paint(size=2))
    described = p.to_dict()
    described["nodes"][0]["params"] = {"size": "x"}
    with pytest.raises(ManifestError, match='parameter "size" is "x", expected a whole number'):
        Pipeline.from_dict(described).run({})


def test_a_file_that_is_loaded_by_several_threads_is_complete_for_each(tmp_path, monkeypatch):
    gate = types.ModuleType("gate_of_a_test")
    gate.begun, gate.go_on = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, gate.__name__, gate)
    path = tmp_path / "gated.py"
    path.write_text(
        "from gate_of_a_test import begun, go_on\n"
        "from remotemedia import Node\n"
        "begun.set()\n"
        f"assert go_on.wait({WATCHDOG})\n"
        "class Gated(Node): pass\n"
    )
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(load_nodes, path)
        assert gate.begun.wait(WATCHDOG)
        second = threads.submit(load_nodes, path)
        # It would be done long before that with what there is.
        wait([second], timeout=0.05)
        gate.go_on.set()
        assert first.result(WATCHDOG) == second.result(WATCHDOG) != []


def test_formats_that_a_class_names_are_told_and_agreed_on(script):
    metadata, refused, result, wrong = script("""
SPEECH = {"audio": {"sample_rate": 8000, "channels": 1, "format": "f32"}}

@register_node("takes-speech", accepts=[SPEECH, "text"], produces=["json"])
class TakesSpeech(Node):
    def process(self, item):
        return {"rate": item.sample_rate}

def pipeline(auto_convert):
    made = Pipeline("speech", auto_convert=auto_convert)
    made.add_node("ResampleNode", id="rate", params={"target_rate": 48_000})
    made.add_node(TakesSpeech, id="speech")
    return made

def refusal(call):
    try:
        call()
    except ValueError as error:
        return f"{type(error).__name__}: {error}"

if __name__ == "__main__":
    samples = Audio(np.zeros(4_800, np.float32), 48_000)
    metadata = get_node_metadata("takes-speech")
    told = {name: metadata[name] for name in ("accepts", "takes", "produces", "gives")}
    refused = refusal(lambda: pipeline(False).run(samples))
    wrong = refusal(lambda: register_node("wrong", accepts=[{"audio": {"rate": 1}}]))
    print(json.dumps([told, refused, pipeline(True).run(samples), wrong]))
""")
    speech = {"audio": {"sample_rate": 8000, "channels": 1, "format": "f32"}}
    assert (metadata["accepts"], metadata["takes"]) == (["audio", "text"], [speech, "text"])
    assert (metadata["produces"], metadata["gives"]) == (["json"], ["json"])
    assert refused.startswith("ManifestError: ")
    assert 'ResampleNode {"target_rate":8000} between them' in refused
    assert result
    assert all(item == {"rate": 8000} for item in result)
    assert wrong.startswith("ValueError: unknown field `rate`, expected one of `sample_rate`")
