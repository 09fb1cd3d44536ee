"""Traces of real runs, by the rules of the Trace Event Format."""

import io
import json
from collections import Counter, defaultdict

import pytest
from conftest import manifest, said

from remotemedia import Session
from remotemedia._trace import (
    PHASES,
    chrome_trace,
    done_ns,
    parts,
    percentile,
    summarize,
    write_chrome_trace,
)

# Times are floats of microseconds: less than a nanosecond is no overlap.
EPSILON = 0.0005


def run(*nodes, **fields):
    with Session(manifest(*nodes, **fields), timeline=True) as session:
        session.send("0")
        session.finish()
        for _ in session:
            pass
    return session.report()


def check(trace):
    """Check a trace as a viewer would read it; give its events by their kind."""
    text = json.dumps(trace, allow_nan=False)
    assert json.loads(text) == trace
    assert trace["displayTimeUnit"] in ("ms", "ns")
    by_kind = defaultdict(list)
    for event in trace["traceEvents"]:
        assert {"name", "ph", "pid", "tid", "ts"} <= event.keys()
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert event["ts"] >= 0
        by_kind[event["ph"]].append(event)
    assert by_kind.keys() <= set("XMbesfi")
    check_slices(by_kind["X"])
    check_queues(by_kind["b"], by_kind["e"])
    check_arrows(by_kind["s"], by_kind["f"], by_kind["X"])
    for event in by_kind["i"]:
        assert event["s"] in ("g", "p", "t")
    for event in by_kind["M"]:
        expected = {"process_name": "name", "thread_name": "name"}
        assert expected.get(event["name"], "sort_index") in event["args"]
    named = {(event["pid"], event["tid"]) for event in by_kind["M"]}
    used = {(event["pid"], event["tid"]) for event in trace["traceEvents"]}
    assert used == named
    return by_kind


def check_slices(events):
    """Slices of one thread lie within one another or do not overlap."""
    threads = defaultdict(list)
    for event in events:
        assert event["dur"] >= 0
        threads[event["pid"], event["tid"]].append(event)
    for slices in threads.values():
        ends = []
        for event in sorted(slices, key=lambda event: (event["ts"], -event["dur"])):
            while ends and ends[-1] <= event["ts"] + EPSILON:
                ends.pop()
            end = event["ts"] + event["dur"]
            assert not ends or end <= ends[-1] + EPSILON, event
            ends.append(end)


def check_queues(begins, ends):
    """Each beginning of an asynchronous slice has one end, which is later."""
    begun = {(event["cat"], event["id"]): event for event in begins}
    ended = {(event["cat"], event["id"]): event for event in ends}
    assert len(begun) == len(begins)
    assert len(ended) == len(ends)
    assert begun.keys() == ended.keys()
    for key, event in begun.items():
        assert event["name"] == ended[key]["name"]
        assert event["ts"] <= ended[key]["ts"]


