"""Nodes that say which parameters they take."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from remotemedia import Audio, Node, Range


class Gain(Node):
    """Makes audio louder.

    Notes
    -----
    Nothing of this is in the description.
    """

    class Params:
        """What it takes.

        Attributes
        ----------
        mode : str
            How it is done,
            in two lines.
        """

        factor: Annotated[float, Range(0, 10, unit="times"), "by how much"] = 2.0
        mode: Literal["soft", "hard"] = "soft"

    def process(self, item):
        return Audio(item.samples * np.float32(self.params.factor), item.sample_rate)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class PaintParams:
    size: int
    colour: Colour = Colour.RED
    where: Path = Path("a/b")
    sizes: tuple[int, ...] = (1, 2)
    title: str | None = None

    def __post_init__(self):
        if self.size > len(self.sizes) * 10:
            raise ValueError('parameter "size" is too large for "sizes"')


class Paint(Node):
    """Says what it has been given."""

    Params = PaintParams

    def process(self, item):
        given = self.params
        kinds = [type(value).__name__ for value in vars(given).values()]
        return {"size": given.size, "title": given.title, "kinds": kinds}

    def set_params(self, params):
        super().set_params(params)
        if self.params.size == 3:
            raise ValueError("three is no size")


class Repeat(Node):
    """Says a text again.

    Parameters
    ----------
    times : int
        How often.
    """

    def __init__(self, *, times: int, word: str = "", clock=len):
        self.times, self.word, self.clock = times, word, clock

    def process(self, item):
        return {"text": (self.word or item) * self.times, "params": self.params}
