"""The native nodes, as classes for `Pipeline.add_node`.

Made by ``python -m remotemedia._generate`` of what the nodes say of themselves; not to be changed
by hand.
"""

# Lists of choices are as long as they are.
# ruff: noqa: E501
# fmt: off

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from remotemedia.pipeline import NativeNode

__all__ = [
    "AudioBufferNode",
    "AudioChunkerNode",
    "AudioDecoderNode",
    "AudioEncoderNode",
    "AudioFileSinkNode",
    "AudioFileSourceNode",
    "AudioMixerNode",
    "AudioResampleNode",
    "BatcherNode",
    "ChannelMixerNode",
    "ClippingDetectorNode",
    "DcBlockNode",
    "DelayNode",
    "FileSinkNode",
    "FileSourceNode",
    "FormatConverterNode",
    "FrameRateNode",
    "GainNode",
    "HighPassNode",
    "ImageFileSinkNode",
    "ImageFileSourceNode",
    "JsonSelectNode",
    "LevelMeterNode",
    "LimiterNode",
    "PassThroughNode",
    "RateLimiterNode",
    "ResampleNode",
    "SentenceCollectorNode",
    "SilenceDetectorNode",
    "StatisticsNode",
    "TeeNode",
    "TemplateNode",
    "ThumbnailNode",
    "VADNode",
    "VideoConverterNode",
    "VideoCropNode",
    "VideoFileSinkNode",
    "VideoFileSourceNode",
    "VideoScaleNode",
]


class AudioBufferNode(NativeNode):
    """Gathers items of audio until they are long enough, and gives them as one.

    Parameters
    ----------
    min_ms : int, optional
        How much audio is gathered. From 1 to 600000 ms.
    max_items : int, optional
        Number of items that is enough however short they are; null for any number. From 1 to
        1000000.
    max_wait_ms : int, optional
        Longest time by the clock that an item is held; null for any time. From 0 to 3600000 ms.
    """

    node_type: ClassVar[str] = "AudioBufferNode"

    def __init__(
        self,
        *,
        min_ms: int = 1000,
        max_items: int | None = None,
        max_wait_ms: int | None = None,
    ) -> None:
        super().__init__(
            min_ms=min_ms,
            max_items=max_items,
            max_wait_ms=max_wait_ms,
        )


class AudioChunkerNode(NativeNode):
    """Cuts audio into chunks of one length that follow, overlap or leave gaps.

    Parameters
    ----------
    size : float, optional
        Length of a chunk, in `unit`. From 0.001 to 10000000.
    hop : float, optional
        From the start of one chunk to that of the next, in `unit`; null for `size`. From 0.001 to
        10000000.
    unit : {"ms", "frames"}, optional
        What size and hop count.
    last : {"pad", "keep", "drop"}, optional
        What becomes of the last chunk where it is not full: silence fills it, it stays shorter, or
        it is dropped.
    """

    node_type: ClassVar[str] = "AudioChunkerNode"

    def __init__(
        self,
        *,
        size: float = 20.0,
        hop: float | None = None,
        unit: Literal["ms", "frames"] = "ms",
        last: Literal["pad", "keep", "drop"] = "keep",
    ) -> None:
        super().__init__(
            size=size,
            hop=hop,
            unit=unit,
            last=last,
        )


class AudioDecoderNode(NativeNode):
    """Decodes the bytes of sound (WAV; with the feature "codecs" also FLAC, MP3, Ogg Vorbis and
    Opus), a stream in pieces or whole files, and gives its audio in its own sample format or, of
    lossy formats, f32; what is known of each comes before its audio as JSON on the port "tags".

    Parameters
    ----------
    mode : {"stream", "files"}, optional
        Stream: all items are the pieces of one stream; files: each item is a whole file.
    max_item_mb : int, optional
        Most audio that may be made of one item, as few bytes can stand for much of it. From 1 to
        1048576 MiB.
    """

    node_type: ClassVar[str] = "AudioDecoderNode"

    def __init__(
        self,
        *,
        mode: Literal["stream", "files"] = "stream",
        max_item_mb: int = 1024,
    ) -> None:
        super().__init__(
            mode=mode,
            max_item_mb=max_item_mb,
        )


class AudioEncoderNode(NativeNode):
    """Gives audio as the bytes of one stream: WAV of any sample format or, with the feature
    "codecs", FLAC of i16, i24, i32 or u8.

    Parameters
    ----------
    format : {"wav", "flac"}, optional
        Format of the stream; WAV says an unknown length, FLAC is in blocks of 4096 frames.
    tags : dict, optional
        Title, artist and so on: texts, or lists of texts, by name.
    """

    node_type: ClassVar[str] = "AudioEncoderNode"

    def __init__(
        self,
        *,
        format: Literal["wav", "flac"] = "wav",
        tags: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            format=format,
            **({} if tags is None else {"tags": tags}),
        )


class AudioFileSinkNode(NativeNode):
    """Writes audio to a file of the same sample format: WAV of any format or, with the feature
    "codecs", FLAC of i16, i24, i32 or u8; tags come as JSON on the port "tags", as an
    AudioFileSourceNode gives them.

    Parameters
    ----------
    path : str
        The file to write; a missing folder is made, an existing file is replaced once the new one
        is complete.
    format : {"auto", "wav", "flac"}, optional
        Format of the file; auto goes by the end of its path.
    tags : dict, optional
        Title, artist and so on: texts, or lists of texts, by name; what comes by the port goes
        before them.
    """

    node_type: ClassVar[str] = "AudioFileSinkNode"

    def __init__(
        self,
        *,
        path: str,
        format: Literal["auto", "wav", "flac"] = "auto",
        tags: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            path=path,
            format=format,
            **({} if tags is None else {"tags": tags}),
        )


