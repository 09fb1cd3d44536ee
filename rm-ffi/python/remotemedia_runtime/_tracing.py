"""OpenTelemetry's trace context, for the worker: set around what it calls, read when it calls back.

Contexts are passed as `traceparent` header text. Without the package `opentelemetry` (of which only
the API is needed) nothing happens and nothing is known. The package is looked for once, and not
before there is a trace to put into it.
"""

import functools
import sys
from collections.abc import Callable
from contextvars import Token
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.context.context import Context

__all__ = ["attach", "current", "detach"]


class _Api(NamedTuple):
    """What is used of the package."""

    attach: "Callable[[Context], Token[Context]]"
    detach: "Callable[[Token[Context]], None]"
    extract: "Callable[[dict[str, str]], Context]"
    inject: "Callable[[dict[str, str]], None]"


@functools.cache
def _api() -> "_Api | None":
    """The package, or None where it is not installed."""
    try:
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        return None

    propagator = TraceContextTextMapPropagator()

    def extract(carrier: dict[str, str]) -> "Context":
        # Into an empty context: what this thread did before is not part of the call.
        return propagator.extract(carrier, context.Context())

    return _Api(context.attach, context.detach, extract, propagator.inject)


def attach(traceparent: str) -> "Token[Context] | None":
    """Puts the running code into the trace of a caller.

    Parameters
    ----------
    traceparent : str
        The caller's context. One that is no `traceparent` begins a trace of its own, as the
        standard wants it.

    Returns
    -------
    Token or None
        What `detach` wants, in the same thread or task; None where the package is not installed.
    """
    api = _api()
    return None if api is None else api.attach(api.extract({"traceparent": traceparent}))


def detach(token: "Token[Context] | None") -> None:
    """Ends what `attach` began; None is nothing to end."""
    api = _api() if token is not None else None
    if api is not None and token is not None:
        api.detach(token)


def current() -> "str | None":
    """The `traceparent` of the running code, or None where there is no trace."""
    # Nobody who has a span has not imported the package.
    if "opentelemetry.trace" not in sys.modules:
        return None
    api = _api()
    if api is None:
        return None
    carrier: dict[str, str] = {}
    api.inject(carrier)
    return carrier.get("traceparent")
