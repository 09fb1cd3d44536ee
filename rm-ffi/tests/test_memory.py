"""Arrays, buffers and DLPack objects on their way into a pipeline, and by DLPack out of it."""

import array
import ctypes
import gc
import json
import mmap
import sys

import numpy as np
import pytest
from conftest import manifest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from remotemedia import Audio, Session, VideoFrame
from remotemedia_runtime import MarshalingError, execute_pipeline_with_input
from remotemedia_runtime._native import _convert

NUMBERS = st.sampled_from(
    [
        "bool",
        *("i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8"),
        *("<f2", "<f4", "<f8", "<c8", "<c16"),
        *(">i2", ">i4", ">u8", ">f2", ">f4", ">f8", ">c16"),
    ]
).map(np.dtype)
NEEDS_READ_ONLY_DLPACK = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="NumPy cannot export read-only arrays"
)


def address(array):
    return array.__array_interface__["data"][0]


def through(item, node="PassThroughNode", **params):
    """What comes out of a run."""
    return execute_pipeline_with_input(manifest(("node", node, params)), item)["result"]


def lies_as_items_do(found):
    return found.flags.c_contiguous and found.flags.aligned and found.dtype.isnative


@st.composite
def arrays_of_any_layout(draw):
    shape = draw(st_numpy.array_shapes(min_dims=1, max_dims=4, max_side=5))
    found = draw(st_numpy.arrays(draw(NUMBERS), shape, elements={"allow_nan": False}))
    for change in draw(
        st.lists(st.sampled_from(["T", "reversed", "step", "F", "unaligned", "0-d", "read-only"]))
    ):
        if change == "T":
            found = found.T
        elif change == "reversed":
            found = found[::-1] if found.ndim else found
        elif change == "step":
            found = found[..., ::2] if found.ndim else found
        elif change == "F":
            found = np.asfortranarray(found)
        elif change == "unaligned":
            memory = b"\0" + found.tobytes()
            found = np.frombuffer(memory, found.dtype, offset=1).reshape(found.shape)
        elif change == "0-d":
            found = found[(0,) * found.ndim][...] if found.size else found
        elif change == "read-only":
            found = found.view()
            found.flags.writeable = False
    return found


@given(arrays_of_any_layout())
def test_an_array_of_any_layout_comes_as_it_was_and_is_copied_at_most_once(found):
    back, copied = _convert(found)
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape) == (found.dtype.newbyteorder("="), found.shape)
    np.testing.assert_array_equal(back, found)
    assert lies_as_items_do(back)
    assert not back.flags.writeable
    assert copied == (0 if lies_as_items_do(found) else found.nbytes)
    if copied == 0 and found.size:
        assert address(back) == address(found)


@given(arrays_of_any_layout().filter(lambda found: found.ndim in (1, 2)))
def test_audio_of_any_layout_comes_as_it_was_or_is_refused(found):
    kind = found.dtype.newbyteorder("=").name
    dict_form = {"audio": found, "sample_rate": 8_000}
    if kind not in ("float32", "float64", "int16", "int32", "uint8") or found.shape[1:] == (0,):
        with pytest.raises(MarshalingError, match=r'^input\["audio"\]: samples of '):
            _convert(dict_form)
        return
    for item in (dict_form, Audio(found, 8_000)):
        back, copied = _convert(item)
        assert (back.sample_rate, back.samples.dtype.name) == (8_000, kind)
        # A single channel loses its dimension.
        shape = found.shape[:1] if found.shape[1:] == (1,) else found.shape
        np.testing.assert_array_equal(back.samples, found.reshape(shape))
        assert copied == (0 if lies_as_items_do(found) else found.nbytes)


@pytest.mark.parametrize("code", "bhiqBHIQfd")
def test_an_array_of_the_standard_library_is_not_copied(code):
    items = array.array(code, [1, 2, 3])
    back, copied = _convert(items)
    assert copied == 0
    if code == "B":
        assert back == bytes([1, 2, 3])
        return
    np.testing.assert_array_equal(back, [1, 2, 3])
    assert back.dtype == np.dtype(code)
    assert address(back) == items.buffer_info()[0]


