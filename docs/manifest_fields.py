"""Writes the fields of a manifest into the page that asks for them, from its JSON Schema.

A hook of MkDocs. It knows the forms of schemas that ours has, and no others.
"""

import json
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parents[1] / "rm-session/schema/manifest-v1.schema.json"
MARK = "<!-- fields of a manifest -->"
# In the order in which a reader meets them.
PARTS = ["Metadata", "Multiprocess", "Node", "Retry", "CircuitBreaker", "Backoff", "Limits"]
PARTS += ["Capabilities", "Cpu", "Gpu", "Connection", "Queue"]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where the mark is."""
    if MARK not in markdown:
        return markdown
    schema = json.loads(SCHEMA.read_text())
    defined: dict[str, Any] = schema["$defs"]
    lines = ["## Manifest", "", *_table(schema, defined)]
    for name in PARTS:
        lines += [f"## {name}", "", defined[name]["description"].replace("\n", " "), ""]
        lines += _table(defined[name], defined)
    return markdown.replace(MARK, "\n".join(lines))


def _table(part: "dict[str, Any]", defined: "dict[str, Any]") -> "list[str]":
    required = part.get("required", [])
    lines = ["| field | type | meaning |", "|---|---|---|"]
    for name, field in part["properties"].items():
        meaning = field.get("description", "").replace("\n", " ").replace("|", "\\|")
        needed = " **Required.**" if name in required else ""
        lines.append(f"| `{name}` | {_type(field, defined)} | {meaning}{needed} |")
    return [*lines, ""]


def _type(field: "dict[str, Any]", defined: "dict[str, Any]") -> str:
    """What a value may be, for people."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name in PARTS else _type(defined[name], defined)
    for several in ("anyOf", "oneOf"):
        if several in field:
            found = [_type(one, defined) for one in field[several]]
            return ", ".join(dict.fromkeys(one for one in found if one))
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    # Powers of two are too many to be listed.
    if "enum" in field and len(field["enum"]) < 10:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"] if value is not None)
    types = field.get("type", "any")
    types = [types] if isinstance(types, str) else types
    if "array" in types:
        return f"list of {_type(field['items'], defined)}"
    if "object" in types and "properties" in field:
        inner = field["properties"].items()
        return "{" + ", ".join(f"`{name}`: {_type(one, defined)}" for name, one in inner) + "}"
    return " or ".join(name for name in types if name != "null")
