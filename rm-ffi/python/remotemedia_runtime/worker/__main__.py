"""What ``python -m remotemedia_runtime.worker [calls | NODE_TYPE SESSION_ID]`` runs.

Without arguments it serves the session that started it, which says over the control channel what
to load. With `calls` it serves the calls of its parent by a function. Otherwise it keeps one node,
without channels, for the parent that started it.
"""

import sys

from remotemedia_runtime import _logging
from remotemedia_runtime._native import serve_calls, serve_node, serve_worker

if __name__ == "__main__":
    try:
        _logging.configure()
        if sys.argv[1:] == ["calls"]:
            code = serve_calls()
        else:
            code = serve_node(*sys.argv[1:]) if len(sys.argv) == 3 else serve_worker()
    except (RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)