@pytest.mark.parametrize(
    "row",
    [
        bytearray(b"abc"),
        memoryview(b"abc"),
        (ctypes.c_ubyte * 3)(*b"abc"),
        array.array("B", b"abc"),
    ],
)
def test_a_row_of_bytes_is_bytes_whatever_object_holds_it(row):
    assert through(row) == b"abc"
    assert _convert(row) == (b"abc", 0)


def test_a_row_of_bytes_that_lie_apart_is_copied():
    assert _convert(memoryview(b"abcdef")[::2]) == (b"ace", 3)
    assert _convert(memoryview(b"abcdef")[::-1]) == (b"fedcba", 6)
    assert _convert(bytearray()) == (b"", 0)


def test_characters_of_ctypes_are_bytes():
    assert _convert(ctypes.create_string_buffer(b"abc")) == (b"abc\0", 0)


def test_a_mapped_file_is_bytes():
    with mmap.mmap(-1, 4096) as mapped:
        mapped[:3] = b"abc"
        assert _convert(mapped) == (b"abc" + bytes(4093), 0)


def test_a_buffer_of_several_dimensions_is_a_tensor():
    cells = (ctypes.c_double * 3 * 2)((1, 2, 3), (4, 5, 6))
    back, copied = _convert(cells)
    np.testing.assert_array_equal(back, [[1, 2, 3], [4, 5, 6]])
    assert (back.dtype, copied) == ("float64", 0)
    assert address(back) == ctypes.addressof(cells)
    square = memoryview(b"abcd").cast("B", (2, 2))
    assert _convert(square)[0].tolist() == [[97, 98], [99, 100]]
    assert _convert(ctypes.c_int(7))[0] == np.int32(7)


def test_memory_in_use_is_locked_against_growing():
    items = array.array("f", [1, 2])
    back, _ = _convert(items)
    with pytest.raises(BufferError):
        items.append(3)
    del back
    gc.collect()
    items.append(3)


@pytest.mark.parametrize("node", ["PassThroughNode", "sample_nodes:Echo"])
def test_memory_is_free_again_after_a_run(node):
    row = bytearray(b"abc")
    for length in range(3, 13):
        back = through(row, node)
        assert back == row
        assert len(row) == length
        # It is bytes, which are a copy.
        row.append(length)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (memoryview(np.array(["a"])), "an array of type <U1 cannot be sent; expected bool, int8"),
        ((ctypes.py_object * 2)(1, 2), "an array of type object cannot be sent; .* sent as JSON"),
        ((ctypes.c_char_p * 2)(), "the buffer of an object of type .*c_char_p_Array_2 cannot be"),
        (np.array(["a"]), "type <U1 cannot be sent; .*; send array.tolist()"),
        (np.array([object()]), "type object cannot be sent"),
        (np.zeros(2, "datetime64[s]"), r"datetime64\[s\] cannot be sent; .*astype\(numpy.int64\)"),
        (np.zeros(2, "timedelta64[s]"), r"timedelta64\[s\] cannot be sent"),
        (np.zeros(2, "f4,f4"), "cannot be sent; .*; send each field as an item of its own"),
        (np.zeros(2, "V3"), r"\|V3 cannot be sent"),
        (np.zeros(2, np.longdouble), r"cannot be sent; .*astype\(numpy.float64\)"),
        (np.zeros((1,) * 9), "^input: tensor rank 9 is above 8"),
        (np.broadcast_to(np.uint8(0), (0,) + (2**30,) * 2), None),
        (np.broadcast_to(np.uint8(0), (2**60,)), f"^input: payload of {2**60} bytes is larger"),
        (np.ma.masked_array([1, 2], [0, 1]), r"masked .* the mask would be lost; .*filled"),
        (
            np.ones((1, 1)).view(np.matrix),
            r"numpy.matrix cannot be sent, .* send numpy.asarray\(matrix\)",
        ),
        ({"a": [np.ma.masked_array([1])]}, r'^input\["a"\]\[0\]: .*MaskedArray has no JSON form'),
    ],
)
def test_memory_that_holds_no_plain_numbers_is_refused(item, message):
    if message is None:
        assert _convert(item)[0].shape == item.shape
        return
    with pytest.raises(MarshalingError, match=message):
        _convert(item)


