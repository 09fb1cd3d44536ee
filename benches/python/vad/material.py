"""Speech whose place is known, and noise to mix it with.

Main functions: `speech`, `noises` and `mixed`. Everything is at 16 kHz; the same seed and the same
recordings give the same samples.

The recordings are those of Debian's alsa-utils, spoken by a human, and sentences that flite speaks
in its voices. What of them is not installed is left out, and `speech` says so. Neither is part of
this repository.
"""

import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

RATE = 16_000
SEED = 2026
# Labels and decisions are made for frames of 10 ms.
FRAME = RATE // 100
# A frame of the clean recording is speech from this level below the loudest frame on.
SPEECH_DB = -40
# A gap between two such frames belongs to the speech up to this length: the closure of a plosive.
CLOSURE_FRAMES = 10
# Level of the speech where it is active, in dB below full scale.
LEVEL_DB = -26
# Silence before, between and behind sentences, in seconds.
PAUSES = (0.4, 1.6)

ALSA = Path("/usr/share/sounds/alsa")
HUMAN = [
    f"{place}_{side}" for place in ("Front", "Rear", "Side") for side in ("Center", "Left", "Right")
]
# Lists 1 and 2 of the Harvard sentences (IEEE Recommended Practice for Speech Quality Measurements,
# 1969). The first half is spoken by all voices but one, the second makes the babble.
SENTENCES = [
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It's easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring.",
    "Kick the ball straight and follow through.",
    "Help the woman get back to her feet.",
    "A pot of tea helps to pass the evening.",
    "Smoky fires lack flame and heat.",
    "The soft cushion broke the man's fall.",
    "The salt breeze came across from the sea.",
    "The girl at the booth sold fifty bonds.",
]
# All that the voice of the speaking clock can say.
TIMES = [
    "The time is now, exactly one, in the afternoon.",
    "The time is now, ten past two, in the morning.",
    "The time is now, a little after quarter to eleven, in the evening.",
]
VOICES = ("slt", "rms", "awb", "kal16", "kal", "awb_time")
BABBLERS = 12


def read(path):
    """Read a recording of 16 bits, and bring it to 16 kHz and the level."""
    with wave.open(str(path)) as file:
        rate, count = file.getframerate(), file.getnframes()
        samples = np.frombuffer(file.readframes(count), "<i2").astype(np.float64) / 32_768
    # A band-limited change of rate of the whole recording: its spectrum is cut off or extended.
    spectrum = np.fft.rfft(samples)
    length = round(len(samples) * RATE / rate)
    resized = np.zeros(length // 2 + 1, complex)
    kept = min(len(spectrum), len(resized))
    resized[:kept] = spectrum[:kept]
    samples = np.fft.irfft(resized, length) * length / len(samples)
    return samples * 10 ** (LEVEL_DB / 20) / level(samples, active(samples))


def powers(samples):
    """Give the power of each whole frame."""
    return np.mean(samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME) ** 2, axis=1)


def active(samples):
    """Say of which frames of a clean recording are speech."""
    power = powers(samples)
    found = power > power.max() * 10 ** (SPEECH_DB / 10)
    edges = np.flatnonzero(np.diff(found, prepend=False, append=False))
    for end, start in zip(edges[1::2], edges[2::2], strict=False):
        if start - end <= CLOSURE_FRAMES:
            found[end:start] = True
    return found


def level(samples, frames):
    """Give the root mean square of those frames."""
    return np.sqrt(np.mean(powers(samples)[frames]))


def spoken(voice, sentences):
    """Let flite speak, and give the recordings; none if it is not installed."""
    recordings = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech.wav")
        for sentence in sentences:
            command = ["flite", "-voice", voice, "-t", sentence, "-o", str(path)]
            try:
                subprocess.run(command, check=True)
            except FileNotFoundError:
                return []
            recordings.append(read(path))
    return recordings


def speech():
    """Give the clean recordings by who speaks: a list of samples each."""
    human = [ALSA / f"{name}.wav" for name in HUMAN]
    found = {"human": [read(path) for path in human if path.exists()]}
    for number, voice in enumerate(VOICES):
        sentences = TIMES if voice == "awb_time" else SENTENCES[2 * number : 2 * number + 4]
        found[voice] = spoken(voice, sentences)
    if not found["human"]:
        print("no human speech: Debian's alsa-utils is not installed")
    if not found[VOICES[0]]:
        print("no synthetic speech: flite is not installed")
    return {name: recordings for name, recordings in found.items() if recordings}


def stream(recordings, random):
    """Put recordings in a row with pauses; give the samples, and which frames are speech."""
    samples, labels = [], []

    def pause():
        frames = random.integers(*(round(100 * seconds) for seconds in PAUSES))
        samples.append(np.zeros(frames * FRAME))
        labels.append(np.zeros(frames, bool))

    pause()
    for recording in recordings:
        labels.append(active(recording))
        samples.append(recording[: len(labels[-1]) * FRAME])
        pause()
    return np.concatenate(samples), np.concatenate(labels)


def noises(seconds, random):
    """Give noise of several kinds, each of power 1."""
    count = round(seconds * RATE)
    white = random.standard_normal(count)
    spectrum = np.fft.rfft(random.standard_normal(count))
    # Power falls with the frequency: 3 dB an octave.
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), count)
    kinds = {"white": white, "pink": pink}
    talk = [spoken(voice, SENTENCES[len(SENTENCES) // 2 :]) for voice in VOICES[:4]]
    if talk[0]:
        talk = np.concatenate([recording for voice in talk for recording in voice])
        shifts = random.integers(len(talk), size=BABBLERS)
        kinds["babble"] = sum(np.resize(np.roll(talk, shift), count) for shift in shifts)
    if (ALSA / "Noise.wav").exists():
        kinds["Noise.wav"] = np.resize(read(ALSA / "Noise.wav"), count)
    return {kind: noise / np.sqrt(np.mean(noise**2)) for kind, noise in kinds.items()}


def mixed(clean, labels, noise, snr_db):
    """Add noise, so many decibels below the speech where that is active."""
    wanted = level(clean, labels) * 10 ** (-snr_db / 20)
    return (clean + wanted * noise[: len(clean)]).clip(-1, 1).astype(np.float32)
