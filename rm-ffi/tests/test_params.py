"""Declared parameters, without a worker."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NewType, Optional

import declared_nodes
import numpy as np
import pytest
from declared_nodes import Colour, Gain, Paint, Repeat

from remotemedia import Node, ParameterError, Range
from remotemedia.params import declaration_of
from remotemedia_runtime.worker import change_params


def node_of(**hints):
    """A class whose parameters have these type hints; a tuple has a default too."""
    parts = {name: hint if isinstance(hint, tuple) else (hint,) for name, hint in hints.items()}
    names = {name: part[0] for name, part in parts.items()}
    defaults = {name: part[1] for name, part in parts.items() if len(part) == 2}
    params = type("Params", (), {"__annotations__": names, **defaults})
    return type("Made", (Node,), {"Params": params})


def spec_of(hint, *default):
    """How the parameter of a type hint is described, without its name."""
    metadata = declaration_of(node_of(p=(hint, *default))).metadata("Made")
    (spec,) = metadata["parameters"]
    return {key: value for key, value in spec.items() if key not in ("name", "description")}


Seconds = NewType("Seconds", float)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (float, {"type": "float"}),
        (int, {"type": "integer"}),
        (bool, {"type": "boolean"}),
        (str, {"type": "string"}),
        (list, {"type": "list"}),
        (list[float], {"type": "list", "items": "float"}),
        (tuple[str, ...], {"type": "list", "items": "string"}),
        (tuple[int, str], {"type": "list"}),
        (list[Any], {"type": "list"}),
        (set[int], {"type": "list", "items": "integer"}),
        (dict, {"type": "object"}),
        (dict[str, int], {"type": "object"}),
        (Any, {"type": "any"}),
        (object, {"type": "any"}),
        (int | float, {"type": "float"}),
        (int | str, {"type": "any"}),
        (float | None, {"type": "float", "nullable": True}),
        (Optional[str], {"type": "string", "nullable": True}),  # noqa: UP045
        (Literal["a", "b"], {"type": "string", "choices": ["a", "b"]}),
        (Literal[8, 16], {"type": "integer", "choices": [8, 16]}),
        (Literal["a", None], {"type": "string", "choices": ["a"], "nullable": True}),
        (Colour, {"type": "string", "choices": ["red", "blue"]}),
        (Path, {"type": "string"}),
        (Seconds, {"type": "float"}),
        (Annotated[int, Range(min=1)], {"type": "integer", "min": 1.0}),
        (
            Annotated[float, Range(0, 1, "s")],
            {"type": "float", "min": 0.0, "max": 1.0, "unit": "s"},
        ),
    ],
)
def test_a_type_hint_says_what_a_parameter_may_be(hint, expected):
    assert spec_of(hint) == expected


def test_a_default_is_described_as_json_holds_it():
    assert spec_of(float, 2) == {"type": "float", "default": 2.0}
    assert spec_of(Colour, Colour.BLUE)["default"] == "blue"
    assert spec_of(Path, Path("a/b"))["default"] == "a/b"
    assert spec_of(tuple[int, ...], (1, 2))["default"] == [1, 2]
    assert spec_of(float | None, None) == {"type": "float", "nullable": True, "default": None}


@pytest.mark.parametrize(("default", "shown"), [(float("nan"), "nan"), (object(), "object")])
def test_a_default_that_json_cannot_hold_is_refused(default, shown):
    with pytest.raises(TypeError, match=f"Made: the default of parameter 'p' is .*{shown}"):
        spec_of(Any, default)


def test_descriptions_come_from_annotations_and_docstrings():
    metadata = declaration_of(Gain).metadata("gain")
    assert metadata["description"] == "Makes audio louder."
    assert [spec["description"] for spec in metadata["parameters"]] == [
        "by how much",
        "How it is done, in two lines.",
    ]
    (times, word) = declaration_of(Repeat).metadata("repeat")["parameters"]
    assert (times["description"], word["description"]) == ("How often.", "")


def test_parameters_are_an_object_of_the_class_that_declares_them():
    params = Paint(size=2, colour="blue", where="c").params
    assert isinstance(params, declared_nodes.PaintParams)
    assert (params.colour, params.where, params.sizes) == (Colour.BLUE, Path("c"), (1, 2))
    assert Gain(factor=3).params.factor == 3.0
    assert isinstance(Gain(factor=np.int64(3)).params.factor, float)


def test_arguments_of_init_are_parameters_and_a_dict_has_them_all():
    node = Repeat(times=2)
    assert node.params == {"times": 2, "word": ""}
    assert node.times == 2
    with pytest.raises(ParameterError, match=r'"times" is missing; it is a whole number'):
        Repeat()


def test_an_argument_that_no_manifest_can_give_is_left_to_tests():
    node = Repeat(times=2, clock=max)
    assert node.clock is max
    names = [spec["name"] for spec in declaration_of(Repeat).metadata("r")["parameters"]]
    assert names == ["times", "word"]


def test_a_class_that_declares_nothing_takes_anything():
    node = type("Open", (Node,), {})(a=1, b=[2])
    assert node.params == {"a": 1, "b": [2]}
    assert declaration_of(type(node)).metadata("Open")["open_params"] is True


@pytest.mark.parametrize(
    ("node", "params", "message"),
    [
        (Gain, {"factor": "loud"}, 'Gain: parameter "factor" is "loud", expected a number'),
        (Gain, {"factor": 11}, 'Gain: parameter "factor" is 11, expected from 0 to 10 times'),
        (Gain, {"factr": 1}, 'Gain: unknown parameter "factr"; did you mean "factor"?'),
        (Gain, {"mode": "x"}, 'Gain: parameter "mode" is "x", expected one of soft, hard'),
        (Gain, {"mode": None}, 'Gain: parameter "mode" is null, expected a string'),
        (
            Gain,
            {"factor": "x", "mode": 1},
            'Gain: parameter "factor" is "x", expected a number; '
            'parameter "mode" is 1, expected a string',
        ),
        (Gain, {"factor": object()}, 'Gain: parameter "factor" is an object of type object'),
        (Gain, {"factor": float("inf")}, 'Gain: parameter "factor" is inf, which JSON cannot'),
        (Paint, {}, 'Paint: parameter "size" is missing; it is a whole number'),
        (Paint, {"size": 1, "sizes": [1, "2"]}, "expected a list of whole numbers"),
        (Paint, {"size": 99}, 'Paint: parameter "size" is too large for "sizes"'),
        (Repeat, {"times": 1.5}, 'Repeat: parameter "times" is 1.5, expected a whole number'),
    ],
)
def test_wrong_parameters_are_refused_with_what_would_be_right(node, params, message):
    with pytest.raises(ParameterError) as raised:
        node(**params)
    assert message in str(raised.value)
    assert isinstance(raised.value, ValueError)


def test_both_ways_of_declaring_at_once_are_refused():
    def init(self, *, a: int = 1):
        pass

    both = type("Both", (Node,), {"Params": Gain.Params, "__init__": init})
    with pytest.raises(TypeError, match="Both declares its parameters twice"):
        both()


def test_a_class_of_parameters_with_an_init_of_its_own_is_refused():
    params = type("Params", (), {"__init__": lambda self: None})
    with pytest.raises(TypeError, match="has an __init__; expected a dataclass"):
        type("Odd", (Node,), {"Params": params})()


@pytest.mark.parametrize("params", [{"a": 1}, int, Gain(factor=1).params])
def test_what_is_no_class_of_parameters_is_refused(params):
    with pytest.raises(TypeError, match=r"Odd\.Params is .*; expected a dataclass"):
        type("Odd", (Node,), {"Params": params})()


def test_a_default_that_all_nodes_would_share_is_refused():
    with pytest.raises(TypeError, match=r"Made\.Params: mutable default .* use default_factory"):
        node_of(p=(list[int], []))()


def test_parameters_are_inherited():
    class Base(Node):
        class Params:
            a: int = 1

    class Derived(Base):
        class Params(Base.Params):
            b: int

    assert vars(Derived(b=2).params) == {"a": 1, "b": 2}
    assert vars(Base(a=2).params) == {"a": 2}


def test_parameters_are_given_by_name():
    with pytest.raises(TypeError, match="Gain takes its parameters by name"):
        Gain(3)
    with pytest.raises(ParameterError, match="Gain: 1 is no name of a parameter"):
        declaration_of(Gain).fill({1: 2})


def test_a_changed_parameter_is_checked_and_the_others_stay():
    node = Paint(size=1, title="x")
    change_params(node, {"size": 2})
    assert (node.params.size, node.params.title) == (2, "x")
    with pytest.raises(ParameterError, match="expected a whole number"):
        change_params(node, {"size": "x"})
    with pytest.raises(ValueError, match="three is no size"):
        change_params(node, {"size": 3})
    assert node.params.size == 2


def test_a_node_that_takes_parameters_when_it_is_made_refuses_changes():
    node = Repeat(times=1)
    with pytest.raises(ValueError, match="override set_params"):
        change_params(node, {"times": 2})
    assert node.params == {"times": 1, "word": ""}


def test_names_in_hints_may_be_defined_later(monkeypatch):
    module = ModuleType("later")
    monkeypatch.setitem(sys.modules, "later", module)
    source = "class Early(Node):\n  class Params:\n    p: 'Kind' = 1\n"
    exec(source, vars(module) | {"Node": Node}, vars(module))
    assert declaration_of(module.Early).metadata("e")["parameters"][0]["type"] == "any"
    module.Kind = int
    assert declaration_of(module.Early).metadata("e")["parameters"][0]["type"] == "integer"


def test_a_dataclass_may_make_its_defaults():
    @dataclass
    class Made:
        sizes: list[int] = field(default_factory=lambda: [1])
        hidden: int = field(default=0, init=False)

    node = type("Sized", (Node,), {"Params": Made})
    (spec,) = declaration_of(node).metadata("s")["parameters"]
    assert spec["default"] == [1]
    assert node().params.sizes is not node().params.sizes


def test_pydantic_models_are_accepted():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        factor: float = pydantic.Field(2.0, gt=0, le=10, description="by how much")
        names: list[str] = pydantic.Field(default_factory=list)

        @pydantic.field_validator("names")
        @classmethod
        def no_blanks(cls, names):
            if "" in names:
                raise ValueError("a name is empty")
            return names

    node = type("Modelled", (Node,), {"Params": Model})
    factor, names = declaration_of(node).metadata("m")["parameters"]
    assert factor == {
        "name": "factor",
        "type": "float",
        "default": 2.0,
        "min": 0.0,
        "max": 10.0,
        "description": "by how much",
    }
    assert names["items"] == "string"
    assert node(factor=3).params == Model(factor=3)
    for params, message in [
        ({"factor": 0}, r'parameter "factor" is 0: input should be greater than 0'),
        ({"factor": 11}, r'parameter "factor" is 11, expected from 0 to 10'),
        ({"names": [""]}, r'parameter "names" is \[""\]: value error, a name is empty'),
    ]:
        with pytest.raises(ParameterError, match=message):
            node(**params)
    made = node(factor=3)
    change_params(made, {"names": ["a"]})
    assert made.params == Model(factor=3, names=["a"])
