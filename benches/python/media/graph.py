"""A whole graph beside GStreamer: a file decoded, to mono, to 16 kHz, speech found in it.

Ten minutes of stereo at 48 kHz. Ours is one call that reads and plans its manifest, in this
process; GStreamer is `gst-launch-1.0`, whose start is taken off: what the same line takes with a
file that is as good as empty. Where the processors worked for longer than the clock ran, there was
more than one thread.

What stands at the end differs. `level` measures as our energy mode does, each 30 ms, and decides
nothing; `removesilence` decides by level and zero crossings on 16-bit integers; `webrtcdsp` runs
WebRTC's detector on frames of 10 ms, behind its filter bank. audioresample's default quality is 4;
that of 10 is its best. The topic `resampling` measures the quality of both beside ours.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from gst import Took, run, write_wav
from measure import number
from ours import chain
from peers import package, program

from remotemedia_runtime import execute_pipeline

RATE, LOW = 48_000, 16_000
MINUTES = 10
TURNS = 5
READ = {
    "wav": "wavparse",
    "flac": "flacparse ! flacdec",
}
MONO = "audio/x-raw,format=F32LE,channels=1"
SHORT = f"audio/x-raw,format=S16LE,channels=1,rate={LOW}"
ENDS = {
    "level": "level interval=30000000 post-messages=false",
    "removesilence": f"audioconvert ! {SHORT} ! removesilence remove=false",
    "webrtcdsp": f"audioconvert ! {SHORT} ! webrtcdsp voice-detection=true echo-cancel=false "
    "noise-suppression=false gain-control=false high-pass-filter=false",
}


def graph():
    """Measure both with each kind of file."""
    sndfile, gst = package("soundfile"), program("gst-launch-1.0")
    samples = material()
    print(f"{MINUTES} minutes of stereo at {RATE} Hz; medians of {TURNS} turns")
    with tempfile.TemporaryDirectory() as folder:
        for kind in READ:
            path, empty = Path(folder, f"sound.{kind}"), Path(folder, f"empty.{kind}")
            if kind == "wav":
                write_wav(path, samples, RATE)
                write_wav(empty, samples[:0], RATE)
            elif sndfile:
                sndfile.write(path, samples, RATE)
                # The parser takes a file without any frame for a broken one.
                sndfile.write(empty, samples[:4_096], RATE)
            else:
                continue
            print(f"\n{kind:<56}{'s of the clock':>16}{'processors':>12}{'x real time':>14}")
            show(kind, path, empty, gst)


def show(kind, path, empty, gst):
    """Measure all ways with one file, in turns."""
    ways = {f"ours, quality {name}": ours(path, name) for name in ("high", "medium", "low")}
    if gst:
        for name, end in ENDS.items():
            for quality in (4, 10):
                ways[f"GStreamer, audioresample {quality}, {name}"] = by_gst(
                    kind, path, empty, quality, end
                )
    found = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            found[name].append(way())
    for name, turns in found.items():
        wall, cpu = (float(np.median(column)) for column in zip(*turns, strict=True))
        print(f"{name:<56}{wall:>16.3f}{cpu:>12.3f}{number(MINUTES * 60 / wall):>14}")


def material():
    """Make bursts of chords and pauses, a second each, with noise under both."""
    rng = np.random.default_rng(1)
    seconds = np.arange(MINUTES * 60 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * tone * seconds) for tone in (220, 329.6, 1_200)) * 3_000
    chord *= seconds % 2 < 1
    sides = np.stack([chord, np.roll(chord, 100)], axis=1)
    return (sides + rng.standard_normal(sides.shape) * 20).astype(np.int16)


def ours(path, quality):
    """Give a call that runs our graph once, and what that took."""
    text = chain(
        ("AudioFileSourceNode", {"path": str(path)}),
        ("FormatConverterNode", {"format": "f32", "channels": 1}),
        ("ResampleNode", {"target_rate": LOW, "quality": quality}),
        ("VADNode", {}),
    )

    def turn():
        began, worked = time.perf_counter(), time.process_time()
        segments = execute_pipeline(text)["result"]
        took = Took(time.perf_counter() - began, time.process_time() - worked)
        assert len(segments) == MINUTES * 30, len(segments)
        return took

    return turn


def by_gst(kind, path, empty, quality, end):
    """Give a call that runs their graph once, and what that took beyond its start."""

    def line(file):
        return (
            f"filesrc location={file} ! {READ[kind]} ! audioconvert ! {MONO} ! "
            f"audioresample quality={quality} ! {MONO},rate={LOW} ! {end} ! fakesink sync=false"
        )

    def turn():
        start, all_of_it = run(line(empty)), run(line(path))
        return Took(all_of_it.wall - start.wall, all_of_it.cpu - start.cpu)

    return turn
