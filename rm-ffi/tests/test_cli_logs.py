"""Records of the runtime and of its workers, as the command and the environment ask for them."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ended, manifest, said

TALK = ("talk", "talking_nodes:Talk")


@pytest.fixture
def talked(command, manifest_file):
    """Runs a talking node on texts; gives the lines on stderr, and the session's own error."""

    def run(*options, given="one\n", code=0, **environment):
        process = command(
            "run",
            manifest_file(TALK),
            *("-i", "-", "-o", "-"),
            *options,
            stdin=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        _, err = process.communicate(given, timeout=25)
        assert process.returncode == code, err
        return err.splitlines()

    return run


def spoken(lines):
    """What the node has said, without times."""
    said = [line.partition(" | ")[2] for line in lines if line.startswith("talk | ")]
    return {line.partition("Z ")[2] if "Z " in line else line for line in said}


def records(lines):
    return [json.loads(line) for line in said("\n".join(lines)).splitlines()]


def test_what_a_node_prints_is_shown_with_its_id(talked):
    found = spoken(talked())
    assert {"printed one", "told one", " WARN talk.model: warned of one"} == found


def test_quiet_shows_nothing_of_it(talked):
    assert not spoken(talked("-q"))


@pytest.mark.parametrize(
    ("options", "environment", "shown", "hidden"),
    [
        (["-v"], {}, {" INFO talk.model: loaded"}, {"DEBUG talk.model: debugged"}),
        (["-vv"], {}, {"DEBUG talk.model: debugged"}, set()),
        ([], {"REMOTEMEDIA_LOG": "talk=debug"}, {"DEBUG talk.model: debugged"}, set()),
        (
            [],
            {"REMOTEMEDIA_LOG": "error"},
            {"printed one"},
            {" WARN talk.model: warned of one", " INFO talk.model: loaded"},
        ),
        (["-q"], {"REMOTEMEDIA_LOG": "info"}, {" INFO talk.model: loaded"}, set()),
        ([], {"REMOTEMEDIA_LOG": "info,rm_process::output=off"}, set(), {"printed one"}),
        (["-v"], {"REMOTEMEDIA_LOG": "error"}, {" INFO talk.model: loaded"}, set()),
    ],
)
def test_a_filter_holds_in_workers_too(talked, options, environment, shown, hidden):
    said = spoken(talked(*options, **environment))
    assert shown <= said
    assert not hidden & said


def test_options_may_stand_before_the_subcommand(command, manifest_file):
    arguments = ["-v", "--log-format", "json", "run", manifest_file(TALK), "-i", "-", "-o", "-"]
    process = command(*arguments, stdin=subprocess.PIPE)
    _, err = process.communicate("one\n", timeout=25)
    assert "loaded" in [record["message"] for record in records(err.splitlines())]


def test_records_of_the_runtime_itself_are_shown(talked):
    lines = talked("-vv")
    assert any("DEBUG rm_process" in line and "process started" in line for line in lines)


def test_json_has_one_object_a_line_whoever_wrote_it(talked):
    found = records(talked("--log-format", "json", "-vv", given="log\n"))
    assert all({"timestamp", "level", "message", "target"} <= set(record) for record in found)
    assert any(record["target"].startswith("rm_process") for record in found)
    by_message = {record["message"]: record for record in found}
    printed = by_message["printed log"]
    assert (printed["node"], printed["stream"]) == ("talk", "stdout")
    warned = by_message["warned of log"]
    assert (warned["node"], warned["level"], warned["target"]) == ("talk", "WARN", "talk.model")
    assert warned["session"] == printed["session"]
    wrong = by_message["went wrong"]
    assert wrong["level"] == "ERROR"
    assert wrong["traceback"].endswith("KeyError: 'log'")


def test_the_format_can_be_said_by_the_environment(talked):
    assert records(talked(REMOTEMEDIA_LOG_FORMAT="json"))


def test_a_failure_is_told_once(talked):
    lines = talked(given="fail\n", code=1)
    assert sum("ValueError: no luck" in line for line in lines) == 2
    assert lines.count("ValueError: no luck") == 1
    assert not any(line.startswith("talk | Traceback") for line in lines)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"REMOTEMEDIA_LOG": "inof"}, 'did you mean "info"?'),
        ({"REMOTEMEDIA_LOG": "rm_session=loud"}, '"rm_session=loud" is no filter'),
        ({"REMOTEMEDIA_LOG": "info,rm_session"}, '"rm_session" is no filter'),
        ({"REMOTEMEDIA_LOG_FORMAT": "xml"}, 'no log format is "xml"'),
    ],
)
def test_a_filter_that_is_none_is_named(command, manifest_file, variables, message):
    for verb in ("run", "validate"):
        environment = {**os.environ, **variables}
        code, out, err = ended(command(verb, manifest_file(TALK), env=environment))
        assert (code, out) == (2, "")
        assert message in err
        assert next(iter(variables)) in err


PROGRAM = """
import sys
from remotemedia_runtime import execute_pipeline_with_input
print(execute_pipeline_with_input(sys.argv[1], "one")["result"])
"""


def program(**environment):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, manifest(TALK)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=25,
    )


def test_a_program_shows_records_only_if_the_environment_asks():
    done = program()
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\n", "")
    done = program(REMOTEMEDIA_LOG="info")
    assert done.stdout == "one\n"
    assert {"printed one", " INFO talk.model: loaded"} <= spoken(done.stderr.splitlines())


def test_a_program_is_told_of_a_filter_that_is_none():
    done = program(REMOTEMEDIA_LOG="inof")
    assert done.returncode == 1
    assert 'SessionError: REMOTEMEDIA_LOG: "inof" is no filter' in done.stderr


def test_the_level_of_workers_alone_can_be_said():
    done = program(REMOTEMEDIA_LOG_LEVEL="debug", REMOTEMEDIA_LOG="error")
    assert "DEBUG talk.model: debugged" in spoken(done.stderr.splitlines())
