"""A run as a trace file: on what the time of each item went, in the Trace Event Format.

Main functions: `chrome_trace` and `write_chrome_trace`, whose outcome Chrome
(``chrome://tracing``) and Perfetto (ui.perfetto.dev) can show, and `summarize`. The times are
recorded by the runtime; nothing is measured here.

The format is described in "Trace Event Format" by the Chromium project.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import count, pairwise
from typing import Any, TextIO, TypedDict

# What the time of an item goes on, in this order.
PHASES = ("queue", "wake", "gil", "convert", "compute", "copy", "send", "call", "retry")

_NAMES = {
    "gil": "GIL wait",
    "call": "nodes behind it",
    "retry": "wait to retry",
}
_STEPS = {
    "starting": "start of its process",
    "connecting": "joining its channels",
    "loading_model": "loading",
}

Event = dict[str, Any]


class ItemTimes(TypedDict):
    """One node's work on one item; times in nanoseconds of ``time.monotonic_ns()``."""

    work: str
    input: int
    sequence: int
    item: int
    bytes: int
    sent_ns: int
    waiting_ns: int
    received_ns: int
    phases: list[tuple[str, int, int]]
    failed: bool


class Step(TypedDict):
    """A step of a node's start."""

    at_ns: int
    status: "str | dict[str, str]"


class RunEnd(TypedDict):
    """The early end of a process."""

    at_ns: int
    reason: str


class NodeRun(TypedDict):
    """What a node did from one start to the next."""

    process_id: int
    steps: list[Step]
    items: list[ItemTimes]
    dropped: int
    end: "RunEnd | None"


class NodeTimeline(TypedDict):
    """What one node did, and when."""

    node: str
    node_type: str
    executor: str
    inputs: "list[str | None]"
    runs: list[NodeRun]


class Timeline(TypedDict):
    """What a session has recorded."""

    session: str
    process_id: int
    began_ns: int
    nodes: list[NodeTimeline]


class Summary(TypedDict):
    """On what a node's time went: for each phase, one time an item, in microseconds."""

    node: str
    count: int
    failed: int
    dropped: int
    times_us: dict[str, list[float]]


def done_ns(item: ItemTimes) -> int:
    """When everything was done with an item."""
    return item["phases"][-1][1] if item["phases"] else item["received_ns"]


def parts(item: ItemTimes) -> Iterator[tuple[str, int, int, int]]:
    """Give phase, begin, end and bytes of each part of an item's time, in order.

    They follow one another without a gap from when it was sent to when it was done.
    """
    sent, waiting, received = item["sent_ns"], item["waiting_ns"], item["received_ns"]
    if waiting > sent:
        yield "queue", sent, waiting, 0
    if received > max(sent, waiting):
        yield "wake", max(sent, waiting), received, 0
    begin = received
    for phase, until, size in item["phases"]:
        yield phase, begin, until, size
        begin = until


def summarize(timeline: Timeline) -> list[Summary]:
    """Sum up each item's phases, by node."""
    return [_summary(node) for node in timeline["nodes"]]


def _summary(node: NodeTimeline) -> Summary:
    sums: dict[tuple[int, str, int], dict[str, int]] = {}
    failed = 0
    for number, run in enumerate(node["runs"]):
        for item in run["items"]:
            failed += item["failed"]
            if item["work"] == "finish":
                continue
            work = "item" if item["work"] == "more" else item["work"]
            of_item = sums.setdefault((number, work, item["item"]), dict.fromkeys(PHASES, 0))
            for phase, begin, end, _ in parts(item):
                of_item[phase] += end - begin
    times = {phase: [of_item[phase] / 1_000 for of_item in sums.values()] for phase in PHASES}
    dropped = sum(run["dropped"] for run in node["runs"])
    return {
        "node": node["node"],
        "count": len(sums),
        "failed": failed,
        "dropped": dropped,
        "times_us": times,
    }


def chrome_trace(report: dict[str, Any]) -> dict[str, Any]:
    """Make a trace of a report that has a timeline.

    A process of the trace is the pipeline's process or that of a worker, a thread is a node. What
    a node does to an item is one slice with its phases within it. Times in queues overlap, so they
    are asynchronous slices beside the threads. Arrows lead from where an item was sent to where it
    was received.

    Parameters
    ----------
    report : dict
        What a run has returned that was asked for its timeline.

    Returns
    -------
    dict
        The trace, which has a JSON form.
    """
    return {"traceEvents": list(_events(report))} | _about(report["timeline"])


def write_chrome_trace(report: dict[str, Any], file: TextIO) -> None:
    """Write what `chrome_trace` makes, an event at a time: long traces have millions."""
    file.write('{"traceEvents":[')
    encode = json.JSONEncoder(separators=(",", ":")).encode
    for number, event in enumerate(_events(report)):
        file.write(f",\n{encode(event)}" if number else encode(event))
    # The rest of the same object, without the brace that opens it.
    file.write(f"],\n{encode(_about(report['timeline']))[1:]}\n")


def _events(report: dict[str, Any]) -> Iterator[Event]:
    return _Trace(report["timeline"]).events(report.get("name", "pipeline"))


def _about(timeline: Timeline) -> dict[str, Any]:
    dropped = {
        node["node"]: sum(run["dropped"] for run in node["runs"]) for node in timeline["nodes"]
    }
    about = {"session": timeline["session"], "not_recorded": dropped}
    return {"displayTimeUnit": "ns", "otherData": about}


class _Thread:
    """Where a run of a node is in the trace, and when it worked."""

    def __init__(self, timeline: Timeline, place: int, run: NodeRun) -> None:
        self.place = place
        self.run = run
        self.at = {"pid": run["process_id"] or timeline["process_id"], "tid": place + 1}
        self.begins = [item["received_ns"] for item in run["items"]]

    def is_at_work(self, at_ns: int) -> bool:
        """Whether it works on an item at that time."""
        found = bisect_right(self.begins, at_ns)
        return found > 0 and at_ns <= done_ns(self.run["items"][found - 1])