class AudioFileSourceNode(NativeNode):
    """Reads sound files (WAV; with the feature "codecs" also FLAC, MP3, Ogg Vorbis and Opus) and
    gives their audio in chunks, in the files' own sample format or, of lossy files, f32; what is
    known of each file comes before its audio as JSON on the port "tags".

    Parameters
    ----------
    path : str or os.PathLike or sequence of them
        A sound file, or several that are read one after another and share one format.
    chunk_ms : int, optional
        Length of one chunk, at most 64 MiB; the last one of a file may be shorter. From 1 to 10000
        ms.
    gap_ms : int, optional
        Silence given after each file, also after the last one. From 0 to 600000 ms.
    start_ms : int, optional
        How much of the beginning of each file is left out. From 0 to 4294967295 ms.
    duration_ms : int, optional
        How much of each file is read from there; null for all. From 0 to 4294967295 ms.
    """

    node_type: ClassVar[str] = "AudioFileSourceNode"

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        chunk_ms: int = 20,
        gap_ms: int = 0,
        start_ms: int = 0,
        duration_ms: int | None = None,
    ) -> None:
        super().__init__(
            path=path,
            chunk_ms=chunk_ms,
            gap_ms=gap_ms,
            start_ms=start_ms,
            duration_ms=duration_ms,
        )


class AudioMixerNode(NativeNode):
    """Adds up several inputs, aligned by their timestamps or by their start.

    Parameters
    ----------
    inputs : int, optional
        Number of inputs to wait for at the start; 0 where it is not known. From 0 to 1000.
    align : {"timestamp", "start"}, optional
        Where items lie: where their timestamps say, or one after another from the first sample of
        each input.
    block_ms : int, optional
        Length of the items that it gives. From 1 to 1000 ms.
    max_wait_ms : int, optional
        How long, by the clock, the mix waits for an input that gives nothing; null for ever. From 0
        to 3600000 ms.
    tolerance_ms : float, optional
        How far the timestamp of an item may be from the end of the one before and the item still
        follow it without a seam; at least one frame. From 0 to 1000 ms.
    gains_db : dict, optional
        Gain in dB of each input by the id of the node that it comes from, or by the port that it
        comes to.
    """

    node_type: ClassVar[str] = "AudioMixerNode"

    def __init__(
        self,
        *,
        inputs: int = 0,
        align: Literal["timestamp", "start"] = "timestamp",
        block_ms: int = 20,
        max_wait_ms: int | None = 200,
        tolerance_ms: float = 0.5,
        gains_db: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            inputs=inputs,
            align=align,
            block_ms=block_ms,
            max_wait_ms=max_wait_ms,
            tolerance_ms=tolerance_ms,
            **({} if gains_db is None else {"gains_db": gains_db}),
        )


class BatcherNode(NativeNode):
    """Puts items together: audio end to end, text joined, JSON as a list, tensors and video frames
    stacked into a tensor.

    Parameters
    ----------
    max_items : int, optional
        How many items make a batch. From 1 to 100000 items.
    max_wait_ms : int, optional
        A smaller batch is given so long after its first item came; 0 for never. From 0 to 3600000
        ms.
    max_bytes : int, optional
        A smaller batch is given before its payloads, with the separators of texts, would have more
        bytes than this. From 1 to 2147483648 bytes.
    separator : str, optional
        What stands between two texts.
    """

    node_type: ClassVar[str] = "BatcherNode"

    def __init__(
        self,
        *,
        max_items: int = 8,
        max_wait_ms: int = 0,
        max_bytes: int = 67108864,
        separator: str = "",
    ) -> None:
        super().__init__(
            max_items=max_items,
            max_wait_ms=max_wait_ms,
            max_bytes=max_bytes,
            separator=separator,
        )


class ChannelMixerNode(NativeNode):
    """Mixes, picks and reorders the channels of f32 audio.

    Parameters
    ----------
    layout : {"mono", "stereo", "3.0", "2.1", "quad", "5.0", "5.1", "7.1", "keep"}, optional
        Loudspeakers to mix for by ITU-R BS.775; channels are taken to come in the order front left,
        front right, centre, low frequencies, back left, back right, side left, side right.
    channels : int, optional
        Number of channels to mix for: the layout that has so many; 0 for what the other parameters
        say. From 0 to 256.
    matrix : list, optional
        Gains of the input channels, a row for each output channel.
    map : list, optional
        The input channel that each output channel is, from 0; -1 for silence.
    normalize : bool, optional
        Whether a mix that could go beyond full scale is made quieter as a whole.
    ramp_ms : float, optional
        Time in which gains that are changed while it runs get there. From 0 to 60000 ms.
    """

    node_type: ClassVar[str] = "ChannelMixerNode"

    def __init__(
        self,
        *,
        layout: Literal["mono", "stereo", "3.0", "2.1", "quad", "5.0", "5.1", "7.1", "keep"] = "keep",
        channels: int = 0,
        matrix: list[list[Any]] | None = None,
        map: list[int] | None = None,
        normalize: bool = False,
        ramp_ms: float = 10,
    ) -> None:
        super().__init__(
            layout=layout,
            channels=channels,
            matrix=matrix,
            map=map,
            normalize=normalize,
            ramp_ms=ramp_ms,
        )