def test_a_released_buffer_is_refused_with_its_cause():
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(
        MarshalingError, match=r"buffer of .* memoryview cannot be sent: .*rele"
    ) as e:
        _convert(view)
    assert isinstance(e.value.__cause__, ValueError)


def test_arrays_of_other_subclasses_are_their_elements(tmp_path):
    path = tmp_path / "numbers"
    mapped = np.memmap(path, np.float32, "w+", shape=(3, 2))
    mapped[:] = 7
    back, copied = _convert(mapped)
    assert (type(back), copied) == (np.ndarray, 0)
    np.testing.assert_array_equal(back, mapped)


def test_an_object_that_numpy_could_read_is_named_with_the_way():
    class Table:
        def __array__(self, dtype=None, copy=None):
            return np.zeros(3)

    with pytest.raises(
        MarshalingError, match=r"Table cannot be sent; send numpy.asarray\(object\)"
    ):
        _convert(Table())


class Tensor:
    """A tensor of another package."""

    def __init__(self, values, device=(1, 0)):
        self.values = values
        self.device = device

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


def test_a_dlpack_object_is_not_copied():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    back, copied = _convert(Tensor(values))
    assert (address(back), back.shape, copied) == (address(values), (2, 3), 0)
    back, copied = _convert(Tensor(values.T))
    np.testing.assert_array_equal(back, values.T)
    assert copied == 24
    np.testing.assert_array_equal(through(Tensor(values)), values)


def test_a_dlpack_object_is_audio_and_video_where_an_array_is():
    samples = np.arange(6, dtype=np.int16)
    back, copied = _convert({"audio": Tensor(samples), "sample_rate": 8_000})
    assert (address(back.samples), copied) == (address(samples), 0)
    assert address(Audio(Tensor(samples), 8_000).samples) == address(samples)
    pixels = np.zeros((2, 3, 3), np.uint8)
    back, copied = _convert({"frame": Tensor(pixels), "format": "rgb24"})
    assert (address(back.data), copied) == (address(pixels), 0)
    back, _ = _convert(Tensor(samples), 44_100)
    assert (type(back), back.sample_rate) == (Audio, 44_100)


@pytest.mark.parametrize(
    ("device", "name"), [((2, 1), r"CUDA \(device 1\)"), ((8, 0), "Metal"), ((99, 0), "type 99")]
)
def test_a_dlpack_object_elsewhere_is_to_be_moved_first(device, name):
    with pytest.raises(MarshalingError, match=f"Tensor on .*{name}.*; move it to the CPU first"):
        _convert(Tensor(np.zeros(1), device))


@pytest.mark.parametrize("device", [None, (1,), ("cpu", 0), (2**40, 0)])
def test_a_dlpack_object_of_no_device_is_refused(device):
    with pytest.raises(MarshalingError, match="Tensor cannot be sent by DLPack: "):
        _convert(Tensor(np.zeros(1), device))


def test_what_a_dlpack_object_raises_is_the_cause_but_not_an_interrupt():
    class Failing(Tensor):
        def __dlpack__(self, **options):
            raise self.values

    with pytest.raises(MarshalingError, match="Failing cannot be sent by DLPack: needs grad") as e:
        _convert(Failing(BufferError("needs grad")))
    assert isinstance(e.value.__cause__, BufferError)
    with pytest.raises(KeyboardInterrupt):
        _convert(Failing(KeyboardInterrupt()))


@NEEDS_READ_ONLY_DLPACK
def test_what_comes_out_can_be_had_by_dlpack_without_a_copy():
    for item in (
        np.arange(6.0).reshape(2, 3),
        Audio(np.zeros((4, 2), np.float32), 8_000),
        VideoFrame(np.zeros((2, 4, 3), np.uint8), "rgb24"),
        VideoFrame(bytes(12), "nv12", 4, 2),
    ):
        back = through(item)
        shared = np.from_dlpack(back)
        plain = np.asarray(back)
        assert (address(shared), shared.shape) == (address(plain), plain.shape)
        assert not shared.flags.writeable


