"""Nodes for tests of sessions."""

import time
from pathlib import Path

from remotemedia import Node


class Echo(Node):
    """Gives every item back as it came."""

    def initialize(self):
        self.progress(0.5, "half")

    def process(self, item):
        return item


class Scale(Node):
    """Multiplies numbers; refuses a factor of 0."""

    def process(self, item):
        return item * self.params.get("factor", 1)

    def set_params(self, params):
        if params.get("factor") == 0:
            raise ValueError("a factor of 0 leaves nothing")
        super().set_params(params)


class Gate(Node):
    """Takes nothing as long as the file `open` is not there."""

    def process(self, item):
        while not Path(self.params["open"]).exists():
            time.sleep(0.005)
        return item


class FailsOnText(Node):
    """Fails on text."""

    def process(self, item):
        if isinstance(item, str):
            raise ValueError("no text, please")
        return item


class Facts(Node):
    """Says what is known of the item in work."""

    def initialize(self):
        context = self.context
        self.before = (context.port, context.sequence, context.deadline, context.cancelled)

    def process(self, item):
        context = self.context
        left = None if context.deadline is None else context.deadline - time.time()
        return {
            "before": self.before,
            "port": context.port,
            "sequence": context.sequence,
            "left": left,
            "cancelled": context.cancelled,
        }


class UntilCancelled(Node):
    """Works on an item until nobody wants it any more, and notes that in the file `done`."""

    def process(self, item):
        Path(self.params["begun"]).touch()
        while not self.context.cancelled:
            time.sleep(0.001)
        with Path(self.params["done"]).open("a") as file:
            file.write(f"{item}\n")


class Transposes(Node):
    """Gives the transpose of an array, which does not lie in C order."""

    def process(self, item):
        return item.T


class CleansUpForEver(Echo):
    """Gives items back, and does not come to an end of it."""

    def cleanup(self):
        time.sleep(1_000_000)
