"""`ResampleNode` beside soxr, SciPy and GStreamer: what it costs, and what it keeps and takes out.

Speed is that of mono float32 on one thread, high quality: a second as one item, by a node that runs
already; and ten seconds in items of 20 ms, by a node that is called directly and by a session, into
which this process sends and from which it receives.
"""

import numpy as np
from gst import resample as resample_by_gst
from measure import measure, number, promise
from ours import chain, given, node, streamed, whole
from peers import package, program
from tones import judge

from remotemedia import Session
from remotemedia_runtime import Audio

PAIRS = ((48_000, 16_000), (44_100, 16_000), (16_000, 48_000), (44_100, 48_000), (48_000, 44_100))
# The pair for which a time is promised.
PROMISED = PAIRS[0]
SECONDS = 10
QUALITIES = ("high", "medium", "low")
HQ = ("HQ", "VHQ")


def resampling():
    """Measure quality and speed of all pairs of rates."""
    soxr, signal, gst = package("soxr"), package("scipy.signal"), program("gst-launch-1.0")
    quality(soxr, signal, gst)
    for source, target in PAIRS:
        speed(source, target, soxr, signal)


def ours(samples, source, target, quality):
    """Resample by a new node."""
    found = whole("ResampleNode", Audio(samples, source), target_rate=target, quality=quality)
    return np.concatenate([part.samples.reshape(-1) for part in found])


def quality(soxr, signal, gst):
    """Print what each makes of tones: what `tones.judge` says."""
    print("tones over the whole band, one after the other; ripple up to 90 % of the lower Nyquist")
    print(
        "frequency, and the strongest of what is no part of its tone (aliases, images, noise), of"
    )
    print("all tones and of those up to 90 %")
    for source, target in PAIRS:
        print(
            f"\n{f'{source} to {target} Hz':<28}{'ripple':>10}{'rejection':>14}{'up to 90 %':>14}"
        )
        for name, way in resamplers(source, target, soxr, signal, gst).items():
            found = judge(way, source, target)
            print(f"{name:<28}{found.ripple_db:>7.4f} dB{found.rejection_db:>11.1f} dB", end="")
            print(f"{found.clean_db:>11.1f} dB")


def resamplers(source, target, soxr, signal, gst):
    """Give functions from samples to samples, by name."""
    ways = {f"ResampleNode {name}": by(ours, source, target, name) for name in QUALITIES}
    if soxr:
        ways |= {f"soxr {name}": by(soxr.resample, source, target, name) for name in HQ}
    if signal:
        factor = np.gcd(source, target)
        ways["scipy.signal.resample_poly"] = by(
            signal.resample_poly, target // factor, source // factor
        )
    if gst:
        ways |= {
            f"GStreamer audioresample {level}": by(resample_by_gst, source, target, level)
            for level in (4, 10)
        }
    return ways


def by(resample, *arguments):
    """Give a function of the samples alone."""
    return lambda samples: resample(samples, *arguments)


def speed(source, target, soxr, signal):
    """Print what a second costs."""
    rng = np.random.default_rng(1)
    second = rng.uniform(-0.5, 0.5, source).astype(np.float32)
    item = Audio(second, source)
    running = node("ResampleNode", target_rate=target, quality="high")
    ways = {"ResampleNode": lambda: running.process(item)}
    if soxr:
        for name in HQ:
            stream = soxr.ResampleStream(source, target, 1, np.float32, name)
            ways[f"soxr {name}, a stream"] = lambda stream=stream: stream.resample_chunk(second)
            ways[f"soxr {name}, from its beginning"] = lambda name=name: soxr.resample(
                second, source, target, name
            )
    if signal:
        factor = np.gcd(source, target)
        ways["scipy.signal.resample_poly"] = lambda: signal.resample_poly(
            second, target // factor, source // factor
        )
    print(f"\n{source} to {target} Hz, a second as one item")
    found = print_times(ways, 1)
    if (source, target) == PROMISED:
        time = found["ResampleNode"].median
        promise("a second from 48 to 16 kHz", time / 1e3, 2, "ms")
        if soxr:
            beside = time / found["soxr HQ, a stream"].median
            promise("the same beside soxr HQ; the aim", beside, 1, "times")
    print(f"\n{source} to {target} Hz, {SECONDS} s in items of 20 ms")
    print_times(streams(source, target, rng, soxr), SECONDS)


def streams(source, target, rng, soxr):
    """Give ways to convert a stream, each of which does all of it."""
    samples = rng.uniform(-0.5, 0.5, SECONDS * source).astype(np.float32)
    chunks = samples.reshape(-1, source // 50)
    text = chain(("ResampleNode", {"target_rate": target, "quality": "high"}))
    running = node("ResampleNode", target_rate=target, quality="high")

    def directly():
        return [given(running.process(Audio(chunk, source))) for chunk in chunks]

    def by_session():
        with Session(text) as session:
            results = streamed(session, (Audio(chunk, source) for chunk in chunks))
        assert sum(result.frames for result in results) == SECONDS * target
        return results

    ways = {"ResampleNode": directly, "ResampleNode, start to end of a session": by_session}
    if soxr:
        for name in HQ:
            stream = soxr.ResampleStream(source, target, 1, np.float32, name)
            ways[f"soxr {name}, a stream"] = lambda stream=stream: [
                stream.resample_chunk(chunk) for chunk in chunks
            ]
    return ways


def print_times(ways, seconds):
    """Measure, print how many times faster than real time each is, and give the times."""
    return measure(
        ways, beside=lambda _, times: f"{number(seconds * 1e6 / times.median)} x real time"
    )