class ClippingDetectorNode(NativeNode):
    """Finds runs of samples at full scale.

    Parameters
    ----------
    level_db : float, optional
        Magnitude from which on a sample may be clipped; 0 is full scale. From -60 to 20 dB.
    min_samples : int, optional
        How many such samples in a row of one channel are a clipping. From 1 to 1000000.
    interval_ms : int, optional
        Time of which the findings make one event. From 1 to 3600000 ms.
    output : {"events", "audio"}, optional
        What is given: JSON and no audio, or the audio untouched and JSON by the port "events".
    """

    node_type: ClassVar[str] = "ClippingDetectorNode"

    def __init__(
        self,
        *,
        level_db: float = -0.1,
        min_samples: int = 3,
        interval_ms: int = 100,
        output: Literal["events", "audio"] = "events",
    ) -> None:
        super().__init__(
            level_db=level_db,
            min_samples=min_samples,
            interval_ms=interval_ms,
            output=output,
        )


class DcBlockNode(NativeNode):
    """Removes a constant offset from audio by a high-pass of first order.

    Parameters
    ----------
    cutoff_hz : float, optional
        Where the level has fallen by 3 dB; below half of the sample rate. From 0.1 to 190000 Hz.
    """

    node_type: ClassVar[str] = "DcBlockNode"

    def __init__(
        self,
        *,
        cutoff_hz: float = 5.0,
    ) -> None:
        super().__init__(
            cutoff_hz=cutoff_hz,
        )


class DelayNode(NativeNode):
    """Gives items later, in order, or moves their timestamps.

    Parameters
    ----------
    delay_ms : float, optional
        How much later an item is given, or its timestamp is. From -8.64e+07 to 86400000 ms.
    mode : {"hold", "timestamp", "both"}, optional
        Whether items are held back, or only their timestamps and deadlines are moved (also back),
        or both, as if they had come into being later.
    max_items : int, optional
        Most items that are held back. From 1 to 1000000.
    max_bytes : int, optional
        Most bytes of payload that are held back; one item is, however large. From 1 to 1e+12 bytes.
    overflow : {"drop_oldest", "drop_newest", "error"}, optional
        What is done where there is no room: the item held longest or the new one goes to the port
        dropped, or the node fails.
    """

    node_type: ClassVar[str] = "DelayNode"

    def __init__(
        self,
        *,
        delay_ms: float = 0.0,
        mode: Literal["hold", "timestamp", "both"] = "hold",
        max_items: int = 4096,
        max_bytes: int = 268435456,
        overflow: Literal["drop_oldest", "drop_newest", "error"] = "drop_oldest",
    ) -> None:
        super().__init__(
            delay_ms=delay_ms,
            mode=mode,
            max_items=max_items,
            max_bytes=max_bytes,
            overflow=overflow,
        )


class FileSinkNode(NativeNode):
    """Records items of any type with their times, for FileSourceNode to play back.

    Parameters
    ----------
    path : str
        The file to write; a missing folder is made. What is in it can be played back up to the last
        whole item, whatever happens to the process.
    if_exists : {"replace", "error"}, optional
        Whether an existing file is replaced, or is an error at the start.
    max_bytes : int, optional
        Longest file; null for as long as the disk has room. From 128 to 1e+15 bytes.
    when_full : {"error", "stop"}, optional
        Whether an item that the file has no room for is an error, or the recording ends before it
        and the stream goes on.
    """

    node_type: ClassVar[str] = "FileSinkNode"

    def __init__(
        self,
        *,
        path: str,
        if_exists: Literal["replace", "error"] = "replace",
        max_bytes: int | None = None,
        when_full: Literal["error", "stop"] = "error",
    ) -> None:
        super().__init__(
            path=path,
            if_exists=if_exists,
            max_bytes=max_bytes,
            when_full=when_full,
        )


class FileSourceNode(NativeNode):
    """Plays back what FileSinkNode has recorded, with its timing or as fast as it goes.

    Parameters
    ----------
    path : str
        The recording.
    pace : {"realtime", "fast"}, optional
        Whether items are given in their time or at once.
    by : {"timestamp", "arrival"}, optional
        Which recorded times real time goes by: the items' timestamps, or when they came to the
        recorder.
    speed : float, optional
        How many seconds of the recording are played in one second. From 0.001 to 1000.
    max_gap_ms : int, optional
        A longer pause between two items is shortened to this; null for none. From 0 to 1e+12 ms.
    start_ms : int, optional
        Where in the recording to begin, counted from its first item. From 0 to 1e+12 ms.
    end_ms : int, optional
        The first item that is so long after the first one, or longer, is not played, nor what
        follows it; null to play to the end. From 0 to 1e+12 ms.
    restamp : {"original", "now"}, optional
        Whether items keep their timestamps, or get those of when they are played; deadlines are
        moved in either case.
    loop : int, optional
        How many times the recording is played; 0 for without end. From 0 to 9.007199255e+15.
    truncated : {"error", "accept"}, optional
        What becomes of a recording without its end, once its whole items have been played.
    max_item_bytes : int, optional
        An item with a longer payload is an error. From 0 to 4294967295 bytes.
    """

    node_type: ClassVar[str] = "FileSourceNode"

    def __init__(
        self,
        *,
        path: str,
        pace: Literal["realtime", "fast"] = "realtime",
        by: Literal["timestamp", "arrival"] = "timestamp",
        speed: float = 1.0,
        max_gap_ms: int | None = None,
        start_ms: int = 0,
        end_ms: int | None = None,
        restamp: Literal["original", "now"] = "original",
        loop: int = 1,
        truncated: Literal["error", "accept"] = "error",
        max_item_bytes: int = 268435456,
    ) -> None:
        super().__init__(
            path=path,
            pace=pace,
            by=by,
            speed=speed,
            max_gap_ms=max_gap_ms,
            start_ms=start_ms,
            end_ms=end_ms,
            restamp=restamp,
            loop=loop,
            truncated=truncated,
            max_item_bytes=max_item_bytes,
        )


