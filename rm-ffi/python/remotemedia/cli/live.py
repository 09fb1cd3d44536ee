"""What a run shows on stderr while it goes on.

Main classes: `Steps`, which shows how nodes load, and `Watch`, which shows what they do as well.
Both are told of the same. On a terminal that is redrawn in place; elsewhere it is plain lines.
"""

import os
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from remotemedia.cli.common import size

if TYPE_CHECKING:
    from rich.table import Table

    from remotemedia.session import Progress

# Between two lines of figures where there is no terminal, in seconds.
_PLAIN_EVERY = 2.0
_STOP = b"\0stop"


class Relay:
    """Puts what this process writes to stderr above what is redrawn.

    The runtime's records are written past Python; left alone they would tear the picture.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._real = os.dup(2)
        self.console: Console = Console(file=os.fdopen(self._real, "w"), highlight=False)
        self._from, self._to = os.pipe()
        os.dup2(self._to, 2)
        self._reader = threading.Thread(target=self._copy, daemon=True)
        self._reader.start()

    def _copy(self) -> None:
        unfinished = b""
        while True:
            *lines, unfinished = (unfinished + os.read(self._from, 65_536)).split(b"\n")
            for line in lines:
                if line == _STOP:
                    return
                self.show(line.decode(errors="replace"))

    def show(self, text: str) -> None:
        """Put a line above."""
        self.console.print(text, markup=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        """Give stderr back, once everything is shown."""
        os.dup2(self._real, 2)
        os.write(self._to, b"\n" + _STOP + b"\n")
        self._reader.join()
        os.close(self._to)
        os.close(self._from)
        self.console.file.close()


class Steps:
    """Shows how far nodes are with loading."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._relay: Relay | None = None
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def progress(self, step: "Progress") -> None:
        """Show a step of a node that loads."""
        if self._quiet:
            return
        message = step.message or step.status.replace("_", " ")
        if step.status == "failed":
            # Why is told by the error that follows.
            message = "failed"
        if not os.isatty(2) and self._relay is None:
            if step.status not in ("ready", "failed"):
                message = f"{message} ({step.fraction:.0%})"
            click.echo(f"{step.node}: {message}", err=True)
            return
        if self._bars is None:
            self._bars = self._open()
        if step.node not in self._tasks:
            self._tasks[step.node] = self._bars.add_task("", total=1.0, node=step.node)
        self._bars.update(self._tasks[step.node], completed=step.fraction, description=message)

    def _open(self) -> Any:
        from rich.progress import BarColumn, Progress, TextColumn

        self._relay = Relay()
        bars = Progress(
            TextColumn("{task.fields[node]}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.description}", markup=False),
            console=self._relay.console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        bars.start()
        return bars

    def figures(self, stats: dict[str, Any]) -> None:
        """Show what has been done so far."""

    def close(self) -> None:
        """Leave what is shown as it is, and redraw no more."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        if self._relay is not None:
            self._relay.close()
            self._relay = None

    def before_item(self) -> None:
        """Make room for an item that is written elsewhere."""
        self.close()

    def item(self, text: str, to_stderr: bool) -> None:
        """Show an item."""
        self.close()
        click.echo(text, err=to_stderr)

    def __enter__(self) -> "Steps":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Watch(Steps):
    """Shows what every node does, until the end.

    Parameters
    ----------
    plan : dict
        What runs.
    redraw : bool
        Whether to redraw in place; else a line is written now and then.
    """

    def __init__(self, plan: dict[str, Any], redraw: bool) -> None:
        super().__init__(quiet=not redraw)
        self._queues = queues_before(plan)
        self._loading: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._rates: dict[str, float] = {}
        self._when = time.monotonic()
        self._told = 0.0
        self._live: Any = None
        if redraw:
            self._start()

    def _start(self) -> None:
        from rich.live import Live

        self._relay = Relay()
        self._live = Live(
            console=self._relay.console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def progress(self, step: "Progress") -> None:
        """Show a step of a node that loads."""
        if self._live is None:
            super().progress(step)
            return
        message = step.message or step.status.replace("_", " ")
        self._loading[step.node] = f"{step.fraction:.0%} {message}"
        self._live.update(_loading_table(self._loading), refresh=True)

    def figures(self, stats: dict[str, Any]) -> None:
        """Show what has been done so far."""
        now = time.monotonic()
        passed, self._when = max(now - self._when, 1e-6), now
        for node in stats["nodes"]:
            done = max(node["items_in"], node["items_out"])
            before = self._seen.get(node["node"], done)
            self._rates[node["node"]] = max(done - before, 0) / passed
            self._seen[node["node"]] = done
        queued = _queued(stats, self._queues)
        if self._live is not None:
            self._live.update(_figures_table(stats, self._rates, queued), refresh=True)
        elif now - self._told >= _PLAIN_EVERY:
            self._told = now
            click.echo(_figures_line(stats, self._rates, queued), err=True)

    def before_item(self) -> None:
        """Make room for an item that is written elsewhere: it does not come here."""

    def item(self, text: str, to_stderr: bool) -> None:
        """Show an item: above, if it goes to the same terminal."""
        if self._relay is not None and (to_stderr or sys.stdout.isatty()):
            self._relay.show(text)
        else:
            click.echo(text, err=to_stderr)

    def close(self) -> None:
        """Leave what is shown as it is, and redraw no more."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        super().close()


def queues_before(plan: dict[str, Any]) -> dict[str, list[str]]:
    """Tell by the name of each channel before which nodes its items wait."""
    ids = [node["id"] for node in plan["nodes"]]
    waits: dict[str, list[str]] = {}
    for channel in plan["channels"]:
        consumers: list[dict[str, int]] = [one for one in channel["consumers"] if one != "session"]
        first = [
            plan["stages"][one["stage"]]["nodes"][0]
            if "stage" in one
            else plan["workers"][one["worker"]]
            for one in consumers
        ]
        waits[channel["name"]] = [ids[node] for node in first]
    return waits


def _queued(stats: dict[str, Any], queues: dict[str, list[str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for channel in stats["channels"]:
        for node in queues.get(channel["channel_name"], []):
            found[node] = found.get(node, 0) + channel["queued"]
    return found


# What is shown only where it is not 0 everywhere.
TROUBLES = ("errors", "retries", "skipped", "flushed", "repeated", "restarts")


def _loading_table(loading: dict[str, str]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("node", "loading", box=None)
    for node, state in loading.items():
        table.add_row(Text(node), Text(state))
    return table


def _figures_table(
    stats: dict[str, Any], rates: dict[str, float], queued: dict[str, int]
) -> "Table":
    from rich.table import Table
    from rich.text import Text

    nodes = stats["nodes"]
    troubles = [name for name in TROUBLES if any(node[name] for node in nodes)]
    seconds = stats["uptime_us"] / 1e6
    status = f"{stats['status']}, {seconds:.1f} s, {stats['processes']} processes"
    table = Table("node", box=None, caption=f"{status}, {size(stats['memory_bytes'])}")
    for name in ("in", "out", "per s", "queued", "busy", *troubles, "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for node in nodes:
        name = node["node"]
        table.add_row(
            Text(name, overflow="ellipsis", no_wrap=True),
            str(node["items_in"]),
            str(node["items_out"]),
            f"{rates.get(name, 0):.0f}",
            str(queued.get(name, 0)),
            f"{node['busy']:.0%}",
            *(str(node[trouble]) for trouble in troubles),
            size(node["memory_bytes"]) if node["memory_bytes"] else "-",
        )
    return table


def _figures_line(stats: dict[str, Any], rates: dict[str, float], queued: dict[str, int]) -> str:
    parts = [
        f"{node['node']} {node['items_in']} in, {node['items_out']} out, "
        f"{rates.get(node['node'], 0):.0f}/s, {queued.get(node['node'], 0)} queued"
        for node in stats["nodes"]
    ]
    return f"{stats['uptime_us'] / 1e6:.0f} s: {'; '.join(parts)}"
