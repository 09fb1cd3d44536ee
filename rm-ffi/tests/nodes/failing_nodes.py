"""Nodes that fail on items, for tests of what becomes of these."""

import asyncio
import sys
import threading

from remotemedia import Node, TransientError


class Flaky(Node):
    """Fails on each of its items `failures` times, then says how often it was asked."""

    def initialize(self):
        self.tries = 0

    def process(self, item):
        self.tries += 1
        if self.tries <= self.params["failures"]:
            self.fail()
        tries, self.tries = self.tries, 0
        return {"item": item, "tries": tries}

    def fail(self):
        raise {"transient": TransientError, "other": ValueError}[self.params["error"]]("no luck")


class FlakyStream(Flaky):
    """Gives five items for each; fails the first time after the third, the second time at once."""

    def process(self, item):
        self.tries += 1
        for n in range(5):
            if n == {1: 3, 2: 0}.get(self.tries):
                self.fail()
            yield n


class FlakyAsync(FlakyStream):
    """The same, asynchronously."""

    async def process(self, item):
        for n in super().process(item):
            await asyncio.sleep(0)
            yield n


class Unsendable(Node):
    """Gives something that cannot be sent, the first time, and says that this passes."""

    def initialize(self):
        self.tries = 0

    def process(self, item):
        self.tries += 1
        yield "first"
        yield {1, 2} if self.tries == 1 else f"try {self.tries}"


class SkipsOdd(Node):
    """Fails on odd numbers."""

    def process(self, item):
        if item % 2:
            raise ValueError(f"{item} is odd")
        return item


class Exits(Node):
    """Wants its process to end."""

    def process(self, item):
        sys.exit(3)


class Hangs(Node):
    """Is at an item for ever."""

    def process(self, item):
        threading.Event().wait()
