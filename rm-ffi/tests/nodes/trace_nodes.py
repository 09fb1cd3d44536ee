"""Nodes whose time the tests of traces look at."""

import asyncio
import os
import threading

from remotemedia import Node


class Contends(Node):
    """Gives items back while another thread of its process computes, and holds Python's lock."""

    def initialize(self):
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.compute)
        self.thread.start()

    def compute(self):
        number = 0
        while not self.over.is_set():
            number = (number * 31 + 7) % 1_000_003

    def process(self, item):
        return item

    def cleanup(self):
        self.over.set()
        self.thread.join()


class Waits(Node):
    """Gives an item twice, each after a moment: an asynchronous generator."""

    async def process(self, item):
        for _ in range(2):
            await asyncio.sleep(0.001)
            yield item


class Lends(Node):
    """Gives a lent array for each item."""

    def process(self, item):
        return self.loan(1_000, "float32")


class FailsOnce(Node):
    """Fails on the item that `at` says."""

    def process(self, item):
        if item == self.params["at"]:
            raise ValueError("no luck")
        return item


class DiesOnce(Node):
    """Ends its process at the item that `at` says, unless the file `mark` is there."""

    def process(self, item):
        if item == self.params["at"] and not os.path.exists(self.params["mark"]):
            with open(self.params["mark"], "w"):
                pass
            os.abort()
        return item


class Counts(Node):
    """Gives the texts of the numbers below `count`, with a moment between them if it is to."""

    def process(self, item):
        pause = threading.Event()
        for number in range(self.params["count"]):
            pause.wait(self.params.get("every", 0))
            yield str(number)
