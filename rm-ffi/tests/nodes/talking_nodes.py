"""Nodes that print and log."""

import logging
import sys

from remotemedia import Node

log = logging.getLogger("talk.model")


class Talk(Node):
    """Prints and logs what it is given, and fails on the word fail."""

    def initialize(self):
        log.debug("debugged")
        log.info("loaded")

    def process(self, item):
        print(f"printed {item}")
        print(f"told {item}", file=sys.stderr)
        log.warning("warned of %s", item)
        if item == "fail":
            raise ValueError("no luck")
        if item == "log":
            try:
                raise KeyError(item)
            except KeyError:
                log.exception("went wrong")
        return item
