"""The nodes of `wheel.rs`; each writes what it tells into the folder in which it was started."""

import ctypes
import json
import os
import sys
import threading
from pathlib import Path

from remotemedia import Node


class Tells(Node):
    """Gets ready, tells what it sees, and cleans up."""

    def initialize(self):
        self.progress(0.5, "half of the weights")
        seen = {"environment": dict(os.environ), "path": sys.path, "prefix": sys.prefix}
        Path("seen.json").write_text(json.dumps(seen))

    def cleanup(self):
        Path("cleaned").touch()


class Raises(Node):
    """Cannot get ready, and says why."""

    def initialize(self):
        raise FileNotFoundError("no weights at models/large")

    def cleanup(self):
        Path("cleaned").touch()


class Hangs(Node):
    """Never gets ready."""

    def initialize(self):
        self.progress(0.25, "opening the device")
        self.waits_for_the_device()

    def waits_for_the_device(self):
        threading.Event().wait()


class Faults(Node):
    """Reads where nothing is."""

    def initialize(self):
        self.reads_nowhere()

    def reads_nowhere(self):
        ctypes.string_at(0)


class Exits(Node):
    """Ends the process past Python."""

    def initialize(self):
        print("no licence for this model", file=sys.stderr)
        os._exit(7)


class Swells(Node):
    """Wants more memory than there may be."""

    def initialize(self):
        self.weights = bytearray(64 << 30)


class NotANode:
    """Has a name, and is no node."""
