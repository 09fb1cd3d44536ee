"""What subcommands share: arguments, warnings, numbers, tables.

Nothing here starts anything.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from remotemedia.cli.complete import complete_override

if TYPE_CHECKING:
    from rich.console import Console

# Width of tables where there is no terminal to take it from.
PLAIN_WIDTH = 120

_T = TypeVar("_T")

MANIFEST = click.argument("manifest", type=click.Path(path_type=Path))
OVERRIDES = click.option(
    "overrides",
    "--set",
    multiple=True,
    metavar="NODE.PARAM=VALUE",
    shell_complete=complete_override,
    help="Set a parameter; VALUE is JSON, or else a text. May be given several times.",
)
JSON = click.option("json_output", "--json", is_flag=True, help="Print JSON, nothing else.")


def beside_manifest(make: Callable[[], _T]) -> _T:
    """Make something of a manifest and what was given beside it, which may make no sense."""
    try:
        return make()
    except ValueError as error:
        from remotemedia_runtime import RemoteMediaError

        if isinstance(error, RemoteMediaError):
            raise
        raise click.UsageError(str(error)) from None


def plan_of(manifest: Path, overrides: Iterable[str]) -> dict[str, Any]:
    """Plan a manifest: ``plan``, ``details`` and ``warnings``. Python nodes are imported for it."""
    from remotemedia_runtime import _native

    # What modules print when they are imported is not what was asked for.
    with contextlib.redirect_stdout(sys.stderr):
        return beside_manifest(lambda: _native.plan_manifest(manifest, list(overrides)))


def show_warnings(warnings: Iterable[dict[str, str]]) -> None:
    """Show what is odd about a manifest."""
    for warning in warnings:
        place = warning["pointer"] or "manifest"
        click.echo(f"warning: {place}: {warning['message']}", err=True)


def console_of(stderr: bool = False) -> "Console":
    """Give a console on stdout or stderr; of a fixed width where it is no terminal."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal:
        return console
    return Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)


def echo_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value))


def size(number: float) -> str:
    """Give a number of bytes in the largest unit of which there is one."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"


def times(summary: dict[str, Any]) -> tuple[str, str]:
    """Give the median and the 99th percentile in microseconds, if anything was measured."""
    if summary["count"] == 0:
        return "-", "-"
    return f"{summary['median_us']:.1f}", f"{summary['p99_us']:.1f}"