def check_arrows(starts, finishes, slices):
    """Arrows have one start and one later end, and both lie in slices."""
    started = {(event["cat"], event["id"]): event for event in starts}
    finished = {(event["cat"], event["id"]): event for event in finishes}
    assert len(started) == len(starts)
    assert len(finished) == len(finishes)
    assert started.keys() == finished.keys()
    within = defaultdict(list)
    for event in slices:
        within[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for event in starts + finishes:
        spans = within[event["pid"], event["tid"]]
        assert any(begin - EPSILON <= event["ts"] <= end + EPSILON for begin, end in spans)
    for key, event in started.items():
        assert event["ts"] <= finished[key]["ts"]
        assert finished[key]["bp"] == "e"


def items_of(timeline, node):
    (found,) = (of for of in timeline["nodes"] if of["node"] == node)
    return [item for run in found["runs"] for item in run["items"] if item["work"] == "item"]


def check_sums(timeline):
    """The parts of each item's time follow one another, from sent to done."""
    for node in timeline["nodes"]:
        for item in (item for run in node["runs"] for item in run["items"]):
            found = list(parts(item))
            begins = [begin for _, begin, _, _ in found]
            ends = [end for _, _, end, _ in found]
            assert all(begin <= end for begin, end in zip(begins, ends, strict=True))
            assert begins[1:] == ends[:-1]
            if item["sent_ns"] <= item["waiting_ns"]:
                assert begins[0] == item["sent_ns"]
            assert ends[-1] == done_ns(item)


def summary_of(timeline, node):
    (found,) = (of for of in summarize(timeline) if of["node"] == node)
    return found


def test_a_trace_of_python_and_native_nodes_keeps_the_rules_of_the_format():
    report = run(
        ("first", "trace_nodes:Counts", {"count": 50}),
        ("waits", "trace_nodes:Waits"),
        ("a", "PassThroughNode"),
        ("b", "PassThroughNode"),
        ("last", "sample_nodes:Echo"),
    )
    timeline = report["timeline"]
    check_sums(timeline)
    counts = [summary_of(timeline, node)["count"] for node in ("first", "waits", "a", "b", "last")]
    assert counts == [1, 50, 100, 100, 100]
    events = check(chrome_trace(report))
    written = io.StringIO()
    write_chrome_trace(report, written)
    assert json.loads(written.getvalue()) == chrome_trace(report)
    arrows = Counter(event["tid"] for event in events["f"])
    # From outside there are none.
    assert arrows == {2: 50, 3: 100, 4: 100, 5: 100}
    names = {event["args"].get("name") for event in events["M"]}
    assert {"pipeline pipeline", "worker first", "a (PassThroughNode)"} <= names
    categories = {event["cat"] for event in events["X"]}
    assert {"start", "item", "wake", "gil", "convert", "compute", "copy", "send"} <= categories
    for event in events["X"]:
        if event["cat"] in ("copy", "send"):
            assert event["args"]["bytes"] > 0
    # One slice an item, in the process of its node.
    pids = {event["pid"] for event in events["X"] if event["tid"] in (3, 4)}
    assert pids == {timeline["process_id"]}
    assert len({event["pid"] for event in events["M"]}) == 4


def test_a_node_that_waits_for_the_lock_shows_it_and_native_ones_do_not():
    report = run(
        # The other thread gets the lock while there is nothing to do.
        ("first", "trace_nodes:Counts", {"count": 20, "every": 0.02}),
        ("contends", "trace_nodes:Contends"),
        ("native", "PassThroughNode"),
    )
    check(chrome_trace(report))
    contends = summary_of(report["timeline"], "contends")["times_us"]
    assert contends["gil"]
    assert min(contends["gil"]) > 0
    # Whoever wants the lock of one who computes waits for 5 ms, unless that gives it by itself.
    assert max(contends["gil"]) > 2_000
    native = summary_of(report["timeline"], "native")["times_us"]
    assert max(native["gil"] + native["convert"]) == 0


def test_what_is_copied_is_told_and_lent_memory_is_not():
    report = run(("lends", "trace_nodes:Lends"), ("echo", "sample_nodes:Echo"))
    (lent,) = items_of(report["timeline"], "lends")
    (copied,) = items_of(report["timeline"], "echo")
    sizes = {phase: size for phase, _, size in lent["phases"] if size}
    assert sizes == {"send": 4_000}
    sizes = {phase: size for phase, _, size in copied["phases"] if size}
    assert sizes == {"copy": 4_000, "send": 4_000}


def test_long_work_goes_on_in_further_slices():
    report = run(("first", "trace_nodes:Counts", {"count": 300}))
    check_sums(report["timeline"])
    (node,) = report["timeline"]["nodes"]
    works = Counter(item["work"] for item in node["runs"][0]["items"])
    assert works["item"] == 1
    assert works["more"] > 1
    assert summary_of(report["timeline"], "first")["count"] == 1
    check(chrome_trace(report))


def test_a_failed_item_and_a_restart_are_marked(tmp_path):
    params = {"at": "30", "mark": str(tmp_path / "mark")}
    restart = {"restart": {"on_failure": {"max": 1, "backoff": {"initial_ms": 1}}}}
    report = run(
        ("first", "trace_nodes:Counts", {"count": 60, "every": 0.005}),
        ("fails", "trace_nodes:FailsOnce", {"at": "7"}, {"on_error": "skip"}),
        ("dies", "trace_nodes:DiesOnce", params, restart),
    )
    events = check(chrome_trace(report))
    marks = {event["name"]: event for event in events["i"]}
    assert marks.keys() == {"failed on item 7", "end of its process"}
    assert "dies" in marks["end of its process"]["args"]["reason"]
    assert summary_of(report["timeline"], "fails")["failed"] == 1
    runs = report["timeline"]["nodes"][2]["runs"]
    assert len({run["process_id"] for run in runs}) == 2
    # The one that died takes its last tenth of a second with it.
    assert [len(run["items"]) > 0 for run in runs] == [True, True]


def test_nothing_is_recorded_unless_it_is_asked_for():
    with Session(manifest(("echo", "sample_nodes:Echo"))) as session:
        session.finish()
    assert "timeline" not in session.report()


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([1], 0.5, 1), ([1, 2], 0.5, 1), ([3, 1, 2], 0.5, 2), (range(1, 101), 0.99, 99)],
)
def test_a_percentile_is_one_of_the_values(values, share, expected):
    assert percentile(values, share) == expected


def test_the_command_writes_a_trace_and_prints_a_table(command, manifest_file, tmp_path):
    path = manifest_file(("echo", "sample_nodes:Echo"), ("native", "PassThroughNode"))
    (tmp_path / "in.txt").write_text("hello")
    out = tmp_path / "out.json"
    process = command("trace", path, "--input", tmp_path / "in.txt", "-o", out)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, said(stderr)) == (0, "")
    assert "ui.perfetto.dev" in stdout
    for word in ("echo", "native", "median", "p99", "queue", "wake", "GIL", "compute", "copy"):
        assert word in stdout
    check(json.loads(out.read_text()))


def test_a_trace_that_cannot_be_written_is_an_error(command, manifest_file, tmp_path):
    path = manifest_file(("native", "PassThroughNode"))
    process = command("trace", path, "-o", tmp_path / "no folder" / "out.json")
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "cannot write" in stderr


def test_every_phase_has_a_place_in_the_table():
    assert len(set(PHASES)) == len(PHASES)


def test_a_run_that_fails_leaves_its_trace(command, manifest_file, tmp_path):
    counts = ("first", "trace_nodes:Counts", {"count": 20})
    path = manifest_file(counts, ("fails", "trace_nodes:FailsOnce", {"at": "7"}))
    (tmp_path / "in.txt").write_text("hello")
    out = tmp_path / "out.json"
    process = command("trace", path, "--input", tmp_path / "in.txt", "-o", out)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "no luck" in stderr
    events = check(json.loads(out.read_text()))
    assert [event["name"] for event in events["i"]] == ["failed on item 7"]
