"""Sessions, as programs use them: on threads and on loops."""

import asyncio
import itertools
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    ECHO,
    NATIVE,
    NODES,
    SAME,
    WATCHDOG,
    WORKER,
    children_of,
    manifest,
    shared_memory_of,
)

from remotemedia import AsyncSession, Output, Pipeline, Session
from remotemedia_runtime.errors import (
    ChannelFullError,
    CycleError,
    ManifestError,
    MarshalingError,
    NodeNotFound,
    ParameterError,
    PythonError,
    SessionError,
)


def test_items_come_out_in_order_with_their_node(source):
    name = json.loads(source)["nodes"][0]["id"]
    with Session(source) as session:
        assert session.status == "ready"
        for number in range(5):
            session.send({"number": number})
        session.finish()
        assert list(session) == [Output(name, {"number": number}) for number in range(5)]
        assert session.receive() is None
    assert session.status == "stopped"


def test_an_item_comes_back_while_the_session_goes_on(source):
    samples = np.arange(1_000, dtype=np.float32)
    with Session(source) as session:
        for _ in range(3):
            session.send(samples)
            item = session.receive(WATCHDOG).item
            np.testing.assert_array_equal(item, samples)


def test_a_session_is_made_of_a_dict_a_text_a_file_or_a_pipeline(tmp_path):
    path = tmp_path / "pipeline.json"
    path.write_text(NATIVE)
    sources = (json.loads(NATIVE), NATIVE, path, str(path), Pipeline.from_file(path))
    for source in sources:
        with Session(source) as session:
            session.send("x", to="same")
            assert session.receive() == ("same", "x")


def test_what_is_no_pipeline_is_refused_with_what_would_be_one():
    with pytest.raises(TypeError, match="cannot be made of a int; it takes a Pipeline"):
        Session(3)
    with pytest.raises(ValueError, match=r"missing\.json"):
        Session("missing.json")
    for wrong in ({"params": "a.b=1"}, {"on_progress": 3}):
        with pytest.raises(TypeError, match="it takes"):
            Session(NATIVE, **wrong)
    with pytest.raises(ManifestError, match="set is not JSON"):
        Session({"version": "v1", "nodes": [{1, 2}]})


def test_paths_in_a_pipeline_start_from_its_folder(tmp_path):
    (tmp_path / "beside.py").write_text((NODES / "session_nodes.py").read_text())
    path = tmp_path / "pipeline.json"
    path.write_text(manifest(("echo", "beside:Echo")))
    for source in (path, Pipeline.from_file(path)):
        with Session(source) as session:
            session.send("x")
            assert session.receive().item == "x"


def test_what_cannot_run_is_told_before_anything_starts():
    two = [("a", "PassThroughNode"), ("b", "PassThroughNode")]
    cases = [
        (manifest(("a", "PassThruNode")), NodeNotFound, "PassThroughNode"),
        (manifest(*two, connections=[("a", "b"), ("b", "a")]), CycleError, "a"),
        ("{", ValueError, "JSON"),
    ]
    for source, expected, text in cases:
        with pytest.raises(expected, match=text):
            Session(source)
    with pytest.raises(ValueError, match=r"missing\.json"):
        Session(Path("missing.json"))


def test_a_class_or_parameter_that_only_the_worker_can_judge_is_told_as_here(tmp_path):
    with pytest.raises(NodeNotFound, match="has no 'Missing'") as missing:
        Session(manifest(("x", "session_nodes:Missing"))).start()
    assert isinstance(missing.value, PythonError)
    assert missing.value.node_id == "x"
    # A class that is not known here.
    (tmp_path / "unseen.py").write_text((NODES / "declared_nodes.py").read_text())
    path = tmp_path / "pipeline.json"
    path.write_text(manifest(("x", "unseen:Gain", {"factr": 2})))
    with pytest.raises(ParameterError, match='did you mean "factor"') as wrong:
        Session(path).start()
    assert (wrong.value.node_id, wrong.value.during) == ("x", "load")