class FormatConverterNode(NativeNode):
    """Converts audio to one sample format, channel count and layout.

    Parameters
    ----------
    format : {"f32", "f64", "i16", "i24", "i32", "u8", "keep"}, optional
        Sample format to convert to; integers are scaled to -1..1 in floats, rounded and clamped on
        the way back.
    channels : int, optional
        Number of channels to convert to; 0 keeps them, 1 is the mean of all, more are copies of the
        only one. From 0 to 256.
    layout : {"interleaved", "planar", "keep"}, optional
        How the channels are to lie in memory.
    dither : {"none", "rectangular", "triangular"}, optional
        Noise to add before samples are rounded to integers of fewer bits, so that the error does
        not follow the signal: over one step (rectangular) or two (triangular).
    dither_seed : int, optional
        Which noise; the same seed gives the same. From 0 to 4294967295.
    """

    node_type: ClassVar[str] = "FormatConverterNode"

    def __init__(
        self,
        *,
        format: Literal["f32", "f64", "i16", "i24", "i32", "u8", "keep"] = "f32",
        channels: int = 0,
        layout: Literal["interleaved", "planar", "keep"] = "interleaved",
        dither: Literal["none", "rectangular", "triangular"] = "none",
        dither_seed: int = 0,
    ) -> None:
        super().__init__(
            format=format,
            channels=channels,
            layout=layout,
            dither=dither,
            dither_seed=dither_seed,
        )


class FrameRateNode(NativeNode):
    """Gives video at a fixed number of frames a second, by the frames' times; the port stats tells
    at the end how many were dropped and duplicated.

    Parameters
    ----------
    fps : object
        Frames a second, as a number or as a fraction such as "30000/1001"; 23.976, 29.97 and 59.94
        stand for the fractions of NTSC. In frames/s.
    on_gap : {"duplicate", "skip"}, optional
        What happens where no frame comes for longer than max_gap_ms: duplicate repeats the last one
        for that long and then gives nothing, skip gives nothing at once.
    max_gap_ms : int, optional
        Longest gap that is filled with repeated frames; a frame that is earlier than the one before
        it by more than this begins anew. From 0 to 10000 ms.
    """

    node_type: ClassVar[str] = "FrameRateNode"

    def __init__(
        self,
        *,
        fps: Any,
        on_gap: Literal["duplicate", "skip"] = "duplicate",
        max_gap_ms: int = 1000,
    ) -> None:
        super().__init__(
            fps=fps,
            on_gap=on_gap,
            max_gap_ms=max_gap_ms,
        )


class GainNode(NativeNode):
    """Changes the level of audio; changes while it runs are ramps without a click.

    Parameters
    ----------
    gain_db : float, optional
        How much louder, or softer where it is negative; -120 is silence. From -120 to 60 dB.
    ramp_ms : int, optional
        How long a change takes while audio flows, linear in amplitude. From 0 to 10000 ms.
    mute : bool, optional
        Silence, whatever the gain is.
    """

    node_type: ClassVar[str] = "GainNode"

    def __init__(
        self,
        *,
        gain_db: float = 0.0,
        ramp_ms: int = 20,
        mute: bool = False,
    ) -> None:
        super().__init__(
            gain_db=gain_db,
            ramp_ms=ramp_ms,
            mute=mute,
        )


class HighPassNode(NativeNode):
    """Removes what lies below a frequency by a Butterworth high-pass.

    Parameters
    ----------
    cutoff_hz : float, optional
        Where the level has fallen by 3 dB; below half of the sample rate. From 1 to 190000 Hz.
    order : {2, 4, 6, 8}, optional
        Steepness: 6 dB per octave for each.
    """

    node_type: ClassVar[str] = "HighPassNode"

    def __init__(
        self,
        *,
        cutoff_hz: float = 80.0,
        order: Literal[2, 4, 6, 8] = 2,
    ) -> None:
        super().__init__(
            cutoff_hz=cutoff_hz,
            order=order,
        )


class ImageFileSinkNode(NativeNode):
    """Writes each frame to a PNG or JPEG file.

    Parameters
    ----------
    path : str
        The file to write, with {index} (or {index:06}) for a file of each frame; without it each
        frame replaces the file; a missing folder is made.
    format : {"png", "jpeg"}, optional
        Form of the files; by default what the end of the path says.
    quality : int, optional
        Quality of JPEG. From 1 to 100.
    first : int, optional
        Number of the first file, where the path has {index}. From 0 to 4294967295.
    matrix : {"auto", "bt601", "bt709"}, optional
        Matrix of luma and chroma: auto is bt709 for frames of 720 rows and more, bt601 for lower
        ones.
    range : {"limited", "full"}, optional
        Range of luma and chroma: limited has black at 16 and white at 235 (of 8 bits), full at 0
        and 255; RGB and gray are full always.
    """

    node_type: ClassVar[str] = "ImageFileSinkNode"

    def __init__(
        self,
        *,
        path: str,
        format: Literal["png", "jpeg"] | None = None,
        quality: int = 90,
        first: int = 0,
        matrix: Literal["auto", "bt601", "bt709"] = "auto",
        range: Literal["limited", "full"] = "limited",
    ) -> None:
        super().__init__(
            path=path,
            format=format,
            quality=quality,
            first=first,
            matrix=matrix,
            range=range,
        )


