"""Items from files and from stdin.

Main function: `read_items`. What comes from stdin is given out as it comes: a line when it is
complete, sound in pieces of 20 ms.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, cast

import click
import numpy as np

from remotemedia.cli.wav import Wav, WavError, read_header
from remotemedia_runtime import Audio

# Length of one item of sound, as `AudioFileSourceNode` has it.
CHUNK_MS = 20
_BLOCK = 65_536


class RawSound(NamedTuple):
    """What samples without a header are.

    Attributes
    ----------
    rate : int
        In Hz.
    channels : int
        Number of channels.
    """

    rate: int
    channels: int


class InputError(click.ClickException):
    """What is read is not what it should be."""


class _Stream:
    """Reads a descriptor: Python's own objects cannot be left alone at exit while they wait."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.left = b""

    def some(self) -> bytes:
        """Give what is there, at most 64 KiB; nothing at the end."""
        if self.left:
            some, self.left = self.left, b""
            return some
        return os.read(self.descriptor, _BLOCK)

    def read(self, count: int = -1) -> bytes:
        """Give so many bytes, fewer only at the end; all for -1."""
        pieces: list[bytes] = []
        length = 0
        while count < 0 or length < count:
            piece = self.some()
            if not piece:
                break
            pieces.append(piece)
            length += len(piece)
        read = b"".join(pieces)
        if 0 <= count < length:
            self.left = read[count:]
        return read[:count] if count >= 0 else read

    def lines(self) -> Iterator[bytes]:
        """Give line after line, without their ends."""
        unfinished = b""
        while piece := self.some():
            *lines, unfinished = (unfinished + piece).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r")
        if unfinished:
            yield unfinished


def read_items(path: str, form: str, sound: RawSound) -> Iterator[Any]:
    """Read items from a file, or from stdin where it is called ``-``.

    Parameters
    ----------
    path : str
        The file.
    form : str
        One of `remotemedia.cli.forms.FORMS`.
    sound : RawSound
        What samples without a header are.

    Raises
    ------
    InputError
        The file cannot be read, or is not of that form.
    """
    if path == "-":
        yield from _items(_Stream(0), "stdin", form, sound)
        return
    name = click.format_filename(path)
    try:
        with open(path, "rb", buffering=0) as file:
            yield from _items(_Stream(file.fileno()), name, form, sound)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None


def _items(stream: _Stream, name: str, form: str, sound: RawSound) -> Iterator[Any]:
    try:
        if form in ("s16le", "f32le"):
            dtype = "<i2" if form == "s16le" else "<f4"
            yield from _sound(stream, Wav(sound.rate, sound.channels, dtype, None))
        elif form == "binary" and name == "stdin":
            yield from iter(stream.some, b"")
        else:
            yield from _READERS[form](stream)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def _sound(stream: _Stream, wav: Wav) -> Iterator[Audio]:
    chunk = max(wav.rate * CHUNK_MS // 1000, 1) * wav.frame
    left = wav.length
    while left is None or left > 0:
        data = stream.read(chunk if left is None else min(chunk, left))
        whole = len(data) - len(data) % wav.frame
        if whole == 0:
            return
        if left is not None:
            left -= len(data)
        yield Audio(_samples(data[:whole], wav), wav.rate)


def _samples(data: bytes, wav: Wav) -> Any:
    samples: Any
    if wav.dtype == "i3":
        # The three bytes become the upper ones of four, so that full scale stays full scale.
        wide: Any = np.zeros((len(data) // 3, 4), np.uint8)
        narrow: Any = np.frombuffer(data, np.uint8)
        wide[:, 1:] = narrow.reshape(-1, 3)
        samples = wide.view("<i4").reshape(-1)
    else:
        samples = np.frombuffer(data, wav.dtype)
    return samples if wav.channels == 1 else samples.reshape(-1, wav.channels)


def _wav(stream: _Stream) -> Iterator[Audio]:
    yield from _sound(stream, read_header(stream.read))


def _text(stream: _Stream) -> Iterator[str]:
    for number, line in enumerate(stream.lines(), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number} is no UTF-8: {error.reason}") from None


def _json_lines(stream: _Stream) -> Iterator[Any]:
    for number, line in enumerate(stream.lines(), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is no JSON: {error}") from None


def _json(stream: _Stream) -> Iterator[Any]:
    try:
        item = json.loads(stream.read())
    except RecursionError as error:
        raise ValueError(str(error)) from None
    yield item


def _binary(stream: _Stream) -> Iterator[bytes]:
    yield stream.read()


def _arrays(stream: _Stream) -> Iterator[Any]:
    while first := stream.some():
        stream.left = first + stream.left
        yield np.lib.format.read_array(cast("IO[bytes]", stream), allow_pickle=False)


_READERS: dict[str, Callable[[_Stream], Iterator[Any]]] = {
    "wav": _wav,
    "text": _text,
    "jsonl": _json_lines,
    "json": _json,
    "npy": _arrays,
    "binary": _binary,
}

__all__ = ["CHUNK_MS", "InputError", "RawSound", "WavError", "read_items"]
