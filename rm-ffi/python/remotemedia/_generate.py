"""Writes `remotemedia.nodes`: a class for each native node type, made of its metadata.

``python -m remotemedia._generate`` writes the file anew, after a native node has changed; with the
path of another file as its argument, it writes that.
"""

import sys
import textwrap
from pathlib import Path
from typing import Any

from remotemedia_runtime import get_available_nodes, get_node_metadata

# Other names of node types in the contract of the runtime.
ALIASES = {"AudioResampleNode": "ResampleNode"}

WIDTH = 100

HEAD = '''"""The native nodes, as classes for `Pipeline.add_node`.

Made by ``python -m remotemedia._generate`` of what the nodes say of themselves; not to be changed
by hand.
"""

# Lists of choices are as long as they are.
# ruff: noqa: E501
# fmt: off

{imports}
from remotemedia.pipeline import NativeNode

__all__ = [
{names}
]
'''

TYPES = {
    "float": "float",
    "integer": "int",
    "boolean": "bool",
    "string": "str",
    "paths": "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]",
    "list": "list[Any]",
    "object": "dict[str, Any]",
    "any": "Any",
}


def generated() -> str:
    """Give the text of the module."""
    native = [get_node_metadata(name) for name in get_available_nodes()]
    native = [metadata for metadata in native if metadata["executor"] == "native"]
    names = sorted([metadata["name"] for metadata in native] + list(ALIASES))
    classes = [node_class(metadata) for metadata in native]
    body = (
        "\n".join(classes)
        + "\n"
        + "".join(f"\n\n{alias} = {name}" for alias, name in ALIASES.items())
    )
    imports: list[str] = []
    if "os.PathLike" in body:
        imports.append("import os")
    if "Sequence[" in body:
        imports.append("from collections.abc import Sequence")
    used = [name for name in ("Any", "ClassVar", "Literal") if f"{name}" in body]
    imports.append(f"from typing import {', '.join(used)}\n")
    listed = "\n".join(f'    "{name}",' for name in names)
    return HEAD.format(imports="\n".join(imports), names=listed) + body + "\n"


def type_of(spec: "dict[str, Any]") -> str:
    """The type hint of a parameter."""
    hint = TYPES[spec["type"]]
    if spec.get("choices"):
        hint = f"Literal[{', '.join(quoted(choice) for choice in spec['choices'])}]"
    elif spec["type"] == "list" and spec.get("items") in TYPES:
        hint = f"list[{TYPES[spec['items']]}]"
    nullable = spec.get("nullable") or ("default" in spec and spec["default"] is None)
    return f"{hint} | None" if nullable and hint != "Any" else hint


def is_mutable(spec: "dict[str, Any]") -> bool:
    """Whether the default of a parameter can be changed, so that nobody may be given it."""
    return isinstance(spec.get("default"), list | dict)


def quoted(value: Any) -> str:
    """A value in the source, with the quotes of the house."""
    text = repr(value)
    return f'"{value}"' if isinstance(value, str) and '"' not in text and "\\" not in text else text


def node_class(metadata: "dict[str, Any]") -> str:
    """The class of a node type."""
    name, parameters = metadata["name"], metadata["parameters"]
    lines = [f"\n\nclass {name}(NativeNode):"]
    summary = sentence(metadata["description"])
    lines += wrapped(f'"""{summary}', 4)
    if parameters:
        lines += ["", "    Parameters", "    ----------"]
        for parameter, spec in parameters.items():
            optional = ", optional" if "default" in spec else ""
            lines += wrapped(f"{parameter} : {words(spec)}{optional}", 4, 8)
            lines += wrapped(described(spec), 8)
        lines.append('    """')
    else:
        lines[-1] += '"""'
    lines += ["", f'    node_type: ClassVar[str] = "{name}"']
    if parameters:
        lines += ["", "    def __init__(", "        self,", "        *,"]
        for parameter, spec in parameters.items():
            hint = type_of(spec)
            if is_mutable(spec):
                hint, default = f"{hint} | None", " = None"
            else:
                default = f" = {quoted(spec['default'])}" if "default" in spec else ""
            lines.append(f"        {parameter}: {hint}{default},")
        lines += ["    ) -> None:", "        super().__init__("]
        mutable = [name for name, spec in parameters.items() if is_mutable(spec)]
        lines += [f"            {name}={name}," for name in parameters if name not in mutable]
        for name in mutable:
            lines.append(f'            **({{}} if {name} is None else {{"{name}": {name}}}),')
        lines.append("        )")
    return "\n".join(lines)


def words(spec: "dict[str, Any]") -> str:
    """The type of a parameter, as docstrings have it."""
    if spec.get("choices"):
        return "{" + ", ".join(quoted(choice) for choice in spec["choices"]) + "}"
    names = {"paths": "str or os.PathLike or sequence of them", "object": "dict", "any": "object"}
    return names.get(spec["type"], TYPES[spec["type"]].partition("[")[0])


def described(spec: "dict[str, Any]") -> str:
    """What a parameter does, with its range and default."""
    text = sentence(spec["description"])
    unit = f" {spec['unit']}" if spec.get("unit") else ""
    low, high = (spec.get(end) for end in ("min", "max"))
    if low is not None and high is not None:
        text += f" From {low:g} to {high:.10g}{unit}."
    elif low is not None:
        text += f" At least {low:.10g}{unit}."
    elif high is not None:
        text += f" At most {high:.10g}{unit}."
    elif unit:
        text += f" In{unit}."
    return text


def sentence(text: str) -> str:
    """A fragment as a sentence."""
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def wrapped(text: str, indent: int, further: "int | None" = None) -> "list[str]":
    """The lines of a text."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if further is None else further),
        break_on_hyphens=False,
        break_long_words=False,
    )


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("nodes.py")
    Path(target).write_text(generated())
