"""Trace contexts between the worker and OpenTelemetry, where that is installed and where not."""

import asyncio
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia_runtime import _tracing

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture(scope="module")
def trace():
    return pytest.importorskip("opentelemetry.trace")


def test_what_is_attached_is_current_until_it_is_detached(trace):
    assert _tracing.current() is None
    outer = _tracing.attach(PARENT)
    inner = _tracing.attach(OTHER)
    assert _tracing.current() == OTHER
    _tracing.detach(inner)
    assert _tracing.current() == PARENT
    assert trace.get_current_span().get_span_context().is_remote
    _tracing.detach(outer)
    assert _tracing.current() is None


def test_a_span_of_the_callee_is_below_the_callers(trace):
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = sdk.TracerProvider(shutdown_on_exit=False).get_tracer("test")
    token = _tracing.attach(PARENT)
    try:
        with tracer.start_as_current_span("handler") as span:
            version, trace_id, span_id, flags = _tracing.current().split("-")
            assert (version, trace_id, flags) == ("00", PARENT.split("-")[1], "01")
            assert span_id == f"{span.get_span_context().span_id:016x}" != PARENT.split("-")[2]
            assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    finally:
        _tracing.detach(token)


@pytest.mark.parametrize(
    "text", ["", "nonsense", PARENT.replace("00-", "ff-", 1), "00-" + "0" * 52]
)
def test_a_context_that_is_none_ends_the_one_before(trace, text):
    outer = _tracing.attach(PARENT)
    inner = _tracing.attach(text)
    assert _tracing.current() is None
    _tracing.detach(inner)
    assert _tracing.current() == PARENT
    _tracing.detach(outer)


def test_another_thread_has_no_context(trace):
    token = _tracing.attach(PARENT)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(_tracing.current()))
    thread.start()
    thread.join()
    _tracing.detach(token)
    assert seen == [None]


def test_tasks_keep_their_contexts(trace):
    async def task(text):
        token = _tracing.attach(text)
        for _ in range(10):
            await asyncio.sleep(0)
            assert _tracing.current() == text
        _tracing.detach(token)
        return _tracing.current()

    async def both():
        return await asyncio.gather(task(PARENT), task(OTHER))

    assert asyncio.run(both()) == [None, None]


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_every_context_comes_back_as_it_was(trace_id, span_id, flags):
    pytest.importorskip("opentelemetry.trace")
    text = f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
    token = _tracing.attach(text)
    try:
        assert _tracing.current() == text
    finally:
        _tracing.detach(token)


def run(program):
    """What a program prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_without_the_package_nothing_happens():
    program = """
import sys
sys.modules["opentelemetry"] = None
from remotemedia_runtime import _tracing
token = _tracing.attach("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
print(token, _tracing.current())
_tracing.detach(token)
"""
    assert run(program) == ["None", "None"]


def test_the_package_is_not_imported_before_there_is_a_trace():
    program = """
import sys
from remotemedia_runtime import _tracing
print(_tracing.current())
_tracing.detach(None)
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    assert run(program) == ["None", "[]"]
