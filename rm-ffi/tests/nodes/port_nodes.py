"""Nodes that give items to ports, and that say where items came from."""

import numpy as np

from remotemedia import Node


class Numbers(Node):
    """Gives the numbers below an item."""

    def process(self, item):
        yield from range(item)


class Inputs(Node):
    """Says by which way items come."""

    def initialize(self):
        self.before = self.input

    def process(self, item):
        return {"item": item, "node": self.input.node, "port": self.input.port}

    def finish(self):
        return [self.before == self.input, self.input.node, self.input.port]


class Splits(Node):
    """Gives numbers to the ports of their kinds, and all of them to none."""

    def process(self, item):
        for n in range(item):
            yield self.to("odd" if n % 2 else "even", n)
            yield self.to("odd", None)
            yield n


class SplitsOne(Node):
    """Returns an item for a port, which lies in lent memory."""

    def process(self, item):
        out = self.loan(item.shape, item.dtype)
        np.multiply(item, 2, out=out)
        return self.to("out", out)
