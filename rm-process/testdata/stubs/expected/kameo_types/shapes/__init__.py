"""Callbacks and types of `kameo.shapes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, final

if TYPE_CHECKING:
    from typing_extensions import NotRequired, TypeAlias


@final
class Adjacent2NothingDict(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Nothing"""

    t: Literal["Nothing"]


@final
class Adjacent2NumberDict(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Number"""

    t: Literal["Number"]
    c: int


@final
class Adjacent2FieldsFieldsDict(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Fields"""

    name: str


@final
class Adjacent2FieldsDict(TypedDict):
    """rm_process::callback::stubs::tests::Adjacent::Fields"""

    t: Literal["Fields"]
    c: Adjacent2FieldsFieldsDict


# rm_process::callback::stubs::tests::Adjacent
Adjacent2: TypeAlias = "Adjacent2NothingDict | Adjacent2NumberDict | Adjacent2FieldsDict"


# rm_process::callback::stubs::tests::Bag: has "id" and others.
Bag: TypeAlias = "Mapping[str, Any]"
BagItem: TypeAlias = "dict[str, Any]"


@final
class SteerMoveDict(TypedDict):
    """rm_process::callback::stubs::tests::Steer::Move"""

    Move: tuple[str, int] | list[str | int]


SteerSetSpeedDict = TypedDict(
    "SteerSetSpeedDict",
    {
        "set-speed": "float",
    },
)


@final
class SteerNestedDict(TypedDict):
    """rm_process::callback::stubs::tests::Steer::Nested"""

    Nested: Steer


# rm_process::callback::stubs::tests::Steer
Steer: TypeAlias = 'Literal["Stop"] | SteerMoveDict | tuple[Literal["Move"], str, int] | list[Literal["Move"] | str | int] | SteerSetSpeedDict | SteerNestedDict'


@final
class SteerMoveItem(TypedDict):
    """rm_process::callback::stubs::tests::Steer::Move"""

    Move: list[str | int]


SteerSetSpeedItem = TypedDict(
    "SteerSetSpeedItem",
    {
        "set-speed": "float",
    },
)


@final
class SteerNestedItem(TypedDict):
    """rm_process::callback::stubs::tests::Steer::Nested"""

    Nested: SteerItem


# rm_process::callback::stubs::tests::Steer
SteerItem: TypeAlias = 'Literal["Stop"] | SteerMoveItem | SteerSetSpeedItem | SteerNestedItem'


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


@dataclass
class Order:
    """rm_process::callback::stubs::tests::Order

    `id` is u64, `amount` is u32.
    """

    id: int
    tags: list[str] | tuple[str, ...] | AbstractSet[str]
    command: Steer
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
    command: Steer
    odd: NotRequired[OddDict | None]
    point: DataPoint | DataPointDict
    venue: str


@final
class OrderItem(TypedDict):
    """rm_process::callback::stubs::tests::Order

    `id` is u64, `amount` is u32.
    """

    id: int
    amount: int
    note: str | None
    tags: list[str]
    command: SteerItem
    odd: OddItem | None
    point: DataPointItem
    venue: str


OddDict = TypedDict(
    "OddDict",
    {
        "class": "str",
        "with space": "int",
        "list": "NotRequired[Sequence[int]]",
    },
)


OddItem = TypedDict(
    "OddItem",
    {
        "class": "str",
        "with space": "int",
        "list": "list[int]",
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
