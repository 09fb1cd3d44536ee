"""Runs a session from the command line: what feeds it, and what is done with what comes out.

Main function: `drive`. Inputs are read on threads of their own, so that one that has nothing to
give holds up neither the others nor what comes out.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from remotemedia.cli.common import beside_manifest
from remotemedia.session import Output, Progress, Session
from remotemedia_runtime import RemoteMediaError, SessionError

# Between two looks at the figures of a session, in seconds.
TICK = 0.25
# For a thread that is just about to notice that the session has ended, in seconds.
_PATIENCE = 2.0


class Feed(NamedTuple):
    """Items for one node.

    Attributes
    ----------
    to : str or None
        The node, or ``node.port``; None for all that take items from outside.
    items : iterable
        The items.
    """

    to: str | None
    items: Iterable[Any]


class _Feeder:
    """Sends all feeds at once, and ends the input when the last one has ended."""

    def __init__(self, session: Session, feeds: list[Feed]) -> None:
        self.session = session
        self.failure: BaseException | None = None
        self.lock = threading.Lock()
        self.open = len(feeds)
        self.sending = [False] * len(feeds)
        self.threads = [
            # A thread that waits for stdin cannot be ended.
            threading.Thread(target=self.feed, args=(place, feed), daemon=True)
            for place, feed in enumerate(feeds)
        ]

    def start(self) -> None:
        if not self.threads:
            self.session.finish()
        for thread in self.threads:
            thread.start()

    def feed(self, place: int, feed: Feed) -> None:
        try:
            for item in feed.items:
                self.sending[place] = True
                self.session.send(item, feed.to)
                self.sending[place] = False
        except SessionError:
            # It has ended, and says itself why.
            pass
        except BaseException as error:
            self.failure = self.failure or error
            self.session.cancel()
        finally:
            self.sending[place] = False
        with self.lock:
            self.open -= 1
            if self.open == 0:
                self.session.finish()

    def join(self) -> None:
        """Wait for threads that are within the runtime; it must not be left in their midst."""
        for place, thread in enumerate(self.threads):
            if thread.is_alive() and self.sending[place]:
                thread.join(_PATIENCE)


@contextlib.contextmanager
def opened(
    manifest: Path,
    overrides: Sequence[str],
    on_progress: "Callable[[Progress], object] | None" = None,
    timeline: bool = False,
) -> Generator[Session, None, None]:
    """Make a session that has not started, and close it in any case.

    Nothing is imported for that; what of its Python nodes is wrong shows in their workers.

    Raises
    ------
    click.UsageError
        The overrides do not fit the manifest.
    RemoteMediaError
        The manifest cannot be run.
    """
    session = beside_manifest(
        lambda: Session(
            manifest, params=list(overrides), on_progress=on_progress, timeline=timeline
        )
    )
    try:
        yield session
    finally:
        session.close()


def drive(
    session: Session,
    feeds: list[Feed],
    on_output: Callable[[Output], None],
    on_tick: "Callable[[dict[str, Any]], None] | None" = None,
) -> dict[str, Any]:
    """Run a session to its end.

    Parameters
    ----------
    session : Session
        One that has not started.
    feeds : list of Feed
        What it is given.
    on_output : callable
        Called with each `Output`.
    on_tick : callable, optional
        Called with the session's figures, some times a second.

    Returns
    -------
    dict
        The figures at the end, as `Session.stats` gives them.
    """
    feeder = _Feeder(session, feeds)
    try:
        with session:
            feeder.start()
            due = time.monotonic()
            while True:
                if on_tick is not None and time.monotonic() >= due:
                    on_tick(session.stats())
                    due = time.monotonic() + TICK
                try:
                    output = session.receive(TICK if on_tick is not None else None)
                except TimeoutError as error:
                    # The failure of the session may be one too.
                    if isinstance(error, RemoteMediaError):
                        raise
                    continue
                if output is None:
                    break
                on_output(output)
            return session.stats()
    except SessionError:
        if feeder.failure is not None:
            raise feeder.failure from None
        raise
    finally:
        feeder.join()