def test_an_audio_that_can_be_written_to_can_be_had_by_any_dlpack():
    samples = np.zeros(4, np.float32)
    audio = Audio(samples, 8_000)
    assert audio.__dlpack_device__() == (1, 0)
    assert address(np.from_dlpack(audio)) == address(samples)
    audio.__dlpack__()


def test_an_old_dlpack_cannot_have_what_is_read_only_and_is_told_so():
    back = through(Audio(np.zeros(4, np.float32), 8_000))
    with pytest.raises(BufferError, match=r"only from NumPy 2\.1 on, .*DLPack 1.0"):
        back.__dlpack__()


def test_bfloat16_comes_back_where_its_package_is():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.array([[1, 2.5], [-3, 0]], ml_dtypes.bfloat16)
    back, copied = _convert(values)
    assert (back.dtype, copied, address(back)) == (values.dtype, 0, address(values))
    np.testing.assert_array_equal(back, values)
    assert _convert(values.T)[1] == values.nbytes
    with pytest.raises(MarshalingError, match=r"bfloat16 .*samples.astype\(numpy.float32\)"):
        _convert({"audio": values, "sample_rate": 1})
    with pytest.raises(MarshalingError, match="type float8_e5m2 cannot be sent"):
        _convert(np.zeros(2, ml_dtypes.float8_e5m2))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"audio": np.zeros(4, "i8"), "sample_rate": 8_000},
            r'^input\["audio"\]: samples of type int64 cannot be audio; expected float32, float64, '
            r"int16, int32 or uint8; convert with samples.astype\(numpy.int32\), if they fit$",
        ),
        (
            {"audio": np.zeros((1, 2, 3), "f4"), "sample_rate": 8_000},
            r'^input\["audio"\]: samples of shape \(1, 2, 3\) cannot be audio; expected '
            r"\(frames,\) or \(frames, channels\)$",
        ),
        ({"audio": np.zeros(4)}, r'^input: audio needs a key "sample_rate" beside "audio", in Hz$'),
        (
            {"audio": np.zeros(4), "sampel_rate": 1},
            '^input: a dict with an array under "audio" can have the keys "audio", "sample_rate"; '
            "it has 'sampel_rate'; did you mean \"sample_rate\"\\?$",
        ),
        ({"audio": np.zeros(4), "sample_rate": 8_000, 3: 4}, "^input: .* it has 3$"),
        (
            {"audio": np.zeros(4), "sample_rate": 0},
            r'^input\["sample_rate"\]: 0 cannot be a rate in Hz; expected an int from 1 to 4294967',
        ),
        ({"audio": np.zeros(4), "sample_rate": -1}, "-1 cannot be a rate"),
        ({"audio": np.zeros(4), "sample_rate": 8e3}, "8000.0 cannot be a rate"),
        ({"audio": np.zeros(4), "sample_rate": True}, "True cannot be a rate"),
        ({"audio": np.zeros(4), "sample_rate": "x" * 99}, "an object of type str cannot be a rate"),
        ({"audio": np.zeros(4), "sample_rate": 2**32}, "4294967296 cannot be a rate"),
        ({"audio": b"abcd", "sample_rate": 1}, r'^input\["audio"\]: bytes .*numpy.frombuffer'),
        ({"audio": np.array("x"), "sample_rate": 1}, r'^input\["audio"\]: samples of shape \(\)'),
        ({"audio": np.ma.zeros(4), "sample_rate": 1}, r'^input\["audio"\]: a masked array'),
        ({"audio": Audio([0.0], 1), "sample_rate": 1}, r'^input\["audio"\]: .* item of its own'),
    ],
)
def test_a_dict_with_an_array_that_is_no_audio_says_what_would_be(item, message):
    with pytest.raises(MarshalingError, match=message):
        _convert(item)


@pytest.mark.parametrize(
    "value",
    [
        {"audio": [0.0, 0.5], "sample_rate": 8_000},
        {"audio": "speech.wav", "sample_rate": 8_000},
        {"audio": None},
        {"frame": 7, "format": "rgb24"},
        {"frame": {"width": 3}},
    ],
)
def test_a_dict_of_plain_json_stays_json_whatever_its_keys_are(value):
    assert _convert(value) == (value, 0)


