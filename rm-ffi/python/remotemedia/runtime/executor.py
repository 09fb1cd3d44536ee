"""Runs manifests that are dicts. Main class: `RustExecutor`."""

import json
from typing import Any

from remotemedia_runtime import (
    execute_pipeline,
    execute_pipeline_with_input,
    get_available_nodes,
    validate_manifest,
)

__all__ = ["RustExecutor"]


class RustExecutor:
    """Runs pipelines by the native runtime."""

    def execute(self, manifest: "dict[str, Any]", input_data: Any = None) -> "dict[str, Any]":
        """Run a pipeline.

        Parameters
        ----------
        manifest : dict
            The manifest.
        input_data : object, optional
            The input of its first nodes; None for a pipeline that has sources of its own.

        Returns
        -------
        dict
            As `remotemedia_runtime.execute_pipeline`.

        Raises
        ------
        RuntimeError
            The run failed, or items were left out.
        Exception
            As `remotemedia_runtime.execute_pipeline`.
        """
        manifest_json = json.dumps(manifest)
        validate_manifest(manifest_json)
        if input_data is None:
            result = execute_pipeline(manifest_json)
        else:
            result = execute_pipeline_with_input(manifest_json, input_data)
        if not result["success"]:
            raise RuntimeError(result["error"])
        return result

    @staticmethod
    def available_nodes() -> "list[str]":
        """List the names of all node types."""
        return get_available_nodes()
