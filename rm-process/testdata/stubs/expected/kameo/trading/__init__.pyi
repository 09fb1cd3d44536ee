"""Callbacks and types of `kameo.trading`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, final

if TYPE_CHECKING:
    from typing_extensions import NotRequired, TypeAlias

from kameo import Call
from . import eu as eu


@dataclass
class ComplexCallbackRequest:
    """rm_process::callback::stubs::tests::ComplexCallbackRequest"""

    operation: str
    parameters: Mapping[str, Any]
    metadata: CallbackMetadata | CallbackMetadataDict
    options: CallbackOptions | CallbackOptionsDict | None = field(default=None, kw_only=True)


@final
class ComplexCallbackRequestDict(TypedDict):
    """rm_process::callback::stubs::tests::ComplexCallbackRequest"""

    operation: str
    parameters: Mapping[str, Any]
    metadata: CallbackMetadata | CallbackMetadataDict
    options: NotRequired[CallbackOptions | CallbackOptionsDict | None]


@dataclass
class CallbackMetadata:
    """rm_process::callback::stubs::tests::CallbackMetadata"""

    correlation_id: str
    timestamp: str
    source: str


@final
class CallbackMetadataDict(TypedDict):
    """rm_process::callback::stubs::tests::CallbackMetadata"""

    correlation_id: str
    timestamp: str
    source: str


@dataclass
class CallbackOptions:
    """rm_process::callback::stubs::tests::CallbackOptions"""

    include_volume: bool | None = field(default=None, kw_only=True)
    adjust_splits: bool | None = field(default=None, kw_only=True)
    __kameo_absent__: ClassVar[frozenset[str]] = frozenset({"include_volume"})


@final
class CallbackOptionsDict(TypedDict):
    """rm_process::callback::stubs::tests::CallbackOptions"""

    include_volume: NotRequired[bool]
    adjust_splits: NotRequired[bool | None]


@final
class CallbackResponseDataChunkFieldsDict(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::DataChunk"""

    chunk_id: int
    data: Sequence[DataPoint | DataPointDict]
    is_final: bool


@final
class CallbackResponseDataChunkDict(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::DataChunk"""

    DataChunk: CallbackResponseDataChunkFieldsDict


@final
class CallbackResponseProgressFieldsDict(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::Progress"""

    completed: int
    total: int
    message: str


@final
class CallbackResponseProgressDict(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::Progress"""

    Progress: CallbackResponseProgressFieldsDict


@final
class CallbackResponseErrorFieldsDict(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::Error"""

    error_code: str
    message: str
    details: NotRequired[Any]


@final
class CallbackResponseErrorDict(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::Error"""

    Error: CallbackResponseErrorFieldsDict


# rm_process::callback::stubs::tests::CallbackResponse
CallbackResponse: TypeAlias = "CallbackResponseDataChunkDict | CallbackResponseProgressDict | CallbackResponseErrorDict"


@final
class CallbackResponseDataChunkFieldsItem(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::DataChunk"""

    chunk_id: int
    data: list[DataPointItem]
    is_final: bool


@final
class CallbackResponseDataChunkItem(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::DataChunk"""

    DataChunk: CallbackResponseDataChunkFieldsItem


@final
class CallbackResponseProgressFieldsItem(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::Progress"""

    completed: int
    total: int
    message: str


@final
class CallbackResponseProgressItem(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::Progress"""

    Progress: CallbackResponseProgressFieldsItem


@final
class CallbackResponseErrorFieldsItem(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::Error"""

    error_code: str
    message: str
    details: Any


@final
class CallbackResponseErrorItem(TypedDict):
    """rm_process::callback::stubs::tests::CallbackResponse::Error"""

    Error: CallbackResponseErrorFieldsItem


# rm_process::callback::stubs::tests::CallbackResponse
CallbackResponseItem: TypeAlias = "CallbackResponseDataChunkItem | CallbackResponseProgressItem | CallbackResponseErrorItem"


@dataclass
class DataPoint:
    """rm_process::callback::stubs::tests::DataPoint"""

    at: tuple[int, int] | list[int]
    value: float


@final
class DataPointDict(TypedDict):
    """rm_process::callback::stubs::tests::DataPoint"""

    at: tuple[int, int] | list[int]
    value: float


@final
class DataPointItem(TypedDict):
    """rm_process::callback::stubs::tests::DataPoint"""

    at: list[int]
    value: float


@dataclass
class DataFetchRequest:
    """rm_process::callback::stubs::tests::DataFetchRequest"""

    symbol: str
    start_date: str


@final
class DataFetchRequestDict(TypedDict):
    """rm_process::callback::stubs::tests::DataFetchRequest"""

    symbol: str
    start_date: str


@dataclass
class DataFetchResponse:
    """rm_process::callback::stubs::tests::DataFetchResponse"""

    data: Sequence[float]
    timestamp: str


@final
class DataFetchResponseDict(TypedDict):
    """rm_process::callback::stubs::tests::DataFetchResponse"""

    data: Sequence[float]
    timestamp: str


@final
class DataFetchResponseItem(TypedDict):
    """rm_process::callback::stubs::tests::DataFetchResponse"""

    data: list[float]
    timestamp: str


def Complex(request: ComplexCallbackRequest | ComplexCallbackRequestDict, /) -> Call[CallbackResponseItem]:
    """Calls `trading.Complex` in the parent process."""


def DataFetch(request: DataFetchRequest | DataFetchRequestDict, /) -> Call[DataFetchResponseItem]:
    """Calls `trading.DataFetch` in the parent process."""
