"""What runs pipelines, under the names of the runtime's contract."""

from remotemedia.runtime.executor import RustExecutor

__all__ = ["RustExecutor"]
