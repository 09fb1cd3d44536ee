"""Video frames on their way into a pipeline and out of it again."""

import copy
import math
import pickle

import numpy as np
import pytest
from conftest import manifest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia import VideoFrame
from remotemedia_runtime import MarshalingError, execute_pipeline_with_input
from remotemedia_runtime._native import _convert

# Formats in which the samples of a pixel lie side by side, with their number.
PACKED = {
    "rgb24": 3,
    "bgr24": 3,
    "rgba32": 4,
    "bgra32": 4,
    "argb32": 4,
    "gray8": 1,
    "gray16": 1,
    "yuyv422": 2,
    "uyvy422": 2,
}
# How many pixels, across and down, and samples each plane has for a group.
PLANAR = {
    "yuv420p": [(1, 1, 1), (2, 2, 1), (2, 2, 1)],
    "yuv422p": [(1, 1, 1), (2, 1, 1), (2, 1, 1)],
    "yuv444p": [(1, 1, 1), (1, 1, 1), (1, 1, 1)],
    "nv12": [(1, 1, 1), (2, 2, 2)],
    "nv21": [(1, 1, 1), (2, 2, 2)],
    "p010": [(1, 1, 1), (2, 2, 2)],
}
PAIRED = ("yuyv422", "uyvy422")
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def dtype_of(name):
    return np.dtype(np.uint16 if name in ("gray16", "p010") else np.uint8)


def planes_of(name, width, height):
    """The shape of each plane: rows, and samples of a row."""
    if name in PAIRED:
        return [(height, 4 * math.ceil(width / 2))]
    if name in PACKED:
        return [(height, width * PACKED[name])]
    return [
        (math.ceil(height / down), samples * math.ceil(width / across))
        for across, down, samples in PLANAR[name]
    ]


def numbers(count, name):
    return np.arange(count).astype(dtype_of(name))


def address(array):
    return array.__array_interface__["data"][0]


def through(item, node="PassThroughNode", **params):
    """What comes out of a run."""
    return execute_pipeline_with_input(manifest(("node", node, params)), item)["result"]


@given(st.sampled_from([*PACKED, *PLANAR]), SIZES, st.sampled_from([0.0, 25.0, 29.97, 1e-3, 1e30]))
def test_a_frame_of_any_format_and_size_comes_back_from_where_it_was(name, size, fps):
    width, height = size
    shapes = planes_of(name, width, height)
    flat = numbers(sum(map(math.prod, shapes)), name)
    for frame in (
        VideoFrame(flat, name, width, height, fps),
        {"frame": flat, "format": name, "width": width, "height": height, "fps": fps},
    ):
        back, copied = _convert(frame)
        assert copied == 0
        assert (back.format, back.width, back.height, back.fps) == (name, width, height, fps)
        assert address(back.data) == address(flat)
        assert back.data.tobytes() == flat.tobytes()
        assert not back.data.flags.writeable
        assert [plane.shape for plane in back.planes] == shapes
        joined = np.concatenate([plane.ravel() for plane in back.planes])
        np.testing.assert_array_equal(joined, flat)
        assert address(back.planes[0]) == address(flat)
        if name in PLANAR or (name in PAIRED and width % 2):
            assert back.data.shape == flat.shape
        elif PACKED[name] == 1:
            assert back.data.shape == (height, width)
        else:
            assert back.data.shape == (height, width, PACKED[name])
        again = VideoFrame(back.data, name, width, height)
        assert again.data.tobytes() == flat.tobytes()


@pytest.mark.parametrize("name", PACKED)
def test_the_size_of_a_packed_frame_is_seen_from_its_shape(name):
    shape = (4, 6) if PACKED[name] == 1 else (4, 6, PACKED[name])
    pixels = numbers(math.prod(shape), name).reshape(shape)
    frame = VideoFrame(pixels, name)
    assert (frame.width, frame.height) == (6, 4)
    assert frame.data is pixels
    back = through({"frame": pixels, "format": name})
    np.testing.assert_array_equal(back.data, pixels)
    assert address(back.data) == address(pixels)


@pytest.mark.parametrize(
    ("name", "rows"),
    [("yuv420p", 6), ("nv12", 6), ("nv21", 6), ("p010", 6), ("yuv422p", 8), ("yuv444p", 12)],
)
def test_planes_may_lie_below_one_another(name, rows):
    pixels = numbers(rows * 6, name).reshape(rows, 6)
    frame = VideoFrame(pixels, name)
    assert (frame.width, frame.height) == (6, 4)
    assert frame.data.shape == (rows * 6,)
    assert address(frame.data) == address(pixels)
    assert frame.planes[0].shape == (4, 6)
    back, copied = _convert({"frame": pixels, "format": name})
    assert (address(back.data), copied) == (address(pixels), 0)


