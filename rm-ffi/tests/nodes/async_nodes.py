"""Asynchronous nodes that the tests run in workers."""

import asyncio

import numpy as np

from remotemedia import Node


class Methods(Node):
    """Has nothing but asynchronous methods, and says in which order they ran."""

    async def initialize(self):
        await asyncio.sleep(0)
        self.ran = ["initialize"]
        self.loop = asyncio.get_running_loop()

    async def process(self, item):
        self.ran.append(f"begin {item}")
        for _ in range(3):
            await asyncio.sleep(0)
        self.ran.append(f"end {item}")
        assert asyncio.get_running_loop() is self.loop
        return item

    async def finish(self):
        await asyncio.sleep(0)
        return self.ran

    async def cleanup(self):
        await asyncio.sleep(0)
        path = self.params.get("cleaned")
        if path:
            with open(path, "w") as file:
                file.write("cleaned")


class Stream(Node):
    """Gives `count` items for each: an asynchronous generator, in one task."""

    async def process(self, item):
        task = asyncio.current_task()
        for n in range(self.params["count"]):
            await asyncio.sleep(0)
            yield np.full(4, n, dtype=np.float32)
            assert asyncio.current_task() is task

    async def finish(self):
        yield "end"


class Lends(Node):
    """Yields lent memory, which nobody else holds."""

    async def process(self, item):
        yield self.doubled(item)

    def doubled(self, item):
        out = self.loan(item.shape, item.dtype)
        np.multiply(item, 2, out=out)
        return out


class FailsAsync(Node):
    """Fails where `at` says, after a while."""

    async def fail(self, at):
        await asyncio.sleep(0)
        if self.params["at"] == at:
            raise ValueError(f"no luck in {at}")

    async def initialize(self):
        await self.fail("initialize")

    async def process(self, item):
        yield item
        await self.fail("process")

    async def finish(self):
        await self.fail("finish")


class LeavesTask(Node):
    """Leaves a task behind that never ends."""

    async def process(self, item):
        self.task = asyncio.create_task(asyncio.Event().wait())
        return item
