"""``remotemedia graph``: a pipeline as a picture.

Main function: `graph`.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli.common import MANIFEST, OVERRIDES, beside_manifest, plan_of, show_warnings
from remotemedia.cli.logs import log_options, start_logs
from remotemedia.cli.run import CHANNELS, INPUT, INPUT_FORMAT, SAMPLE_RATE, feeds_of

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
@SAMPLE_RATE
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
    found = plan_of(manifest, overrides)
    show_warnings(found["warnings"])
    plan = found["details"]
    report = None
    if do_run:
        feeds = feeds_of(plan, inputs, input_format, rate, channels)
        report = _run(manifest, overrides, feeds)
    from remotemedia.cli.drawing import dot, drawing_of, mermaid
    from remotemedia.cli.svg import svg

    if form is None:
        form = _BY_SUFFIX.get(output.suffix.lower() if output else "", "mermaid")
    text = {"mermaid": mermaid, "dot": dot, "svg": svg}[form](drawing_of(plan, report))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        name = click.format_filename(output)
        raise click.ClickException(f"{name}: {error.strerror}") from None


def _run(manifest: Path, overrides: tuple[str, ...], feeds: "list[Any]") -> dict[str, Any]:
    from remotemedia.cli import drive, live
    from remotemedia.session import Session

    def ignore(output: "Output") -> None:
        pass

    with live.Steps(quiet=not os.isatty(2)) as display:
        session = beside_manifest(
            lambda: Session(manifest, params=list(overrides), on_progress=display.progress)
        )
        drive.drive(session, feeds, ignore)
    return session.report()
