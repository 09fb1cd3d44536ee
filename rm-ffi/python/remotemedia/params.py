"""Which parameters a node class declares, and the check of those that it is given.

A class declares them by a nested class ``Params`` (a dataclass, a pydantic model, or a plain class
with type hints, which is made a dataclass), or by the arguments of its ``__init__``. Main class:
`Declaration`. The check of single values is the runtime's own, so that a manifest is judged alike
before the first process starts and in the worker.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from remotemedia_runtime import _native
from remotemedia_runtime.errors import ParameterError

if TYPE_CHECKING:
    from remotemedia.node import Node

__all__ = ["Declaration", "Range", "declaration_of"]


def refused(name: str, problems: "list[tuple[str, str]]") -> ParameterError:
    """Make the error of a node class of this name."""
    error = ParameterError(f"{name}: " + "; ".join(message for _, message in problems))
    error.problems = problems
    error.parameter = problems[0][0] or None
    return error


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


class _Type(NamedTuple):
    """What a type hint says of a parameter: fields of its description, and how it comes of JSON."""

    facts: "dict[str, Any]"
    convert: "Callable[[Any], Any] | None" = None


class _Field(NamedTuple):
    name: str
    spec: "dict[str, Any]"
    convert: "Callable[[Any], Any] | None"


_NOTHING: Any = object()


class Declaration:
    """What a node class says of its parameters.

    Attributes
    ----------
    node : type
        The class.
    style : str
        How it declares them: ``"params"`` by a class ``Params``, ``"init"`` by its ``__init__``,
        ``"open"`` not at all.
    """

    def __init__(self, node: "type[Node]") -> None:
        self.node = node
        self.model: Any = getattr(node, "Params", None)
        self.is_open = False
        # Whether all names in type hints are known by now.
        self.is_final = True
        arguments = _arguments(node)
        if self.model is not None:
            if arguments:
                raise TypeError(
                    f"{node.__name__} declares its parameters twice, by Params and by __init__"
                )
            self.style, self.fields = "params", self._of_model()
        elif arguments:
            self.style, self.fields = "init", self._of_init(arguments)
        else:
            self.style, self.fields, self.is_open = "open", [], True
        self._text: str | None = None

    def metadata(self, name: str) -> "dict[str, Any]":
        """Describe the class under a name, as `remotemedia_runtime.get_node_metadata` does."""
        import sys

        package = sys.modules.get(self.node.__module__.partition(".")[0])
        version = getattr(package, "__version__", "")
        facts = {
            "version": version if isinstance(version, str) else "",
            "description": _summary(self.node.__dict__.get("__doc__")),
            "capabilities": [],
            "accepts": [],
            "produces": [],
            "source": False,
        }
        facts.update(self.node.__dict__.get("_node_facts", {}))
        parameters = [field.spec for field in self.fields]
        return {**facts, "name": name, "parameters": parameters, "open_params": self.is_open}

    def problems(self, params: "Mapping[str, Any]") -> "list[tuple[str, str]]":
        """Tell what is wrong with parameters as a manifest gives them."""
        if self._text is None or not self.is_final:
            self._text = json.dumps(self.metadata(self.node.__name__))
        return _native._check_params(self._text, json.dumps(params))

    def fill(self, params: "Mapping[str, Any]") -> Any:
        """Check parameters, and give all of them, with defaults for those that are not given.

        Returns
        -------
        object
            An object of the class ``Params``, or else a dict.

        Raises
        ------
        ParameterError
            They are not what the class declares.
        """
        given = plain_params(params, self.node.__name__)
        if problems := self.problems(given):
            raise refused(self.node.__name__, problems)
        if self.style == "params":
            return self._make(given)
        filled = {
            field.name: field.spec["default"] for field in self.fields if "default" in field.spec
        }
        return {**self._converted(filled), **self._converted(given)}

    def given(self, args: "tuple[Any, ...]", params: "dict[str, Any]") -> Any:
        """Give the parameters of a node that somebody makes by calling its class.

        Raises
        ------
        ParameterError
            They are not what the class declares.
        """
        if self.style == "init":
            if args:
                # Python itself says what is wrong with these.
                return params
            try:
                plain_params(params, self.node.__name__)
            except ParameterError:
                # A test gives it something of its own.
                return params
        return self.fill(params)

    def changed(self, before: Any, params: "Mapping[str, Any]") -> Any:
        """Give parameters with some of them changed.

        Raises
        ------
        ParameterError
            The new values are not what the class declares.
        """
        if self.style == "open":
            return {**before, **params}
        known = _as_dict(before) if self.style == "params" else before
        return self.fill({**known, **params})

    def make(self, params: "dict[str, Any]") -> "Node":
        """Make a node with parameters as a manifest gives them.

        Raises
        ------
        ParameterError
            They are not what the class declares.
        """
        if self.style == "init":
            return self.node(**self.fill(params))
        node = self.node.__new__(self.node, **params)
        # Its own arguments are no parameters.
        type(node).__init__(node)
        return node

    def _make(self, given: "dict[str, Any]") -> Any:
        try:
            if _is_pydantic(self.model):
                return self.model.model_validate(given)
            return self.model(**self._converted(given))
        except (TypeError, ValueError) as error:
            told = _told_by_pydantic(error) or [("", str(error))]
            raise refused(self.node.__name__, told) from error

    def _converted(self, params: "dict[str, Any]") -> "dict[str, Any]":
        converters = {field.name: field.convert for field in self.fields}
        return {
            name: convert(value) if (convert := converters.get(name)) is not None else value
            for name, value in params.items()
        }

    def _of_model(self) -> "list[_Field]":
        if _is_pydantic(self.model):
            return [self._of_pydantic(*item) for item in self.model.model_fields.items()]
        import dataclasses

        model = self.model
        if "__dataclass_fields__" not in model.__dict__:
            if "__init__" in model.__dict__:
                raise TypeError(
                    f"{self.node.__name__}.Params has an __init__; expected a dataclass, a "
                    "pydantic model, or a class with nothing but type hints"
                )
            dataclasses.dataclass(kw_only=True)(model)
        hints = self._hints(model)
        texts = {**_documented(self.node.__doc__), **_documented(model.__doc__)}
        fields: list[_Field] = []
        for field in dataclasses.fields(model):
            if not field.init:
                continue
            default: Any = _NOTHING
            if field.default is not dataclasses.MISSING:
                default = field.default
            elif field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            hint = hints.get(field.name, Any)
            fields.append(self._field(field.name, hint, default, texts.get(field.name)))
        return fields

    def _of_pydantic(self, name: str, info: Any) -> _Field:
        found = _type_of(info.annotation)
        for part in info.metadata:
            _apply(found.facts, part)
        default = _NOTHING
        if not info.is_required():
            default = info.get_default(call_default_factory=True)
        text = info.description or _documented(self.model.__doc__).get(name)
        field = self._described(info.alias or name, found, default, text)
        # The model converts by itself.
        return field._replace(convert=None)

    def _of_init(self, arguments: "list[Any]") -> "list[_Field]":
        init: Any = self.node.__init__
        hints = self._hints(init)
        texts = {**_documented(self.node.__doc__), **_documented(init.__doc__)}
        fields: list[_Field] = []
        for argument in arguments:
            if argument.kind is argument.VAR_KEYWORD:
                self.is_open = True
            elif argument.kind is not argument.VAR_POSITIONAL:
                default = _NOTHING if argument.default is argument.empty else argument.default
                hint = hints.get(argument.name, Any)
                text = texts.get(argument.name)
                if not _is_plain(default):
                    # A seam for tests, which no manifest can give.
                    continue
                fields.append(self._field(argument.name, hint, default, text))
        return fields

    def _hints(self, of: Any) -> "dict[str, Any]":
        from typing import get_type_hints

        try:
            return get_type_hints(of, include_extras=True)
        except NameError:
            # A name that its module defines later on.
            self.is_final = False
            return {}

    def _field(self, name: str, hint: Any, default: Any, text: "str | None") -> _Field:
        return self._described(name, _type_of(hint), default, text)

    def _described(self, name: str, found: _Type, default: Any, text: "str | None") -> _Field:
        spec: dict[str, Any] = {"name": name, "description": text or "", **found.facts}
        if default is not _NOTHING:
            try:
                spec["default"] = plain(default)
            except ValueError as error:
                raise TypeError(
                    f"{self.node.__name__}: the default of parameter {name!r} is {error}"
                ) from None
        if spec["type"] == "float" and isinstance(spec.get("default"), int):
            spec["default"] = float(spec["default"])
        return _Field(name, spec, found.convert)


def declaration_of(node: "type[Node]") -> Declaration:
    """Give what a node class declares; found out once."""
    known: Declaration | None = node.__dict__.get("_declaration")
    if known is None or not known.is_final:
        known = node._declaration = Declaration(node)  # pyright: ignore[reportPrivateUsage]
    return known


def plain(value: Any) -> Any:
    """Give a parameter as JSON holds it.

    Raises
    ------
    ValueError
        JSON cannot hold it; the message says what it is.
    """
    from enum import Enum
    from math import isfinite
    from os import PathLike

    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{value}, which JSON cannot hold")
        return value
    if isinstance(value, Mapping):
        entries: Iterable[tuple[Any, Any]] = value.items()
        if any(not isinstance(key, str) for key, _ in entries):
            raise ValueError("a dict with keys that are no texts, which JSON cannot hold")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, PathLike):
        return str(value)
    if hasattr(type(value), "__dataclass_fields__") or _is_pydantic(type(value)):
        return plain(_as_dict(value))
    if hasattr(value, "tolist"):
        # Numbers and arrays of NumPy.
        return plain(value.tolist())
    raise ValueError(f"an object of type {type(value).__name__}, which JSON cannot hold")


def _is_plain(default: Any) -> bool:
    try:
        return default is _NOTHING or plain(default) is not _NOTHING
    except ValueError:
        return False


def plain_params(params: "Mapping[str, Any]", name: str) -> "dict[str, Any]":
    """Give parameters of a node class of this name as JSON holds them.

    Raises
    ------
    ParameterError
        JSON cannot hold one.
    """
    given: dict[str, Any] = {}
    for parameter, value in params.items():
        try:
            given[parameter] = plain(value)
        except ValueError as error:
            message = f'parameter "{parameter}" is {error}'
            raise refused(name, [(parameter, message)]) from None
    return given


def _arguments(node: type) -> "list[Any]":
    """The arguments of the class's own `__init__` beside the node itself."""
    if node.__init__ is object.__init__:
        return []
    import inspect

    return list(inspect.signature(node.__init__).parameters.values())[1:]


