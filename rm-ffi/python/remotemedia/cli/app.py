"""The command as a whole: which subcommands there are, and what its exit codes mean.

Main function: `main`. Modules of subcommands are imported when they are asked for, so that
``--help`` and ``--version`` answer at once.
"""

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Iterable
from io import TextIOWrapper
from types import FrameType

import click

from remotemedia.cli.logs import log_options

FAILED = 1
USAGE = 2
INVALID_MANIFEST = 3
INTERRUPTED = 130
TERMINATED = 143

_EXIT_CODES = """\b
Exit codes:
  0    success
  1    the run failed, or the machine lacks something (doctor)
  2    wrong command line
  3    invalid manifest
  130  interrupted (Ctrl-C)
  143  ended by SIGTERM
"""

# Where each subcommand is, and what it does: known without importing it.
_COMMANDS = {
    "run": ("remotemedia.cli.run:run", "Run a pipeline until its sources and inputs end."),
    "validate": ("remotemedia.cli.validate:validate", "Check a manifest; show how it would run."),
    "nodes": ("remotemedia.cli.nodes:nodes", "List node types, or describe one."),
    "graph": ("remotemedia.cli.graph:graph", "Draw a pipeline as Mermaid, DOT or SVG."),
    "bench": ("remotemedia.cli.bench:bench", "Measure a pipeline."),
    "trace": ("remotemedia.cli.trace:trace", "Record on what the time of a run goes."),
    "doctor": ("remotemedia.cli.doctor:doctor", "Say what this machine offers and lacks."),
    "clean": ("remotemedia.cli.clean:clean", "Remove what killed runs have left."),
    "completion": ("remotemedia.cli.completion:completion", "Print the completion of a shell."),
}


class Terminated(BaseException):
    """SIGTERM has come."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Give a hint at the name that was meant, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{found[0]}"?' if found else ""


class _Commands(click.Group):
    """Subcommands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f'there is no command "{name}"{nearest(name, _COMMANDS)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Without the indentation and the refilling of click's own.
        formatter.write_paragraph()
        formatter.write(_EXIT_CODES.removeprefix("\b\n"))


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from remotemedia_runtime import __version__

        click.echo(f"remotemedia, version {__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@log_options
def cli() -> None:
    """Run media and AI pipelines.

    A MANIFEST is a file in JSON, or in YAML if its name ends with .yaml or .yml.
    """


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit.

    Parameters
    ----------
    arguments : list of str, optional
        What stands behind the command's name; by default what this process was started with.
    """
    _open_standard()
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # Names of files may be no text, and a terminal may know few letters.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_main(arguments))


def _open_standard() -> None:
    """Put nothing where a standard stream is closed: what is opened next would be taken for it."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free.
            os.open(os.devnull, os.O_RDWR)


def _main(arguments: list[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="remotemedia", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.UsageError as error:
        if error.ctx is not None:
            click.echo(error.ctx.get_usage(), err=True)
        return fail(error.format_message(), error.exit_code)
    except click.ClickException as error:
        return fail(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted", INTERRUPTED)
    except Terminated:
        return fail("terminated", TERMINATED)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except OSError as error:
        return fail(error, FAILED)
    except Exception as error:
        return _of_runtime(error)
    return code if isinstance(code, int) else 0


def _of_runtime(error: Exception) -> int:
    """Say what the runtime has raised; anything else is a defect, and shows where."""
    from remotemedia_runtime.errors import (
        GraphError,
        ManifestError,
        NodeNotFound,
        RemoteMediaError,
    )

    if isinstance(error, ManifestError | GraphError | NodeNotFound):
        return fail(error, INVALID_MANIFEST)
    if isinstance(error, RemoteMediaError):
        return fail(error, FAILED)
    raise error


def fail(error: object, code: int) -> int:
    """Say why the command fails; gives the exit code."""
    click.echo(f"error: {error}", err=True)
    return code