def test_an_item_that_is_too_large_is_refused_and_the_session_goes_on():
    with Session(WORKER) as session:
        with pytest.raises(MarshalingError, match="too large for the queue before echo"):
            session.send(np.zeros(300 << 20, np.uint8))
        session.send("small")
        assert session.receive().item == "small"


def test_an_array_that_is_no_audio_is_refused_with_what_would_be():
    with Session(manifest(("vad", "VADNode"))) as session:
        for wrong in (np.zeros(160), np.zeros((160, 2), np.float32)):
            with pytest.raises(MarshalingError, match="alone is no audio; send Audio"):
                session.send(wrong)
        session.send(np.zeros(160, np.float32))


def test_items_that_are_there_are_given_on_a_loop_too():
    async def main():
        async with AsyncSession(NATIVE) as session:
            assert list(session.available()) == []
            await session.send(1)
            assert (await session.receive()).item == 1

    asyncio.run(main())


def test_a_session_that_is_just_left_tells_what_it_did(source):
    with Session(source) as session:
        session.send("x")
        session.receive()
    assert session.status == "stopped"
    (node,) = session.report()["nodes"]
    assert node["items_in"] == 1


def test_a_name_is_taken_once_at_a_time():
    with Session(NATIVE, session_id="mine") as session:
        assert session.id == "mine"
        with pytest.raises(SessionError, match="there is a session mine already"):
            Session(NATIVE, session_id="mine")
    with pytest.raises(ValueError, match="a b"):
        Session(NATIVE, session_id="a b")
    with Session(NATIVE, session_id="mine"):
        pass


def test_parameters_can_be_given_beside_the_manifest():
    with Session(manifest(("s", "session_nodes:Scale")), params=["s.factor=3"]) as session:
        session.send(2)
        assert session.receive().item == 6


def test_each_step_of_loading_is_told():
    steps = []
    with Session(WORKER, on_progress=steps.append):
        pass
    assert {step.node for step in steps} == {"echo"}
    assert any((step.fraction, step.message) == (0.5, "half") for step in steps)
    assert steps[-1].status == "ready"
    assert steps[-1].fraction == 1.0


def test_what_the_listener_raises_ends_the_session():
    def refuse(step):
        raise LookupError(step.node)

    session = Session(WORKER, on_progress=refuse)
    with pytest.raises(LookupError, match="echo"), session:
        raise AssertionError("it has started")
    assert session.status.startswith("error")


def test_parameters_change_between_items():
    with Session(manifest(("s", "session_nodes:Scale", {"factor": 2}))) as session:
        session.send(1)
        assert session.receive().item == 2
        session.set_params("s", {"factor": 5})
        session.send(1)
        assert session.receive().item == 5
        with pytest.raises(ParameterError, match="leaves nothing"):
            session.set_params("s", {"factor": 0})
        with pytest.raises(NodeNotFound, match="did you mean"):
            session.set_params("ss", {"factor": 1})
        with pytest.raises(MarshalingError):
            session.set_params("s", {"factor": {1}})
        session.send(1)
        assert session.receive().item == 5


def test_a_flush_drops_what_waits(tmp_path):
    gate = tmp_path / "open"
    with Session(manifest(("gate", "session_nodes:Gate", {"open": str(gate)}))) as session:
        for number in range(5):
            session.send(number)
        session.flush()
        session.send("after")
        gate.touch()
        session.finish()
        assert [output.item for output in session] == ["after"]


def test_an_item_without_room_is_not_sent(tmp_path):
    gate = tmp_path / "open"
    node = ("gate", "session_nodes:Gate", {"open": str(gate)})
    with Session(manifest(node)) as session:
        sent = []

        def send_all():
            for number in itertools.count():
                session.send(number, timeout=0.2)
                sent.append(number)

        with pytest.raises(ChannelFullError, match="was not sent"):
            send_all()
        gate.touch()
        session.finish()
        assert [output.item for output in session] == sent


