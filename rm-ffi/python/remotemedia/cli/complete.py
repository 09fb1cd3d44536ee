"""What shells offer for an unfinished word of the command line.

Main functions: `complete_override` for ``--set`` and `complete_node` for names of node types. They
give nothing where they know nothing, and never fail.
"""

import contextlib
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem


def complete_node(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the names of node types."""
    from remotemedia_runtime import get_available_nodes

    return [CompletionItem(name) for name in get_available_nodes() if name.startswith(incomplete)]


def complete_override(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the nodes of the manifest, and their parameters."""
    # While the option's value is missing, click gives arguments as they were.
    words = [ctx.params.get("manifest"), *ctx.args]
    files = [Path(word) for word in words if word is not None and Path(word).is_file()]
    nodes = _nodes_of(files[0]) if files else {}
    node, dot, _ = incomplete.partition(".")
    if not dot:
        return [
            CompletionItem(f"{name}.", type="nospace") for name in nodes if name.startswith(node)
        ]
    offered = [f"{node}.{name}=" for name in nodes.get(node, ())]
    return [CompletionItem(name) for name in offered if name.startswith(incomplete)]


def complete_input(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer files, and behind ``node=`` files too."""
    _, _, path = incomplete.rpartition("=")
    return [CompletionItem(path, type="file")]


def _nodes_of(manifest: Path) -> dict[str, list[str]]:
    """Give the parameters of each node: those that it has, and those that its type knows."""
    from remotemedia_runtime import _native

    # What modules print when they are imported is nothing that is offered.
    with contextlib.redirect_stdout(None):
        try:
            plan = _native.plan_manifest(manifest)["details"]
        except Exception:
            return {}
        return {node["id"]: _parameters_of(node) for node in plan["nodes"]}


def _parameters_of(node: dict[str, Any]) -> list[str]:
    from remotemedia_runtime import NodeNotFound, get_node_metadata

    names: list[str] = list(node["params"])
    try:
        known = list(get_node_metadata(node["node_type"])["parameters"])
    except NodeNotFound:
        known = []
    return names + [name for name in known if name not in names]