class ImageFileSourceNode(NativeNode):
    """Reads pictures (PNG, JPEG, BMP, PNM, WebP) and gives them as frames of video.

    Parameters
    ----------
    path : str or os.PathLike or sequence of them
        A picture (PNG, JPEG, BMP, PNM, WebP), a list of them, or the path of a numbered sequence
        with {index}, or {index:06} for numbers of at least 6 digits.
    first : int, optional
        Number of the first file of a sequence; by default 0 if it is there, else 1. From 0 to
        4294967295.
    fps : object, optional
        Frames a second, as a number or as a fraction such as "30000/1001". In frames/s.
    format : {"rgb24", "bgr24", "rgba32", "gray8", "yuv420p", "nv12", "bgra32", "argb32", "gray16",
        "nv21", "yuv422p", "yuv444p", "yuyv422", "uyvy422", "p010"}, optional
        Pixel format of the frames; null for that of each file: rgb24, rgba32, gray8 or gray16.
    realtime : bool, optional
        Whether frames are given when their time has come; otherwise they come as fast as they are
        taken.
    repeat : int, optional
        How often all of it is given; 0 is for ever. From 0 to 4294967295.
    matrix : {"auto", "bt601", "bt709"}, optional
        Matrix of luma and chroma: auto is bt709 for frames of 720 rows and more, bt601 for lower
        ones.
    range : {"limited", "full"}, optional
        Range of luma and chroma: limited has black at 16 and white at 235 (of 8 bits), full at 0
        and 255; RGB and gray are full always.
    """

    node_type: ClassVar[str] = "ImageFileSourceNode"

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        first: int | None = None,
        fps: Any = 25,
        format: Literal["rgb24", "bgr24", "rgba32", "gray8", "yuv420p", "nv12", "bgra32", "argb32", "gray16", "nv21", "yuv422p", "yuv444p", "yuyv422", "uyvy422", "p010"] | None = "rgb24",
        realtime: bool = False,
        repeat: int = 1,
        matrix: Literal["auto", "bt601", "bt709"] = "auto",
        range: Literal["limited", "full"] = "limited",
    ) -> None:
        super().__init__(
            path=path,
            first=first,
            fps=fps,
            format=format,
            realtime=realtime,
            repeat=repeat,
            matrix=matrix,
            range=range,
        )


class JsonSelectNode(NativeNode):
    """Takes values out of JSON by JSON Pointer (RFC 6901) or JSONPath (RFC 9535).

    Parameters
    ----------
    path : str, optional
        A JSON Pointer such as /choices/0/text, a JSONPath such as $.words[*].text, or nothing for
        the whole document.
    output : {"json", "text"}, optional
        What is given; as text, a string stands without its quotes, other values are written as
        JSON, and null counts as missing.
    missing : {"error", "skip", "null"}, optional
        What an item gives in which nothing is found: an error, nothing, or null.
    many : {"each", "first", "list"}, optional
        What is given of several values: each as an item, the first, or one list, which then also
        holds a single value.
    """

    node_type: ClassVar[str] = "JsonSelectNode"

    def __init__(
        self,
        *,
        path: str = "",
        output: Literal["json", "text"] = "json",
        missing: Literal["error", "skip", "null"] = "error",
        many: Literal["each", "first", "list"] = "each",
    ) -> None:
        super().__init__(
            path=path,
            output=output,
            missing=missing,
            many=many,
        )


class LevelMeterNode(NativeNode):
    """Measures RMS, peak, true peak and loudness (EBU R 128) of audio.

    Parameters
    ----------
    interval_ms : int, optional
        Time between measurements; loudness is renewed every 100 ms. From 1 to 3600000 ms.
    loudness : bool, optional
        Whether loudness is measured: of 1 to 8 channels at 8 kHz or more.
    true_peak : bool, optional
        Whether peaks between samples are measured, by oversampling; of up to 64 channels.
    output : {"events", "audio"}, optional
        What is given: JSON and no audio, or the audio untouched and JSON by the port "events".
    """

    node_type: ClassVar[str] = "LevelMeterNode"

    def __init__(
        self,
        *,
        interval_ms: int = 100,
        loudness: bool = True,
        true_peak: bool = True,
        output: Literal["events", "audio"] = "events",
    ) -> None:
        super().__init__(
            interval_ms=interval_ms,
            loudness=loudness,
            true_peak=true_peak,
            output=output,
        )


class LimiterNode(NativeNode):
    """Keeps every sample at or below a ceiling, with look-ahead and without delay in the result.

    Parameters
    ----------
    ceiling_db : float, optional
        Highest level of a sample. From -60 to 0 dB.
    lookahead_ms : float, optional
        How long before a peak the level begins to fall; so much audio is held back. From 0 to 100
        ms.
    release_ms : float, optional
        How fast the level recovers: the time in which 63 % of the way is gone. From 1 to 10000 ms.
    """

    node_type: ClassVar[str] = "LimiterNode"

    def __init__(
        self,
        *,
        ceiling_db: float = -1.0,
        lookahead_ms: float = 5.0,
        release_ms: float = 50.0,
    ) -> None:
        super().__init__(
            ceiling_db=ceiling_db,
            lookahead_ms=lookahead_ms,
            release_ms=release_ms,
        )


class PassThroughNode(NativeNode):
    """Gives on what it gets, untouched and uncopied."""

    node_type: ClassVar[str] = "PassThroughNode"