def test_what_is_there_is_given_without_waiting(source):
    with Session(source) as session:
        assert list(session.available()) == []
        for number in range(3):
            session.send(number)
        items = []
        deadline = time.monotonic() + WATCHDOG
        while len(items) < 3:
            assert time.monotonic() < deadline
            items += [output.item for output in session.available()]
        assert items == [0, 1, 2]
        session.finish()
        assert list(session) == []
        assert list(session.available()) == []


def test_nothing_within_the_time_is_a_timeout_and_loses_nothing(source):
    with Session(source) as session:
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError):
                session.receive(timeout)
        session.send(1)
        assert session.receive(WATCHDOG).item == 1


def test_wrong_use_is_told_and_the_session_goes_on(source):
    with Session(source) as session:
        with pytest.raises(NodeNotFound, match="no input"):
            session.send(1, to="nobody")
        with pytest.raises(MarshalingError):
            session.send(object())
        with pytest.raises(SessionError, match="initialised before"):
            session.start()
        session.send(1)
        assert session.receive().item == 1
        session.finish()
        with pytest.raises(SessionError, match="no items any more"):
            session.send(2)
    with pytest.raises(SessionError):
        session.send(3)


def test_a_session_that_was_not_started_takes_nothing():
    session = Session(NATIVE)
    with pytest.raises(SessionError, match="initializing"):
        session.send(1)
    session.close()
    session.close()


def test_what_a_node_raises_comes_out_after_what_was_complete():
    with Session(manifest(("f", "session_nodes:FailsOnText"))) as session:
        session.send(1)
        assert session.receive().item == 1
        session.send("text")
        with pytest.raises(PythonError, match="no text, please") as failure:
            session.receive()
        assert failure.value.node_id == "f"
        with pytest.raises(SessionError):
            session.receive()
    assert session.status.startswith("error: ")


def test_events_tell_of_items_left_out():
    node = ("f", "session_nodes:FailsOnText", {}, {"on_error": "skip"})
    with Session(manifest(node)) as session:
        events = session.events()
        session.send("text")
        session.send(1)
        session.finish()
        assert [output.item for output in session] == [1]
    told = list(events)
    skipped = [event for event in told if event["event"] == "item_skipped"]
    assert [(event["node"], event["item"]) for event in skipped] == [("f", 0)]
    assert "no text, please" in skipped[0]["message"]
    statuses = [event["status"] for event in told if event["event"] == "status"]
    assert statuses[-1] == "stopped"


def test_statistics_and_report_count_what_was_done(source):
    with Session(source) as session:
        session.send(np.zeros(1_000, np.float32))
        session.receive()
        # An item may be here before its node has counted it.
        deadline = time.monotonic() + WATCHDOG
        while (node := session.stats()["nodes"][0])["items_out"] == 0:
            assert time.monotonic() < deadline
        assert (node["items_in"], node["items_out"]) == (1, 1)
        session.finish()
        assert list(session) == []
    report = session.report()
    assert report["nodes"][0]["items_in"] == 1
    assert 0 < report["init_time_us"] <= report["total_time_us"]
    assert report["run_time_us"] <= report["total_time_us"]


def test_a_plan_says_what_runs_where():
    with Session(manifest(SAME, ECHO)) as session:
        assert "echo" in session.plan
        executors = {node["id"]: node["executor"] for node in session.plan_dict()["nodes"]}
    assert executors == {"same": "native", "echo": "multiprocess"}


def test_cancelling_wakes_who_receives(source):
    with Session(source) as session:
        timer = threading.Timer(0.05, session.cancel)
        timer.start()
        with pytest.raises(SessionError, match="cancelled"):
            session.receive()
        timer.join()


def test_one_thread_sends_while_others_receive(source):
    count = 2_000
    received = []
    with Session(source) as session:

        def take():
            received.extend(output.item for output in session)

        takers = [threading.Thread(target=take) for _ in range(3)]
        for taker in takers:
            taker.start()
        for number in range(count):
            session.send(number)
        session.finish()
        for taker in takers:
            taker.join(WATCHDOG)
    assert sorted(received) == list(range(count))