def _is_pydantic(model: Any) -> bool:
    return hasattr(model, "model_fields") and hasattr(model, "model_validate")


def _as_dict(model: Any) -> "dict[str, Any]":
    if _is_pydantic(type(model)):
        return model.model_dump(by_alias=True)
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


def _told_by_pydantic(error: Exception) -> "list[tuple[str, str]]":
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return []
    told: list[tuple[str, str]] = []
    found: Any = errors()
    for part in found:
        name = str(part["loc"][0]) if part["loc"] else ""
        message = part["msg"][:1].lower() + part["msg"][1:]
        if name:
            try:
                shown = json.dumps(part["input"])
            except (TypeError, ValueError):
                shown = repr(part["input"])
            message = f'parameter "{name}" is {shown}: {message}'
        told.append((name, message))
    return told


# JSON's whole numbers are floats too.
_SCALARS: "dict[Any, _Type]" = {
    float: _Type({"type": "float"}, float),
    int: _Type({"type": "integer"}),
    bool: _Type({"type": "boolean"}),
    str: _Type({"type": "string"}),
}


def _type_of(hint: Any) -> _Type:
    """What a type hint says."""
    from types import UnionType
    from typing import Annotated, Literal, Union, get_args, get_origin

    if isinstance(hint, type) and hint in _SCALARS:
        kind, convert = _SCALARS[hint]
        return _Type(dict(kind), convert)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = _type_of(args[0])
        for part in args[1:]:
            _apply(found.facts, part)
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
        return _type_of(supertype)
    return _Type({"type": "any"})


