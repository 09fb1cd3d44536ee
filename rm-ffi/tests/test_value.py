"""Objects as bytes and back: what calls and callbacks carry between Python and Rust."""

import array
import dataclasses
import datetime
import enum
import math
import socket
import struct
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia_runtime._native import _decode_value as decode
from remotemedia_runtime._native import _encode_value as encode
from remotemedia_runtime.errors import MarshalingError

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**127), 2**128 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
keys = st.recursive(scalars, lambda inner: st.tuples(inner, inner), max_leaves=4)
objects = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def through(value):
    return decode(encode(value))


def same(left, right):
    """Equal, and of equal types, which ``1 == True == 1.0`` does not tell."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        pairs = zip(left.items(), right.items(), strict=True)
        return len(left) == len(right) and all(
            same(key, other) and same(item, found) for (key, item), (other, found) in pairs
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return struct.pack("d", left) == struct.pack("d", right)
    return left == right


@given(objects)
def test_any_object_comes_back_as_it_was(value):
    assert same(through(value), value)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data):
    try:
        decode(data)
    except ValueError:
        pass


@given(objects, st.data())
def test_any_change_of_an_object_is_decoded_or_refused(value, data):
    changed = bytearray(encode(value))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    for found in (bytes(changed), bytes(changed[:-1])):
        try:
            decode(found)
        except ValueError:
            pass


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, -0.0, 5e-324, 2**127, -(2**127), 2**128 - 1, 2**63, -(2**63)]
)
def test_numbers_at_the_edges_are_kept(value):
    assert same(through(value), value)


def test_nan_is_kept():
    assert math.isnan(through(math.nan))


class Bare(enum.Enum):
    ONE = "Variant1"


class Number(enum.IntEnum):
    TWO = 2


class Word(str, enum.Enum):
    THREE = "Variant3"


class Point(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Item:
    kind: ClassVar[str] = "item"
    name: str
    point: Point
    tags: set = dataclasses.field(default_factory=set)


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    x: int


class Indexed:
    def __index__(self):
        return 7


class Mine(dict):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2, "a")), [1, [2, "a"]]),
        ({5}, [5]),
        (frozenset({5}), [5]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (Bare.ONE, "Variant1"),
        (Number.TWO, 2),
        (Word.THREE, "Variant3"),
        (Point(1, 2.5), {"x": 1, "y": 2.5}),
        (
            Item("a", Point(1, 2.0), {3}),
            {"name": "a", "point": {"x": 1, "y": 2.0}, "tags": [3]},
        ),
        (Slotted(1), {"x": 1}),
        (Mine(a=1), {"a": 1}),
        (Indexed(), 7),
        (np.float32(1.5), 1.5),
        (np.float64(1.5), 1.5),
        (np.int16(-3), -3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([1, 2], dtype=np.int32), [1, 2]),
        (np.array([1.5, 2.5], dtype=np.float32), [1.5, 2.5]),
        (np.array([True, False]), [True, False]),
        (np.array([[1, 2], [3, 4]], dtype=np.uint8), [[1, 2], [3, 4]]),
        (np.array([1, 2, 255], dtype=np.uint8), b"\x01\x02\xff"),
        (np.arange(10, dtype=np.uint8)[::3], b"\x00\x03\x06\x09"),
        (np.array(3), 3),
        (datetime.datetime(2024, 1, 15, 10, 30), "2024-01-15T10:30:00"),
        (
            datetime.datetime(2024, 1, 15, 10, 30, tzinfo=datetime.timezone.utc),
            "2024-01-15T10:30:00+00:00",
        ),
        (datetime.date(2024, 1, 15), "2024-01-15"),
        (datetime.time(10, 30), "10:30:00"),
        (Path("/var/lib"), "/var/lib"),
        (PurePosixPath("a/b"), "a/b"),
        ({(1, "a"): 1, 2: 2, None: 3, True: 4, 1.5: 5, b"k": 6}, None),
        ({(1, (2, 3)): 1}, {(1, (2, 3)): 1}),
    ],
    ids=repr,
)
def test_what_is_sent_arrives_as_a_plain_object(value, expected):
    assert same(through(value), value if expected is None else expected)


def test_keys_of_other_types_arrive_as_plain_ones():
    value = {Bare.ONE: 1, np.int64(5): 2, frozenset({6}): 3, datetime.date(2024, 1, 15): 4}
    assert through(value) == {"Variant1": 1, 5: 2, (6,): 3, "2024-01-15": 4}


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def cyclic():
    value = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"items": [1, 2, 3, socket.socket]},
            "payload.items[3]: cannot send an object of type type",
        ),
        (object(), "payload: cannot send an object of type object"),
        ({"a b": [{"c": 1j}]}, 'payload["a b"][0].c: cannot send an object of type complex'),
        ({7: object()}, "payload[7]: cannot send an object of type object"),
        ({(1, 2): object()}, "payload[<tuple>]: cannot send an object of type object"),
        ({object: 1}, "payload (a key): cannot send an object of type type"),
        (Item, "payload: cannot send an object of type type"),
        (Bare, "payload: cannot send an object of type EnumType"),
        (Item("a", object()), "payload.point: cannot send an object of type object"),
        (Point(1, object()), "payload.y: cannot send an object of type object"),
        ({"n": 2**128}, "payload.n: cannot send an int of more than 128 bits"),
        ([-(2**127) - 1], "payload[0]: cannot send an int of more than 128 bits"),
        ({"t": "\ud800"}, "payload.t: cannot send text with lone surrogates"),
        ({"\ud800": 1}, "payload (a key): cannot send text with lone surrogates"),
        ([np.complex64(1j)], "payload[0]: cannot send an object of type complex"),
        ([np.array([1j])], "payload[0]: cannot send a numpy array of type complex128"),
        ([np.array(["a"])], "payload[0]: cannot send a numpy array of type <U1"),
        ([datetime.timedelta(1)], "payload[0]: cannot send an object of type timedelta"),
        ([array.array("i")], "payload[0]: cannot send an object of type array"),
        ([iter([])], "payload[0]: cannot send an object of type list_iterator"),
        (nested(129), f"payload{'[0]' * 128}: nested deeper than 128 levels"),
        (cyclic(), f"payload{'.self' * 128}: nested deeper than 128 levels"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_cannot_be_sent_is_named_with_its_place(value, message):
    with pytest.raises(MarshalingError) as raised:
        encode(value)
    assert str(raised.value) == message.replace("EnumType", type(Bare).__name__)


def test_an_open_socket_cannot_be_sent():
    with socket.socket() as opened, pytest.raises(MarshalingError) as raised:
        encode({"items": [1, 2, 3, opened]})
    assert str(raised.value) == "payload.items[3]: cannot send an object of type socket"


def test_what_an_object_raises_is_raised():
    class Broken:
        def __index__(self):
            raise LookupError("not today")

    with pytest.raises(LookupError, match="not today"):
        encode([Broken()])


def test_the_greatest_depth_arrives():
    assert through(nested(128)) == nested(128)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the bytes end within a value"),
        (b"\x0f", "the bytes end within a value"),
        (b"\x0a\x05a", "the bytes end within a value"),
        (b"\x00\x00", "1 bytes follow the value"),
        (b"\x09", "byte 0 is 0x09, with which no item starts"),
        (b"\x0f\x12", "byte 1 ends a list or a map out of place"),
        (b"\x10", "byte 0 ends a list or a map out of place"),
        (b"\x0b\x01\xff", "the text at byte 0 is not UTF-8"),
        (b"\x03" + b"\xff" * 19, "the integer at byte 0 has more than 128 bits"),
        (b"\x0f" * 1_000_000, "nested deeper than 128 levels"),
        (b"\x11" + b"\x0f" * 1_000_000, "nested deeper than 128 levels"),
        (b"\x11\x11\x12\x00\x12", "a dict cannot be a key of a dict"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_bytes_that_are_no_object_are_named(data, message):
    with pytest.raises(ValueError, match="^" + message + "$"):
        decode(data)
