"""Files and streams at the ends of ``remotemedia run``."""

import io
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ended, manifest

from remotemedia import Audio, Session, VideoFrame
from remotemedia.cli.drive import Feed, drive
from remotemedia.cli.inputs import InputError, RawSound, read_items
from remotemedia.cli.outputs import OutputError, Writer, as_line
from remotemedia_runtime import ItemTimeout, execute_pipeline, execute_pipeline_with_input

SAME = ("same", "PassThroughNode")
ECHO = ("echo", "sample_nodes:Echo")
DESCRIBE = ("what", "sample_nodes:Describe")
NOISE = np.random.default_rng(7).uniform(-1, 1, (500, 2)).astype(np.float32)


def read(path, form, rate=16_000, channels=1):
    return list(read_items(str(path), form, RawSound(rate, channels)))


def write(path, form, *items):
    with Writer(str(path), form) as writer:
        for item in items:
            writer.write(item)


def run_with(command, given, *arguments):
    """What a run gives on stdout for what it is given on stdin."""
    process = command("run", *arguments, stdin=subprocess.PIPE)
    out, err = process.communicate(given, timeout=25)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int32", "uint8"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_survives_a_wav_file(tmp_path, dtype, channels):
    samples = (NOISE * 100 + 100).astype(dtype)
    samples = samples[:, 0] if channels == 1 else samples
    path = tmp_path / "sound.wav"
    write(path, "wav", Audio(samples[:300], 8000), Audio(samples[300:], 8000))
    items = read(path, "wav")
    assert {item.sample_rate for item in items} == {8000}
    # 20 ms each.
    assert [item.frames for item in items] == [160, 160, 160, 20]
    np.testing.assert_array_equal(np.concatenate([item.samples for item in items]), samples)
    assert items[0].samples.dtype == dtype


@pytest.mark.parametrize("format", ["f32", "i16", "i24", "i32", "u8"])
def test_wav_files_of_native_nodes_are_read_as_native_nodes_read_them(tmp_path, format):
    path = tmp_path / "sound.wav"
    nodes = [
        {"id": "to", "node_type": "FormatConverterNode", "params": {"format": format}},
        {"id": "sink", "node_type": "AudioFileSinkNode", "params": {"path": str(path)}},
    ]
    links = [{"from": "to", "to": "sink"}]
    text = json.dumps({"version": "v1", "nodes": nodes, "connections": links})
    execute_pipeline_with_input(text, Audio(NOISE, 16_000))
    nodes = [{"id": "source", "node_type": "AudioFileSourceNode", "params": {"path": str(path)}}]
    native = execute_pipeline(json.dumps({"version": "v1", "nodes": nodes}))["result"]
    native = native if isinstance(native, list) else [native]
    items = read(path, "wav")
    assert [item.frames for item in items] == [item.frames for item in native]
    for item, other in zip(items, native, strict=True):
        assert item.samples.dtype == other.samples.dtype
        np.testing.assert_array_equal(item.samples, other.samples)


