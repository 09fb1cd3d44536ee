"""``remotemedia graph``: a pipeline as a picture.

Main function: `graph`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli.common import MANIFEST, OVERRIDES, plan_of, show_warnings
from remotemedia.cli.logs import log_options, start_logs
from remotemedia.cli.run import CHANNELS, INPUT, INPUT_FORMAT, RATE, feeds_of

if TYPE_CHECKING:
    from remotemedia.session import Output

_BY_SUFFIX = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}


@click.command()
@MANIFEST
@click.option(
    "form",
    "--format",
    type=click.Choice(["mermaid", "dot", "svg"]),
    help="By default what the name of the output says, else mermaid.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file, not to stdout.",
)
@click.option("do_run", "--run", is_flag=True, help="Run the pipeline, and show what was measured.")
@INPUT
@INPUT_FORMAT
@RATE
@CHANNELS
@OVERRIDES
@log_options
def graph(
    manifest: Path,
    form: str | None,
    output: Path | None,
    do_run: bool,
    inputs: tuple[str, ...],
    input_format: str | None,
    rate: int,
    channels: int,
    overrides: tuple[str, ...],
) -> None:
    """Draw the pipeline of a MANIFEST file: nodes, what runs them, and the queues between them.

    After --run also how many items and bytes went over each connection, and how long they took
    (median and 99th percentile). Dashed lines are plain calls within a stage.
    """
    start_logs()
    if inputs and not do_run:
        raise click.UsageError("--input is for --run")
    if form is None and output is not None and output.suffix.lower() not in _BY_SUFFIX:
        known = ", ".join(_BY_SUFFIX)
        name = click.format_filename(output)
        raise click.UsageError(f"{name} says no form: end it in one of {known}, or give --format")
    report = None
    if do_run:
        plan, report = _run(manifest, overrides, inputs, input_format, rate, channels)
    else:
        found = plan_of(manifest, overrides)
        show_warnings(found["warnings"])
        plan = found["details"]
    from remotemedia.cli.drawing import dot, drawing_of, mermaid
    from remotemedia.cli.svg import svg

    if form is None:
        form = "mermaid" if output is None else _BY_SUFFIX[output.suffix.lower()]
    text = {"mermaid": mermaid, "dot": dot, "svg": svg}[form](drawing_of(plan, report))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        name = click.format_filename(output)
        raise click.ClickException(f"{name}: {error.strerror}") from None


def _run(
    manifest: Path,
    overrides: tuple[str, ...],
    inputs: tuple[str, ...],
    input_format: str | None,
    rate: int,
    channels: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the plan of a run, and what it has measured."""
    from remotemedia.cli import drive, live

    def ignore(output: "Output") -> None:
        pass

    with (
        live.Steps(quiet=not os.isatty(2)) as display,
        drive.opened(manifest, overrides, display.progress) as session,
    ):
        plan = session.plan_dict()
        show_warnings(session.report()["warnings"])
        drive.drive(session, feeds_of(plan, inputs, input_format, rate, channels), ignore)
        return plan, session.report()
