"""The native nodes, as classes for `Pipeline.add_node`.

Made by ``python -m remotemedia._generate`` of what the nodes say of themselves; not to be changed
by hand.
"""

import os
from collections.abc import Sequence
from typing import ClassVar, Literal

from remotemedia.pipeline import NativeNode

__all__ = [
    "AudioFileSinkNode",
    "AudioFileSourceNode",
    "AudioResampleNode",
    "FormatConverterNode",
    "PassThroughNode",
    "ResampleNode",
    "VADNode",
]


class AudioFileSinkNode(NativeNode):
    """Writes audio to a WAV file of the same format (f32, i16, i24, i32, u8).

    Parameters
    ----------
    path : str
        The WAV file to write; a missing folder is made, an existing file is replaced once the new
        one is complete.
    """

    node_type: ClassVar[str] = "AudioFileSinkNode"

    def __init__(
        self,
        *,
        path: str,
    ) -> None:
        super().__init__(
            path=path,
        )


class AudioFileSourceNode(NativeNode):
    """Reads WAV files (8, 16, 24, 32-bit integer and 32-bit float) and gives their audio in chunks,
    in the files' own format.

    Parameters
    ----------
    path : str or os.PathLike or sequence of them
        A WAV file, or several that are read one after another and share one format.
    chunk_ms : int, optional
        Length of one chunk; the last one of a file may be shorter. From 1 to 10000 ms.
    gap_ms : int, optional
        Silence given after each file, also after the last one. From 0 to 600000 ms.
    """

    node_type: ClassVar[str] = "AudioFileSourceNode"

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        chunk_ms: int = 20,
        gap_ms: int = 0,
    ) -> None:
        super().__init__(
            path=path,
            chunk_ms=chunk_ms,
            gap_ms=gap_ms,
        )


class FormatConverterNode(NativeNode):
    """Converts audio to one sample format and channel count, interleaved.

    Parameters
    ----------
    format : {"f32", "f64", "i16", "i24", "i32", "u8"}, optional
        Sample format to convert to; integers are scaled to -1..1 in floats, rounded and clamped on
        the way back.
    channels : int, optional
        Number of channels to convert to; 0 keeps them, 1 is the mean of all, more are copies of the
        only one. From 0 to 256.
    """

    node_type: ClassVar[str] = "FormatConverterNode"

    def __init__(
        self,
        *,
        format: Literal["f32", "f64", "i16", "i24", "i32", "u8"] = "f32",
        channels: int = 0,
    ) -> None:
        super().__init__(
            format=format,
            channels=channels,
        )


class PassThroughNode(NativeNode):
    """Gives on what it gets, untouched and uncopied."""

    node_type: ClassVar[str] = "PassThroughNode"


class ResampleNode(NativeNode):
    """Changes the sample rate of f32 audio, without delay and with exact length.

    Parameters
    ----------
    target_rate : int, optional
        Sample rate to convert to; audio that has it already is given on untouched. From 1000 to
        384000 Hz.
    """

    node_type: ClassVar[str] = "ResampleNode"

    def __init__(
        self,
        *,
        target_rate: int = 16000,
    ) -> None:
        super().__init__(
            target_rate=target_rate,
        )


class VADNode(NativeNode):
    """Finds speech in mono f32 audio, and gives its segments or their audio.

    Parameters
    ----------
    mode : {"energy", "model"}, optional
        How a frame is judged: by its level, or by a model of speech (16000 Hz, frames of 16 ms).
    output : {"segments", "speech"}, optional
        What is given for a segment: JSON with start_ms, end_ms and energy_db, or its audio.
    threshold : float, optional
        Energy mode: least level of speech, relative to a square wave of full scale. From -120 to 0
        dB.
    hysteresis_db : float, optional
        Energy mode: how far below the threshold speech that has begun may fall. From 0 to 60 dB.
    model_threshold : float, optional
        Model mode: least probability of speech. From 0 to 1.
    model_hysteresis : float, optional
        Model mode: how far below the threshold speech that has begun may fall. From 0 to 1.
    frame_length_ms : int, optional
        Energy mode: length of a frame. From 1 to 1000 ms.
    sample_rate : int, optional
        Sample rate that the input must have; 0 for whatever it has. From 0 to 384000 Hz.
    onset_ms : int, optional
        Speech without a break that begins a segment; at least one frame. From 0 to 10000 ms.
    min_speech_ms : int, optional
        Least speech in a segment; one with less is dropped. From 0 to 60000 ms.
    min_silence_ms : int, optional
        Silence without a break that ends a segment; at least one frame. From 0 to 60000 ms.
    padding_ms : int, optional
        How much of what surrounds the speech belongs to the segment; behind it at most
        min_silence_ms. From 0 to 10000 ms.
    max_speech_ms : int, optional
        Most length of a segment without its padding, above min_speech_ms; a longer one is cut and
        goes on as the next one. From 1000 to 600000 ms.
    """

    node_type: ClassVar[str] = "VADNode"

    def __init__(
        self,
        *,
        mode: Literal["energy", "model"] = "energy",
        output: Literal["segments", "speech"] = "segments",
        threshold: float = -30.0,
        hysteresis_db: float = 3.0,
        model_threshold: float = 0.5,
        model_hysteresis: float = 0.0,
        frame_length_ms: int = 30,
        sample_rate: int = 0,
        onset_ms: int = 48,
        min_speech_ms: int = 192,
        min_silence_ms: int = 400,
        padding_ms: int = 320,
        max_speech_ms: int = 30000,
    ) -> None:
        super().__init__(
            mode=mode,
            output=output,
            threshold=threshold,
            hysteresis_db=hysteresis_db,
            model_threshold=model_threshold,
            model_hysteresis=model_hysteresis,
            frame_length_ms=frame_length_ms,
            sample_rate=sample_rate,
            onset_ms=onset_ms,
            min_speech_ms=min_speech_ms,
            min_silence_ms=min_silence_ms,
            padding_ms=padding_ms,
            max_speech_ms=max_speech_ms,
        )


AudioResampleNode = ResampleNode