def test_a_bare_row_takes_the_rate_that_the_node_has():
    for samples in (
        np.zeros(4, np.float32),
        np.zeros(8, np.float32)[::2],
        array.array("f", [0, 0, 0, 0]),
        Tensor(np.zeros(4, np.float32)),
        np.zeros(4, ">i2"),
    ):
        back, _ = _convert(samples, 44_100)
        assert (type(back), back.sample_rate, back.frames) == (Audio, 44_100, 4)
    for other in (np.zeros(4), np.zeros((4, 1), np.float32), bytearray(4), np.zeros(4, np.uint8)):
        assert type(_convert(other, 44_100)[0]) is not Audio


def test_a_worker_gets_what_a_native_node_gets():
    echo = "sample_nodes:Echo"
    samples = np.arange(8, dtype=np.float32).reshape(4, 2)
    back = through({"audio": samples[::-1], "sample_rate": 8_000}, echo)
    np.testing.assert_array_equal(back.samples, samples[::-1])
    np.testing.assert_array_equal(through(array.array("d", [1, 2]), echo), [1, 2])
    np.testing.assert_array_equal(through(Tensor(samples), echo), samples)
    assert through(bytearray(b"abc"), echo) == b"abc"


@pytest.mark.parametrize("node", ["PassThroughNode", "sample_nodes:Echo"])
def test_what_is_copied_of_an_input_is_in_the_metrics(node):
    samples = np.zeros((4, 4), np.float32)

    def copied(item):
        run = execute_pipeline_with_input(manifest(("node", node)), item)
        return run["metrics"]["copied_bytes"]

    assert copied(samples.T) - copied(samples) == samples.nbytes
    assert copied(samples[::-1]) - copied(samples) == samples.nbytes


def test_what_is_copied_of_what_a_session_is_sent_is_in_its_report():
    samples = np.zeros((4, 4), np.float32)
    with Session(json.loads(manifest(("node", "PassThroughNode")))) as session:
        for item in (samples, samples.T, array.array("f", [1, 2]), memoryview(b"abcd")[::2]):
            session.send(item)
        session.finish()
        assert len(list(session)) == 4
    assert session.report()["copied_bytes"] == samples.nbytes + 2


STEADY = {
    "array": np.zeros(16, np.float32),
    "array in another order": np.zeros((4, 4), np.float32).T,
    "audio": Audio(np.zeros(16, np.float32), 8_000),
    "audio dict": {"audio": np.zeros(16, np.float32), "sample_rate": 8_000},
    "frame": VideoFrame(np.zeros((2, 2, 3), np.uint8), "rgb24"),
    "frame dict": {"frame": bytes(6), "format": "nv12", "width": 2, "height": 2},
    "buffer": array.array("f", [1, 2]),
    "bytearray": bytearray(b"abc"),
    "dlpack": Tensor(np.zeros(16, np.float32)),
    "json": {"a": [1, 2.5, None, "text"]},
    "text": "some text",
    "bytes": b"some bytes",
    "refused": {"a": {1, 2}},
    "refused audio": {"audio": np.zeros(4, np.int64), "sample_rate": 1},
}


@pytest.mark.parametrize("name", STEADY)
def test_ten_thousand_conversions_leave_nothing(name):
    item = STEADY[name]
    parts = [item, *(item.values() if isinstance(item, dict) else ())]
    parts += [getattr(item, name) for name in ("samples", "data", "values") if hasattr(item, name)]

    def convert(count):
        for _ in range(count):
            try:
                _convert(item)
            except MarshalingError:
                assert name.startswith("refused")
        gc.collect()
        return (
            [sys.getrefcount(part) for part in parts],
            len(gc.get_objects()),
            sys.getallocatedblocks(),
        )

    counts, objects, blocks = convert(100)
    counts_after, objects_after, blocks_after = convert(10_000)
    assert counts_after == counts
    # Caches of the interpreter may grow a little.
    assert objects_after - objects < 100
    assert blocks_after - blocks < 1000