def test_a_frame_of_more_bytes_than_can_be_counted_is_none():
    most = 2**32 - 1
    with pytest.raises(ValueError, match="fits into memory"):
        VideoFrame(np.zeros(0, np.uint8), "nv12", most, most)


def test_a_part_of_a_picture_is_copied_once():
    picture = numbers(10 * 12 * 3, "rgb24").reshape(10, 12, 3)
    part = picture[2:6, 3:9]
    for item in (VideoFrame(part, "rgb24"), {"frame": part, "format": "rgb24"}):
        back, copied = _convert(item)
        assert (back.width, back.height, copied) == (6, 4, part.nbytes)
        np.testing.assert_array_equal(back.data, part)
    swapped, copied = _convert(VideoFrame(picture[..., ::-1], "bgr24"))
    np.testing.assert_array_equal(swapped.data, picture[..., ::-1])
    deep = np.arange(12, dtype=">u2").reshape(3, 4)
    back, copied = _convert(VideoFrame(deep, "gray16"))
    np.testing.assert_array_equal(back.data, deep)
    assert (back.data.dtype, copied) == (np.uint16, 24)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_a_pipe_are_a_frame_of_any_format(kind):
    for name in (*PACKED, *PLANAR):
        count = sum(map(math.prod, planes_of(name, 4, 2)))
        flat = numbers(count, name)
        data = kind(flat.tobytes())
        frame = VideoFrame(data, name, 4, 2)
        np.testing.assert_array_equal(frame.data.ravel(), flat)
        assert frame.data.dtype == dtype_of(name)
        back, copied = _convert({"frame": data, "format": name, "width": 4, "height": 2})
        assert copied == 0
        assert address(back.data) == address(np.frombuffer(data, np.uint8))
        np.testing.assert_array_equal(back.data.ravel(), flat)


def test_bytes_that_lie_apart_are_a_deep_frame_too():
    apart = np.arange(16, dtype=np.uint8)[::2]
    frame = VideoFrame(apart, "gray16", 2, 2)
    assert frame.data.tobytes() == apart.tobytes()
    assert _convert(frame)[1] == 8


def test_a_frame_tells_what_it_is():
    pixels = np.zeros((2, 4, 3), np.uint8)
    frame = VideoFrame(pixels, "rgb24", fps=29.97)
    assert frame.data is pixels
    assert (frame.format, frame.width, frame.height, frame.fps) == ("rgb24", 4, 2, 29.97)
    assert repr(frame) == "VideoFrame(4 x 2, rgb24, 29.97 fps)"
    assert repr(VideoFrame(pixels, "rgb24")) == "VideoFrame(4 x 2, rgb24)"
    assert np.asarray(frame) is pixels
    assert np.array(frame, dtype=np.float32).dtype == np.float32
    assert np.array(frame) is not pixels
    match frame:
        case VideoFrame(data, name, width, height, fps):
            assert data is pixels
            assert (name, width, height, fps) == ("rgb24", 4, 2, 29.97)
    deep = VideoFrame(bytes(16), "gray16", 4, 2, 25)
    for one in (frame, deep, VideoFrame(bytes(12), "nv12", 4, 2)):
        for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
            assert repr(other) == repr(one)
            np.testing.assert_array_equal(other.data, one.data)
    with pytest.raises(AttributeError):
        frame.width = 1


