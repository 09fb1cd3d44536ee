"""Which records of the runtime and of its workers are shown, and how.

Main functions: `log_options`, which a subcommand is decorated with, and `start_logs`, which it
calls before anything else. Both say it by the environment, which workers inherit.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

_FILTER = "REMOTEMEDIA_LOG"
_FORMAT = "REMOTEMEDIA_LOG_FORMAT"
_KEY = __name__

# Records by how often -v is given. What nodes print is shown at any level.
_LEVELS = ("warn", "info", "debug")
# With -q, nodes' prints are not shown.
_QUIET = "error,rm_process::output=off"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    # Options may stand before the name of the subcommand and behind it.
    given: dict[str, Any] = ctx.meta.setdefault(_KEY, {})
    if value:
        name = param.name or ""
        given[name] = max(given.get(name, 0), value) if isinstance(value, int) else value


def log_options(command: _Command) -> _Command:
    """Give a command the options ``-v`` and ``--log-format``."""
    verbose = click.option(
        "--verbose",
        "-v",
        count=True,
        expose_value=False,
        callback=_keep,
        help="Show records of what the runtime does; -vv shows all. "
        "REMOTEMEDIA_LOG=rm_session=debug,info says it by parts.",
    )
    form = click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        expose_value=False,
        callback=_keep,
        help="Form of records on stderr, those of nodes too.",
    )
    return verbose(form(command))


def start_logs(quiet: bool = False) -> bool:
    """Show records from now on, in this process and in the workers that it starts.

    Parameters
    ----------
    quiet : bool
        Show only errors, unless the environment or an option asks for more.

    Returns
    -------
    bool
        Whether stderr is to hold records in JSON, and nothing between them.

    Raises
    ------
    click.UsageError
        The environment asks for what there is not.
    """
    from remotemedia_runtime import _native

    given: dict[str, Any] = click.get_current_context().meta.get(_KEY, {})
    verbosity = given.get("verbose", 0)
    if verbosity:
        os.environ[_FILTER] = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    elif not os.environ.get(_FILTER):
        os.environ[_FILTER] = _QUIET if quiet else _LEVELS[0]
    if "log_format" in given:
        os.environ[_FORMAT] = given["log_format"]
    try:
        _native._init_logging(os.environ[_FILTER], os.environ.get(_FORMAT) or "text")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return os.environ.get(_FORMAT) == "json"
