"""A pipeline as boxes and lines, and how that is said in Mermaid and in DOT.

Main class: `Drawing`, made of a plan and, after a run, of what was measured. How it is laid out as
a picture is the matter of `svg`.
"""

import json
from typing import Any, NamedTuple

from remotemedia.cli.common import size, times

_POLICIES = {
    "block": "blocks",
    "drop_oldest": "drops the oldest",
    "drop_newest": "drops the newest",
    "latest": "keeps the latest",
}


class Box(NamedTuple):
    """A node.

    Attributes
    ----------
    id : str
        The node's id.
    lines : list of str
        What stands below it: its type, what runs it, and what it did.
    kind : str
        "native" or "multiprocess".
    group : str
        The stage or worker that runs it.
    """

    id: str
    lines: list[str]
    kind: str
    group: str


class Line(NamedTuple):
    """A connection.

    Attributes
    ----------
    start, end : int
        The places of the boxes.
    labels : list of str
        Ports, the queue, and what went over it.
    is_call : bool
        Whether items go by plain calls, and not through a queue.
    """

    start: int
    end: int
    labels: list[str]
    is_call: bool


class Drawing(NamedTuple):
    """A pipeline.

    Attributes
    ----------
    name : str
        The pipeline's name.
    boxes : list of Box
        Its nodes, in the order of the manifest.
    lines : list of Line
        Its connections.
    """

    name: str
    boxes: list[Box]
    lines: list[Line]


def drawing_of(plan: dict[str, Any], report: dict[str, Any] | None) -> Drawing:
    """Make a drawing.

    Parameters
    ----------
    plan : dict
        As `remotemedia.Session.plan_dict` gives it.
    report : dict or None
        What a run of it has measured, as `remotemedia.Session.report` gives it.
    """
    groups = _groups(plan)
    done = {node["node"]: node for node in report["nodes"]} if report else {}
    boxes = [
        Box(
            node["id"],
            [
                node["node_type"],
                f"{node['executor']}, {groups[place]}"
                + (", inserted" if node["reason"] == "inserted" else ""),
                *_did(done.get(node["id"])),
            ],
            node["executor"],
            groups[place],
        )
        for place, node in enumerate(plan["nodes"])
    ]
    # Edges and connections are both in the order of the manifest.
    connections = report["connections"] if report else [None] * len(plan["edges"])
    lines = [
        Line(edge["from"], edge["to"], _labels(plan, edge, went), edge["route"] == "call")
        for edge, went in zip(plan["edges"], connections, strict=True)
    ]
    return Drawing(plan["name"], boxes, lines)


def _groups(plan: dict[str, Any]) -> dict[int, str]:
    groups = {node: f"worker {place}" for place, node in enumerate(plan["workers"])}
    for place, stage in enumerate(plan["stages"]):
        groups |= dict.fromkeys(stage["nodes"], f"stage {place}")
    return groups


def _did(node: dict[str, Any] | None) -> list[str]:
    if node is None:
        return []
    did = [f"{node['items_in']} in, {node['items_out']} out, busy {node['busy']:.0%}"]
    if node["time"]["count"]:
        median, p99 = times(node["time"])
        did.append(f"{median} µs, p99 {p99} µs")
    return did


def _labels(
    plan: dict[str, Any], edge: dict[str, Any], connection: dict[str, Any] | None
) -> list[str]:
    labels: list[str] = []
    if "from_port" in edge or "to_port" in edge:
        labels.append(f"{edge.get('from_port', '')} → {edge.get('to_port', '')}".strip())
    if edge["route"] == "call":
        labels.append("call")
    else:
        queue = plan["channels"][edge["route"]["channel"]]["queue"]
        text = f"{queue['depth']} items, {size(queue['capacity'])}"
        if queue["policy"] != "block":
            text = f"{text}, {_POLICIES.get(queue['policy'], queue['policy'])}"
        labels.append(text)
    if connection is not None:
        labels.append(f"{connection['messages']} items, {size(connection['bytes'])}")
        if connection["latency"]["count"]:
            median, p99 = times(connection["latency"])
            labels.append(f"{median} µs, p99 {p99} µs")
    return labels


def mermaid(drawing: Drawing) -> str:
    """Give a flowchart of Mermaid."""

    def quoted(parts: list[str]) -> str:
        text = "<br/>".join(
            part.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;") for part in parts
        )
        return f'"{text}"'

    lines = ["flowchart LR"]
    for group, members in _by_group(drawing).items():
        indent = "  "
        if len(members) > 1:
            lines.append(f"  subgraph {group.replace(' ', '_')} [{group}]")
            indent = "    "
        for place in members:
            box = drawing.boxes[place]
            lines.append(f"{indent}n{place}[{quoted([box.id, *box.lines])}]:::{box.kind}")
        if len(members) > 1:
            lines.append("  end")
    for line in drawing.lines:
        arrow = "-->" if line.is_call else "==>"
        lines.append(f"  n{line.start} {arrow}|{quoted(line.labels)}| n{line.end}")
    lines.append("  classDef native fill:#e3f0fb,stroke:#2b6cb0,color:#111")
    lines.append("  classDef multiprocess fill:#fdf0dd,stroke:#b7791f,color:#111")
    return "\n".join(lines) + "\n"


def dot(drawing: Drawing) -> str:
    """Give a graph of Graphviz."""

    def quoted(parts: list[str]) -> str:
        # What JSON escapes, DOT reads the same way, but for letters beyond ASCII.
        return json.dumps("\n".join(parts), ensure_ascii=False)

    lines = [
        f"digraph {quoted([drawing.name])} {{",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif"];',
        '  edge [fontname="sans-serif", fontsize=10];',
    ]
    for group, members in _by_group(drawing).items():
        if len(members) > 1:
            lines.append(f'  subgraph "cluster_{group}" {{ label="{group}"; style=dashed;')
        for place in members:
            box = drawing.boxes[place]
            color = "#e3f0fb" if box.kind == "native" else "#fdf0dd"
            lines.append(f'  n{place} [label={quoted([box.id, *box.lines])}, fillcolor="{color}"];')
        if len(members) > 1:
            lines.append("  }")
    for line in drawing.lines:
        style = "dashed" if line.is_call else "solid"
        label = quoted(line.labels)
        lines.append(f"  n{line.start} -> n{line.end} [label={label}, style={style}];")
    return "\n".join([*lines, "}"]) + "\n"


def _by_group(drawing: Drawing) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for place, box in enumerate(drawing.boxes):
        groups.setdefault(box.group, []).append(place)
    return groups
