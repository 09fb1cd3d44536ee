"""The ``remotemedia`` command.

Exit codes: 0 the run succeeded; 1 it failed; 2 the command line is wrong; 3 the manifest is
invalid; 130 interrupted (Ctrl-C); 143 ended by SIGTERM.
"""

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from remotemedia import Audio, __version__
from remotemedia._cli_trace import trace
from remotemedia_runtime import (
    RemoteMediaError,
    _native,
    get_available_nodes,
    get_node_metadata,
)
from remotemedia_runtime.errors import GraphError, ManifestError, NodeNotFound

RUN_FAILED = 1
USAGE = 2
INVALID_MANIFEST = 3
INTERRUPTED = 130
TERMINATED = 143

# Width of tables where there is no terminal to take it from.
PLAIN_WIDTH = 120


class Terminated(BaseException):
    """SIGTERM has come."""


class Terminal:
    """Shows a run as it happens: progress on stderr, items on stdout."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        console = Console(stderr=True)
        self.bars: Progress | None = None
        if console.is_terminal and not quiet:
            self.bars = Progress(
                TextColumn("{task.fields[node]}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.description}"),
                console=console,
            )
        self.tasks: dict[str, TaskID] = {}

    def progress(self, event: dict[str, Any]) -> None:
        if self.quiet:
            return
        node, status = event["node"], event["status"]
        message = event["message"] or status.replace("_", " ")
        if self.bars is None:
            if status not in ("ready", "failed"):
                message = f"{message} ({event['progress']:.0%})"
            click.echo(f"{node}: {message}", err=True)
            return
        if node not in self.tasks:
            self.bars.start()
            self.tasks[node] = self.bars.add_task("", total=1.0, node=node)
        self.bars.update(self.tasks[node], completed=event["progress"], description=message)

    def close(self) -> None:
        if self.bars is not None:
            self.bars.stop()


def as_json(item: Any) -> Any:
    """Give an item as JSON; of samples, elements and bytes only what they are."""
    if isinstance(item, Audio):
        return {"audio": {"frames": item.frames, "sample_rate": item.sample_rate}}
    if isinstance(item, np.ndarray):
        return {"tensor": {"shape": list(item.shape), "dtype": str(item.dtype)}}
    if isinstance(item, bytes):
        return {"binary": {"bytes": len(item)}}
    return item


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="remotemedia")
def cli() -> None:
    """Run media and AI pipelines.

    Exit codes: 0 success, 1 the run failed, 2 wrong command line, 3 invalid manifest,
    130 interrupted, 143 ended by SIGTERM.
    """


MANIFEST = click.argument("manifest", type=click.Path(path_type=Path))


@cli.command()
@MANIFEST
@click.option(
    "overrides",
    "--set",
    multiple=True,
    metavar="NODE.PARAM=VALUE",
    help="Set a parameter; VALUE is JSON, or else a text. May be given several times.",
)
@click.option("json_output", "--json", is_flag=True, help="Print one JSON object, nothing else.")
@click.option("--quiet", "-q", is_flag=True, help="Print only items and errors.")
def run(manifest: Path, overrides: tuple[str, ...], json_output: bool, quiet: bool) -> None:
    """Run the pipeline of a MANIFEST file until its sources end."""
    terminal = Terminal(quiet)
    outputs: dict[str, list[Any]] = {}

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            terminal.progress(event)
            return
        terminal.close()
        node, item = event["node"], event["item"]
        if json_output:
            outputs.setdefault(node, []).append(as_json(item))
        else:
            text = item if isinstance(item, str) else json.dumps(as_json(item))
            click.echo(f"{node}: {text}")

    try:
        report = _native.run_pipeline(manifest, list(overrides), on_event)
    finally:
        terminal.close()
    if json_output:
        names = ("nodes", "connections", "init_time_us", "run_time_us", "total_time_us", "warnings")
        found = {"name": report["name"], "outputs": outputs, "files": report["files"]}
        click.echo(json.dumps(found | {name: report[name] for name in names}))
        return
    show_warnings(report["warnings"])
    if not quiet:
        for path in report["files"]:
            click.echo(f"wrote {path}")
        show_report(report)


def show_warnings(warnings: list[dict[str, str]]) -> None:
    for warning in warnings:
        place = warning["pointer"] or "manifest"
        click.echo(f"warning: {place}: {warning['message']}", err=True)


def show_report(report: dict[str, Any]) -> None:
    nodes = Table("node", "executor", title="nodes")
    for name in ("in", "out", "median µs", "p99 µs"):
        nodes.add_column(name, justify="right")
    for node in report["nodes"]:
        counts = (node["items_in"], node["items_out"])
        nodes.add_row(node["node"], node["executor"], *map(str, counts), *times(node["time"]))
    connections = Table("from", "to", title="connections")
    for name in ("messages", "bytes", "copied", "median µs", "p99 µs"):
        connections.add_column(name, justify="right")
    for connection in report["connections"]:
        counted = (connection["messages"], connection["bytes"], connection["copied_bytes"])
        ends = (connection["from"], connection["to"])
        connections.add_row(*ends, *map(str, counted), *times(connection["latency"]))
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    console.print(nodes)
    console.print(connections)
    seconds = (report["init_time_us"] / 1e6, report["total_time_us"] / 1e6)
    click.echo("ready after {:.2f} s, done after {:.2f} s".format(*seconds))


def times(summary: dict[str, Any]) -> tuple[str, str]:
    if summary["count"] == 0:
        return "-", "-"
    return f"{summary['median_us']:.1f}", f"{summary['p99_us']:.1f}"


@cli.command()
@MANIFEST
@click.option("--quiet", "-q", is_flag=True, help="Print only warnings and errors.")
def validate(manifest: Path, quiet: bool) -> None:
    """Check a MANIFEST file, and show how it would run. Nothing is started."""
    found = _native.plan_manifest(manifest)
    show_warnings(found["warnings"])
    if not quiet:
        click.echo(found["plan"])


@cli.command()
@click.argument("name", required=False)
@click.option("json_output", "--json", is_flag=True, help="Print JSON.")
def nodes(name: str | None, json_output: bool) -> None:
    """List the native node types, or describe the one called NAME."""
    if name is None:
        described = [get_node_metadata(node) for node in get_available_nodes()]
        if json_output:
            click.echo(json.dumps(described))
            return
        width = max(len(node["name"]) for node in described)
        for node in described:
            click.echo(f"{node['name']:{width}}  {node['description']}")
        return
    try:
        node = get_node_metadata(name)
    except NodeNotFound as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    click.echo(json.dumps(node) if json_output else describe(node))


def describe(node: dict[str, Any]) -> str:
    lines = [f"{node['name']} {node['version']}: {node['description']}"]
    lines.append(f"  takes: {', '.join(node['accepts']) or 'nothing'}")
    lines.append(f"  gives: {', '.join(node['produces']) or 'nothing'}")
    if node["parameters"]:
        lines.append("  parameters:")
    for name, parameter in node["parameters"].items():
        facts = [parameter["type"]]
        if "choices" in parameter:
            facts.append(" | ".join(parameter["choices"]))
        if "min" in parameter:
            facts.append(f"{parameter['min']:g} to {parameter['max']:g}")
        if "unit" in parameter:
            facts.append(parameter["unit"])
        default = parameter.get("default")
        facts.append(f"default {json.dumps(default)}" if "default" in parameter else "required")
        lines.append(f"    {name} ({', '.join(facts)})")
        lines.append(f"        {parameter['description']}")
    return "\n".join(lines)


@cli.command()
def clean() -> None:
    """Remove what killed runs of this user have left: processes, shared memory."""
    removed, skipped = _native.sweep()
    for name in removed:
        click.echo(f"removed {name}")
    for name in skipped:
        click.echo(f"warning: {name}", err=True)
    if not removed:
        click.echo("nothing to remove")


cli.add_command(trace)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_main(arguments))


def _main(arguments: list[str] | None) -> int:
    try:
        cli.main(arguments, prog_name="remotemedia", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (ManifestError, GraphError, NodeNotFound) as error:
        return fail(error, INVALID_MANIFEST)
    except RemoteMediaError as error:
        return fail(error, RUN_FAILED)
    except ValueError as error:
        # What was given beside the manifest makes no sense.
        return fail(error, USAGE)
    except (KeyboardInterrupt, click.Abort):
        return fail("interrupted", INTERRUPTED)
    except Terminated:
        return fail("terminated", TERMINATED)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain at exit.
        sys.stdout = None
        return RUN_FAILED
    return 0


def fail(error: object, code: int) -> int:
    click.echo(f"error: {error}", err=True)
    return code