def _of_union(args: "tuple[Any, ...]") -> _Type:
    others = [arg for arg in args if arg is not type(None)]
    if len(others) == 1:
        found = _type_of(others[0])
    elif set(others) == {int, float}:
        found = _Type({"type": "float"})
    else:
        found = _Type({"type": "any"})
    facts, convert = found
    if len(others) < len(args):
        facts["nullable"] = True
    if convert is None:
        return found
    to = convert
    return _Type(facts, lambda value: None if value is None else to(value))


def _of_choices(choices: "list[Any]", convert: "Callable[[Any], Any] | None") -> _Type:
    names = {bool: "boolean", int: "integer", str: "string", float: "float"}
    kinds = {names.get(type(choice), "any") for choice in choices if choice is not None}
    facts: dict[str, Any] = {"type": kinds.pop() if len(kinds) == 1 else "any"}
    if None in choices:
        facts["nullable"] = True
    facts["choices"] = [choice for choice in choices if choice is not None]
    return _Type(facts, convert)


def _of_class(kind: type, args: "tuple[Any, ...]") -> _Type:
    from collections.abc import Mapping as AbstractMapping
    from collections.abc import Sequence
    from enum import Enum
    from os import PathLike

    if issubclass(kind, Enum):
        return _of_choices([plain(member) for member in kind], kind)
    if kind is PathLike:
        return _Type({"type": "string"})
    if issubclass(kind, PathLike):
        path: Any = kind
        return _Type({"type": "string"}, path)
    if issubclass(kind, AbstractMapping):
        return _Type({"type": "object"})
    if issubclass(kind, list | tuple | set | frozenset) or kind is Sequence:
        facts: dict[str, Any] = {"type": "list"}
        made: Any = None if kind in (list, Sequence) else kind
        kinds = [_type_of(arg) for arg in args if arg is not ...]
        if not kinds or any(other.facts != kinds[0].facts for other in kinds):
            return _Type(facts, made)
        item, convert = kinds[0]
        if item["type"] not in ("any", "paths") and not item.get("nullable"):
            facts["items"] = item["type"]
        if convert is None:
            return _Type(facts, made)
        to = convert
        return _Type(facts, lambda value: (made or list)(map(to, value)))
    return _Type({"type": "any"})


def _apply(facts: "dict[str, Any]", part: Any) -> None:
    """Note what stands beside a type in ``Annotated``, or in the metadata of a pydantic field."""
    if isinstance(part, str):
        facts["description"] = part
        return
    if isinstance(part, Range):
        bounds: Any = {"min": part.min, "max": part.max}
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


def _summary(text: "str | None") -> str:
    """The first paragraph of a docstring."""
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def _documented(text: "str | None") -> "dict[str, str]":
    """The descriptions in the sections "Parameters" and "Attributes" of a NumPy docstring."""
    if not text:
        return {}
    import inspect

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
