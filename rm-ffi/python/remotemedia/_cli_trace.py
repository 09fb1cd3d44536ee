"""``remotemedia trace``: a run as a trace file, and a table of on what its time went.

Main function: `trace`. What the file holds is `remotemedia._trace`'s to say.
"""

import json
from pathlib import Path
from typing import Any

import click

from remotemedia._trace import PHASES, Summary, chrome_trace, percentile, summarize

# Width of the table where there is no terminal to take it from.
_PLAIN_WIDTH = 120


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "source",
    "--input",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The item that goes in: an array (.npy), JSON (.json), a text (.txt), else bytes.",
)
@click.option(
    "output",
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("trace.json"),
    show_default=True,
    help="The file to write.",
)
@click.option(
    "overrides",
    "--set",
    multiple=True,
    metavar="NODE.PARAM=VALUE",
    help="Set a parameter; VALUE is JSON, or else a text. May be given several times.",
)
def trace(manifest: Path, source: "Path | None", output: Path, overrides: tuple[str, ...]) -> None:
    """Run the pipeline of a MANIFEST file, and write on what its time went.

    The file shows for each item in each node how long it waited in the queue, for the node to wake
    up and for Python's lock (GIL), how long the node worked, and how long what it made was copied
    and sent. Recording takes some microseconds an item.
    """
    from remotemedia.session import Session

    given = [] if source is None else [read_input(source)]
    session = Session(manifest, params=overrides, timeline=True)
    try:
        with session:
            for item in given:
                session.send(item)
            session.finish()
            for _ in session:
                pass
    finally:
        # Also of a run that has failed: it shows what came before.
        report = session.report()
        write_trace(report, output)
        show_summary(summarize(report["timeline"]))
        click.echo(f"wrote {output}; open it in https://ui.perfetto.dev or chrome://tracing")


def read_input(path: Path) -> Any:
    """Read an item from a file, by the ending of its name."""
    if path.suffix == ".npy":
        import numpy as np

        return np.load(path, allow_pickle=False)
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    return path.read_text(encoding="utf-8") if path.suffix == ".txt" else path.read_bytes()


def write_trace(report: dict[str, Any], path: Path) -> None:
    """Write a trace file."""
    try:
        with path.open("w", encoding="utf-8") as file:
            json.dump(chrome_trace(report), file, separators=(",", ":"))
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None


def show_summary(summaries: list[Summary]) -> None:
    """Print medians and 99th percentiles, by node and phase."""
    from rich.console import Console
    from rich.table import Table

    # The work of nodes behind it is no time of the node, and is in their own rows.
    hidden = {"call"} if any_in(summaries, "retry") else {"call", "retry"}
    shown = [phase for phase in PHASES if phase not in hidden]
    table = Table("node", title="time of an item, in µs")
    for name in ("items", "", *("GIL wait" if phase == "gil" else phase for phase in shown)):
        table.add_column(name, justify="right")
    for of in summaries:
        for place, (name, share) in enumerate((("median", 0.5), ("p99", 0.99))):
            head = ("", "") if place else (of["node"], str(of["count"]))
            times = (of["times_us"][phase] for phase in shown)
            table.add_row(*head, name, *(_number(values, share) for values in times))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    console.print(table)
    for of in summaries:
        if of["dropped"]:
            click.echo(f"warning: {of['dropped']} items of {of['node']} are not recorded", err=True)


def any_in(summaries: list[Summary], phase: str) -> bool:
    return any(any(of["times_us"][phase]) for of in summaries)


def _number(values: list[float], share: float) -> str:
    return f"{percentile(values, share):.1f}" if values else "-"
