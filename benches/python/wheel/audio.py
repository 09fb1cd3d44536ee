"""A second of audio through native nodes, beside the same work in NumPy, SciPy and soxr.

One process, one thread, one call for the whole second: `execute_pipeline_with_input`, which reads
and plans its manifest each time.
"""

import numpy as np
import scipy.signal
import soxr
from calls import chain
from measure import measure, number

from remotemedia_runtime import Audio, execute_pipeline_with_input

HIGH, LOW = 48_000, 16_000
# What a resampler has to keep, and what it has to take out, in Hz.
KEPT = (440, 1_000, 3_000, 5_000, 6_500)
ALIAS = 9_500


def audio():
    """Measure resampling, a change of format, and speech detection."""
    resampling()
    formats()
    speech()


def tones(frequencies, rate):
    """Make a second of sines."""
    seconds = np.arange(rate) / rate
    sines = sum(np.sin(2 * np.pi * frequency * seconds) for frequency in frequencies)
    return (sines / len(frequencies) / 2).astype(np.float32)


def ran(text, samples, rate):
    """Run a pipeline, and give what comes out of it."""
    result = execute_pipeline_with_input(text, Audio(samples, rate))["result"]
    return result if isinstance(result, list) else [result]


def decibels(signal, reference):
    """Give the level of a signal beside another, without the ends of both."""
    middle = slice(len(signal) // 10, -len(signal) // 10)
    power = np.mean(np.square(signal[middle], dtype=np.float64))
    return 10 * np.log10(power / np.mean(np.square(reference[middle], dtype=np.float64)))


def print_times(calls):
    """Measure, with how many times faster than real time each is."""
    measure(calls, beside=lambda _, times: f"{number(1e6 / times.median)} times real time")


def resampling():
    """48 kHz to 16 kHz."""
    text = chain(1, "ResampleNode", target_rate=LOW)
    ways = {
        "ResampleNode": lambda samples: np.concatenate(
            [part.samples for part in ran(text, samples, HIGH)]
        ),
        "scipy.signal.resample_poly": lambda samples: scipy.signal.resample_poly(samples, 1, 3),
        "scipy.signal.resample": lambda samples: scipy.signal.resample(samples, LOW),
        "soxr HQ": lambda samples: soxr.resample(samples, HIGH, LOW, "HQ"),
        "soxr MQ": lambda samples: soxr.resample(samples, HIGH, LOW, "MQ"),
    }
    samples, expected = tones(KEPT, HIGH), tones(KEPT, LOW)
    alias = tones((ALIAS,), HIGH)
    print(
        "resampling, 48 kHz to 16 kHz, float32; the error of tones up to 6.5 kHz, and what is left"
    )
    print(f"of a tone of {ALIAS / 1e3} kHz")
    for name, way in ways.items():
        found = way(samples)
        assert len(found) == LOW, name
        error = decibels(found - expected, expected)
        left = decibels(way(alias), alias[: len(found)])
        print(f"{name:<28}{error:>8.1f} dB {left:>8.1f} dB")
        assert error < -20, name
    print_times({name: lambda way=way: way(samples) for name, way in ways.items()})


def formats():
    """16-bit integers to float32, at 48 kHz."""
    text = chain(1, "FormatConverterNode", format="f32")
    samples = (tones(KEPT, HIGH) * 32_767).astype(np.int16)
    np.testing.assert_allclose(
        ran(text, samples, HIGH)[0].samples, samples / np.float32(32_768), rtol=1e-6
    )
    print("\n16-bit integers to float32, 48 kHz; both give the same numbers")
    print_times(
        {
            "FormatConverterNode": lambda: ran(text, samples, HIGH),
            "NumPy: astype, multiply": lambda: np.multiply(
                samples.astype(np.float32), np.float32(1 / 32_768)
            ),
            "NumPy: divide": lambda: samples / np.float32(32_768),
        }
    )


def speech():
    """Segments of sound by the level of frames of 30 ms, at 16 kHz."""
    params = {"onset_ms": 0, "min_speech_ms": 0, "min_silence_ms": 0, "padding_ms": 0}
    text = chain(1, "VADNode", hysteresis_db=0, **params)
    frame = LOW * 30 // 1000
    samples = tones(KEPT, LOW)
    samples[: 10 * frame] = 0
    samples[20 * frame :] = 0

    def by_numpy():
        frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
        power = np.einsum("ij,ij->i", frames, frames) / frame
        is_speech = 10 * np.log10(np.maximum(power, 1e-12)) >= -30
        edges = np.flatnonzero(np.diff(is_speech, prepend=False, append=False))
        return [(30 * start, 30 * end) for start, end in edges.reshape(-1, 2).tolist()]

    found = ran(text, samples, LOW)
    assert [(segment["start_ms"], segment["end_ms"]) for segment in found] == by_numpy(), found
    print("\nspeech by its level, 16 kHz; both give the same segments")
    print_times({"VADNode": lambda: ran(text, samples, LOW), "NumPy": by_numpy})
