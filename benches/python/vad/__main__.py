"""How well `VADNode` finds speech in noise, beside WebRTC's and Silero's detectors.

Run as ``python benches/python/vad`` where the wheel is installed; `material.py` says what is spoken
and how it is labelled, `detectors.py` what it is compared with and how to install that. What is not
installed is left out. The same recordings give the same scores.

Each detector says of each frame of 10 ms whether it is speech, without rules for pauses and least
lengths. F1 is the harmonic mean of precision (how much of what it calls speech is) and recall (how
much of the speech it finds). Speech is there for a bit more than half of the time, so a detector
that calls everything speech has an F1 of about 0.72.
"""

import sys

import numpy as np
from detectors import detectors
from material import LEVEL_DB, RATE, SEED, mixed, noises, speech, stream

import remotemedia_runtime

SNRS_DB = (20, 10, 5, 0)
# Each recording comes several times, after other pauses.
TIMES = 2
ALARM_SECONDS = 60
# Levels of pure noise beside that of the speech: as loud, and as in a quiet room.
ALARM_DB = (0, -20)


def scores(decisions, labels):
    """Give F1, precision and recall."""
    labels = labels[: len(decisions)]
    hits = np.sum(decisions & labels)
    precision, recall = hits / max(np.sum(decisions), 1), hits / np.sum(labels)
    return np.array([2 * precision * recall / max(precision + recall, 1e-9), precision, recall])


def row(name, cells):
    """Print a line of a table."""
    print(f"{name:<24}" + "".join(f"{cell:>20}" for cell in cells))


def best_of_webrtc(found, results):
    """Leave of WebRTC's modes the one that is best on average."""
    modes = [detector for detector in found if detector.name.startswith("webrtcvad")]
    mean = {
        detector: np.mean([by[detector.name][0] for by in results.values()]) for detector in modes
    }
    best = max(mean, key=mean.get, default=None)
    return [detector for detector in found if detector not in modes or detector is best]


def main():
    """Measure and print."""
    print(f"wheel {remotemedia_runtime.__version__}, Python {sys.version.split()[0]}")
    recordings = speech()
    if not recordings:
        sys.exit("nothing to say: install alsa-utils or flite")
    counts = ", ".join(f"{name} {len(found)}" for name, found in recordings.items())
    random = np.random.default_rng(SEED)
    everything = [recording for found in recordings.values() for recording in found] * TIMES
    clean, labels = stream([everything[at] for at in random.permutation(len(everything))], random)
    print(f"recordings: {counts}; {len(clean) / RATE:.0f} s, {labels.mean():.0%} speech")

    noise = noises(len(clean) / RATE, random)
    found = detectors()
    results = {}
    for kind, samples in noise.items():
        for snr_db in SNRS_DB:
            sound = mixed(clean, labels, samples, snr_db)
            results[kind, snr_db] = {
                detector.name: scores(detector(sound), labels) for detector in found
            }
    found = best_of_webrtc(found, results)

    sound = clean.astype(np.float32)
    print("\nF1 (precision, recall) without noise")
    for detector in found:
        f1, precision, recall = scores(detector(sound), labels)
        row(detector.name, [f"{f1:.3f} ({precision:.2f}, {recall:.2f})"])
    for kind in noise:
        print(f"\nF1 (precision, recall) in {kind} noise")
        row("", [f"{snr_db} dB" for snr_db in SNRS_DB])
        for detector in found:
            cells = [results[kind, snr_db][detector.name] for snr_db in SNRS_DB]
            row(detector.name, [f"{f1:.3f} ({p:.2f}, {r:.2f})" for f1, p, r in cells])

    levels = [f"{LEVEL_DB + below} dB" for below in ALARM_DB]
    print(f"\nframes of pure noise that are called speech, at {' and at '.join(levels)}")
    row("", noise)
    for detector in found:
        cells = []
        for samples in noise.values():
            parts = [
                samples[: ALARM_SECONDS * RATE] * 10 ** ((LEVEL_DB + below) / 20)
                for below in ALARM_DB
            ]
            alarms = [np.mean(detector(part.clip(-1, 1).astype(np.float32))) for part in parts]
            cells.append(", ".join(f"{alarm:.1%}" for alarm in alarms))
        row(detector.name, cells)

    print("\ntime for 30 ms of audio, called from Python in one thread")
    for detector in found:
        row(detector.name, [f"{detector.us_per_30_ms():.2f} µs"])


if __name__ == "__main__":
    main()