class RateLimiterNode(NativeNode):
    """Lets so many items or bytes a second through, and drops or holds back the rest.

    Parameters
    ----------
    items_per_second : float, optional
        Most items a second; null for any number. From 1e-06 to 1e+12 items/s.
    bytes_per_second : float, optional
        Most bytes of payload a second; null for any. From 1e-06 to 1e+12 bytes/s.
    burst_items : float, optional
        How many items may go at once after a pause. From 1 to 1000000000 items.
    burst_bytes : float, optional
        How many bytes may go at once after a pause; null for those of one second. A larger item
        goes when all of them may, and the next one waits accordingly. From 1e-06 to 1e+12 bytes.
    policy : {"drop", "hold"}, optional
        Whether an item beyond the rate goes to the port dropped, or is held back until it may go.
    by : {"clock", "timestamp"}, optional
        Whether the time is that of the clock or of the items' timestamps; by timestamps, what is
        held back goes when the time of a later item permits, and the rest at the end.
    max_items : int, optional
        Most items that are held back. From 1 to 1000000.
    max_bytes : int, optional
        Most bytes of payload that are held back; one item is, however large. From 1 to 1e+12 bytes.
    overflow : {"drop_oldest", "drop_newest", "error"}, optional
        What is done where there is no room: the item held longest or the new one goes to the port
        dropped, or the node fails.
    """

    node_type: ClassVar[str] = "RateLimiterNode"

    def __init__(
        self,
        *,
        items_per_second: float | None = 10.0,
        bytes_per_second: float | None = None,
        burst_items: float = 1.0,
        burst_bytes: float | None = None,
        policy: Literal["drop", "hold"] = "drop",
        by: Literal["clock", "timestamp"] = "clock",
        max_items: int = 256,
        max_bytes: int = 268435456,
        overflow: Literal["drop_oldest", "drop_newest", "error"] = "drop_oldest",
    ) -> None:
        super().__init__(
            items_per_second=items_per_second,
            bytes_per_second=bytes_per_second,
            burst_items=burst_items,
            burst_bytes=burst_bytes,
            policy=policy,
            by=by,
            max_items=max_items,
            max_bytes=max_bytes,
            overflow=overflow,
        )


class ResampleNode(NativeNode):
    """Changes the sample rate of f32 audio, without delay and with exact length.

    Parameters
    ----------
    target_rate : int, optional
        Sample rate to convert to; audio that has it already is given on untouched. From 1000 to
        384000 Hz.
    quality : {"low", "medium", "high"}, optional
        How much of the band is kept and how well the rest is rejected: 91 % and 120 dB (high), 80 %
        and 100 dB (medium), 68 % and 80 dB (low); less is waited for less.
    """

    node_type: ClassVar[str] = "ResampleNode"

    def __init__(
        self,
        *,
        target_rate: int = 16000,
        quality: Literal["low", "medium", "high"] = "high",
    ) -> None:
        super().__init__(
            target_rate=target_rate,
            quality=quality,
        )


class SentenceCollectorNode(NativeNode):
    """Puts pieces of text, cut anywhere, together into sentences, each as soon as it is certain
    that it has ended.

    Parameters
    ----------
    min_chars : int, optional
        A shorter sentence is given together with the next one. From 0 to 2000 characters.
    max_chars : int, optional
        A longer sentence is cut: behind a comma or the like in its second half, else between words.
        From 10 to 2000 characters.
    max_wait_ms : int, optional
        When no text has come for so long, what is there is given although the sentence has not
        ended; 0 for never. From 0 to 600000 ms.
    newlines : {"always", "blank_line", "never"}, optional
        Which line ends end a sentence.
    abbreviations : list, optional
        Words whose full stop ends no sentence, in place of the built-in English and German ones; a
        small first letter stands for a capital as well, and what begins with a hyphen is the end of
        a word.
    """

    node_type: ClassVar[str] = "SentenceCollectorNode"

    def __init__(
        self,
        *,
        min_chars: int = 0,
        max_chars: int = 400,
        max_wait_ms: int = 0,
        newlines: Literal["always", "blank_line", "never"] = "always",
        abbreviations: list[str] | None = None,
    ) -> None:
        super().__init__(
            min_chars=min_chars,
            max_chars=max_chars,
            max_wait_ms=max_wait_ms,
            newlines=newlines,
            **({} if abbreviations is None else {"abbreviations": abbreviations}),
        )


class SilenceDetectorNode(NativeNode):
    """Says where audio falls silent and where it sounds again.

    Parameters
    ----------
    threshold_db : float, optional
        RMS level below which it is quiet; 0 is a square wave of full scale. From -119 to 0 dB.
    hysteresis_db : float, optional
        How far above the threshold the level has to rise to end a silence. From 0 to 60 dB.
    min_silence_ms : int, optional
        How long it must be quiet to be a silence. From 1 to 600000 ms.
    window_ms : int, optional
        Time over which a level is taken. From 1 to 1000 ms.
    output : {"events", "audio"}, optional
        What is given: JSON and no audio, or the audio untouched and JSON by the port "events".
    """

    node_type: ClassVar[str] = "SilenceDetectorNode"

    def __init__(
        self,
        *,
        threshold_db: float = -50.0,
        hysteresis_db: float = 3.0,
        min_silence_ms: int = 500,
        window_ms: int = 10,
        output: Literal["events", "audio"] = "events",
    ) -> None:
        super().__init__(
            threshold_db=threshold_db,
            hysteresis_db=hysteresis_db,
            min_silence_ms=min_silence_ms,
            window_ms=window_ms,
            output=output,
        )


class StatisticsNode(NativeNode):
    """Gives items on untouched, and on the port statistics JSON of rates, times between items,
    jitter and age, by type of data.

    Parameters
    ----------
    interval_ms : int, optional
        Time between two reports; 0 for none by time. From 0 to 86400000 ms.
    every : int, optional
        Number of items between two reports; 0 for none by number. There is always one at the end.
        From 0 to 9.007199255e+15 items.
    """

    node_type: ClassVar[str] = "StatisticsNode"

    def __init__(
        self,
        *,
        interval_ms: int = 1000,
        every: int = 0,
    ) -> None:
        super().__init__(
            interval_ms=interval_ms,
            every=every,
        )