def test_wav_files_of_the_command_are_read_by_others(tmp_path):
    path = tmp_path / "sound.wav"
    write(path, "wav", Audio((NOISE * 30_000).astype(np.int16), 44_100))
    import wave

    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 44_100, 500)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin as a WAV file does"),
        (b"RIFF\0\0\0\0WAVE", "ends before its samples"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0\1\1\1\1", "before their format"),
        (
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x07\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0",
            "samples of 8 bits in coding 7 are not read",
        ),
        (
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\0\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0",
            "0 channels",
        ),
        (b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff", "cut off"),
    ],
)
def test_what_is_no_wav_is_refused(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(path, "wav")


@pytest.mark.parametrize("form", ["s16le", "f32le"])
def test_samples_without_a_header_are_converted(tmp_path, form):
    path = tmp_path / "sound.raw"
    write(path, form, Audio(NOISE, 16_000))
    size = 2 if form == "s16le" else 4
    assert path.stat().st_size == 1000 * size
    # A frame that is cut off is left out.
    path.write_bytes(path.read_bytes() + b"\1")
    items = read(path, form, channels=2)
    assert [item.frames for item in items] == [320, 180]
    found = np.concatenate([item.samples for item in items])
    scale = 32_768 if form == "s16le" else 1
    np.testing.assert_allclose(found / scale, NOISE, atol=1 / 32_768)


def test_lines_and_documents_are_read(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("grüß\r\ndich\n\nend".encode())
    assert read(path, "text") == ["grüß", "dich", "", "end"]
    path.write_text('{"a": 1}\n\n[2]\n')
    assert read(path, "jsonl") == [{"a": 1}, [2]]
    path.write_text('{"a":\n 1}')
    assert read(path, "json") == [{"a": 1}]
    path.write_bytes(b"x" * 100_000)
    assert read(path, "binary") == [b"x" * 100_000]


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("text", b"one\n\xff\n", "line 2 is no UTF-8"),
        ("jsonl", b"1\n{\n", "line 2 is no JSON"),
        ("jsonl", b"1\n" + b"[" * 100_000, "line 2 is no JSON: maximum recursion"),
        ("json", b"[" * 100_000, "maximum recursion"),
        ("json", b"", "Expecting value"),
        ("npy", b"no array at all", "magic string"),
    ],
)
def test_what_is_not_of_its_form_is_named_with_its_place(tmp_path, form, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        read(path, form)
    assert str(path) in str(raised.value)


def test_a_file_holds_several_arrays(tmp_path):
    path = tmp_path / "arrays.npy"
    arrays = [np.arange(6).reshape(2, 3), np.zeros(0, np.float32), np.ones(100_000)]
    write(path, "npy", *arrays)
    found = read(path, "npy")
    assert [array.dtype for array in found] == [array.dtype for array in arrays]
    for array, other in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(array, other)
    np.testing.assert_array_equal(np.load(path), arrays[0])


@pytest.mark.parametrize(
    ("form", "item"), [("wav", "text"), ("s16le", 1), ("npy", "text"), ("binary", {"a": 1})]
)
def test_an_item_that_does_not_fit_its_form_is_refused(tmp_path, form, item):
    with pytest.raises(OutputError, match=f"cannot be written as {form}"):
        write(tmp_path / "file", form, item)


def test_a_frame_is_written_as_an_array_and_told_in_words(tmp_path):
    frame = VideoFrame(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "rgb24")
    write(tmp_path / "frame.npy", "npy", frame)
    np.testing.assert_array_equal(read(tmp_path / "frame.npy", "npy")[0], frame.data)
    assert as_line(frame) == '{"frame": {"width": 2, "height": 2, "format": "rgb24"}}'


def test_sound_that_changes_does_not_fit_one_file(tmp_path):
    with pytest.raises(OutputError, match="sound changes"):
        write(tmp_path / "a.wav", "wav", Audio(NOISE, 8000), Audio(NOISE, 16_000))


def test_a_file_goes_through_a_pipeline_into_a_file(command, manifest_file, tmp_path):
    path = manifest_file(SAME, ECHO)
    write(tmp_path / "in.wav", "wav", Audio(NOISE, 16_000))
    code, out, err = ended(
        command("run", path, "-i", tmp_path / "in.wav", "-o", tmp_path / "out.wav")
    )
    assert code == 0, err
    assert "echo: " not in out
    assert (tmp_path / "out.wav").read_bytes() == (tmp_path / "in.wav").read_bytes()


def test_what_comes_from_stdin_is_sent_as_it_comes(command, manifest_file):
    process = command("run", manifest_file(ECHO), "-i", "-", "-o", "-", stdin=subprocess.PIPE)
    for word in ("one", "two"):
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        # The input is still open.
        assert process.stdout.readline() == f"{word}\n"
    process.stdin.close()
    process.stdin = None
    _, err = process.communicate(timeout=25)
    assert process.returncode == 0
    # What is on stdout is the items' alone.
    assert "done after" in err


def test_forms_can_be_said_where_no_name_tells_them(command, manifest_file, tmp_path):
    path = manifest_file(SAME)
    options = ("-i", "-", "--output-format", "jsonl", "-o", "-", "-q")
    out = run_with(command, '{"a": [1]}\n2\n', path, *options, "--input-format", "jsonl")
    assert out == '{"a": [1]}\n2\n'
    samples = (NOISE[:, 0] * 32_000).astype("<i2")
    (tmp_path / "sound.raw").write_bytes(samples.tobytes())
    given = (path, "-q", "-i", tmp_path / "sound.raw", "--rate", "8000")
    code, out, err = ended(command("run", *given, "-o", tmp_path / "same.raw"))
    assert (code, out) == (0, ""), err
    assert (tmp_path / "same.raw").read_bytes() == samples.tobytes()
    code, out, err = ended(command("run", *given, "-o", "same=" + str(tmp_path / "x.wav")))
    assert code == 0, err
    assert read(tmp_path / "x.wav", "wav")[0].sample_rate == 8000


def test_stdout_takes_the_form_of_the_items(manifest_file):
    def output(text, *options):
        # Bytes, which the fixture does not give.
        arguments = [sys.executable, "-m", "remotemedia", "run", manifest_file(SAME), *options]
        return subprocess.run(
            [*arguments, "-q", "-i", "-", "-o", "-"], input=text, capture_output=True, check=True
        ).stdout

    buffer = io.BytesIO()
    np.save(buffer, np.arange(4.0))
    assert output(buffer.getvalue(), "--input-format", "npy") == buffer.getvalue()
    assert output(b"\0\xff", "--input-format", "binary") == b"\0\xff"
    sound = output(NOISE.tobytes(), "--input-format", "f32le", "--channels", "2")
    assert sound[:4] == b"RIFF"
    assert sound[-NOISE.nbytes :] == NOISE.tobytes()
    # Again through a pipe, where nobody knew the length.
    assert output(sound, "--input-format", "wav")[-NOISE.nbytes :] == NOISE.tobytes()


def test_inputs_and_outputs_name_their_nodes(command, manifest_file, tmp_path):
    path = manifest_file(
        ("a", "PassThroughNode"),
        ("b", "PassThroughNode"),
        ("x", "PassThroughNode"),
        ("y", "PassThroughNode"),
        connections=[("a", "x"), ("b", "y")],
    )
    (tmp_path / "one=1.txt").write_text("one\n")
    (tmp_path / "two.txt").write_text("two\n")
    inputs = ("-i", f"a={tmp_path / 'one=1.txt'}", "-i", f"b={tmp_path / 'two.txt'}")
    code, out, err = ended(command("run", path, "-q", *inputs, "-o", f"y={tmp_path / 'y.txt'}"))
    assert (code, out) == (0, "x: one\n"), err
    assert (tmp_path / "y.txt").read_text() == "two\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-i", "missing.txt"], "missing.txt: no such file"),
        (["-i", "what.xyz"], "does not tell its form"),
        (["-i", "sme=x.txt"], 'did you mean "same"?'),
        (["-i", "-", "-i", "same=-"], "only once"),
        (["-o", "what.xyz"], "does not tell its form"),
        (["-o", "a.txt", "-o", "same=b.txt"], "two outputs"),
        (["-o", "no/where/a.txt"], "No such file"),
        (["-o", "-", "--json"], "both want stdout"),
        (["-i", ".", "--input-format", "text"], "Is a directory"),
        (["--rate", "0"], "rate"),
        (["--input-format", "mp3"], "mp3"),
    ],
)
def test_a_wrong_end_of_a_pipeline_is_named(command, manifest_file, tmp_path, options, message):
    code, _, err = ended(command("run", manifest_file(SAME), *options, cwd=tmp_path))
    assert code in (1, 2)
    assert message in err


