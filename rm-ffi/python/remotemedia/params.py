"""Which parameters a node class declares, and the check of those that it is given.

A class declares them by a nested class ``Params`` (a dataclass, a pydantic model, or a plain class
with type hints, which is made a dataclass), or by the arguments of its ``__init__``. Main class:
`Declaration`. The check of single values is the runtime's own, so that a manifest is judged alike
before the first process starts and in the worker.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from remotemedia._hints import (
    Described,
    Range,
    apply,
    as_dict,
    documented,
    is_pydantic,
    plain,
    summary,
    type_of,
)
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
        facts: dict[str, Any] = {
            "version": version if isinstance(version, str) else "",
            "description": summary(self.node.__dict__.get("__doc__")),
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

    def named(self, args: "tuple[Any, ...]", params: "dict[str, Any]") -> "dict[str, Any]":
        """Give the arguments of a call of the class by their names."""
        if not args or self.style != "init":
            return params
        import inspect

        try:
            init: Any = self.node.__init__
            bound = inspect.signature(init).bind(None, *args, **params)
        except TypeError:
            # Python itself says what is wrong with these.
            return params
        given: dict[str, Any] = {}
        for name, value in list(bound.arguments.items())[1:]:
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                given.update(value)
            elif kind is not inspect.Parameter.VAR_POSITIONAL:
                given[name] = value
        return given

    def given(self, args: "tuple[Any, ...]", params: "dict[str, Any]") -> Any:
        """Give the parameters of a node that somebody makes by calling its class.

        Raises
        ------
        ParameterError
            They are not what the class declares.
        """
        if self.style == "init":
            if args:
                # Python itself says what is wrong with these, if it is.
                return params
            try:
                plain_params(params, self.node.__name__)
            except ParameterError:
                # A test gives it something of its own.
                return params
        if args:
            raise TypeError(f"{self.node.__name__} takes its parameters by name")
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
        known = as_dict(before) if self.style == "params" else before
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
        # It takes no parameters, for the class declares them otherwise.
        kind: Any = type(node)
        kind.__init__(node)
        return node

    def _make(self, given: "dict[str, Any]") -> Any:
        try:
            if is_pydantic(self.model):
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
        if is_pydantic(self.model):
            return [self._of_pydantic(*item) for item in self.model.model_fields.items()]
        import dataclasses

        model = self.model
        self._as_dataclass(model)
        hints = self._hints(model)
        texts = {**documented(self.node.__doc__), **documented(model.__doc__)}
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

    def _as_dataclass(self, model: Any) -> None:
        """Make plain classes with type hints dataclasses, those from which they inherit too."""
        import dataclasses

        wanted = "expected a dataclass, a pydantic model, or a class with nothing but type hints"
        if not isinstance(model, type) or model.__module__ == "builtins":
            raise TypeError(f"{self.node.__name__}.Params is {model!r}; {wanted}")
        for kind in reversed(model.__mro__[:-1]):
            if "__dataclass_fields__" in kind.__dict__:
                continue
            if "__init__" in kind.__dict__:
                raise TypeError(f"{self.node.__name__}.Params has an __init__; {wanted}")
            try:
                dataclasses.dataclass(kw_only=True)(kind)
            except ValueError as error:
                raise TypeError(f"{self.node.__name__}.Params: {error}") from None

    def _of_pydantic(self, name: str, info: Any) -> _Field:
        found = type_of(info.annotation)
        for part in info.metadata:
            apply(found.facts, part)
        default = _NOTHING
        if not info.is_required():
            default = info.get_default(call_default_factory=True)
        text = info.description or documented(self.model.__doc__).get(name)
        field = self._described(info.alias or name, found, default, text)
        # The model converts by itself.
        return field._replace(convert=None)

    def _of_init(self, arguments: "list[Any]") -> "list[_Field]":
        init: Any = self.node.__init__
        hints = self._hints(init)
        texts = {**documented(self.node.__doc__), **documented(init.__doc__)}
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
        return self._described(name, type_of(hint), default, text)

    def _described(self, name: str, found: Described, default: Any, text: "str | None") -> _Field:
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
        if not isinstance(parameter, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise refused(name, [("", f"{parameter!r} is no name of a parameter")])
        try:
            given[parameter] = plain(value)
        except ValueError as error:
            message = f'parameter "{parameter}" is {error}'
            raise refused(name, [(parameter, message)]) from None
    return given


def _arguments(node: Any) -> "list[Any]":
    """The arguments of the class's own `__init__` beside the node itself."""
    if node.__init__ is object.__init__:
        return []
    import inspect

    return list(inspect.signature(node.__init__).parameters.values())[1:]


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
