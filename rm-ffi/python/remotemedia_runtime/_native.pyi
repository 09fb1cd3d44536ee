from collections.abc import Callable
from os import PathLike
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = [
    "Audio",
    "__version__",
    "_decode_value",
    "_encode_value",
    "execute_pipeline",
    "execute_pipeline_with_input",
    "get_available_nodes",
    "get_node_metadata",
    "plan_manifest",
    "run_pipeline",
    "serve_node",
    "serve_worker",
    "sweep",
    "validate_manifest",
]

__version__: str

@final
class Audio:
    __match_args__ = ("samples", "sample_rate")
    def __new__(cls, samples: ArrayLike, sample_rate: int) -> Audio: ...
    @property
    def samples(self) -> NDArray[Any]: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def duration(self) -> float: ...
    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[Any]: ...
    def __getnewargs__(self) -> tuple[NDArray[Any], int]: ...

# What can be sent from node to node.
_Item: TypeAlias = (
    Audio | NDArray[Any] | np.generic | str | bytes | dict[str, Any] | list[Any] | float
)

def execute_pipeline(manifest_json: str) -> dict[str, Any]: ...
def execute_pipeline_with_input(manifest_json: str, input_data: _Item) -> dict[str, Any]: ...
def validate_manifest(manifest_json: str) -> bool: ...
def get_available_nodes() -> list[str]: ...
def get_node_metadata(node_type: str) -> dict[str, Any]: ...
def run_pipeline(
    manifest: str | PathLike[str],
    overrides: list[str] = ...,
    on_event: Callable[[dict[str, Any]], object] | None = None,
    input: _Item | None = None,
) -> dict[str, Any]: ...
def plan_manifest(manifest: str | PathLike[str]) -> dict[str, Any]: ...
def sweep() -> tuple[list[str], list[str]]: ...
def serve_node(node_type: str, session_id: str) -> int: ...
def serve_worker() -> int: ...
def _encode_value(value: object) -> bytes: ...
def _decode_value(bytes: bytes) -> Any: ...
