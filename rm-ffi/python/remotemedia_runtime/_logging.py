"""Python's ``logging`` in a worker, as ``REMOTEMEDIA_LOG`` says for the whole runtime.

Main function: `configure`. Records have the form of those that the runtime writes itself, so that
the parent can put them beside its own, with the node's id. A program that runs pipelines configures
its own ``logging`` as it likes; nothing here touches that.
"""

import json
import logging
import os
import sys
from datetime import datetime, timezone

from remotemedia_runtime._native import _init_logging

__all__ = ["configure"]

# By the names that filters have for levels. Python has none below debug.
_LEVELS = {
    "off": logging.CRITICAL + 10,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}
_NAMES = {"CRITICAL": "ERROR", "WARNING": "WARN"}


def configure() -> None:
    """Write this worker's records to stderr, Python's and the runtime's, if the environment asks.

    Raises
    ------
    ValueError
        ``REMOTEMEDIA_LOG``, ``REMOTEMEDIA_LOG_FORMAT`` or ``REMOTEMEDIA_LOG_LEVEL`` has a value
        that it cannot have.
    """
    directives = os.environ.get("REMOTEMEDIA_LOG", "")
    form = os.environ.get("REMOTEMEDIA_LOG_FORMAT") or "text"
    level = os.environ.get("REMOTEMEDIA_LOG_LEVEL")
    if not directives and not level:
        return
    if directives:
        _init_logging(directives, form)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    root.addHandler(handler)
    for directive in filter(None, map(str.strip, directives.split(","))):
        name, _, wanted = directive.rpartition("=")
        # Loggers have no spans and fields for which a directive could be.
        if "[" not in name:
            logging.getLogger(name.replace("::", ".")).setLevel(_LEVELS[wanted.lower()])
    if level:
        root.setLevel(level.upper())


def _time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, timezone.utc)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


class _Text(logging.Formatter):
    """``2026-01-31T12:00:00.000000Z  INFO speech.model: loaded``."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        level = _NAMES.get(record.levelname, record.levelname)
        return f"{_time(record)} {level:>5} {record.name}: {record.message}"


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "timestamp": _time(record),
            "level": _NAMES.get(record.levelname, record.levelname),
            "message": record.getMessage(),
            "target": record.name,
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        # The parent knows a record by how it begins.
        return json.dumps(fields, separators=(",", ":"))