RGB = np.zeros((2, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "error", "key", "message"),
    [
        ((RGB, "rgb"), ValueError, "format", 'there is no format "rgb"; did you mean "rgb24"?'),
        ((RGB, "h264"), ValueError, "format", 'there is no format "h264"'),
        (
            (RGB, "rgba32"),
            ValueError,
            "frame",
            "the size of a frame in rgba32 cannot be seen from the shape (2, 4, 3); expected "
            "(height, width, 4), or width and height beside it",
        ),
        ((bytes(12), "nv12"), ValueError, "frame", "expected (rows of all planes, width), or wid"),
        ((bytes(12), "nv12", 4), ValueError, "frame", "cannot be seen from the shape (12,)"),
        (
            (bytes(11), "nv12", 4, 2),
            ValueError,
            "frame",
            "pixels of shape (11,) cannot be a frame in nv12 of 4 x 2 pixels; expected (12,) or "
            "(rows of all planes, 4)",
        ),
        (
            (RGB, "rgb24", 2, 4),
            ValueError,
            "frame",
            "pixels of shape (2, 4, 3) cannot be a frame in rgb24 of 2 x 4 pixels; expected "
            "(4, 2, 3) or (24,)",
        ),
        ((np.zeros((2, 3, 2), np.uint8), "yuyv422"), ValueError, "frame", "expected (16,)"),
        ((np.zeros((2, 6), np.uint8), "nv12", 4, 2), ValueError, "frame", "shape (2, 6) cannot"),
        ((np.zeros((4, 4), np.uint8), "nv12"), ValueError, "frame", "shape (4, 4) cannot"),
        (
            (RGB.astype(np.float32), "rgb24"),
            TypeError,
            "frame",
            "pixels of type float32 cannot be a frame in rgb24; expected uint8",
        ),
        ((RGB[..., 0], "gray16"), TypeError, "frame", "expected uint16"),
        ((np.zeros((2, 4), "i2"), "gray16"), TypeError, "frame", "pixels of type int16 cannot"),
        ((np.zeros((0, 4, 3), np.uint8), "rgb24"), ValueError, "height", "the height of a frame"),
        ((b"", "rgb24", 1, 1), ValueError, "frame", "shape (0,) cannot be a frame"),
        ((b"a", "gray8", 2**32 - 1, 2**32 - 1), ValueError, "frame", "4294967295 x 4294967295"),
        ((b"a", "rgb24", 2**32 - 1, 2**32 - 1), ValueError, "frame", "4294967295 x 4294967295"),
        ((RGB, "rgb24", None, None, -1.0), ValueError, "fps", "-1 cannot be a rate; expected fra"),
        ((RGB, "rgb24", None, None, math.nan), ValueError, "fps", "NaN cannot be a rate"),
        ((RGB, "rgb24", None, None, 1e300), ValueError, "fps", "inf cannot be a rate"),
    ],
)
def test_what_is_no_frame_says_what_would_be(arguments, error, key, message):
    with pytest.raises(error) as raised:
        VideoFrame(*arguments)
    assert message in str(raised.value)
    names = ("frame", "format", "width", "height", "fps")
    given = {
        name: value for name, value in zip(names, arguments, strict=False) if value is not None
    }
    with pytest.raises(MarshalingError) as raised:
        _convert(given)
    assert str(raised.value).startswith(f'input["{key}"]: ')
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": None}, r'^input\["format"\]: None cannot be a format; expected a name such as'),
        ({"format": "\ud800"}, r'^input\["format"\]: there is no format'),
        ({"width": 4.0}, r'^input\["width"\]: 4.0 cannot be a number of pixels; expected an int'),
        ({"height": 0}, r'^input\["height"\]: 0 cannot be a number of pixels'),
        ({"fps": "fast"}, r'^input\["fps"\]: it cannot be a rate in frames per second: '),
        ({"rate": 25}, "^input: a dict with an array under \"frame\" can have .*; it has 'rate'"),
    ],
)
def test_a_dict_with_a_frame_says_which_key_is_wrong(change, message):
    with pytest.raises(MarshalingError, match=message):
        _convert({"frame": RGB, "format": "rgb24", **change})


def test_a_dict_with_a_frame_and_no_format_says_so():
    with pytest.raises(MarshalingError, match=r'^input: a frame needs a key "format" beside'):
        _convert({"frame": RGB})


def test_an_array_that_was_changed_in_place_does_no_harm():
    pixels = np.zeros((2, 4, 3), np.uint8)
    frame = VideoFrame(pixels, "rgb24")
    pixels.resize((1, 4, 3), refcheck=False)
    with pytest.raises(MarshalingError, match=r"^input: payload has 12 bytes, but a 4 x 2 frame"):
        _convert(frame)
    with pytest.raises(ValueError, match="reshape"):
        _ = frame.data


def test_a_frame_comes_back_from_a_worker_as_it_was():
    echo = "sample_nodes:Echo"
    pixels = numbers(24, "rgb24").reshape(2, 4, 3)
    back = through(VideoFrame(pixels, "rgb24", fps=25), echo)
    assert repr(back) == "VideoFrame(4 x 2, rgb24, 25 fps)"
    np.testing.assert_array_equal(back.data, pixels)
    back = through({"frame": bytes(range(27)), "format": "nv12", "width": 5, "height": 3}, echo)
    assert back.data.tobytes() == bytes(range(27))
