"""What a run has done, as tables.

Main function: `show_report`. Columns that hold nothing but zeros are left out.
"""

from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli.common import console_of, size, times
from remotemedia.cli.live import TROUBLES

if TYPE_CHECKING:
    from rich.table import Table

_LOSSES = ("dropped", "missed")


def with_restarts(report: dict[str, Any], stats: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the nodes of a report with how often each was started again."""
    restarts = {node["node"]: node["restarts"] for node in stats["nodes"]}
    return [node | {"restarts": restarts.get(node["node"], 0)} for node in report["nodes"]]


def left_out(report: dict[str, Any]) -> str | None:
    """Say which items were left out, if any."""
    skipped = sum(node["skipped"] for node in report["nodes"])
    if report["failures"]:
        first = report["failures"][0]
        count = max(skipped, 1)
        plural = "item was" if count == 1 else "items were"
        return f"{count} {plural} left out; the first: node {first['node']}: {_cause(first)}"
    if report["set_aside"]:
        node, item = report["set_aside"][0]
        count = len(report["set_aside"])
        return f"{count} set aside; the first: item {item} has ended node {node} twice"
    return None


def _cause(failure: dict[str, Any]) -> str:
    cause: Any = failure["failure"]
    return f"{cause['error_type']}: {cause['message']}" if "error_type" in cause else str(cause)


def _add_counts(table: "Table", rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[str]:
    shown = [name for name in names if any(row[name] for row in rows)]
    for name in shown:
        table.add_column(name, justify="right")
    return shown


def nodes_table(nodes: list[dict[str, Any]]) -> "Table":
    """Make the table of the nodes."""
    from rich.table import Table
    from rich.text import Text

    table = Table("node", "executor", title="nodes")
    for name in ("in", "out", "busy", "median µs", "p99 µs"):
        table.add_column(name, justify="right")
    troubles = _add_counts(table, nodes, TROUBLES)
    for node in nodes:
        table.add_row(
            Text(node["node"]),
            node["executor"],
            str(node["items_in"]),
            str(node["items_out"]),
            f"{node['busy']:.0%}",
            *times(node["time"]),
            *(str(node[trouble]) for trouble in troubles),
        )
    return table


def connections_table(connections: list[dict[str, Any]]) -> "Table":
    """Make the table of the connections."""
    from rich.table import Table
    from rich.text import Text

    table = Table("from", "to", title="connections")
    for name in ("messages", "bytes", "copied", "median µs", "p99 µs"):
        table.add_column(name, justify="right")
    losses = _add_counts(table, connections, _LOSSES)
    for connection in connections:
        table.add_row(
            Text(end_of(connection, "from")),
            Text(end_of(connection, "to")),
            str(connection["messages"]),
            size(connection["bytes"]),
            size(connection["copied_bytes"]),
            *times(connection["latency"]),
            *(str(connection[loss]) for loss in losses),
        )
    return table


def end_of(connection: dict[str, Any], end: str) -> str:
    """Give an end of a connection, with the port that it names."""
    port = connection.get(f"{end}_port")
    return f"{connection[end]}.{port}" if port else connection[end]


def show_report(report: dict[str, Any], nodes: list[dict[str, Any]], stderr: bool) -> None:
    """Show what was written, and both tables."""
    console = console_of(stderr)
    for path in report["files"]:
        click.echo(f"wrote {click.format_filename(path)}", err=stderr)
    console.print(nodes_table(nodes))
    if report["connections"]:
        console.print(connections_table(report["connections"]))
    ready, done = report["init_time_us"] / 1e6, report["total_time_us"] / 1e6
    click.echo(f"ready after {ready:.2f} s, done after {done:.2f} s", err=stderr)
