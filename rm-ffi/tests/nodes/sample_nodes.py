"""Nodes that the tests run in workers."""

import gc
import os
import signal
import sys
import time
import weakref

import numpy as np

from remotemedia import Audio, Node, VideoFrame


class Echo(Node):
    """Gives every item back as it came."""

    def process(self, item):
        return item


class Describe(Node):
    """Says what an item is, as seen by a worker."""

    def process(self, item):
        facts = {"type": type(item).__name__, "repr": repr(item)}
        array = item.samples if isinstance(item, Audio) else item
        if isinstance(array, np.ndarray):
            facts |= {
                "shape": array.shape,
                "dtype": str(array.dtype),
                "writeable": array.flags.writeable,
                "aligned": array.ctypes.data % 64 == 0,
                "sum": float(array.sum()),
            }
        return facts


class Keep(Node):
    """Keeps every item, and gives the sums of all of them at the end."""

    def initialize(self):
        self.kept = []

    def process(self, item):
        self.kept.append(item)

    def finish(self):
        gc.collect()
        yield [float(item.sum()) for item in self.kept]


class Count(Node):
    """Gives `count` items for each: a generator."""

    def process(self, item):
        for n in range(self.params["count"]):
            yield np.full(self.params.get("size", 4), n, dtype=np.float32)


class Context(Node):
    """Gives what it knows about itself."""

    def initialize(self):
        self.progress(0.25, "a quarter")
        self.calls = ["initialize"]

    def process(self, item):
        context = self.context
        return {
            "node_id": context.node_id,
            "session_id": context.session_id,
            "base_dir": str(context.base_dir),
            "params": self.params,
            "pid": os.getpid(),
        }


class Loans(Node):
    """Gives arrays in lent memory, in the manner that `how` says."""

    def process(self, item):
        return getattr(self, self.params["how"])(item)

    def plain(self, item):
        out = self.loan(item.shape, item.dtype)
        np.multiply(item, 2, out=out)
        return out

    def of_no_type(self, item):
        out = self.loan(3, None)
        out[:] = 0.5
        return out

    def audio(self, item):
        out = self.loan((len(item), 2), np.int16)
        out[:] = 7
        return Audio(out, 48_000)

    def frame(self, item):
        out = self.loan((2, 4, 3), np.uint8)
        out[:] = 7
        return VideoFrame(out, "rgb24", fps=25)

    def frame_of_rows(self, item):
        out = self.loan((3, 4), np.uint8)
        out[:] = 7
        return VideoFrame(out, "nv12")

    def frame_kept(self, item):
        self.out = self.frame(item)
        return self.out

    def frame_of_other_bytes(self, item):
        frame = self.frame(item)
        frame.data.dtype = np.int8
        return frame

    def yielded(self, item):
        yield self.plain(item)

    def kept(self, item):
        self.out = self.plain(item)
        return self.out

    def audio_kept(self, item):
        self.out = Audio(self.plain(item), 8_000)
        return self.out

    def viewed(self, item):
        out = self.plain(item)
        self.view = out[1:]
        return out

    def exported(self, item):
        out = self.plain(item)
        self.memory = memoryview(out)
        return out

    def base_kept(self, item):
        out = self.plain(item)
        self.base = out.base
        return out

    def slice(self, item):
        return self.plain(item)[1:]

    def reshaped_in_place(self, item):
        out = self.plain(item)
        out.shape = (2, -1)
        return out

    def weak(self, item):
        out = self.plain(item)
        self.reference = weakref.ref(out)
        return out

    def twice(self, item):
        out = self.plain(item)
        yield out
        yield out

    def dropped(self, item):
        # More than a node may hold at once: dropping gives them back.
        for _ in range(100):
            self.plain(item)
        return self.plain(item)

    def too_many(self, item):
        self.held = [self.plain(item) for _ in range(100)]

    def of_objects(self, item):
        return self.loan(3, object)


class Fail(Node):
    """Fails, in the manner and at the place that the parameters say."""

    def at(self, place):
        if self.params["at"] != place:
            return
        how = self.params.get("how", "raise")
        if how == "raise":
            raise ValueError(f"no luck in {place}")
        if how == "exit":
            sys.exit(3)
        if how == "os_exit":
            print("last words", file=sys.stderr, flush=True)
            os._exit(4)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hang":
            while True:
                time.sleep(3600)

    def initialize(self):
        self.at("initialize")

    def process(self, item):
        self.at("process")
        if self.params["at"] == "result":
            return {"good": 1, "bad": [0, {1, 2}]}
        if self.params["at"] == "generator":
            return self.generate(item)
        return item

    def generate(self, item):
        yield item
        raise ValueError("no luck in generator")

    def finish(self):
        self.at("finish")

    def cleanup(self):
        path = self.params.get("cleaned")
        if path:
            with open(path, "w") as file:
                file.write("cleaned")
        self.at("cleanup")


class Sleep(Node):
    """Says by a file that it works on an item, and never ends."""

    def initialize(self):
        if self.params["at"] == "initialize":
            self.block()

    def process(self, item):
        self.block()

    def block(self):
        with open(self.params["file"], "w") as file:
            file.write(str(os.getpid()))
        while True:
            time.sleep(3600)


class Say(Node):
    """Says the same text for every item."""

    def process(self, item):
        return self.params["text"]


class NoProcess(Node):
    """Does not say what to do with an item."""


class NotANode:
    """Is something else."""


class Sink(Node):
    """Takes everything."""

    def process(self, item):
        pass


class Traced(Node):
    """Says in which trace it works, and that of OpenTelemetry."""

    def process(self, item):
        from remotemedia_runtime import _tracing
        from remotemedia_runtime._callbacks import current_context

        context = current_context.get()
        return f"{item}: {context and context.traceparent} {_tracing.current()}"


class CallsBack(Node):
    """Has the session's process price every text, and says what came back."""

    def process(self, item):
        import kameo
        from remotemedia_runtime import CallbackError

        prices = list(kameo.trading.Prices(item))
        try:
            list(kameo.trading.Prices(7))
        except CallbackError as error:
            yield f"{item}: {prices}; {error}"
