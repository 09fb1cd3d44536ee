"""Functions that are called in the bench of calls, and round trips that they make themselves.

The peers are bare: a socket to another Python process that echoes, read and written by a plain
thread or by an asyncio loop, and `multiprocessing.Connection` to one.
"""

import asyncio
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import kameo

MESSAGE = bytes(64)


def echo(request):
    """Give the request back."""
    return request


async def echo_async(request):
    """Give the request back, as a coroutine."""
    return request


class Peers:
    """Processes that echo, each started when it is asked for."""

    def __init__(self):
        self.ends = {}

    def end(self, what):
        """Return this process's end of the connection to the peer of that name."""
        if what not in self.ends:
            ours, theirs = socket.socketpair()
            script = Path(__file__).with_name("echo.py")
            subprocess.Popen([sys.executable, str(script), what], stdin=theirs)
            theirs.close()
            self.ends[what] = Connection(ours.detach()) if what == "connection" else ours
        return self.ends[what]


PEERS = Peers()


def over_socket(end):
    """Send a message and wait for it to come back."""
    end.sendall(MESSAGE)
    got = end.recv(len(MESSAGE))
    while len(got) < len(MESSAGE):
        got += end.recv(len(MESSAGE) - len(got))


def over_connection(end):
    """Send a message and wait for it to come back."""
    end.send(1)
    end.recv()


def measure(request):
    """Return the nanoseconds that each round trip took."""
    what = request["what"]
    if what == "callback":
        call = kameo.bench.Echo

        def work():
            call(1).result()
    else:
        end, trip = PEERS.end(what), over_socket if what == "socket" else over_connection

        def work():
            trip(end)

    times = []
    for _ in range(request["calls"]):
        began = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - began)
    return times


async def measure_async(request):
    """Return the nanoseconds that each round trip took, made on an asyncio loop."""
    loop = asyncio.get_running_loop()
    if request["what"] == "callback":
        call = kameo.bench.Echo

        async def work():
            await call(1)
    else:
        end = PEERS.end("socket")
        end.setblocking(False)

        async def work():
            await loop.sock_sendall(end, MESSAGE)
            got = await loop.sock_recv(end, len(MESSAGE))
            while len(got) < len(MESSAGE):
                got += await loop.sock_recv(end, len(MESSAGE) - len(got))

    times = []
    for _ in range(request["calls"]):
        began = time.perf_counter_ns()
        await work()
        times.append(time.perf_counter_ns() - began)
    return times
