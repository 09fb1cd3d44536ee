"""`VADNode` beside WebRTC's detector and Silero's model: what a frame costs.

A minute of mono float32 at 16 kHz on one thread, all of it in each call. Where it comes in items of
30 ms, what a call from Python costs is part of each; without it, the bench `nodes` in Rust measures
the same. How well they find speech is measured elsewhere: by `benches/python/vad`.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from measure import measure, number, promise
from ours import given, node
from peers import missing, package

from remotemedia_runtime import Audio

RATE = 16_000
SECONDS = 60
# Silero takes so many samples, after so many of those before.
SILERO_FRAME, SILERO_CONTEXT = 512, 64


def speech():
    """Measure detectors by level and by model."""
    samples = material()
    # Of what one call takes, how long a frame is, in samples.
    ways, frames = {}, {}

    def add(name, frame, call):
        ways[name], frames[name] = call, frame

    frame = RATE * 30 // 1000
    add("VADNode, energy, one item", frame, in_items(samples, len(samples)))
    add("VADNode, energy, items of 30 ms", frame, in_items(samples, frame))
    if webrtc := package("webrtcvad"):
        add("webrtcvad, frames of 30 ms", frame, by_webrtc(webrtc, samples, frame))
    add("VADNode, model, one item", 256, in_items(samples, len(samples), mode="model"))
    add("VADNode, model, items of 30 ms", 256, in_items(samples, frame, mode="model"))
    onnx, silero = package("onnxruntime"), silero_file()
    if onnx and silero:
        add("Silero, one thread", SILERO_FRAME, by_silero(onnx, silero, samples))

    def beside(name, times):
        count = len(samples) // frames[name]
        length = f"frame of {frames[name] * 1000 // RATE} ms"
        real = number(SECONDS * 1e6 / times.median)
        return f"{number(times.median / count):>6} µs a {length}, {real} x real time"

    name = "VADNode, energy, one item"
    time = measure(ways, beside=beside)[name].median * frame / len(samples)
    promise(f"{name}, a frame", time, 50, "µs")
    promise("the same; the aim", time, 2, "µs")


def material():
    """Make bursts of noise of one second and pauses of one second, like talk."""
    noise = np.random.default_rng(1).standard_normal(SECONDS * RATE) * 0.1
    level = np.repeat(np.tile([1.0, 0.001], SECONDS // 2), RATE)
    return (noise * level).astype(np.float32)


def in_items(samples, length, **params):
    """Give a call that detects all by a new node, and checks that it found every burst."""
    items = [Audio(samples[at : at + length], RATE) for at in range(0, len(samples), length)]

    def detect():
        running = node("VADNode", **params)
        found = [part for item in items for part in given(running.process(item))]
        return found + given(running.finish())

    assert params or len(detect()) == SECONDS // 2
    return detect


def by_webrtc(webrtc, samples, length):
    """Give a call that asks it about each frame."""
    frames = (samples * 32_767).astype("<i2").reshape(-1, length)
    frames = [frame.tobytes() for frame in frames]

    def detect():
        detector = webrtc.Vad(2)
        return [detector.is_speech(frame, RATE) for frame in frames]

    return detect


def silero_file():
    """Give the path of its model for 16 kHz."""
    silero = package_folder("silero_vad")
    return silero and next(silero.rglob("silero_vad.onnx"), None)


def package_folder(name):
    """Give the folder of a package that is not imported: this one's imports ask for PyTorch."""
    spec = find_spec(name)
    return Path(spec.origin).parent if spec else missing(name)


def by_silero(onnx, path, samples):
    """Give a call that runs the model over all frames."""
    options = onnx.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnx.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    padded = np.concatenate([np.zeros(SILERO_CONTEXT, np.float32), samples])
    rate = np.array(RATE, np.int64)

    def detect():
        state, found = np.zeros((2, 1, 128), np.float32), []
        for at in range(0, len(samples) - SILERO_FRAME + 1, SILERO_FRAME):
            frame = padded[None, at : at + SILERO_CONTEXT + SILERO_FRAME]
            score, state = session.run(None, {"input": frame, "state": state, "sr": rate})
            found.append(score[0, 0])
        return found

    return detect
