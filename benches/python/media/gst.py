"""GStreamer as a program: what `gst-launch-1.0` makes of a file, and what that takes.

Main functions: `resample` and `run`.
"""

import os
import subprocess
import tempfile
import time
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Took(NamedTuple):
    """Seconds: of the clock, and of the processors."""

    wall: float
    cpu: float


def run(line):
    """Run a pipeline to its end, and give what the process took."""
    began = time.perf_counter()
    process = subprocess.Popen(
        ["gst-launch-1.0", "-q", *line.split()], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    assert process.returncode == 0, said.decode()
    return Took(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def resample(samples, source, target, quality):
    """Resample mono float32 by audioresample with this quality, from 0 to 10."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given"), Path(folder, "made")
        given.write_bytes(samples.astype("<f4").tobytes())
        audio = "audio/x-raw,format=F32LE,channels=1,layout=interleaved"
        run(
            f"filesrc location={given} ! rawaudioparse format=pcm pcm-format=f32le num-channels=1 "
            f"sample-rate={source} ! audioresample quality={quality} ! "
            f"{audio},rate={target} ! filesink location={made}"
        )
        return np.frombuffer(made.read_bytes(), "<f4")


def write_wav(path, samples, rate):
    """Write 16-bit samples: frames by channels."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
