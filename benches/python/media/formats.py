"""`FormatConverterNode` beside NumPy, and beside memcpy of as many bytes as the longer side has.

A million mono samples in one item, by a node that runs already: its output is memory that it has
given out before. NumPy writes into an array that is there too.
"""

import numpy as np
from measure import measure, promise, times_of
from ours import given, node

from remotemedia_runtime import Audio

SAMPLES = 1_000_000
RATE = 48_000
MEMCPY = "memcpy of 4 MB"
# Those that NumPy has a type for.
FORMATS = {
    "u8": np.uint8,
    "i16": np.int16,
    "i32": np.int32,
    "f32": np.float32,
    "f64": np.float64,
}
SCALE = {"u8": 2.0**7, "i16": 2.0**15, "i32": 2.0**31}


def formats():
    """Measure 16-bit integers to float32, then all pairs."""
    made = {name: signal(name) for name in FORMATS}
    found = measure(
        {
            "FormatConverterNode, i16 to f32": ours(made["i16"], "f32"),
            "NumPy: astype, multiply": by_numpy(made["i16"], "i16", "f32"),
            "NumPy: astype, multiply, new arrays": lambda: (
                made["i16"].astype(np.float32) * np.float32(1 / SCALE["i16"])
            ),
            MEMCPY: copied(made["f32"]),
        }
    )
    time, limit = (found[name].median for name in ("FormatConverterNode, i16 to f32", MEMCPY))
    # 100 µs, where memory allows it.
    promise("a million samples, i16 to f32", time, max(100, limit), "µs")
    promise("the same beside memcpy; the aim", time / limit, 1.25, "times")
    print(f"\n{'':<14}{'FormatConverterNode':<24}{'NumPy':<24}memcpy of the longer side")
    for source in FORMATS:
        for target in FORMATS:
            if source != target:
                pair(source, target, made)


def pair(source, target, made):
    """Check that both make the same of a pair, and print what they take."""
    samples = made[source]
    ways = {
        "ours": ours(samples, target),
        "peer": by_numpy(samples, source, target),
        "limit": copied(max(samples, made[target], key=lambda array: array.nbytes)),
    }
    mine, theirs = ways["ours"]()[0].samples.reshape(-1), ways["peer"]()
    assert mine.dtype == theirs.dtype == FORMATS[target], (source, target)
    np.testing.assert_array_equal(mine, theirs, f"{source} to {target}")
    times = times_of(ways, seconds=0.2)
    row = "".join(f"{times[name]!s:<24}" for name in ways)
    print(f"{source + ' to ' + target:<14}{row}".rstrip())


def signal(name):
    """Make samples over most of the scale; those of f64 can be told exactly in f32."""
    values = np.random.default_rng(1).uniform(-0.99, 0.99, SAMPLES)
    if name not in SCALE:
        return values.astype(np.float32).astype(FORMATS[name])
    offset = 128 if name == "u8" else 0
    return np.rint(values * SCALE[name] + offset).astype(FORMATS[name])


def ours(samples, target):
    """Give a call of a node that runs."""
    running, item = node("FormatConverterNode", format=target), Audio(samples, RATE)
    return lambda: given(running.process(item))


def copied(array):
    """Give a copy into memory that is there."""
    out = np.zeros_like(array)
    return lambda: np.copyto(out, array)


def by_numpy(samples, source, target):
    """Give the same conversion as one writes it with NumPy, in as few passes as it can."""
    out = np.zeros(len(samples), FORMATS[target])
    if source not in SCALE and target not in SCALE:
        return lambda: np.copyto(out, samples, casting="same_kind") or out
    if source not in SCALE:
        # 32-bit integers need more digits than a float32 has.
        work = np.zeros(len(samples), np.float64 if target == "i32" else FORMATS[source])
        return lambda: float_to_integer(samples, work, target, out)
    if target not in SCALE:
        wide = np.float64 if source == "i32" else FORMATS[target]
        return lambda: integer_to_float(samples, source, wide, out)
    work = np.zeros(len(samples), np.int64)
    return lambda: integer_to_integer(samples, work, source, target, out)


def float_to_integer(samples, work, target, out):
    """Scale, round to even, clamp, shift."""
    scale = SCALE[target]
    np.multiply(samples, scale, out=work, casting="same_kind")
    np.rint(work, out=work)
    np.clip(work, -scale, scale - 1, out=work)
    if target == "u8":
        np.add(work, scale, out=work)
    np.copyto(out, work, casting="unsafe")
    return out


def integer_to_float(samples, source, wide, out):
    """Shift, scale."""
    factor = wide(1 / SCALE[source])
    if source == "u8":
        np.subtract(samples, wide(SCALE[source]), out=out, dtype=wide, casting="unsafe")
        return np.multiply(out, factor, out=out)
    return np.multiply(samples, factor, out=out, dtype=wide, casting="unsafe")


def integer_to_integer(samples, work, source, target, out):
    """Shift up, or round to even on the way down and clamp."""
    np.subtract(samples, 128 if source == "u8" else 0, out=work, dtype=np.int64)
    ratio = SCALE[target] / SCALE[source]
    if ratio > 1:
        np.multiply(work, int(ratio), out=work)
    else:
        work = np.rint(work * ratio)
    if target == "u8":
        work = np.minimum(work, 127) + 128
    np.copyto(out, np.clip(work, *limits(target)), casting="unsafe")
    return out


def limits(name):
    """Give the least and the largest value of an integer format."""
    info = np.iinfo(FORMATS[name])
    return info.min, info.max
