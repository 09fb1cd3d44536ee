"""Callbacks outside of a worker; what they do in one is tested from Rust, which has a parent."""

import importlib
import sys

import pytest

import remotemedia_runtime
from remotemedia_runtime import (
    CallbackError,
    CallbackNotFound,
    CallbackTimeout,
    InputError,
    ParentGone,
    RemoteMediaError,
)


def test_callbacks_can_be_had_only_in_a_worker():
    with pytest.raises(ImportError, match="only in a worker"):
        importlib.import_module("kameo")
    assert "kameo" not in sys.modules
    with pytest.raises(ImportError, match="only in a worker"):
        from remotemedia_runtime import callbacks  # noqa: F401
    with pytest.raises(AttributeError, match="no attribute 'callback'"):
        remotemedia_runtime.callback  # noqa: B018


def test_a_process_that_was_not_started_by_a_parent_serves_no_calls():
    with pytest.raises(RuntimeError):
        remotemedia_runtime._native.serve_calls()


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        (CallbackError, RuntimeError),
        (CallbackNotFound, AttributeError),
        (CallbackTimeout, TimeoutError),
        (ParentGone, ConnectionError),
        (InputError, RuntimeError),
    ],
)
def test_what_callbacks_raise_is_one_of_pythons_own_too(raised, caught):
    assert issubclass(raised, caught)
    assert issubclass(raised, RemoteMediaError)
    assert raised("why").error_type is None