class TeeNode(NativeNode):
    """Gives each item on, and chosen ones on the ports a, b, c and d as well, without copying
    payloads.

    Parameters
    ----------
    a : dict, optional
        Which items this port gets: all, or by one of {"every": n}, {"first": n}, {"probability": p}
        and {"per_second": r} (by the items' times).
    b : dict, optional
        Which items this port gets: all, or by one of {"every": n}, {"first": n}, {"probability": p}
        and {"per_second": r} (by the items' times).
    c : dict, optional
        Which items this port gets: all, or by one of {"every": n}, {"first": n}, {"probability": p}
        and {"per_second": r} (by the items' times).
    d : dict, optional
        Which items this port gets: all, or by one of {"every": n}, {"first": n}, {"probability": p}
        and {"per_second": r} (by the items' times).
    seed : int, optional
        Begin of the random numbers of the policy probability; the same one chooses the same items.
        From 0 to 9.007199255e+15.
    """

    node_type: ClassVar[str] = "TeeNode"

    def __init__(
        self,
        *,
        a: dict[str, Any] | None = None,
        b: dict[str, Any] | None = None,
        c: dict[str, Any] | None = None,
        d: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            a=a,
            b=b,
            c=c,
            d=d,
            seed=seed,
        )


class TemplateNode(NativeNode):
    """Makes text or JSON of each item of text or JSON by a Jinja2 template.

    Parameters
    ----------
    template : str
        The template; it sees text, or json and the fields of the object, and language, timestamp
        (in seconds since 1970), correlation_id and the constants of `values`.
    output : {"text", "json"}, optional
        What the template writes; JSON is checked.
    undefined : {"error", "empty"}, optional
        Whether a variable that an item does not have is an error or empty.
    values : dict, optional
        Constants that the template sees by their names.
    """

    node_type: ClassVar[str] = "TemplateNode"

    def __init__(
        self,
        *,
        template: str,
        output: Literal["text", "json"] = "text",
        undefined: Literal["error", "empty"] = "error",
        values: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            template=template,
            output=output,
            undefined=undefined,
            **({} if values is None else {"values": values}),
        )


class ThumbnailNode(NativeNode):
    """Gives a small picture of every n-th frame or of one frame in each interval.

    Parameters
    ----------
    every : int, optional
        One in so many frames is taken. From 1 to 4294967295.
    interval_ms : int, optional
        Least time from one frame that is taken to the next; 0 takes all that every lets through.
        From 0 to 4294967295 ms.
    width : int, optional
        Largest width of a picture. From 1 to 16384 pixels.
    height : int, optional
        Largest height of a picture. From 1 to 16384 pixels.
    output : {"jpeg", "png", "frame"}, optional
        What is given: the bytes of a JPEG or PNG file, or a frame in rgb24.
    quality : int, optional
        Quality of JPEG. From 1 to 100.
    matrix : {"auto", "bt601", "bt709"}, optional
        Matrix of luma and chroma: auto is bt709 for frames of 720 rows and more, bt601 for lower
        ones.
    range : {"limited", "full"}, optional
        Range of luma and chroma: limited has black at 16 and white at 235 (of 8 bits), full at 0
        and 255; RGB and gray are full always.
    """

    node_type: ClassVar[str] = "ThumbnailNode"

    def __init__(
        self,
        *,
        every: int = 1,
        interval_ms: int = 0,
        width: int = 320,
        height: int = 320,
        output: Literal["jpeg", "png", "frame"] = "jpeg",
        quality: int = 80,
        matrix: Literal["auto", "bt601", "bt709"] = "auto",
        range: Literal["limited", "full"] = "limited",
    ) -> None:
        super().__init__(
            every=every,
            interval_ms=interval_ms,
            width=width,
            height=height,
            output=output,
            quality=quality,
            matrix=matrix,
            range=range,
        )


class VADNode(NativeNode):
    """Finds speech in mono f32 audio, and gives its segments, their audio, or the audio with
    silence outside of them.

    Parameters
    ----------
    mode : {"energy", "model"}, optional
        How a frame is judged: by its level, or by a model of speech (16000 Hz, frames of 16 ms).
    output : {"segments", "speech", "gated"}, optional
        What is given: of each segment JSON with start_ms, end_ms and energy_db, or its audio, or
        all of the audio with silence outside of the segments.
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
    fade_ms : int, optional
        Gated output: how long the sound takes to rise within a segment and to fall behind it. From
        0 to 1000 ms.
    """

    node_type: ClassVar[str] = "VADNode"

    def __init__(
        self,
        *,
        mode: Literal["energy", "model"] = "energy",
        output: Literal["segments", "speech", "gated"] = "segments",
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
        fade_ms: int = 5,
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
            fade_ms=fade_ms,
        )