def test_a_pipeline_without_a_way_in_takes_no_input(command, manifest_file):
    path = manifest_file(("source", "AudioFileSourceNode", {"path": "x.wav"}))
    code, _, err = ended(command("run", path, "-i", "-"))
    assert code == 2
    assert "from its sources" in err


def test_a_pipeline_that_is_given_nothing_says_so(command, manifest_file):
    code, _, err = ended(command("run", manifest_file(SAME), "-q"))
    assert code == 0
    assert "nothing is given to same; --input does" in err


def test_a_broken_input_ends_the_run(command, manifest_file, tmp_path):
    (tmp_path / "in.jsonl").write_text("1\n{")
    code, _, err = ended(command("run", manifest_file(ECHO), "-i", tmp_path / "in.jsonl", "-q"))
    assert code == 1
    assert "in.jsonl: line 2 is no JSON" in err


def test_an_output_that_does_not_fit_ends_the_run(command, manifest_file, tmp_path):
    options = ("-i", "-", "-o", tmp_path / "out.wav")
    process = command("run", manifest_file(ECHO), *options, stdin=subprocess.PIPE)
    _, err = process.communicate("one\n", timeout=25)
    assert process.returncode == 1
    assert "str cannot be written as wav" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_that_waits_for_stdin(command, manifest_file, number, code):
    process = command("run", manifest_file(ECHO), "-i", "-", "-o", "-", stdin=subprocess.PIPE)
    process.stdin.write("one\n")
    process.stdin.flush()
    assert process.stdout.readline() == "one\n"
    process.send_signal(number)
    # Its stdin stays open.
    assert process.wait(25) == code
    assert process.stderr.read().splitlines()[-1].startswith("error: ")


def test_a_form_without_an_output_is_refused(command, manifest_file):
    path = manifest_file(("same", "PassThroughNode"))
    code, _, err = ended(command("run", path, "--output-format", "jsonl"))
    assert (code, "--output-format is for --output" in err) == (2, True)


def test_an_item_that_takes_too_long_is_told_as_such(tmp_path):
    gate = ("gate", "session_nodes:Gate", {"open": str(tmp_path / "open")})
    plan = json.loads(manifest(gate))
    plan["nodes"][0]["timeout_secs"] = 0.1
    with pytest.raises(ItemTimeout) as error:
        drive(Session(plan), [Feed(None, [1])], print, lambda stats: None)
    assert error.value.node_id == "gate"
