"""Objects on their way into a pipeline and out of it again, without a worker between."""

import copy
import gc
import math
import pickle
import sys

import numpy as np
import pytest
from conftest import manifest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from remotemedia import Audio
from remotemedia_runtime import MarshalingError, execute_pipeline_with_input

SAME = manifest(("same", "PassThroughNode"))
DTYPES = [
    "bool",
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
]


def there_and_back(item):
    return execute_pipeline_with_input(SAME, item)["result"]


def address(array):
    return array.__array_interface__["data"][0]


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: st_numpy.arrays(dtype, st_numpy.array_shapes(min_dims=2, max_dims=8))
    )
)
def test_a_tensor_comes_back_as_it_was_from_where_it_was(array):
    back = there_and_back(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert address(back) == address(array)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1)])
def test_shapes_without_or_with_one_element_come_back(shape):
    array = np.ones(shape, np.int32)
    assert there_and_back(array).shape == shape


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON) | st.lists(JSON))
def test_json_comes_back_as_it_was(value):
    (back,) = there_and_back(value)
    assert back == value
    assert repr(back) == repr(value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_comes_back_as_it_was(text):
    assert there_and_back(text) == text


@given(st.binary())
def test_bytes_come_back_as_they_were(data):
    assert there_and_back(data) == data


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32", "uint8"])
@pytest.mark.parametrize("shape", [(480,), (480, 2), (0,)])
def test_audio_is_not_copied_in_either_direction(dtype, shape):
    samples = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    back = there_and_back(Audio(samples, 48_000))
    assert (back.sample_rate, back.samples.dtype, back.samples.shape) == (48_000, dtype, shape)
    np.testing.assert_array_equal(back.samples, samples)
    if samples.size:
        assert address(back.samples) == address(samples)


def test_an_array_that_does_not_lie_in_order_is_copied():
    array = np.arange(24, dtype=np.float64).reshape(4, 6)
    for view in (array.T, array[:, ::2], array[::-1], array.astype(">f8")):
        back = there_and_back(view)
        np.testing.assert_array_equal(back, view)
        assert address(back) != address(view)
        assert back.flags.c_contiguous


def test_what_comes_out_is_read_only_for_good():
    back = there_and_back(np.zeros((2, 3)))
    assert not back.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        back.flags.writeable = True


def test_a_kept_view_keeps_what_it_shows_and_nothing_leaks():
    array = np.arange(12.0).reshape(3, 4)
    before = sys.getrefcount(array)
    back = there_and_back(array)
    row = back[1]
    del back
    gc.collect()
    assert sys.getrefcount(array) > before
    np.testing.assert_array_equal(row, [4, 5, 6, 7])
    del row
    gc.collect()
    assert sys.getrefcount(array) == before


def test_numpy_numbers_become_plain_ones():
    value = {"a": np.float32(0.5), "b": [np.int64(3)], "c": np.bool_(True), "d": np.str_("x")}
    assert there_and_back(value) == [{"a": 0.5, "b": [3], "c": True, "d": "x"}]
    assert there_and_back(np.float64(2.5)) == [2.5]
    assert there_and_back((1, 2)[0]) == [1]


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


LOOP: list = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"a": [1, {"b": {1, 2}}]},
            r'^input\["a"\]\[1\]\["b"\]: an object of type set has no JSON',
        ),
        ([float("nan")], r"^input\[0\]: NaN has no JSON form"),
        ({"x": -math.inf}, r'^input\["x"\]: -inf has no JSON form'),
        ({1: 2}, "^input: a key of type int has no JSON form; expected str"),
        ([{True: 2}], r"^input\[0\]: a key of type bool"),
        ([2**64], r"^input\[0\]: an integer of more than 64 bits"),
        ([-(2**63) - 1], r"^input\[0\]: an integer of more than 64 bits"),
        ([np.zeros(3)], r"^input\[0\]: .* numpy.ndarray has no JSON form; .*array.tolist\(\)"),
        ({"a": b"x"}, r'^input\["a"\]: an object of type bytes .* \(base64\)'),
        (
            [Audio([0.0], 1)],
            r"^input\[0\]: .*Audio has no JSON form; send it as an item of its own",
        ),
        (["\ud800"], r"^input\[0\]: text with lone surrogates"),
        ({"\ud800": 1}, "^input: a key with lone surrogates"),
        ("\ud800", "^input: text with lone surrogates cannot be sent; encode it as bytes"),
        (LOOP, "^input: lists and dicts lie deeper than 127 in one another, or contain themselves"),
        (nested(127), "deeper than 127"),
        ([np.datetime64("2026-01-01")], r"^input\[0\]: an object of type numpy.datetime64 has no"),
        ({"a": np.timedelta64(3, "ns")}, r'^input\["a"\]: an object of type numpy.timedelta64 has'),
        ([np.zeros(1, "i4,f4")[0]], r"^input\[0\]: an object of type numpy.(record|void) has no"),
        ([np.longdouble(1)], r"^input\[0\]: an object of type numpy.\w+ has no JSON form"),
        ([np.complex64(1)], r"^input\[0\]: an object of type numpy.complex64 has no JSON"),
        ([10**5000], "more than 64 bits"),
        (
            (1, 2),
            "^input: an object of type tuple cannot be sent; expected Audio, VideoFrame, an arr",
        ),
        (None, "type NoneType cannot be sent"),
        (object, "type type cannot be sent"),
        (1j, "type complex cannot be sent"),
        (Audio(np.zeros((2, 70_000), np.int16)[:, :65_535], 1), None),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_place(value, message):
    if message is None:
        there_and_back(value)
        return
    with pytest.raises(MarshalingError, match=message):
        there_and_back(value)


