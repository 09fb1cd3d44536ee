"""``remotemedia nodes``: which node types there are, and what each takes.

Main function: `nodes`.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from remotemedia.cli.common import JSON, console_of, echo_json
from remotemedia.cli.complete import complete_node
from remotemedia.cli.logs import log_options, start_logs


@click.command()
@click.argument("name", required=False, shell_complete=complete_node)
@JSON
@log_options
def nodes(name: str | None, json_output: bool) -> None:
    """List the node types, or describe the one called NAME.

    NAME may be the import path of a Python class, package.module:Class. Its module is looked for
    in the current folder first.
    """
    start_logs()
    from remotemedia_runtime import get_available_nodes, get_node_metadata

    sys.path.insert(0, str(Path.cwd()))
    if name is not None:
        node = _describe(name)
        if json_output:
            echo_json(node)
        else:
            _show(node)
        return
    described = [get_node_metadata(node) for node in get_available_nodes()]
    if json_output:
        echo_json(described)
        return
    console = console_of()
    if not console.is_terminal:
        width = max(len(node["name"]) for node in described)
        for node in described:
            click.echo(f"{node['name']:{width}}  {_first_line(node)}")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    for node in described:
        table.add_row(Text(node["name"]), Text(_first_line(node)))
    console.print(table)


def _first_line(node: dict[str, Any]) -> str:
    return str(node["description"]).partition("\n")[0]


def _describe(name: str) -> dict[str, Any]:
    from remotemedia_runtime import NodeNotFound, RemoteMediaError, get_node_metadata
    from remotemedia_runtime.worker import LoadError, find_node

    try:
        # What a module prints when it is imported is not what was asked for.
        with contextlib.redirect_stdout(sys.stderr):
            if ":" in name:
                # It says what there is instead.
                find_node(name)
            return get_node_metadata(name)
    except (NodeNotFound, LoadError) as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    except RemoteMediaError:
        raise
    except Exception as error:
        # The module's own code has raised.
        failed = f"{name} cannot be imported: {type(error).__name__}: {error}"
        raise click.ClickException(failed) from error


def _show(node: dict[str, Any]) -> None:
    head = f"{node['name']} {node['version']}".rstrip()
    click.echo(f"{head}: {node['description']}" if node["description"] else head)
    is_python = node.get("executor") == "python"
    # A class need not say what it takes.
    unsaid = "anything" if is_python and not node["source"] else "nothing"
    click.echo(f"  takes: {', '.join(node['accepts']) or unsaid}")
    click.echo(f"  gives: {', '.join(node['produces']) or unsaid}")
    for side in ("input", "output"):
        if ports := node.get(f"{side}_ports"):
            click.echo(f"  {side} ports: {', '.join(ports)}")
    if node["capabilities"]:
        click.echo(f"  needs: {', '.join(node['capabilities'])}")
    if "class" in node:
        click.echo(f"  class: {node['class']}")
    if node["parameters"]:
        click.echo("  parameters:")
    for name, parameter in node["parameters"].items():
        click.echo(f"    {name} ({', '.join(_facts(parameter))})")
        if parameter["description"]:
            click.echo(f"        {parameter['description']}")
    if node.get("open_params"):
        click.echo("  takes any other parameter" if node["parameters"] else "  takes any parameter")


def _facts(parameter: dict[str, Any]) -> list[str]:
    kind = parameter["type"]
    if "items" in parameter:
        kind = f"{kind} of {parameter['items']}"
    facts = [f"{kind} or null" if parameter.get("nullable") else kind]
    if "choices" in parameter:
        facts.append(" | ".join(_value(choice) for choice in parameter["choices"]))
    least, most = parameter.get("min"), parameter.get("max")
    if least is not None and most is not None:
        facts.append(f"{least:g} to {most:g}")
    elif least is not None:
        facts.append(f"at least {least:g}")
    elif most is not None:
        facts.append(f"at most {most:g}")
    if "unit" in parameter:
        facts.append(parameter["unit"])
    has_default = "default" in parameter
    facts.append(f"default {json.dumps(parameter['default'])}" if has_default else "required")
    return facts


def _value(choice: object) -> str:
    return choice if isinstance(choice, str) else json.dumps(choice)
