"""The forms in which items are read from files and written to them.

Main function: `form_of`, which tells a form by the end of a file's name. Reading is the matter of
`inputs`, writing that of `outputs`.
"""

from pathlib import Path
from typing import NamedTuple

import click

FORMS = ("wav", "s16le", "f32le", "text", "jsonl", "json", "npy", "binary")

HELP = """\b
Forms of files, by the end of their names or by --input-format, --output-format:
  wav     .wav           sound; an item is 20 ms
  s16le   .s16 .pcm .raw samples without a header (--rate, --channels); an item is 20 ms
  f32le   .f32           the same as 32-bit floats
  text    .txt .log      an item is a line, in UTF-8
  jsonl   .jsonl .ndjson an item is a line of JSON
  json    .json          a file is an item
  npy     .npy           an item is an array; a file may hold several
  binary  .bin           a file is an item; of stdin, 64 KiB at most, as they come
"""

_BY_SUFFIX = {
    ".wav": "wav",
    ".wave": "wav",
    ".s16": "s16le",
    ".s16le": "s16le",
    ".pcm": "s16le",
    ".raw": "s16le",
    ".f32": "f32le",
    ".f32le": "f32le",
    ".txt": "text",
    ".log": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".npy": "npy",
    ".bin": "binary",
}


class Place(NamedTuple):
    """A file that is read or written for a node.

    Attributes
    ----------
    node : str or None
        The node, or ``node.port``; None where the command line names none.
    path : str
        The file; ``-`` is stdin or stdout.
    """

    node: str | None
    path: str

    @property
    def is_standard(self) -> bool:
        """Whether it is stdin or stdout."""
        return self.path == "-"


def place_of(text: str, nodes: list[str], option: str) -> Place:
    """Take ``node=PATH`` apart; a path may have an equals sign in its name.

    Raises
    ------
    click.BadParameter
        What stands before the sign is no node, and the whole no file.
    """
    node, equals, path = text.partition("=")
    if not equals:
        return Place(None, text)
    if any(node == name or node.startswith(f"{name}.") for name in nodes):
        return Place(node, path)
    if "/" in node or Path(text).exists():
        return Place(None, text)
    from remotemedia.cli.app import nearest

    known = ", ".join(nodes) or "none"
    hint = nearest(node, nodes)
    raise click.BadParameter(f'no node "{node}"{hint}; there are: {known}', param_hint=option)


def form_of(path: str, given: str | None, option: str) -> str:
    """Tell the form of a file.

    Raises
    ------
    click.BadParameter
        Its name does not tell, and none is given.
    """
    found = given or _BY_SUFFIX.get(Path(path).suffix.lower())
    if found is None:
        name = click.format_filename(path)
        raise click.BadParameter(
            f'the name of "{name}" does not tell its form; say it by {option}-format '
            f"({', '.join(FORMS)})",
            param_hint=option,
        )
    return found
