"""Write nodes for media and AI pipelines in Python.

A node is a class derived from `Node`. A manifest names it by its import path,
``package.module:Class``; it then runs in a process of its own, and its items come to it through
shared memory.
"""

from remotemedia.node import Context, Emit, Input, Node, TransientError
from remotemedia_runtime import Audio, __version__

__all__ = ["Audio", "Context", "Emit", "Input", "Node", "TransientError", "__version__"]
