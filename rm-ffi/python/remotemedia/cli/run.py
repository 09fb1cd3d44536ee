"""``remotemedia run``: a pipeline from its start to its end, with files and streams at its ends.

Main function: `run`.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli.common import (
    MANIFEST,
    OVERRIDES,
    echo_json,
    show_warnings,
)
from remotemedia.cli.complete import complete_input
from remotemedia.cli.forms import FORMS, HELP, Place, form_of, place_of
from remotemedia.cli.logs import log_options, start_logs

if TYPE_CHECKING:
    from remotemedia.cli.drive import Feed
    from remotemedia.cli.outputs import Writer
    from remotemedia.session import Output
    from remotemedia_runtime import RemoteMediaError

INPUT = click.option(
    "inputs",
    "--input",
    "-i",
    multiple=True,
    metavar="[NODE=]PATH",
    shell_complete=complete_input,
    help="Give the pipeline what is in a file, or in stdin (-); with NODE= only to that node.",
)
INPUT_FORMAT = click.option(
    "--input-format", type=click.Choice(FORMS), help="Form of all inputs. Of stdin: text."
)
_RATE_HELP = "Rate of samples without a header, in Hz."
_RATE_TYPE = click.IntRange(1, 4_294_967_295)
RATE = click.option(
    "rate",
    "--rate",
    "--sample-rate",
    type=_RATE_TYPE,
    default=16_000,
    show_default=True,
    help=_RATE_HELP,
)
# For commands that have a rate of something else.
SAMPLE_RATE = click.option(
    "rate",
    "--sample-rate",
    type=_RATE_TYPE,
    default=16_000,
    show_default=True,
    help=_RATE_HELP,
)
CHANNELS = click.option(
    "--channels",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Channels of samples without a header.",
)


@click.command(epilog=HELP)
@MANIFEST
@INPUT
@click.option(
    "outputs",
    "--output",
    "-o",
    multiple=True,
    metavar="[NODE=]PATH",
    shell_complete=complete_input,
    help="Write what comes out to a file, or to stdout (-); with NODE= what that node gives.",
)
@INPUT_FORMAT
@click.option(
    "--output-format", type=click.Choice(FORMS), help="Form of all outputs. Of stdout: as fits."
)
@RATE
@CHANNELS
@OVERRIDES
@click.option("--watch", "-w", is_flag=True, help="Show live what every node does.")
@click.option("json_output", "--json", is_flag=True, help="Print one JSON object, nothing else.")
@click.option("--quiet", "-q", is_flag=True, help="Print only items and errors.")
@log_options
def run(
    manifest: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    input_format: str | None,
    output_format: str | None,
    rate: int,
    channels: int,
    overrides: tuple[str, ...],
    watch: bool,
    json_output: bool,
    quiet: bool,
) -> None:
    """Run the pipeline of a MANIFEST file until its sources and inputs end.

    Items that come out are printed as they come, what nodes print is shown on stderr, and tables
    at the end say what was done. Ctrl-C ends the run cleanly.
    """
    json_logs = start_logs(quiet)
    if output_format is not None and not outputs:
        raise click.UsageError("--output-format is for --output; for stdout say --output -")
    from remotemedia.cli import drive, live, report
    from remotemedia.cli.outputs import as_json, as_line
    from remotemedia_runtime import RemoteMediaError as Failure

    collected: dict[str, list[Any]] = {}
    try:
        with ExitStack() as stack:
            display = live.Steps(quiet or json_logs)
            session = stack.enter_context(
                drive.opened(manifest, overrides, lambda step: display.progress(step))
            )
            plan, warnings = session.plan_dict(), session.report()["warnings"]
            feeds = feeds_of(plan, inputs, input_format, rate, channels)
            writers = _writers(plan, outputs, output_format, stack)
            to_stdout = any(writer.name == "stdout" for writer in writers.values())
            if to_stdout and json_output:
                raise click.UsageError("--json and --output - both want stdout")
            if not json_output:
                show_warnings(warnings)
                if plan["inputs"] and not inputs:
                    names = ", ".join(plan["nodes"][node]["id"] for node in plan["inputs"])
                    click.echo(f"warning: nothing is given to {names}; --input does", err=True)
            if watch:
                display = live.Watch(plan, redraw=os.isatty(2) and not (to_stdout and os.isatty(1)))
            stack.enter_context(display)

            def on_output(output: "Output") -> None:
                if (writer := writers.get(output.node)) is not None:
                    if to_stdout:
                        display.before_item()
                    writer.write(output.item)
                elif json_output:
                    collected.setdefault(output.node, []).append(as_json(output.item))
                else:
                    display.item(f"{output.node}: {as_line(output.item)}", to_stdout)

            stats = drive.drive(session, feeds, on_output, display.figures if watch else None)
            display.figures(stats)
            found = session.report()
    except Failure as error:
        if json_output:
            echo_json({"outputs": collected, "error": described(error)})
        raise
    nodes = report.with_restarts(found, stats)
    if json_output:
        echo_json({"outputs": collected} | found | {"nodes": nodes})
        return
    if (omitted := report.left_out(found)) is not None:
        click.echo(f"warning: {omitted}", err=True)
    if not (quiet or (to_stdout and json_logs)):
        report.show_report(found, nodes, stderr=to_stdout)


def described(error: "RemoteMediaError") -> dict[str, Any]:
    """Give a failure as JSON: its type, the node, the message."""
    return {"type": type(error).__name__, "node": error.node_id, "message": str(error)}


def feeds_of(
    plan: dict[str, Any],
    inputs: tuple[str, ...],
    given: str | None,
    rate: int,
    channels: int,
) -> "list[Feed]":
    """Give what the options say that the pipeline is fed with; files are opened later.

    Raises
    ------
    click.BadParameter
        The options and the pipeline do not go together.
    """
    if not inputs:
        return []
    from remotemedia.cli.drive import Feed
    from remotemedia.cli.inputs import RawSound, read_items

    names = [plan["nodes"][node]["id"] for node in plan["inputs"]]
    if not names:
        raise click.BadParameter("all of its data comes from its sources", param_hint="--input")
    places = [place_of(text, names, "--input") for text in inputs]
    if sum(place.is_standard for place in places) > 1:
        raise click.BadParameter("stdin can be read only once", param_hint="--input")
    feeds: list[Feed] = []
    for place in places:
        form = _form_of(place, given, "--input") or "text"
        if not place.is_standard and not Path(place.path).exists():
            name = click.format_filename(place.path)
            raise click.BadParameter(f"{name}: no such file", param_hint="--input")
        feeds.append(Feed(place.node, read_items(place.path, form, RawSound(rate, channels))))
    return feeds


def _form_of(place: Place, given: str | None, option: str) -> str | None:
    return given if place.is_standard else form_of(place.path, given, option)


def _writers(
    plan: dict[str, Any], outputs: tuple[str, ...], given: str | None, stack: ExitStack
) -> "dict[str, Writer]":
    """Open what is written, by the node whose items it gets."""
    from remotemedia.cli.outputs import Writer

    names = [plan["nodes"][node]["id"] for node in plan["outputs"]]
    writers: dict[str, Writer] = {}
    for text in outputs:
        place = place_of(text, names, "--output")
        node = place.node or (names[0] if len(names) == 1 else None)
        if node is None:
            found = f"{', '.join(names)} do: say NODE={text}" if names else "no node does"
            raise click.BadParameter(f"which gives it? {found}", param_hint="--output")
        if node in writers:
            raise click.BadParameter(f"{node} has two outputs", param_hint="--output")
        form = _form_of(place, given, "--output")
        writers[node] = stack.enter_context(Writer(place.path, form))
    return writers
