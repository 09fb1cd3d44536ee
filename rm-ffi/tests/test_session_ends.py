"""Sessions and how they end: by signals, by forks, given up, with their program."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from conftest import NATIVE, NODES, SAME, WATCHDOG, WORKER, manifest

from remotemedia import AsyncSession, Session
from remotemedia_runtime.errors import (
    ChannelFullError,
    GraphError,
    ResourceLimitError,
)


def program(text, *options):
    """Starts a program beside the nodes of the tests."""
    return subprocess.Popen(
        [sys.executable, *options, "-c", textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=NODES,
    )


@pytest.mark.parametrize("waits", ["session.receive()", "list(session)"])
def test_ctrl_c_ends_a_session_cleanly(waits):
    text = f"""
        from remotemedia import Session
        with Session({WORKER!r}) as session:
            worker = session.stats()["nodes"][0]["process_id"]
            try:
                print(worker, flush=True)
                {waits}
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        print(session.status)
        """
    with program(text) as process:
        worker = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WATCHDOG)
    assert (out.split(), process.returncode) == (["interrupted", "stopped"], 0), err
    assert not Path(f"/proc/{worker}").exists()


def test_ctrl_c_while_nodes_load_ends_them():
    text = f"""
        import sys, time
        sys.path.insert(0, ".")
        from remotemedia import Session
        source = {manifest(("slow", "lifecycle_nodes:LoadsForEver"))!r}
        def say(step):
            print(step.status, flush=True)
        try:
            with Session(source, on_progress=say) as session:
                print("started")
        except KeyboardInterrupt:
            print("interrupted")
        """
    with program(text) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WATCHDOG)
    assert out.split()[-1] == "interrupted", err
    assert "started" not in out


def test_a_program_that_ends_with_an_open_session_leaves_nothing():
    text = f"""
        from remotemedia import Session
        session = Session({WORKER!r}).start()
        print(session.stats()["nodes"][0]["process_id"])
        """
    with program(text) as process:
        out, err = process.communicate(timeout=WATCHDOG)
    assert process.returncode == 0, err
    assert not Path(f"/proc/{int(out)}").exists()


def test_a_forked_process_is_refused_and_ends_well():
    text = f"""
        import os
        from remotemedia import Session
        with Session({NATIVE!r}) as session:
            pid = os.fork()
            if pid == 0:
                for ask in (lambda: session.send(1), lambda: Session({NATIVE!r})):
                    try:
                        ask()
                    except RuntimeError as error:
                        print("spawn" in str(error), flush=True)
                raise SystemExit(0)
            print(os.waitpid(pid, 0)[1], flush=True)
            session.send(1)
            print(session.receive().item)
        """
    with program(text, "-W", "ignore::DeprecationWarning") as process:
        out, err = process.communicate(timeout=WATCHDOG)
    assert out.split() == ["True", "True", "0", "1"], err
    assert err == ""


def test_limits_of_the_runtime_are_told():
    text = f"""
        from remotemedia import Session
        from remotemedia_runtime.errors import ResourceLimitError
        with Session({NATIVE!r}):
            try:
                Session({NATIVE!r})
            except ResourceLimitError as error:
                print(error)
        """
    environment = os.environ | {"REMOTEMEDIA_MAX_SESSIONS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "there are 1 sessions, 1 are allowed\n", done.stderr
    assert issubclass(ResourceLimitError, RuntimeError)
    assert issubclass(GraphError, ValueError)


async def given_up(coroutine):
    """Begins to wait, and gives it up. The exception keeps the frames that have waited."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as error:
        await task
    return error


def test_an_awaited_item_that_was_given_up_takes_none_from_others(source):
    async def run():
        async with AsyncSession(source) as session:
            error = await given_up(session.receive())
            waits = asyncio.create_task(session.receive())
            await asyncio.sleep(0)
            await session.send({"number": 1})
            output = await asyncio.wait_for(waits, WATCHDOG)
            assert output.item == {"number": 1}
            assert error is not None

    asyncio.run(run())


