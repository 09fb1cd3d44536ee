"""Items into files and to stdout.

Main class: `Writer`. Where no form is given, the first item decides it. Items that the form has no
place for are refused.
"""

import json
import sys
from collections.abc import Callable
from io import BytesIO
from types import TracebackType
from typing import Any, BinaryIO, cast

import click
import numpy as np

from remotemedia.cli import wav
from remotemedia_runtime import Audio, VideoFrame

Item = object


def as_json(item: Item) -> object:
    """Give an item as JSON; of samples, elements and bytes only what they are."""
    if isinstance(item, Audio):
        return {"audio": {"frames": item.frames, "sample_rate": item.sample_rate}}
    if isinstance(item, np.ndarray):
        array = cast("Any", item)
        return {"tensor": {"shape": list(array.shape), "dtype": str(array.dtype)}}
    if isinstance(item, VideoFrame):
        size = {"width": item.width, "height": item.height}
        return {"frame": size | {"format": item.format}}
    if isinstance(item, bytes):
        return {"binary": {"bytes": len(item)}}
    return item


def as_line(item: Item) -> str:
    """Give an item as one line for people."""
    return item if isinstance(item, str) else json.dumps(as_json(item))


class OutputError(click.ClickException):
    """An item cannot be written."""


class Writer:
    """Writes items to a file, or to stdout where it is called ``-``.

    Parameters
    ----------
    path : str
        The file; one that exists is replaced.
    form : str or None
        One of `remotemedia.cli.forms.FORMS`; None has the first item decide.

    Raises
    ------
    OutputError
        The file cannot be written.
    """

    def __init__(self, path: str, form: str | None) -> None:
        self.name = "stdout" if path == "-" else click.format_filename(path)
        self._form = form
        self._file: BinaryIO = sys.stdout.buffer
        self._sound: tuple[int, int, str] | None = None
        self._length = 0
        self._writers: dict[str, Callable[[Item], bytes]] = {
            "wav": self._wav,
            "s16le": self._s16le,
            "f32le": self._f32le,
            "text": self._text,
            "jsonl": self._jsonl,
            "json": self._jsonl,
            "npy": self._npy,
            "binary": self._binary,
        }
        if path != "-":
            try:
                self._file = open(path, "wb")
            except OSError as error:
                raise OutputError(f"{self.name}: {error.strerror}") from None

    def write(self, item: Item) -> None:
        """Write one item, and hand it on at once.

        Raises
        ------
        OutputError
            The form has no place for it.
        """
        self._form = self._form or _form_for(item)
        self._file.write(self._writers[self._form](item))
        self._file.flush()

    def close(self) -> None:
        """Complete the file."""
        if self._file is sys.stdout.buffer:
            return
        with self._file:
            if self._form == "wav":
                # Only now its length is known.
                head = self._wav_header(self._length)
                self._file.seek(0)
                self._file.write(head)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _refuse(self, item: Item, expected: str) -> OutputError:
        found = type(item).__name__
        return OutputError(f"{self.name}: {found} cannot be written as {self._form}: {expected}")

    def _audio(self, item: Item) -> Audio:
        if not isinstance(item, Audio):
            raise self._refuse(item, "expected Audio")
        return item

    def _wav(self, item: Item) -> bytes:
        audio = self._audio(item)
        samples: Any = audio.samples
        samples = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
        sound = (audio.sample_rate, audio.channels, samples.dtype.str)
        head = b""
        if self._sound is None:
            self._sound = sound
            head = self._wav_header(None)
        elif sound != self._sound:
            raise OutputError(f"{self.name}: sound changes from {self._sound} to {sound}")
        data: bytes = samples.tobytes()
        self._length += len(data)
        return head + data

    def _wav_header(self, length: int | None) -> bytes:
        rate, channels, dtype = self._sound or (16_000, 1, "<i2")
        kind = np.dtype(dtype)
        return wav.header(rate, channels, kind.itemsize * 8, kind.kind == "f", length)

    def _s16le(self, item: Item) -> bytes:
        samples: Any = self._audio(item).samples
        if samples.dtype != np.int16:
            samples = (_floats(samples) * 32_768).round().clip(-32_768, 32_767)
        data: bytes = samples.astype("<i2").tobytes()
        return data

    def _f32le(self, item: Item) -> bytes:
        data: bytes = _floats(self._audio(item).samples).astype("<f4").tobytes()
        return data

    def _text(self, item: Item) -> bytes:
        return as_line(item).encode() + b"\n"

    def _jsonl(self, item: Item) -> bytes:
        return json.dumps(as_json(item)).encode() + b"\n"

    def _npy(self, item: Item) -> bytes:
        buffer = BytesIO()
        np.save(
            buffer, self._array(item, "expected an array, Audio or VideoFrame"), allow_pickle=False
        )
        return buffer.getvalue()

    def _binary(self, item: Item) -> bytes:
        if isinstance(item, bytes):
            return item
        if isinstance(item, str):
            return item.encode()
        data: bytes = self._array(item, "expected bytes, str or an array").tobytes()
        return data

    def _array(self, item: Item, expected: str) -> Any:
        array: Any = item
        if isinstance(item, Audio):
            array = item.samples
        elif isinstance(item, VideoFrame):
            array = item.data
        if not isinstance(array, np.ndarray):
            raise self._refuse(item, expected)
        return cast("Any", array)


def _floats(samples: Any) -> Any:
    """Give samples as floats from -1 to 1."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float64) - 128) / 128
    return samples.astype(np.float64) / float(2 ** (samples.dtype.itemsize * 8 - 1))


def _form_for(item: Item) -> str:
    if isinstance(item, Audio):
        return "wav"
    if isinstance(item, np.ndarray):
        return "npy"
    if isinstance(item, bytes):
        return "binary"
    return "text" if isinstance(item, str) else "jsonl"
