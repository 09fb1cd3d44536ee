"""`AudioFileSourceNode` beside libsndfile: how much faster than real time files are decoded.

A minute of stereo at 48 kHz on one thread. Our node gives it in items of 20 ms; libsndfile reads
all of it at once into memory that is there, as its package for Python seeks after every block,
which costs more than the decoding. The files are written here, by libsndfile, so both read the
same. WAV and FLAC keep their 16-bit integers, the others become float32, and libsndfile is asked
for the same type. Its own decoders are libFLAC, mpg123, libvorbis and libopus.
"""

import tempfile
from pathlib import Path

import numpy as np
from measure import measure, number
from ours import given, node
from peers import package

RATE = 48_000
SECONDS = 60
# By the end of a file's name: container and coding as libsndfile names them, and the type.
KINDS = {
    "wav": ("WAV", "PCM_16", np.int16),
    "flac": ("FLAC", "PCM_16", np.int16),
    "mp3": ("MP3", "MPEG_LAYER_III", np.float32),
    "ogg": ("OGG", "VORBIS", np.float32),
    "opus": ("OGG", "OPUS", np.float32),
}


def decoding():
    """Measure each kind of file."""
    sndfile = package("soundfile")
    if not sndfile:
        return
    print(f"libsndfile {sndfile.__libsndfile_version__}; {SECONDS} s of stereo at {RATE} Hz")
    with tempfile.TemporaryDirectory() as folder:
        ways = {}
        for kind, (container, coding, dtype) in KINDS.items():
            path = Path(folder, f"sound.{kind}")
            write(sndfile, path, container, coding)
            found, expected = decoded(path), sndfile.read(path, dtype=dtype.__name__)[0]
            print(f"{kind:<6}{path.stat().st_size * 8 / SECONDS / 1e3:>6.0f} kbit/s, ", end="")
            print(difference(found, expected))
            ways[f"{kind}, AudioFileSourceNode"] = lambda path=path: read(path)
            ways[f"{kind}, libsndfile"] = peer(sndfile, path, dtype)
        measure(
            ways,
            seconds=2,
            beside=lambda _, times: f"{number(SECONDS * 1e6 / times.median)} x real time",
        )


def material():
    """Make chords with noise, which cost an encoder and a decoder about what music does."""
    rng = np.random.default_rng(1)
    seconds = np.arange(SECONDS * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * tone * seconds) for tone in (220, 277.2, 329.6, 3_520, 8_000))
    sides = np.stack([chord, np.roll(chord, 100)], axis=1) * 0.08
    level = 0.02 * (1 + np.sin(2 * np.pi * seconds / 3))[:, None]
    return (sides + rng.standard_normal(sides.shape) * level).astype(np.float32)


def write(sndfile, path, container, coding):
    """Write the sound, a second at a time: whole minutes of Vorbis at once fail in libsndfile."""
    samples = material()
    options = {"format": container, "subtype": coding}
    with sndfile.SoundFile(path, "w", RATE, 2, **options) as file:
        for at in range(0, len(samples), RATE):
            file.write(samples[at : at + RATE])


def read(path):
    """Read a file by a new node, dropping what it gives; give the number of frames."""
    source, frames, more = node("AudioFileSourceNode", path=str(path)), 0, True
    while more:
        parts, more = source.produce()
        frames += sum(item.frames for item in given(parts))
    return frames


def decoded(path):
    """Give all that the node reads from a file."""
    source, items, more = node("AudioFileSourceNode", path=str(path)), [], True
    while more:
        parts, more = source.produce()
        items += given(parts)
    return np.concatenate([item.samples for item in items])


def peer(sndfile, path, dtype):
    """Give a call that reads a file by libsndfile."""
    out = np.zeros((SECONDS * RATE, 2), dtype)
    return lambda: sndfile.read(path, out=out)


def difference(found, expected):
    """Say whether both have decoded the same."""
    if len(found) != len(expected):
        text = f"{len(found)} frames, of libsndfile {len(expected)}"
        common = min(len(found), len(expected))
        found, expected = found[:common], expected[:common]
    else:
        text = "the same number of frames"
    if found.dtype != expected.dtype:
        return f"{text}, but {found.dtype} and not {expected.dtype}"
    if np.array_equal(found, expected):
        return f"{text}, the same samples"
    error = np.sqrt(np.mean((found.astype(np.float64) - expected) ** 2))
    level = np.sqrt(np.mean(expected.astype(np.float64) ** 2))
    return f"{text}, different by {20 * np.log10(error / level):.0f} dB"