class VideoConverterNode(NativeNode):
    """Converts video to one pixel format, by BT.601 or BT.709 in limited or full range.

    Parameters
    ----------
    format : {"rgb24", "bgr24", "rgba32", "gray8", "yuv420p", "nv12", "bgra32", "argb32", "gray16",
        "nv21", "yuv422p", "yuv444p", "yuyv422", "uyvy422", "p010"}
        Pixel format to convert to; chroma is averaged or repeated where its resolution differs,
        alpha is kept, dropped, or made opaque.
    matrix : {"auto", "bt601", "bt709"}, optional
        Matrix of luma and chroma: auto is bt709 for frames of 720 rows and more, bt601 for lower
        ones.
    range : {"limited", "full"}, optional
        Range of luma and chroma: limited has black at 16 and white at 235 (of 8 bits), full at 0
        and 255; RGB and gray are full always.
    source_matrix : {"auto", "bt601", "bt709"}, optional
        Matrix of what comes, where it is another one than that of what is given.
    source_range : {"limited", "full"}, optional
        Range of what comes, where it is another one than that of what is given.
    """

    node_type: ClassVar[str] = "VideoConverterNode"

    def __init__(
        self,
        *,
        format: Literal["rgb24", "bgr24", "rgba32", "gray8", "yuv420p", "nv12", "bgra32", "argb32", "gray16", "nv21", "yuv422p", "yuv444p", "yuyv422", "uyvy422", "p010"],
        matrix: Literal["auto", "bt601", "bt709"] = "auto",
        range: Literal["limited", "full"] = "limited",
        source_matrix: Literal["auto", "bt601", "bt709"] | None = None,
        source_range: Literal["limited", "full"] | None = None,
    ) -> None:
        super().__init__(
            format=format,
            matrix=matrix,
            range=range,
            source_matrix=source_matrix,
            source_range=source_range,
        )


class VideoCropNode(NativeNode):
    """Cuts a rectangle out of each frame.

    Parameters
    ----------
    x : int, optional
        Columns to the left of the rectangle; even where two columns share chroma. From 0 to 65536
        pixels.
    y : int, optional
        Rows above the rectangle; even where two rows share chroma. From 0 to 65536 pixels.
    width : int, optional
        Width of the rectangle; 0 is up to the right edge. From 0 to 65536 pixels.
    height : int, optional
        Height of the rectangle; 0 is up to the lower edge. From 0 to 65536 pixels.
    """

    node_type: ClassVar[str] = "VideoCropNode"

    def __init__(
        self,
        *,
        x: int = 0,
        y: int = 0,
        width: int = 0,
        height: int = 0,
    ) -> None:
        super().__init__(
            x=x,
            y=y,
            width=width,
            height=height,
        )


class VideoFileSinkNode(NativeNode):
    """Writes video to a Y4M file (yuv420p, yuv422p, yuv444p, gray8).

    Parameters
    ----------
    path : str
        The Y4M file to write; a missing folder is made, an existing file is replaced once the new
        one is complete.
    """

    node_type: ClassVar[str] = "VideoFileSinkNode"

    def __init__(
        self,
        *,
        path: str,
    ) -> None:
        super().__init__(
            path=path,
        )


class VideoFileSourceNode(NativeNode):
    """Reads a Y4M file and gives its frames, in the file's own format.

    Parameters
    ----------
    path : str
        A Y4M file.
    fps : object, optional
        Frames a second, as a number or as a fraction such as "30000/1001", in place of what the
        file says; 25 where it says nothing. In frames/s.
    realtime : bool, optional
        Whether frames are given when their time has come; otherwise they come as fast as they are
        taken.
    repeat : int, optional
        How often all of it is given; 0 is for ever. From 0 to 4294967295.
    """

    node_type: ClassVar[str] = "VideoFileSourceNode"

    def __init__(
        self,
        *,
        path: str,
        fps: Any = None,
        realtime: bool = False,
        repeat: int = 1,
    ) -> None:
        super().__init__(
            path=path,
            fps=fps,
            realtime=realtime,
            repeat=repeat,
        )


class VideoScaleNode(NativeNode):
    """Scales video to a width, a height or both, in the pixel format and by the matrix that come;
    where the height crosses 720 rows, matrix auto of a VideoConverterNode behind it assumes another
    matrix than theirs, and its source_matrix has to name it.

    Parameters
    ----------
    width : int, optional
        Width of the frames that are given; 0 is what the height and the aspect ratio say, even
        where columns share chroma. From 0 to 16384 pixels.
    height : int, optional
        Height of the frames that are given; 0 is what the width and the aspect ratio say, even
        where rows share chroma. From 0 to 16384 pixels.
    fit : {"stretch", "contain", "cover"}, optional
        What happens where the aspect ratios differ: stretch distorts, contain shows all of it
        between bars, cover cuts off what is beyond.
    filter : {"nearest", "box", "bilinear", "bicubic", "lanczos3"}, optional
        How pixels are found: as Pillow's filter of the same name, each of which but nearest is
        widened where the picture becomes smaller, so that it does not alias; box is the mean of an
        area.
    fill : str, optional
        Colour of the bars of contain, as #rrggbb.
    matrix : {"auto", "bt601", "bt709"}, optional
        Matrix of luma and chroma: auto is bt709 for frames of 720 rows and more, bt601 for lower
        ones.
    range : {"limited", "full"}, optional
        Range of luma and chroma: limited has black at 16 and white at 235 (of 8 bits), full at 0
        and 255; RGB and gray are full always.
    """

    node_type: ClassVar[str] = "VideoScaleNode"

    def __init__(
        self,
        *,
        width: int = 0,
        height: int = 0,
        fit: Literal["stretch", "contain", "cover"] = "stretch",
        filter: Literal["nearest", "box", "bilinear", "bicubic", "lanczos3"] = "bilinear",
        fill: str = "#000000",
        matrix: Literal["auto", "bt601", "bt709"] = "auto",
        range: Literal["limited", "full"] = "limited",
    ) -> None:
        super().__init__(
            width=width,
            height=height,
            fit=fit,
            filter=filter,
            fill=fill,
            matrix=matrix,
            range=range,
        )


AudioResampleNode = ResampleNode