def test_who_listens_to_a_session_may_wait_for_it():
    seen = []
    session = Session(WORKER, on_progress=lambda step: seen.append(session.stats()["status"]))
    with session:
        assert set(seen) <= {"initializing", "ready"}
        assert seen


def test_a_handler_of_signals_may_close_the_session_that_is_waited_for(source):
    calls = itertools.count()
    over = threading.Event()

    def close(signum, frame):
        # The first may come before the wait.
        if frame.f_code is Session.receive.__code__ and next(calls) == 2:
            session.close()

    def send(thread):
        while not over.is_set():
            signal.pthread_kill(thread, signal.SIGUSR1)
            over.wait(0.001)

    before = signal.signal(signal.SIGUSR1, close)
    sender = threading.Thread(target=send, args=[threading.get_ident()])
    try:
        with Session(source) as session:
            sender.start()
            try:
                assert session.receive(WATCHDOG) is None
            finally:
                over.set()
                sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert session.status == "stopped"


def test_an_end_that_was_not_waited_for_can_be_waited_for_again():
    async def run():
        session = await AsyncSession(WORKER).start()
        await given_up(session.close())
        await session.close()
        assert session.status == "stopped"

    asyncio.run(run())


def test_a_session_that_ends_while_its_last_step_is_told_has_run_for_no_time():
    def end(step):
        if step.status == "ready":
            thread = threading.Thread(target=lambda: (session.finish(), session.receive()))
            thread.start()
            thread.join()

    session = Session(NATIVE, on_progress=end)
    with session:
        pass
    assert session.report()["run_time_us"] == 0


def test_an_item_goes_to_all_nodes_or_to_none(tmp_path):
    gate = ("gate", "session_nodes:Gate", {"open": str(tmp_path / "open")})
    with Session(manifest(SAME, gate, connections=[])) as session:
        for sent in itertools.count():
            try:
                session.send(sent, timeout=0.01)
            except ChannelFullError:
                break
            assert session.receive(WATCHDOG) == ("same", sent)
        with pytest.raises(TimeoutError):
            session.receive(0.05)
        assert session.stats()["nodes"][0]["items_in"] == sent


def send_without_end(session):
    while True:
        session.send(1)


def test_an_elapsed_time_of_the_callers_own_is_none_of_the_channels(tmp_path):
    def refuse(signum, frame):
        raise TimeoutError("of its own")

    gate = ("gate", "session_nodes:Gate", {"open": str(tmp_path / "open")})
    before = signal.signal(signal.SIGALRM, refuse)
    try:
        with Session(manifest(gate)) as session:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(TimeoutError, match="of its own"):
                send_without_end(session)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_ctrl_c_at_exit_leaves_nothing():
    text = f"""
        import os, signal, sys, threading
        from remotemedia import Session
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from conftest import shared_memory_of

        sessions = [Session({WORKER!r}).start() for _ in range(3)]
        print(*shared_memory_of(os.getpid()), flush=True)

        def interrupt():
            while all(session.status == "ready" for session in sessions):
                pass
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        """
    with program(text) as process:
        out, err = process.communicate(timeout=WATCHDOG)
    assert process.returncode == 0, err
    assert out.split()
    assert [name for name in out.split() if Path(name).exists()] == []


def test_a_node_that_cleans_up_for_ever_holds_up_nobody(monkeypatch):
    text = f"""
        from remotemedia import Session
        with Session({manifest(("c", "session_nodes:CleansUpForEver"))!r}) as session:
            session.send("x")
            session.finish()
            print([output.item for output in session])
        print(session.status)
        """
    # The grace that it has.
    monkeypatch.setenv("REMOTEMEDIA_CLEANUP_GRACE_PERIOD_SECS", "0.5")
    with program(text) as process:
        out, err = process.communicate(timeout=WATCHDOG)
    assert out.splitlines() == ["['x']", "stopped"], err
