"""A session on an asyncio loop: questions and answers, a time limit, and a flush.

Shows `AsyncSession`, whose methods are awaited and may be cancelled. No thread is needed for it.
"""

import asyncio

from remotemedia import AsyncSession

MANIFEST = {
    "version": "v1",
    "nodes": [{"id": "echo", "node_type": "PassThroughNode"}],
    "connections": [],
}


async def send(session: AsyncSession) -> None:
    """Send three questions, one after another."""
    for number in range(3):
        await session.send({"question": number})
        await asyncio.sleep(0)


async def main() -> None:
    """Send in one task, receive in another."""
    async with AsyncSession(MANIFEST) as session:
        sender = asyncio.create_task(send(session))
        for _ in range(3):
            print(await session.receive())
        await sender

        # Nothing is lost by a wait that is given up.
        try:
            await asyncio.wait_for(session.receive(), 0.01)
        except asyncio.TimeoutError:
            print("nothing there")

        # What was sent before a flush does not come out any more.
        await session.send("forget this")
        await session.flush()
        await session.send("last")
        session.finish()
        async for output in session:
            print(output.item)


if __name__ == "__main__":
    asyncio.run(main())
