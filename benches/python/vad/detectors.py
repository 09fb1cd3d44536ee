"""What finds speech, behind one interface: `VADNode` and those it is compared with.

Main function: `detectors`. Each of them says of every frame of 10 ms whether it is speech. Those of
other projects are used where they are installed:

    pip install webrtcvad-wheels onnxruntime
    pip install --no-deps silero-vad
"""

import importlib.util
import json
import time
from pathlib import Path

import numpy as np
from material import FRAME, RATE

from remotemedia_runtime import Audio, execute_pipeline_with_input

# With these, a segment is a row of frames that are speech by themselves.
FRAMES = {"onset_ms": 0, "min_speech_ms": 0, "min_silence_ms": 0, "padding_ms": 0}


class Detector:
    """One of them.

    Parameters
    ----------
    name : str
        What it is called in tables.
    find : callable
        Gives, for all samples, a list of starts and ends of speech in seconds.
    """

    def __init__(self, name, find):
        self.name = name
        self.find = find
        self.seconds = 0.0
        self.frames = 0

    def __call__(self, samples):
        """Say of every frame whether it is speech: whether most of it is."""
        began = time.perf_counter()
        found = self.find(samples)
        self.seconds += time.perf_counter() - began
        self.frames += len(samples) // FRAME
        decisions = np.zeros(len(samples) // FRAME, bool)
        for start, end in found:
            decisions[round(start * 100) : round(end * 100)] = True
        return decisions

    def us_per_30_ms(self):
        """Give the time that it has taken for 30 ms of audio on average, in microseconds."""
        return self.seconds / self.frames * 3e6


def ours(name, **params):
    """`VADNode` with these parameters, in a pipeline that is planned anew for each call."""
    node = {"id": "vad", "node_type": "VADNode", "params": params}
    manifest = json.dumps({"version": "v1", "nodes": [node], "connections": []})

    def find(samples):
        found = execute_pipeline_with_input(manifest, Audio(samples, RATE))["result"]
        found = found if isinstance(found, list) else [found]
        return [(part["start_ms"] / 1e3, part["end_ms"] / 1e3) for part in found]

    return Detector(name, find)


def runs(is_speech, seconds):
    """Give the starts and ends of the rows of frames that are speech."""
    edges = np.flatnonzero(np.diff(is_speech, prepend=False, append=False))
    return [(start * seconds, end * seconds) for start, end in edges.reshape(-1, 2)]


def webrtc(mode):
    """WebRTC's detector, with frames of 30 ms."""
    import webrtcvad

    def find(samples):
        vad = webrtcvad.Vad(mode)
        integers = (samples * 32_767).astype("<i2")
        count = RATE * 30 // 1000
        frames = [
            integers[at : at + count].tobytes() for at in range(0, len(samples) - count + 1, count)
        ]
        return runs(np.array([vad.is_speech(frame, RATE) for frame in frames], bool), 0.03)

    return Detector(f"webrtcvad, mode {mode}", find)


def silero_probabilities():
    """Load Silero's model, and give a function from samples to a probability for each 32 ms."""
    import onnxruntime

    # The package itself is not imported: it needs torch.
    package = Path(importlib.util.find_spec("silero_vad").origin).parent
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        str(package / "data/silero_vad.onnx"), options, providers=["CPUExecutionProvider"]
    )
    length, context = 512, 64
    rate = np.array(RATE, np.int64)

    def probabilities(samples):
        state = np.zeros((2, 1, 128), np.float32)
        padded = np.concatenate([np.zeros(context, np.float32), samples])
        found = []
        for at in range(0, len(samples) - length + 1, length):
            inputs = {"input": padded[None, at : at + context + length], "state": state, "sr": rate}
            out, state = session.run(None, inputs)
            found.append(out[0, 0])
        return np.array(found)

    return probabilities


def silero(earlier=0):
    """Silero's model with the threshold of its authors, frame by frame of 32 ms.

    `VADNode` allows for its model's being late; `earlier` frames do the same here.
    """
    probabilities = silero_probabilities()

    def find(samples):
        return runs(probabilities(samples)[earlier:] >= 0.5, 0.032)

    return Detector("Silero 6" + earlier * ", 32 ms earlier", find)


def is_installed(*modules):
    """Say whether all of these can be imported."""
    return all(importlib.util.find_spec(module) for module in modules)


def detectors():
    """Give all detectors that are installed, and say which are not."""
    found = [
        ours("VADNode model", mode="model", **FRAMES),
        ours("VADNode energy, -30 dB", mode="energy", **FRAMES),
        ours("VADNode energy, -40 dB", mode="energy", threshold=-40, **FRAMES),
    ]
    if is_installed("webrtcvad"):
        found += [webrtc(mode) for mode in range(4)]
    else:
        print("webrtcvad: not installed")
    if is_installed("silero_vad", "onnxruntime"):
        found += [silero(), silero(earlier=1)]
    else:
        print("Silero: silero-vad or onnxruntime is not installed")
    return found
