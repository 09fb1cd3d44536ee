#!/usr/bin/env python3
"""Makes commands.wav and commands.txt: spoken commands with pauses and bursts of noise.

Needs flite 2.2 (Debian: `apt-get install flite`) and nothing beyond Python's standard library.
The same flite gives the same file, byte by byte.

    python3 make_recording.py
"""

import array
import math
import random
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

RATE = 48_000
FLITE_RATE = 16_000
FACTOR = RATE // FLITE_RATE
PEAK = 0.5  # of every command, relative to full scale
BACKGROUND_RMS = 0.0005  # the hiss of a room, -66 dB
PAUSE_SECONDS = 0.55  # between two commands
BURST_SECONDS = 0.35
BURST_PAUSE_SECONDS = 0.4  # on either side of a burst
SEED = 2026

# What is said, by which of flite's voices, and what is heard in the pause behind it.
SCRIPT = [
    ("front left", "slt", "hiss"),
    ("rear right", "rms", None),
    ("side center", "awb", "rumble"),
    ("rear left", "slt", None),
    ("front center", "kal16", "hiss"),
    ("side right", "rms", None),
]


def speak(text: str, voice: str) -> list[float]:
    """The samples of `text` at 16 kHz, -1 to 1, without the silence around them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speech.wav")
        command = ["flite", "-voice", voice, "-t", text, "-o", str(path)]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            sys.exit("flite is not installed; on Debian: apt-get install flite")
        with wave.open(str(path)) as file:
            found = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            if found != (FLITE_RATE, 1, 2):
                sys.exit(f"flite's voice {voice} gives {found}, expected 16 kHz mono 16 bit")
            samples = array.array("h", file.readframes(file.getnframes()))
    if sys.byteorder == "big":
        samples.byteswap()
    loudest = max(abs(sample) for sample in samples)
    loud = [n for n, sample in enumerate(samples) if abs(sample) > loudest * 0.02]
    return [sample * PEAK / loudest for sample in samples[loud[0] : loud[-1] + 1]]


def upsample(samples: list[float]) -> list[float]:
    """Three samples for each one: a sinc low-pass under a Hann window, 24 samples to each side."""
    reach = 24
    phases: list[list[float]] = []
    for phase in range(FACTOR):
        taps: list[float] = []
        for offset in range(-reach + 1, reach + 1):
            x = offset - phase / FACTOR
            # 0.94 puts the edge at 7.5 kHz, so that nothing folds back from above 8 kHz.
            sinc = 0.94 if x == 0 else math.sin(math.pi * 0.94 * x) / (math.pi * x)
            taps.append(sinc * (0.5 + 0.5 * math.cos(math.pi * x / reach)))
        phases.append(taps)
    padded = [0.0] * (reach - 1) + samples + [0.0] * reach
    return [
        sum(map(float.__mul__, taps, padded[n : n + 2 * reach]))
        for n in range(len(samples))
        for taps in phases
    ]


def silence(seconds: float) -> list[float]:
    return [0.0] * int(seconds * RATE)


def burst(kind: str, chance: random.Random) -> list[float]:
    """Noise that swells and fades within 30 ms at either end."""
    count = int(BURST_SECONDS * RATE)
    ramp = int(0.03 * RATE)
    noise: list[float] = []
    low = 0.0
    for n in range(count):
        white = chance.uniform(-1, 1)
        low += 0.02 * (white - low)
        gain = min(1.0, n / ramp, (count - 1 - n) / ramp)
        noise.append(gain * (0.15 * white if kind == "hiss" else 1.2 * low))
    return noise


def main() -> None:
    here = Path(__file__).parent
    chance = random.Random(SEED)
    sound = silence(PAUSE_SECONDS / 2)
    for text, voice, noise in SCRIPT:
        sound += upsample(speak(text, voice))
        if noise:
            pause = silence(BURST_PAUSE_SECONDS)
            sound += pause + burst(noise, chance) + pause
        else:
            sound += silence(PAUSE_SECONDS)
    quantised = array.array("h")
    for sample in sound:
        sample += chance.gauss(0, BACKGROUND_RMS)
        quantised.append(max(-32768, min(32767, round(sample * 32767))))
    if sys.byteorder == "big":
        quantised.byteswap()
    with wave.open(str(here / "commands.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(quantised.tobytes())
    lines = "".join(f"{text}\n" for text, _, _ in SCRIPT)
    (here / "commands.txt").write_text(lines, encoding="utf-8")
    print(f"commands.wav: {len(sound) / RATE:.2f} s; commands.txt: {len(SCRIPT)} commands")


if __name__ == "__main__":
    main()
