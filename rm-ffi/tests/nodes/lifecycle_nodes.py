"""Nodes that take long, for tests of what happens when a run is ended meanwhile."""

import threading

from remotemedia import Node


class LoadsForEver(Node):
    """Says that it loads, and never gets ready."""

    def initialize(self):
        self.progress(0.5, "half of it")
        threading.Event().wait()


class WorksForEver(Node):
    """Gives one item, then takes for ever over the rest."""

    def process(self, item):
        yield "one"
        threading.Event().wait()


class Echo(Node):
    """Gives every item back."""

    def process(self, item):
        return item
