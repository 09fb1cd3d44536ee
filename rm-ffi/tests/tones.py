"""What a resampler does to tones; the bench of the media nodes measures all of them by it.

Main function: `judge`, the same for every resampler. Tones stand one after the other in one stream,
and each is compared with the sine of its frequency that fits best. So delay does not matter, and
what the sine leaves over is all that the resampler has added: aliases, images, noise.
"""

from typing import NamedTuple

import numpy as np

TONE_SECONDS = 0.25
# Of a tone, without what may ring from its neighbours.
EDGE = 0.25
AMPLITUDE = 0.5
PASS_BAND = 0.9
# Around the Nyquist frequency nothing is asked, to either side.
BETWEEN = 0.005


class Quality(NamedTuple):
    """What was found, in dB.

    Attributes
    ----------
    ripple_db : float
        The largest gain or loss up to 90 % of the lower Nyquist frequency.
    rejection_db : float
        How far the strongest rest is below its tone, of all tones.
    clean_db : float
        The same of tones up to 90 % of the lower Nyquist frequency.
    """

    ripple_db: float
    rejection_db: float
    clean_db: float


def frequencies(source, target, count):
    """Give frequencies in Hz: evenly over the source's band, closer around the lower Nyquist."""
    lower, top = min(source, target) / 2, source / 2
    even = np.linspace(50, top * (1 - BETWEEN), count)
    near = lower * np.concatenate(
        [np.linspace(0.88, 1 - BETWEEN, count // 6), np.linspace(1 + BETWEEN, 1.12, count // 6)]
    )
    found = np.concatenate([even, near[near < top * (1 - BETWEEN / 2)]])
    return np.sort(found[abs(found / lower - 1) > BETWEEN * 0.99])


def judge(resample, source, target, count=240):
    """Give the `Quality` of a function that resamples an array from one rate to another.

    Parameters
    ----------
    resample : callable
        Takes and gives mono samples.
    source, target : int
        The rates, in Hz.
    count : int
        How many tones stand evenly over the band.
    """
    tones = frequencies(source, target, count)
    frames, made = round(TONE_SECONDS * source), round(TONE_SECONDS * target)
    seconds = np.arange(frames) / source
    samples = np.concatenate([AMPLITUDE * np.sin(2 * np.pi * tone * seconds) for tone in tones])
    result = np.asarray(resample(samples.astype(np.float32)), np.float64)
    assert abs(len(result) - made * len(tones)) <= made / 10, (len(result), made * len(tones))
    begin, end = round(EDGE * made), round((1 - EDGE) * made)
    gains, rests = [], []
    for number, tone in enumerate(tones):
        part = result[number * made + begin : number * made + end]
        gain, rest = fit(part, tone / target)
        gains.append(gain if tone < target / 2 else np.nan)
        rests.append(rest if tone < target / 2 else np.sqrt(2 * np.mean(part**2)))
    gains, rests = decibels(gains), -decibels(rests)
    kept = tones <= PASS_BAND * min(source, target) / 2
    return Quality(np.abs(gains[kept]).max(), rests.min(), rests[kept].min())


def fit(samples, cycles):
    """Give the amplitude of the best sine of so many cycles a sample, and of what it leaves."""
    turns = 2 * np.pi * cycles * np.arange(len(samples))
    sines = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    parts, *_ = np.linalg.lstsq(sines, samples, rcond=None)
    return np.hypot(*parts), np.sqrt(2 * np.mean((samples - sines @ parts) ** 2))


def decibels(amplitudes):
    """Give levels relative to the tone that was put in."""
    return 20 * np.log10(np.maximum(np.array(amplitudes) / AMPLITUDE, 1e-12))
