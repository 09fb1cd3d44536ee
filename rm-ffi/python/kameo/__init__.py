"""Another name of `remotemedia_runtime.callbacks`: what a worker may call in its parent process.

In a worker this file is not read: the object is there before anything is imported.
"""

import sys

from remotemedia_runtime import callbacks

sys.modules[__name__] = callbacks