def test_a_session_left_open_is_warned_of():
    session = Session(WORKER).start()
    before = shared_memory_of(os.getpid())
    assert before
    with pytest.warns(ResourceWarning, match="was not closed"):
        del session
    deadline = time.monotonic() + WATCHDOG
    while shared_memory_of(os.getpid()) & before or children_of(os.getpid()):
        assert time.monotonic() < deadline, "it has not ended"
        time.sleep(0.005)


def test_a_loop_sends_and_receives(source):
    async def main():
        async with AsyncSession(source) as session:

            async def feed():
                for number in range(500):
                    await session.send(number)
                session.finish()

            feeding = asyncio.create_task(feed())
            items = [output.item async for output in session]
            await feeding
            stats = await session.stats()
            assert stats["nodes"][0]["items_out"] == 500
        return items

    assert asyncio.run(main()) == list(range(500))


def test_a_cancelled_wait_on_a_loop_loses_nothing(source):
    async def main():
        async with AsyncSession(source) as session:
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(session.receive(), 0.01)
            await session.send("item")
            return await asyncio.wait_for(session.receive(), WATCHDOG)

    assert asyncio.run(main()).item == "item"


def test_two_sessions_share_a_loop():
    async def one(number):
        async with AsyncSession(WORKER) as session:
            await session.send(number)
            return (await session.receive()).item

    async def main():
        return await asyncio.gather(*(one(number) for number in range(2)))

    assert asyncio.run(main()) == [0, 1]


def test_a_failure_reaches_the_loop():
    async def main():
        steps = []
        session = AsyncSession(
            manifest(("f", "session_nodes:FailsOnText")), on_progress=steps.append
        )
        async with session:
            events = session.events()
            await session.set_params("f", {"x": 1})
            await session.flush()
            await session.send("text")
            with pytest.raises(PythonError, match="no text"):
                await session.receive()
        assert steps[-1].status == "ready"
        return [event["event"] async for event in events]

    assert "status" in asyncio.run(main())


def test_a_session_that_does_not_start_leaves_nothing_on_a_loop():
    async def main():
        async with AsyncSession(manifest(("x", "session_nodes:Missing"))):
            raise AssertionError("it has started")

    with pytest.raises(PythonError, match="Missing"):
        asyncio.run(main())


def test_a_node_knows_the_item_in_work():
    with Session(manifest(("f", "session_nodes:Facts"))) as session:
        for number in range(3):
            session.send("item")
            facts = session.receive().item
            assert facts["before"] == [None, None, None, False]
            assert facts["sequence"] == number
            assert (facts["port"], facts["left"], facts["cancelled"]) == (None, None, False)


def test_a_node_knows_how_much_time_it_has():
    node = ("f", "session_nodes:Facts", {}, {"timeout_secs": 60})
    with Session(manifest(node)) as session:
        session.send("item")
        assert 50 < session.receive().item["left"] <= 60


def test_a_node_knows_the_port_of_an_item():
    nodes = [SAME, ("f", "session_nodes:Facts")]
    with Session(manifest(*nodes, connections=[("same", "f.left")])) as session:
        session.send("item")
        assert session.receive().item["port"] == "left"


@pytest.mark.parametrize("end", ["flush", "close"])
def test_a_node_sees_that_nobody_wants_its_outcome(tmp_path, end):
    begun, done = tmp_path / "begun", tmp_path / "done"
    params = {"begun": str(begun), "done": str(done)}
    with Session(manifest(("u", "session_nodes:UntilCancelled", params))) as session:
        session.send("unwanted")
        deadline = time.monotonic() + WATCHDOG
        while not begun.exists():
            assert time.monotonic() < deadline
        getattr(session, end)()
        while end == "flush" and not done.exists():
            assert time.monotonic() < deadline
    assert done.read_text() == "unwanted\n"
