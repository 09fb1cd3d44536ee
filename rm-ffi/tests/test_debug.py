"""Nodes whose processes wait for a debugger."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
from conftest import WATCHDOG, manifest, output_until

from remotemedia_runtime import ManifestError, PythonError, execute_pipeline_with_input

RUN = """
import sys
from remotemedia_runtime import execute_pipeline_with_input
print(execute_pipeline_with_input(sys.argv[1], "x")["result"])
"""


@pytest.fixture
def command_of():
    """Starts a program with an argument; ends it with the test."""
    started = []

    def start(program, argument, env):
        process = subprocess.Popen(
            [sys.executable, "-c", program, argument],
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def debugger():
    """Attaches to a port as an IDE does, and lets the program go on."""
    connections = []

    def attach(port):
        connection = socket.create_connection(("127.0.0.1", port), timeout=WATCHDOG)
        connections.append(connection)
        stream = connection.makefile("rwb")

        def send(number, command, **arguments):
            request = {"seq": number, "type": "request", "command": command}
            body = json.dumps(request | {"arguments": arguments}).encode()
            stream.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            stream.flush()

        def wait(**expected):
            while True:
                length = 0
                while (line := stream.readline().strip()) or not length:
                    if line.startswith(b"Content-Length:"):
                        length = int(line.partition(b":")[2])
                message = json.loads(stream.read(length))
                if message.items() >= expected.items():
                    return

        send(1, "initialize", adapterID="test")
        wait(type="response", command="initialize")
        send(2, "attach", justMyCode=True)
        wait(type="event", event="initialized")
        send(3, "configurationDone")
        wait(type="response", command="configurationDone")

    yield attach
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    ("field", "env"), [({"debug": True}, {}), ({}, {"REMOTEMEDIA_DEBUG": "other, echo"})]
)
def test_a_node_waits_for_a_debugger_and_then_runs(debugger, command_of, field, env):
    pytest.importorskip("debugpy")
    fields = {"timeout_secs": 0.01, **field}
    process = command_of(RUN, manifest(("echo", "sample_nodes:Echo", {}, fields)), env=env)
    printed = output_until(process, "\n")
    port = re.fullmatch(r"node echo waits for a debugger at 127\.0\.0\.1:(\d+)\n", printed)
    debugger(int(port[1]))
    assert output_until(process, "\n") == "x\n"
    assert process.wait(WATCHDOG) == 0


def test_a_debugger_needs_debugpy(tmp_path):
    (tmp_path / "debugpy.py").write_text("raise ImportError('no debugpy')\n")
    env = {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    text = manifest(("a", "declared_nodes:Gain", {}, {"debug": True, "env": env}))
    with pytest.raises(PythonError, match="its interpreter has no debugpy; `pip install debugpy`"):
        execute_pipeline_with_input(text, "x")


def test_a_native_node_has_no_process_to_debug():
    text = manifest(("a", "PassThroughNode", {}, {"debug": True}))
    with pytest.raises(ManifestError, match='/nodes/0/debug: node "a" is native'):
        execute_pipeline_with_input(text, "x")
