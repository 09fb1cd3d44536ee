"""What ``python -m remotemedia_runtime.worker [NODE_TYPE SESSION_ID]`` runs.

Without arguments it serves the session that started it, which says over the control channel what
to load. With them it keeps one node, without channels, for the parent that started it.
"""

import sys

from remotemedia_runtime._native import serve_node, serve_worker

if __name__ == "__main__":
    try:
        code = serve_node(*sys.argv[1:]) if len(sys.argv) == 3 else serve_worker()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)
