"""What type hints and docstrings say of parameters, and how values become what JSON holds.

Main functions: `type_of`, which describes the parameter of a hint; `documented`, which finds its
description; and `plain`, which makes a value one that a manifest can have.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast


class Range(NamedTuple):
    """The range and the unit of a number, to stand in ``Annotated``.

    Attributes
    ----------
    min, max : float or None
        The lowest and the highest value; None for no bound.
    unit : str or None
        The unit, such as ``"Hz"``.

    Examples
    --------
    >>> from typing import Annotated
    >>> Seconds = Annotated[float, Range(0, 60, unit="s"), "how long to wait"]
    """

    min: "float | None" = None
    max: "float | None" = None
    unit: "str | None" = None


class Described(NamedTuple):
    """What a type hint says of a parameter.

    Attributes
    ----------
    facts : dict
        Fields of its description: ``type``, and where they are said ``min``, ``max``, ``unit``,
        ``choices``, ``items``, ``nullable``, ``description``.
    convert : callable or None
        How a value comes of what JSON holds; None for as it is.
    """

    facts: "dict[str, Any]"
    convert: "Callable[[Any], Any] | None" = None


# JSON's whole numbers are floats too.
_SCALARS: "dict[Any, Described]" = {
    float: Described({"type": "float"}, float),
    int: Described({"type": "integer"}),
    bool: Described({"type": "boolean"}),
    str: Described({"type": "string"}),
}


def type_of(hint: Any) -> Described:
    """Tell what a type hint says."""
    from types import UnionType
    from typing import Annotated, Literal, Union, get_args, get_origin

    if isinstance(hint, type) and hint in _SCALARS:
        facts, convert = _SCALARS[hint]
        return Described(dict(facts), convert)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = type_of(args[0])
        for part in args[1:]:
            apply(found.facts, part)
        return found
    if origin is Literal:
        return _of_choices(list(args), None)
    if origin in (Union, UnionType):
        return _of_union(args)
    if isinstance(origin, type):
        return _of_class(origin, args)
    if isinstance(hint, type):
        return _of_class(hint, ())
    if (supertype := getattr(hint, "__supertype__", None)) is not None:
        return type_of(supertype)
    return Described({"type": "any"})


def apply(facts: "dict[str, Any]", part: Any) -> None:
    """Note what stands beside a type in ``Annotated``, or in the metadata of a pydantic field."""
    if isinstance(part, str):
        facts["description"] = part
        return
    bounds: dict[str, Any]
    if isinstance(part, Range):
        bounds = {"min": part.min, "max": part.max}
        if part.unit is not None:
            facts["unit"] = part.unit
    else:
        # Of `annotated_types`, as pydantic uses them. A bound that is excluded is checked by the
        # model alone.
        bounds = {
            "min": getattr(part, "ge", getattr(part, "gt", None)),
            "max": getattr(part, "le", getattr(part, "lt", None)),
        }
        if getattr(part, "description", None):
            facts["description"] = part.description
    for name, bound in bounds.items():
        if isinstance(bound, int | float):
            facts[name] = float(bound)


def _of_union(args: "tuple[Any, ...]") -> Described:
    others = [arg for arg in args if arg is not type(None)]
    if len(others) == 1:
        found = type_of(others[0])
    elif set(others) == {int, float}:
        found = Described({"type": "float"})
    else:
        found = Described({"type": "any"})
    facts, convert = found
    if len(others) < len(args):
        facts["nullable"] = True
    return Described(facts, None if convert is None else _or_none(convert))


def _or_none(convert: "Callable[[Any], Any]") -> "Callable[[Any], Any]":
    def converted(value: Any) -> Any:
        return None if value is None else convert(value)

    return converted


def _of_choices(choices: "list[Any]", convert: "Callable[[Any], Any] | None") -> Described:
    names: dict[Any, str] = {bool: "boolean", int: "integer", str: "string", float: "float"}
    some = [choice for choice in choices if choice is not None]
    kinds = {names.get(type(choice), "any") for choice in some}
    facts: dict[str, Any] = {"type": kinds.pop() if len(kinds) == 1 else "any", "choices": some}
    if len(some) < len(choices):
        facts["nullable"] = True
    return Described(facts, convert)


def _of_class(kind: "type[Any]", args: "tuple[Any, ...]") -> Described:
    from collections.abc import Sequence
    from enum import Enum
    from pathlib import PurePath

    if issubclass(kind, Enum):
        return _of_choices([plain(member) for member in kind], kind)
    if issubclass(kind, PurePath):
        return Described({"type": "string"}, kind)
    if kind.__module__ == "os" and kind.__name__ == "PathLike":
        return Described({"type": "string"})
    if issubclass(kind, Mapping):
        return Described({"type": "object"})
    if issubclass(kind, list | tuple | set | frozenset) or kind is Sequence:
        made = cast(Any, list if kind is Sequence else kind)
        return _of_list(made, [type_of(arg) for arg in args if arg is not ...])
    return Described({"type": "any"})


def _of_list(made: Any, kinds: "list[Described]") -> Described:
    facts: dict[str, Any] = {"type": "list"}
    if not kinds or any(kind.facts != kinds[0].facts for kind in kinds):
        return Described(facts, made)
    item, convert = kinds[0]
    if item["type"] != "any" and not item.get("nullable"):
        facts["items"] = item["type"]
    if convert is None:
        return Described(facts, made)
    each = convert

    def converted(value: Any) -> Any:
        return made(map(each, value))

    return Described(facts, converted)


def plain(value: Any) -> Any:
    """Give a parameter as JSON holds it.

    Raises
    ------
    ValueError
        JSON cannot hold it; the message says what it is.
    """
    from enum import Enum
    from math import isfinite
    from os import PathLike, fspath

    anything: Any = value
    kind = cast(Any, type(value))
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{value}, which JSON cannot hold")
        return float(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in anything):
            raise ValueError("a dict with keys that are no texts, which JSON cannot hold")
        return {key: plain(item) for key, item in anything.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in anything]
    if isinstance(value, PathLike):
        return str(cast(Any, fspath(anything)))
    if hasattr(kind, "__dataclass_fields__") or is_pydantic(kind):
        return plain(as_dict(value))
    if hasattr(kind, "tolist"):
        # Numbers and arrays of NumPy.
        return plain(anything.tolist())
    raise ValueError(f"an object of type {kind.__name__}, which JSON cannot hold")


def is_pydantic(model: Any) -> bool:
    """Tell whether a class is a pydantic model, without importing pydantic."""
    return hasattr(model, "model_fields") and hasattr(model, "model_validate")


def as_dict(model: Any) -> "dict[str, Any]":
    """Give the fields of an object of a dataclass or of a pydantic model."""
    if is_pydantic(type(model)):
        dumped: dict[str, Any] = model.model_dump(by_alias=True)
        return dumped
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


def summary(text: "str | None") -> str:
    """Give the first paragraph of a docstring."""
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def documented(text: "str | None") -> "dict[str, str]":
    """Give the descriptions in the sections "Parameters" and "Attributes" of a NumPy docstring."""
    if not text:
        return {}
    import inspect
    import re

    found: dict[str, str] = {}
    lines = inspect.cleandoc(text).splitlines()
    names: list[str] = []
    within = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", following):
            within = line.strip() in ("Parameters", "Attributes")
            names = []
        elif within and re.match(r"\w+(, *\w+)*( *:|$)", line):
            names = [name.strip() for name in line.partition(":")[0].split(",")]
        elif within and names and line.startswith(" "):
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found
