"""Write nodes for media and AI pipelines in Python.

A node is a class derived from `Node`. A manifest names it by its import path,
``package.module:Class``; it then runs in a process of its own, and its items come to it through
shared memory.
"""

from remotemedia.node import Context, Emit, Input, Node, TransientError
from remotemedia.session import AsyncSession, Output, Progress, Session
from remotemedia_runtime import Audio, VideoFrame, __version__

__all__ = [
    "AsyncSession",
    "Audio",
    "Context",
    "Emit",
    "Input",
    "Node",
    "Output",
    "Progress",
    "Session",
    "TransientError",
    "VideoFrame",
    "__version__",
]
