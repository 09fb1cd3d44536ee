"""Callbacks and types of `kameo.trading.eu`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, final

if TYPE_CHECKING:
    from typing_extensions import NotRequired, TypeAlias

from kameo import Call


@dataclass
class Order:
    """rm_process::callback::stubs::tests::Order

    `id` is u64, `amount` is u32.
    """

    id: int
    tags: list[str] | tuple[str, ...] | AbstractSet[str]
    command: Steer2
    point: DataPoint | DataPointDict
    venue: str
    amount: int | None = field(default=None, kw_only=True)
    note: str | None = field(default=None, kw_only=True)
    odd: OddDict | None = field(default=None, kw_only=True)
    __kameo_absent__: ClassVar[frozenset[str]] = frozenset({"amount"})


@final
class OrderDict(TypedDict):
    """rm_process::callback::stubs::tests::Order

    `id` is u64, `amount` is u32.
    """

    id: int
    amount: NotRequired[int]
    note: NotRequired[str | None]
    tags: list[str] | tuple[str, ...] | AbstractSet[str]
    command: Steer2
    odd: NotRequired[OddDict | None]
    point: DataPoint | DataPointDict
    venue: str


@final
class Steer2MoveDict(TypedDict):
    """rm_process::callback::stubs::tests::Steer::Move"""

    Move: tuple[str, int] | list[str | int]


Steer2SetSpeedDict = TypedDict(
    "Steer2SetSpeedDict",
    {
        "set-speed": "float",
    },
)


@final
class Steer2NestedDict(TypedDict):
    """rm_process::callback::stubs::tests::Steer::Nested"""

    Nested: Steer2


# rm_process::callback::stubs::tests::Steer
Steer2: TypeAlias = 'Literal["Stop"] | Steer2MoveDict | tuple[Literal["Move"], str, int] | list[Literal["Move"] | str | int] | Steer2SetSpeedDict | Steer2NestedDict'


OddDict = TypedDict(
    "OddDict",
    {
        "class": "str",
        "with space": "int",
        "list": "NotRequired[Sequence[int]]",
    },
)


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


@final
class EventStartedDict(TypedDict):
    """rm_process::callback::stubs::tests::Event::started"""

    type: Literal["started"]


@final
class EventTickDict(TypedDict):
    """rm_process::callback::stubs::tests::Event::tick"""

    type: Literal["tick"]
    price: float
    size: NotRequired[int | None]


# rm_process::callback::stubs::tests::Event
Event: TypeAlias = "EventStartedDict | EventTickDict"


@final
class EventStartedItem(TypedDict):
    """rm_process::callback::stubs::tests::Event::started"""

    type: Literal["started"]


@final
class EventTickItem(TypedDict):
    """rm_process::callback::stubs::tests::Event::tick"""

    type: Literal["tick"]
    price: float
    size: NotRequired[int | None]


# rm_process::callback::stubs::tests::Event
EventItem: TypeAlias = "EventStartedItem | EventTickItem"


@dataclass
class DataPoint2:
    """rm_process::callback::stubs::tests::other::DataPoint

    `value` is i32.
    """

    value: int


@final
class DataPoint2Dict(TypedDict):
    """rm_process::callback::stubs::tests::other::DataPoint

    `value` is i32.
    """

    value: int


@final
class AdjacentNothingDict(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Nothing"""

    t: Literal["Nothing"]


@final
class AdjacentNumberDict(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Number"""

    t: Literal["Number"]
    c: int


@final
class AdjacentFieldsFieldsDict(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Fields"""

    name: str


@final
class AdjacentFieldsDict(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Fields"""

    t: Literal["Fields"]
    c: AdjacentFieldsFieldsDict


# rm_process::callback::stubs::tests::Adjacent
Adjacent: TypeAlias = "AdjacentNothingDict | AdjacentNumberDict | AdjacentFieldsDict"


@final
class AdjacentNothingItem(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Nothing"""

    t: Literal["Nothing"]


@final
class AdjacentNumberItem(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Number"""

    t: Literal["Number"]
    c: int


@final
class AdjacentFieldsFieldsItem(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Fields"""

    name: str


@final
class AdjacentFieldsItem(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Fields"""

    t: Literal["Fields"]
    c: AdjacentFieldsFieldsItem


# rm_process::callback::stubs::tests::Adjacent
AdjacentItem: TypeAlias = "AdjacentNothingItem | AdjacentNumberItem | AdjacentFieldsItem"


def Place(request: Order | OrderDict, /) -> Call[EventItem]:
    """Calls `trading.eu.Place` in the parent process."""


def Points(request: Sequence[DataPoint2 | DataPoint2Dict], /) -> Call[AdjacentItem]:
    """Calls `trading.eu.Points` in the parent process."""


def Steer(request: Steer2, /) -> Call[DataPointItem | None]:
    """Calls `trading.eu.Steer` in the parent process."""
