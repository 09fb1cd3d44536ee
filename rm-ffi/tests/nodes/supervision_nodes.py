"""Nodes that end in every way, for the tests of what is told of it and of what is left."""

import ctypes
import os
import signal
import subprocess
import sys
import threading

from remotemedia import Node


def waits():
    threading.Event().wait()


class Ends(Node):
    """Gives items back, and ends at the one with the number `at`, in the manner `how`."""

    def initialize(self):
        self.count = 0
        # It is to be seen in the stacks of all threads.
        threading.Thread(target=waits, daemon=True).start()

    def process(self, item):
        if self.count == self.params["at"]:
            print("last words", file=sys.stderr)
            print("so far")
            getattr(self, self.params["how"])()
        self.count += 1
        return item

    def faults(self):
        ctypes.string_at(0)

    def aborts(self):
        os.abort()

    def exits(self):
        os._exit(7)

    def is_killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def raises(self):
        raise KeyError("no such voice")

    def swells(self):
        bytearray(1 << 60)


class Deadlocks(Node):
    """Waits for a lock that another thread holds, which waits for one of its own."""

    def initialize(self):
        self.first, self.second = threading.Lock(), threading.Lock()
        held = threading.Barrier(2)
        threading.Thread(target=self.takes_second, args=(held,), daemon=True).start()
        with self.first:
            held.wait()
            self.progress(0.5, "warming up")
            with self.second:
                pass

    def takes_second(self, held):
        with self.second:
            held.wait()
            with self.first:
                pass


class Leaves(Node):
    """Starts a process that leaves its group and its session; ends as `then` says."""

    def initialize(self):
        arguments = ["sleep", self.params["argument"]]
        # Its output is not the node's, which would be read to its end.
        self.left = subprocess.Popen(
            arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def process(self, item):
        yield f"left {self.left.pid}"
        if self.params["then"] == "waits":
            waits()
        # A warning of Python's that nobody has waited for it would be beside the point.
        self.left.returncode = 0


class Prints(Node):
    """Prints as many bytes as it is told."""

    def process(self, item):
        line = "x" * 1023 + "\n"
        for number in range(self.params["bytes"] // len(line)):
            (sys.stdout, sys.stderr)[number % 2].write(line)
        return "printed"


class Holds(Node):
    """Keeps the interpreter's lock in C code, where no thread of Python can run."""

    def process(self, item):
        yield "holding"
        ctypes.PyDLL(None).sleep(1000)


class Tells(Node):
    """Tells what it sees of the interpreter."""

    def process(self, item):
        return {
            "prefix": sys.prefix,
            "executable": sys.executable,
            "path": sys.path,
            "environment": {name: os.environ.get(name) for name in self.params["names"]},
        }