class _Trace:
    """Makes the events of a timeline."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.threads = {
            node["node"]: [_Thread(timeline, place, run) for run in node["runs"]]
            for place, node in enumerate(timeline["nodes"])
        }
        self.numbers = count(1)

    def time(self, at_ns: int) -> float:
        """In microseconds since the session was made."""
        return (at_ns - self.timeline["began_ns"]) / 1_000

    def events(self, pipeline: str) -> Iterator[Event]:
        own = self.timeline["process_id"]
        yield _metadata(own, 0, "process_name", name=f"pipeline {pipeline}")
        yield _metadata(own, 0, "process_sort_index", sort_index=0)
        for place, node in enumerate(self.timeline["nodes"]):
            for thread in self.threads[node["node"]]:
                yield from self.names(thread, node, place)
                yield from self.start(thread)
                for item in thread.run["items"]:
                    yield from self.item(thread, node, item)

    def names(self, thread: _Thread, node: NodeTimeline, place: int) -> Iterator[Event]:
        pid, tid = thread.at["pid"], thread.at["tid"]
        if pid != self.timeline["process_id"]:
            yield _metadata(pid, 0, "process_name", name=f"worker {node['node']}")
            yield _metadata(pid, 0, "process_sort_index", sort_index=place + 1)
        yield _metadata(pid, tid, "thread_name", name=f"{node['node']} ({node['node_type']})")
        yield _metadata(pid, tid, "thread_sort_index", sort_index=place)

    def start(self, thread: _Thread) -> Iterator[Event]:
        """What came before the first item, and an early end."""
        items = thread.run["items"]
        # The session hears a little later that a node is ready than that begins.
        last = max(items[0]["sent_ns"], items[0]["waiting_ns"]) if items else None
        for step, following in pairwise(thread.run["steps"]):
            name = step["status"]
            end = following["at_ns"] if last is None else min(following["at_ns"], last)
            if isinstance(name, str) and end > step["at_ns"]:
                yield self.slice(thread, _STEPS.get(name, name), "start", step["at_ns"], end, {})
        for step in thread.run["steps"]:
            if isinstance(step["status"], dict):
                reason = {"reason": step["status"].get("failed", "")}
                yield self.instant(thread, "failed to start", "t", step["at_ns"], reason)
        if (end := thread.run["end"]) is not None:
            reason = {"reason": end["reason"]}
            yield self.instant(thread, "end of its process", "p", end["at_ns"], reason)

    def item(self, thread: _Thread, node: NodeTimeline, item: ItemTimes) -> Iterator[Event]:
        work, inputs = item["work"], node["inputs"]
        is_given = work in ("item", "more")
        sender = inputs[item["input"]] if is_given and item["input"] < len(inputs) else None
        facts: dict[str, Any] = {"item": item["item"]}
        if is_given:
            source = "outside" if sender is None else sender
            facts |= {"input": item["input"], "from": source, "sequence": item["sequence"]}
        own = facts | {"bytes": item["bytes"]}
        for phase, begin, end, size in parts(item):
            if phase == "queue":
                yield from self.queue(thread, node["node"], begin, end, own)
            elif end > begin:
                # What is copied or sent has a size of its own.
                about = facts | {"bytes": size} if phase in ("copy", "send") else own
                yield self.slice(thread, _NAMES.get(phase, phase), phase, begin, end, about)
        begin, end = item["received_ns"], done_ns(item)
        name = {"more": "item", "finish": "after the last item"}.get(work, work)
        name = name if work == "finish" else f"{name} {item['item']}"
        yield self.slice(thread, name, "item", begin, end, own)
        if item["failed"]:
            yield self.instant(thread, f"failed on {name}", "t", end, own)
        if work == "item" and sender is not None:
            yield from self.arrow(thread, sender, item)

    def queue(
        self, thread: _Thread, node: str, begin: int, end: int, facts: Event
    ) -> Iterator[Event]:
        event = {"name": f"queue of {node}", "cat": "queue", "id": hex(next(self.numbers))}
        yield event | thread.at | {"ph": "b", "ts": self.time(begin), "args": facts}
        yield event | thread.at | {"ph": "e", "ts": self.time(end)}

    def arrow(self, thread: _Thread, sender: str, item: ItemTimes) -> Iterator[Event]:
        at = next((of for of in self.threads[sender] if of.is_at_work(item["sent_ns"])), None)
        if at is None:
            return
        event = {"name": "item", "cat": "flow", "id": next(self.numbers)}
        yield event | at.at | {"ph": "s", "ts": self.time(item["sent_ns"])}
        # It ends in the slice that begins there, not in the one before.
        ends = {"ph": "f", "bp": "e", "ts": self.time(item["received_ns"])}
        yield event | thread.at | ends

    def slice(
        self, thread: _Thread, name: str, category: str, begin: int, end: int, facts: Event
    ) -> Event:
        times = {"ph": "X", "ts": self.time(begin), "dur": (end - begin) / 1_000}
        return {"name": name, "cat": category, "args": facts} | thread.at | times

    def instant(self, thread: _Thread, name: str, scope: str, at_ns: int, facts: Event) -> Event:
        event = {"name": name, "cat": "failure", "ph": "i", "s": scope, "args": facts}
        return event | thread.at | {"ts": self.time(at_ns)}


def _metadata(pid: int, tid: int, kind: str, **arguments: object) -> Event:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "ts": 0, "args": arguments}


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of all, from 0 to 1, does not exceed."""
    ordered = sorted(values)
    place = min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))
    return ordered[place]