def test_deep_json_comes_back():
    assert there_and_back(nested(126)) == [nested(126)]


class Pretender:
    """Says that it is a number of NumPy, and changes the dict that it lies in when asked."""

    def __init__(self, owner):
        self.owner = owner

    @property
    def __class__(self):
        self.owner["new"] = 1
        return np.float64


def test_an_object_is_judged_by_its_type_alone():
    owner = {}
    owner["a"] = Pretender(owner)
    with pytest.raises(MarshalingError, match="Pretender has no JSON form"):
        there_and_back(owner)
    assert list(owner) == ["a"]


def test_audio_tells_what_it_is():
    samples = np.zeros((480, 2), np.float32)
    audio = Audio(samples, 48_000)
    assert audio.samples is samples
    assert (audio.frames, audio.channels, audio.duration) == (480, 2, 0.01)
    assert repr(audio) == "Audio(480 frames, 2 channels, float32, 48000 Hz)"
    assert np.asarray(audio) is samples
    assert np.array(audio, dtype=np.float64).dtype == np.float64
    assert np.array(audio) is not samples
    match audio:
        case Audio(found, rate):
            assert found is samples
            assert rate == 48_000
    for other in (pickle.loads(pickle.dumps(audio)), copy.deepcopy(audio)):
        assert repr(other) == repr(audio)
    with pytest.raises(AttributeError):
        audio.sample_rate = 1


@pytest.mark.parametrize(
    ("samples", "rate", "error"),
    [
        (np.zeros((1, 2, 3)), 8_000, ValueError),
        (np.zeros((4, 0)), 8_000, ValueError),
        (np.float32(1), 8_000, ValueError),
        (np.zeros(4), 0, ValueError),
        (np.zeros(4), -1, OverflowError),
        (np.zeros(4, np.complex64), 8_000, TypeError),
        (["a"], 8_000, TypeError),
    ],
)
def test_what_is_no_audio_is_refused(samples, rate, error):
    with pytest.raises(error):
        Audio(samples, rate)


def test_a_list_of_samples_is_taken():
    assert Audio([0.0, 0.5], 8_000).samples.dtype == np.float64
