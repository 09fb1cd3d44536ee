"""``remotemedia bench``: how fast a pipeline is, and what it takes.

Main function: `bench`. Given items are repeated within one session; a pipeline that has its data
from its own sources is run again and again.
"""

import itertools
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from remotemedia.cli.common import (
    JSON,
    MANIFEST,
    OVERRIDES,
    console_of,
    echo_json,
    show_warnings,
    size,
    times,
)
from remotemedia.cli.logs import log_options, start_logs
from remotemedia.cli.run import CHANNELS, INPUT, INPUT_FORMAT, SAMPLE_RATE, feeds_of

if TYPE_CHECKING:
    from remotemedia.cli.drive import Feed
    from remotemedia.session import Output, Session

# Items that go before those that count, and most that are kept of an input.
_WARM_UP = 20
_MAX_KEPT = 10_000
_SECONDS = 5.0
# For the first items to get through, in seconds.
_PATIENCE = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")


class _Stopwatch:
    """When items were sent, and how long after that they came out."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.came: dict[str, list[int]] = {}

    def send(self) -> None:
        self.sent.append(time.monotonic_ns())

    def take(self, output: "Output") -> None:
        self.came.setdefault(output.node, []).append(time.monotonic_ns())

    def latencies(self) -> dict[str, dict[str, Any]]:
        """Give end-to-end times of those outputs that are one for each item sent."""
        found: dict[str, dict[str, Any]] = {}
        for node, came in self.came.items():
            if len(came) == len(self.sent) > _WARM_UP:
                pairs = zip(self.sent[_WARM_UP:], came[_WARM_UP:], strict=True)
                found[node] = summary([(end - start) / 1_000 for start, end in pairs])
        return found


def summary(values: list[float]) -> dict[str, Any]:
    """Give count, median and 99th percentile of times in microseconds."""
    if not values:
        return {"count": 0, "median_us": 0.0, "p99_us": 0.0}
    ordered = sorted(values)
    place = min(len(ordered) - 1, int(len(ordered) * 0.99))
    median = statistics.median(ordered)
    return {"count": len(ordered), "median_us": median, "p99_us": ordered[place]}


class _Pace(NamedTuple):
    """How many items, for how long, how often."""

    items: int | None
    seconds: float | None
    hz: float | None

    def over(
        self, items: Iterator[Any], watch: _Stopwatch, on_begin: Callable[[], None]
    ) -> Iterator[Any]:
        """Give items as often as this says, those for warming up before."""
        for item in itertools.islice(items, _WARM_UP):
            watch.send()
            yield item
        on_begin()
        began = time.monotonic()
        limit = itertools.count() if self.items is None else range(self.items)
        for number, item in zip(limit, items, strict=False):
            now = time.monotonic()
            if self.seconds is not None and now - began >= self.seconds:
                return
            if self.hz is not None and (ahead := began + number / self.hz - now) > 0:
                time.sleep(ahead)
            watch.send()
            yield item


@click.command()
@MANIFEST
@click.option("--items", "-n", type=click.IntRange(min=1), help="Send so many items.")
@click.option(
    "--seconds",
    "-t",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Measure for so long.  [default: {_SECONDS:g}, unless --items is given]",
)
@click.option(
    "hz",
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Send so many items a second; else as fast as they are taken.",
)
@INPUT
@INPUT_FORMAT
@SAMPLE_RATE
@CHANNELS
@OVERRIDES
@JSON
@log_options
def bench(
    manifest: Path,
    items: int | None,
    seconds: float | None,
    hz: float | None,
    inputs: tuple[str, ...],
    input_format: str | None,
    rate: int,
    channels: int,
    overrides: tuple[str, ...],
    json_output: bool,
) -> None:
    """Measure the pipeline of a MANIFEST file.

    The items of --input are sent again and again. A pipeline with sources of its own is run again
    and again instead; --items and --rate are not for that. Some items, or one run, go before those
    that count. Times from end to end are known where every item that is sent gives one; without
    --rate they are mostly waiting. Those of nodes and connections hold the first items too.
    """
    start_logs(quiet=True)
    if len(inputs) > 1:
        raise click.UsageError("give one --input")
    if seconds is None and items is None:
        seconds = _SECONDS
    from remotemedia.cli import drive

    with drive.opened(manifest, overrides) as session:
        plan = session.plan_dict()
        if not json_output:
            show_warnings(session.report()["warnings"])
        feeds = feeds_of(plan, inputs, input_format, rate, channels)
        if plan["inputs"] and not feeds:
            raise click.UsageError("this pipeline is given its items from outside: say --input")
        if not plan["inputs"] and (items or hz):
            raise click.UsageError("--items and --rate are for pipelines without sources")
        result = _fed(session, feeds[0], _Pace(items, seconds, hz)) if feeds else None
    if result is None:
        result = _sourced(lambda: drive.opened(manifest, overrides), seconds or _SECONDS)
    if json_output:
        echo_json(result)
    else:
        _show(result)


class _Use:
    """What this process and the workers of a session take: time of processors, and memory."""

    def __init__(self) -> None:
        self.memory = 0
        self.cpu = 0.0
        self._before: float | None = None

    def begin(self, stats: dict[str, Any]) -> None:
        """Count from now on."""
        self._before = _cpu_until_now() + sum(map(_cpu_of, _processes(stats)))

    def look(self, stats: dict[str, Any]) -> None:
        """See how much memory there is in use."""
        self.memory = max(self.memory, stats["memory_bytes"])

    def end(self) -> None:
        """Count no more: the session has ended, and its processes with it."""
        if self._before is not None:
            # What a process has taken is told in ticks of the clock while it lives.
            self.cpu += max(_cpu_until_now() - self._before, 0.0)
            self._before = None

    @property
    def has_begun(self) -> bool:
        """Whether it counts."""
        return self._before is not None


def _processes(stats: dict[str, Any]) -> list[int]:
    return [node["process_id"] for node in stats["nodes"] if node["process_id"]]


def _cpu_until_now() -> float:
    """Give the seconds of this process and of all of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _cpu_of(process: int) -> float:
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    # The name, in parentheses, may hold anything.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _fed(session: "Session", feed: "Feed", pace: _Pace) -> dict[str, Any]:
    from remotemedia.cli import drive

    kept = list(itertools.islice(feed.items, _MAX_KEPT))
    if not kept:
        raise click.UsageError("the input has no items")
    watch, use = _Stopwatch(), _Use()
    items = pace.over(itertools.cycle(kept), watch, lambda: use.begin(_settled(session)))
    use.look(drive.drive(session, [drive.Feed(feed.to, items)], watch.take, use.look))
    use.end()
    sent = watch.sent[_WARM_UP:]
    ends = [came[-1] for came in watch.came.values() if came]
    end = max([*ends, watch.sent[-1]])
    elapsed = max((end - sent[0]) / 1e9, 1e-9) if sent else 0.0
    return _result(session.report(), use, len(sent), elapsed, watch.latencies())


