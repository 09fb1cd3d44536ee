"""The command in a terminal: what it redraws there, and that it shows in narrow ones too."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pytest
from conftest import WATCHDOG

SOURCE = ("source", "AudioFileSourceNode", {"path": "sound.wav"})

TALK = ("talk", "talking_nodes:Talk")


@pytest.fixture
def terminal():
    """Runs the command in a terminal; gives its exit code and everything that was shown."""

    def run(*arguments, columns=100, given=None, until=None, then=None, **environment):
        leader, follower = pty.openpty()
        fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        env = {**os.environ, "TERM": "xterm-256color", **environment}
        process = subprocess.Popen(
            [sys.executable, "-m", "remotemedia", *map(str, arguments)],
            stdin=subprocess.PIPE if given is not None else follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(follower, termios.TIOCSCTTY, 0),
            env=env,
        )
        os.close(follower)
        with process:
            try:
                if given is not None:
                    process.stdin.write(given.encode())
                    process.stdin.close()
                    process.stdin = None
                return process_until(process, leader, until, then)
            finally:
                process.kill()
                os.close(leader)

    def process_until(process, leader, until, then):
        shown = ""
        deadline = time.monotonic() + WATCHDOG
        while time.monotonic() < deadline:
            if not select.select([leader], [], [], 1.0)[0]:
                continue
            try:
                piece = os.read(leader, 65_536)
            except OSError:
                # The other end is closed.
                return process.wait(WATCHDOG), shown
            shown += piece.decode(errors="replace")
            if until is not None and until in shown:
                os.write(leader, then)
                until = None
        raise AssertionError(f"still running: {shown!r}")

    return run


def plain(shown):
    """What was shown, without what moves and colours."""
    import re

    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "")


def test_loading_nodes_have_bars(terminal, manifest_file, sound):
    code, shown = terminal("run", manifest_file(SOURCE, ("context", "sample_nodes:Context")))
    assert code == 0, shown
    assert "━" in shown
    assert "100 %" in plain(shown)
    assert "context: {" in plain(shown)


@pytest.mark.parametrize("columns", [40, 100])
def test_watch_shows_figures_and_items_and_prints(terminal, manifest_file, columns):
    given = "".join(f"item{n}\n" for n in range(50))
    code, shown = terminal(
        "run", manifest_file(TALK), "--watch", "-i", "-", given=given, columns=columns
    )
    text = plain(shown)
    assert code == 0, shown
    for number in range(50):
        assert f"talk: item{number}\n" in text
        assert f"talk | printed item{number}\n" in text
    for word in ("node", "in", "out", "busy", "stop" if columns == 100 else ""):
        assert word in text


def test_watch_without_a_terminal_writes_lines(command, manifest_file):
    process = command("run", manifest_file(TALK), "-w", "-i", "-", stdin=subprocess.PIPE)
    _, err = process.communicate("one\n", timeout=25)
    assert process.returncode == 0
    assert "\x1b" not in err
    assert "s: talk " in err


@pytest.mark.parametrize("watch", [True, False])
def test_ctrl_c_in_a_terminal_ends_a_run(terminal, manifest_file, watch):
    path = manifest_file(TALK)
    options = ["--watch"] if watch else []
    code, shown = terminal("run", path, "-i", "-", *options, until="talk", then=b"one\n\x03")
    assert code == 130, shown
    assert "interrupted" in shown
    # The cursor is there again.
    assert shown.count("\x1b[?25h") >= shown.count("\x1b[?25l")


def test_a_failure_is_shown_whole_after_a_watch(terminal, manifest_file):
    code, shown = terminal("run", manifest_file(TALK), "--watch", "-i", "-", given="fail\n")
    assert code == 1
    assert "ValueError: no luck" in plain(shown)
    assert "error: node talk" in plain(shown)


def test_no_color_is_respected(terminal):
    code, shown = terminal("doctor", NO_COLOR="1")
    assert code == 0, shown
    assert "\x1b[3" not in shown
    code, shown = terminal("doctor")
    assert "\x1b[3" in shown


def test_tables_fit_a_narrow_terminal(terminal, manifest_file, sound):
    for arguments in (("nodes",), ("run", manifest_file(SOURCE, ("same", "PassThroughNode")))):
        code, shown = terminal(*arguments, columns=30)
        assert code == 0, shown
