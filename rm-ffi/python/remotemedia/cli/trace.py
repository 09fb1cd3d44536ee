"""``remotemedia trace``: a run as a trace file, and a table of on what its time went.

Main function: `trace`. What the file holds is `remotemedia._trace`'s to say.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli.common import MANIFEST, OVERRIDES, console_of, show_warnings
from remotemedia.cli.logs import log_options, start_logs
from remotemedia.cli.run import CHANNELS, INPUT, INPUT_FORMAT, RATE, feeds_of

if TYPE_CHECKING:
    from remotemedia._trace import Summary
    from remotemedia.session import Output


@click.command()
@MANIFEST
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("trace.json"),
    show_default=True,
    help="The file to write.",
)
@INPUT
@INPUT_FORMAT
@RATE
@CHANNELS
@OVERRIDES
@log_options
def trace(
    manifest: Path,
    output: Path,
    inputs: tuple[str, ...],
    input_format: str | None,
    rate: int,
    channels: int,
    overrides: tuple[str, ...],
) -> None:
    """Run the pipeline of a MANIFEST file, and write on what its time went.

    The file shows for each item in each node how long it waited in the queue, for the node to wake
    up and for Python's lock (GIL), how long the node worked, and how long what it made was copied
    and sent. Recording takes some microseconds an item.
    """
    start_logs()
    from remotemedia._trace import summarize
    from remotemedia.cli import drive, live

    def ignore(output: "Output") -> None:
        pass

    with (
        live.Steps(quiet=not os.isatty(2)) as display,
        drive.opened(manifest, overrides, display.progress, timeline=True) as session,
    ):
        show_warnings(session.report()["warnings"])
        feeds = feeds_of(session.plan_dict(), inputs, input_format, rate, channels)
        try:
            drive.drive(session, feeds, ignore)
        finally:
            display.close()
            # Also of a run that has failed: it shows what came before.
            report = session.report()
            _write(report, output)
            _show(summarize(report["timeline"]))
            name = click.format_filename(output)
            click.echo(f"wrote {name}; open it in https://ui.perfetto.dev or chrome://tracing")


def _write(report: dict[str, Any], path: Path) -> None:
    from remotemedia._trace import write_chrome_trace

    try:
        with path.open("w", encoding="utf-8") as file:
            write_chrome_trace(report, file)
    except OSError as error:
        name = click.format_filename(path)
        raise click.ClickException(f"cannot write {name}: {error.strerror}") from None


def _show(summaries: "list[Summary]") -> None:
    """Print medians and 99th percentiles, by node and phase."""
    from rich.table import Table
    from rich.text import Text

    from remotemedia._trace import PHASES

    # The work of nodes behind it is no time of the node, and is in their own rows.
    has_retries = any(any(of["times_us"]["retry"]) for of in summaries)
    hidden = {"call"} if has_retries else {"call", "retry"}
    shown = [phase for phase in PHASES if phase not in hidden]
    table = Table("node", title="time of an item, in µs")
    for name in ("items", "", *("GIL wait" if phase == "gil" else phase for phase in shown)):
        table.add_column(name, justify="right")
    for of in summaries:
        for place, (name, share) in enumerate((("median", 0.5), ("p99", 0.99))):
            head = ("", "") if place else (of["node"], str(of["count"]))
            times = [_number(of["times_us"][phase], share) for phase in shown]
            table.add_row(Text(head[0]), head[1], name, *times)
    console_of().print(table)
    for of in summaries:
        if of["dropped"]:
            click.echo(f"warning: {of['dropped']} items of {of['node']} are not recorded", err=True)


def _number(values: list[float], share: float) -> str:
    from remotemedia._trace import percentile

    return f"{percentile(values, share):.1f}" if values else "-"