def _settled(session: "Session") -> dict[str, Any]:
    """Wait until nothing waits in a queue any more; gives the figures of then."""
    given_up = time.monotonic() + _PATIENCE
    while True:
        stats = session.stats()
        waiting = sum(channel["queued"] for channel in stats["channels"])
        if waiting == 0 or time.monotonic() > given_up:
            return stats
        time.sleep(0.005)


def _sourced(
    make: "Callable[[], AbstractContextManager[Session]]", seconds: float
) -> dict[str, Any]:
    from remotemedia.cli import drive

    def once(use: _Use) -> dict[str, Any]:
        def tick(stats: dict[str, Any]) -> None:
            # The first one comes when all nodes are ready.
            if not use.has_begun:
                use.begin(stats)
            use.look(stats)

        def ignore(output: "Output") -> None:
            pass

        with make() as session:
            use.look(drive.drive(session, [], ignore, tick))
            use.end()
            return session.report()

    once(_Use())
    use, items, elapsed, runs = _Use(), 0, 0.0, 0
    began = time.monotonic()
    while True:
        report = once(use)
        targets = {one["to"] for one in report["connections"]}
        items += sum(one["items_out"] for one in report["nodes"] if one["node"] not in targets)
        elapsed, runs = elapsed + report["run_time_us"] / 1e6, runs + 1
        # Where starting takes most of the time, it is not for ever.
        if elapsed >= seconds or time.monotonic() - began >= 3 * seconds:
            return _result(report, use, items, elapsed, {}) | {"runs": runs}


def _result(
    report: dict[str, Any], use: _Use, items: int, elapsed: float, ends: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": report["name"],
        "items": items,
        "seconds": elapsed,
        "items_per_second": items / elapsed if elapsed else 0.0,
        "end_to_end": ends,
        "cpu_seconds": use.cpu,
        "cpu_share": use.cpu / elapsed if elapsed else 0.0,
        "worker_memory_bytes": use.memory,
        "own_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "copied_bytes": report["copied_bytes"],
        "nodes": report["nodes"],
        "connections": report["connections"],
    }


def _show(result: dict[str, Any]) -> None:
    from remotemedia.cli.report import connections_table, nodes_table

    click.echo(
        f"{result['items']} items in {result['seconds']:.2f} s: "
        f"{result['items_per_second']:.0f} items/s"
        + (f", {result['runs']} runs" if "runs" in result else "")
    )
    for node, latency in result["end_to_end"].items():
        median, p99 = times(latency)
        click.echo(f"from end to end, at {node}: median {median} µs, p99 {p99} µs")
    click.echo(
        f"processors: {result['cpu_seconds']:.2f} s, {result['cpu_share']:.2f} busy; "
        f"memory: workers {size(result['worker_memory_bytes'])}, "
        f"this process {size(result['own_memory_bytes'])}; "
        f"copied: {size(result['copied_bytes'])}"
    )
    nodes = [{"restarts": 0} | node for node in result["nodes"]]
    console = console_of()
    console.print(nodes_table(nodes))
    if result["connections"]:
        console.print(connections_table(result["connections"]))
