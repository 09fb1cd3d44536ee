"""Lets a debugger attach to a worker before its node is loaded. Main function: `wait`."""

from typing import Any

from remotemedia_runtime.worker import LoadError


def wait(port: int, hooks: Any) -> None:
    """Wait for a debugger that speaks the Debug Adapter Protocol, as IDEs do.

    It is waited for on the loopback interface only: who can connect can run code.

    Raises
    ------
    LoadError
        There is no debugpy, or the port is taken.
    """
    try:
        import debugpy
    except ImportError:
        raise LoadError(
            "the node is to wait for a debugger, but its interpreter has no debugpy; "
            "`pip install debugpy` brings it"
        ) from None
    try:
        host, port = debugpy.listen(("127.0.0.1", port))
    except Exception as error:
        raise LoadError(f"cannot wait for a debugger on port {port}: {error}") from error
    hooks.progress(0.0, f"waits for a debugger at {host}:{port}")
    debugpy.wait_for_client()
