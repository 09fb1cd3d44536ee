"""WAV as a stream: read from what cannot be sought in, and written to it.

Main functions: `read_header` and `header`. Python's own module reads no floats, and wants to know
the length before.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# What those write who do not know the length yet.
_UNKNOWN = 0xFFFF_FFFF
_FORMATS = {
    (_PCM, 8): "u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "i3",
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}


class WavError(ValueError):
    """It is no WAV that can be read; the message says why."""


class Wav(NamedTuple):
    """What the header says.

    Attributes
    ----------
    rate : int
        In Hz.
    channels : int
        Number of channels.
    dtype : str
        NumPy's name of the samples' type; "i3" is 24 bits, which it does not have.
    length : int or None
        Bytes of samples; None up to the end of the stream.
    """

    rate: int
    channels: int
    dtype: str
    length: int | None

    @property
    def frame(self) -> int:
        """Bytes of one sample of each channel."""
        return self.channels * int(self.dtype[-1])


def read_header(read: Callable[[int], bytes]) -> Wav:
    """Read up to the first sample.

    Parameters
    ----------
    read : callable
        Gives as many bytes as it is asked for, fewer only at the end.

    Raises
    ------
    WavError
        It is no WAV, or one of a kind that is not read.
    """
    start = read(12)
    if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise WavError("it does not begin as a WAV file does (RIFF … WAVE)")
    form: tuple[int, int, str] | None = None
    while len(head := read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        if name == b"data":
            if form is None:
                raise WavError("its samples come before their format")
            unknown = length in (0, _UNKNOWN)
            return Wav(*form, None if unknown else length)
        # Chunks begin at even places.
        chunk = _skipped(read, name, length + length % 2)
        if name == b"fmt ":
            form = _form(chunk)
    raise WavError("it ends before its samples")


def _skipped(read: Callable[[int], bytes], name: bytes, length: int) -> bytes:
    """Read a chunk, of which only that of the format is kept."""
    if name == b"fmt " and length <= 64:
        return read(length)
    while length > 0 and (piece := read(min(length, 65_536))):
        length -= len(piece)
    return b""


def _form(chunk: bytes) -> tuple[int, int, str]:
    if len(chunk) < 16:
        raise WavError("its format is cut off")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack("<H", chunk[24:26])
    dtype = _FORMATS.get((tag, bits))
    if dtype is None:
        raise WavError(f"samples of {bits} bits in coding {tag} are not read; PCM and float are")
    if channels == 0 or rate == 0:
        raise WavError(f"it has {channels} channels at {rate} Hz")
    return rate, channels, dtype


def header(rate: int, channels: int, bits: int, is_float: bool, length: int | None) -> bytes:
    """Make what stands before the samples.

    Parameters
    ----------
    rate : int
        In Hz.
    channels : int
        Number of channels.
    bits : int
        Bits of a sample.
    is_float : bool
        Whether samples are floats.
    length : int or None
        Bytes of samples, if that is known.
    """
    tag, frame = (_FLOAT if is_float else _PCM), channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    data = _UNKNOWN if length is None else min(length, _UNKNOWN)
    riff = min(data + 36, _UNKNOWN)
    return (
        struct.pack("<4sI4s4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16)
        + form
        + (struct.pack("<4sI", b"data", data))
    )
