"""What ``python -m remotemedia_runtime.worker`` runs."""

import sys

from remotemedia_runtime._native import serve_worker

if __name__ == "__main__":
    try:
        code = serve_worker()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)
