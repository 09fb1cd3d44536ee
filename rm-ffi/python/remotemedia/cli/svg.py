"""A drawing of a pipeline as an SVG picture, from left to right.

Main function: `svg`. Columns are the nodes' distances from the start of the pipeline; a line that
passes a column has a place in it like a box, so that it goes under none. Boxes are ordered by where
their neighbours are (the barycentre method of Sugiyama, 1981), in a few sweeps.
"""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape

from remotemedia.cli.drawing import Drawing, Line

# In pixels, for text of 12 px; a letter of a proportional font is about 0.6 of that at most.
_LETTER = 7.2
_ROW = 16
_PADDING = 12
_GAP = 28
_MARGIN = 24
_ASIDE = 14
_SWEEPS = 8

_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1a202c}"
    ".id{font-weight:600}.small{font-size:11px;fill:#4a5568}"
    ".box{stroke-width:1.5}.native{fill:#e3f0fb;stroke:#2b6cb0}"
    ".multiprocess{fill:#fdf0dd;stroke:#b7791f}"
    ".line{fill:none;stroke:#4a5568;stroke-width:1.5}.call{stroke-dasharray:5 4}"
    ".label{font-size:11px;fill:#2d3748;"
    "paint-order:stroke;stroke:#fff;stroke-width:4px}"
)


class _Place(NamedTuple):
    """Where something is: its left, its top, its width and its height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


class _Layout:
    """Boxes and the places of lines that pass by, in columns."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self.rows = max((len(line.labels) for line in drawing.lines), default=0)
        self.column = _columns(len(drawing.boxes), drawing.lines)
        count = max(self.column, default=0) + 1
        self.columns: list[list[int]] = [[] for _ in range(count)]
        for box, column in enumerate(self.column):
            self.columns[column].append(box)
        # The way of each line, from box to box by what stands for it in between.
        self.ways = [self._way(line) for line in drawing.lines]
        self._order()
        self.places = self._place()

    def _way(self, line: Line) -> list[int]:
        way = [line.start]
        for column in range(self.column[line.start] + 1, self.column[line.end]):
            self.column.append(column)
            self.columns[column].append(len(self.column) - 1)
            way.append(len(self.column) - 1)
        return [*way, line.end]

    def _order(self) -> None:
        before: dict[int, list[int]] = {}
        behind: dict[int, list[int]] = {}
        for way in self.ways:
            for start, end in pairwise(way):
                behind.setdefault(start, []).append(end)
                before.setdefault(end, []).append(start)
        for sweep in range(_SWEEPS):
            forwards = sweep % 2 == 0
            for column in self.columns if forwards else reversed(self.columns):
                rank = {one: row for other in self.columns for row, one in enumerate(other)}
                neighbours = before if forwards else behind

                def weight(
                    one: int,
                    rank: dict[int, int] = rank,
                    near: dict[int, list[int]] = neighbours,
                ) -> float:
                    found = [rank[other] for other in near.get(one, ())]
                    return sum(found) / len(found) if found else float(rank[one])

                column.sort(key=weight)

    def _size(self, one: int) -> tuple[float, float]:
        if one >= len(self.drawing.boxes):
            # Its label stands above it.
            return 0.0, float(_ROW * max(self.rows, 1))
        box = self.drawing.boxes[one]
        longest = max(len(text) for text in (box.id, *box.lines))
        return longest * _LETTER + 2 * _PADDING, (len(box.lines) + 1) * _ROW + _PADDING

    def _place(self) -> dict[int, _Place]:
        sizes = {one: self._size(one) for column in self.columns for one in column}
        heights = [
            sum(sizes[one][1] for one in column) + _GAP * (len(column) - 1)
            for column in self.columns
        ]
        self.height = max(heights, default=0) + 2 * _MARGIN + _ROW * self.rows
        places: dict[int, _Place] = {}
        x = float(_MARGIN)
        for number, column in enumerate(self.columns):
            width = max(sizes[one][0] for one in column)
            y = (self.height - heights[number]) / 2
            for one in column:
                own, height = sizes[one]
                # What passes by does so over the whole width.
                places[one] = _Place(x + (width - own) / 2 if own else x, y, own or width, height)
                y += height + _GAP
            x += width + self._room_behind(number)
        self.width = x - self._room_behind(len(self.columns) - 1) + _MARGIN
        return places

    def _room_behind(self, column: int) -> float:
        """Give how far the next column is: as far as labels are wide."""
        labels = [
            len(label)
            for line in self.drawing.lines
            if self.column[line.start] == column
            for label in line.labels
        ]
        return max(labels, default=0) * _LETTER + 40


def _columns(count: int, lines: list[Line]) -> list[int]:
    """Give each box the length of the longest way to it; there are no circles."""
    columns = [0] * count
    for _ in range(count):
        for line in lines:
            columns[line.end] = max(columns[line.end], columns[line.start] + 1)
    return columns


def svg(drawing: Drawing) -> str:
    """Give the picture.

    Parameters
    ----------
    drawing : Drawing
        What is drawn.

    Returns
    -------
    str
        An SVG document that needs nothing else.
    """
    layout = _Layout(drawing)
    width, height = round(layout.width), round(layout.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">',
        f"<title>{escape(drawing.name)}</title><style>{_STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 10 5 0 10z" fill="#4a5568"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    leaving = Counter(way[0] for way in layout.ways)
    coming = Counter(one for way in layout.ways for one in way[1:])
    labels: list[str] = []
    for line, way in zip(drawing.lines, layout.ways, strict=True):
        places = [layout.places[one] for one in way]
        parts.append(_path(line, places))
        at_start = leaving[way[0]] < coming[way[1]]
        labels.append(_label(line, places[0], places[1], at_start))
    for number, box in enumerate(drawing.boxes):
        place = layout.places[number]
        parts.append(
            f'<rect class="box {box.kind}" x="{place.x:.1f}" y="{place.y:.1f}" rx="6" '
            f'width="{place.width:.1f}" height="{place.height:.1f}"/>'
        )
        for row, text in enumerate((box.id, *box.lines)):
            kind = "small" if row else "id"
            x, y = place.x + _PADDING, place.y + _ROW * (row + 1) + 2
            parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')
    return "\n".join([*parts, *labels, "</svg>"]) + "\n"


def _path(line: Line, places: list[_Place]) -> str:
    start, *passed, end = places
    x, y = start.x + start.width, start.middle
    path = f"M{x:.1f} {y:.1f}"
    for place in (*passed, end):
        bend = (x + place.x) / 2
        path += f"C{bend:.1f} {y:.1f} {bend:.1f} {place.middle:.1f} "
        path += f"{place.x:.1f} {place.middle:.1f}"
        x, y = place.x, place.middle
        if place is not end:
            x += place.width
            path += f"H{x:.1f}"
    kind = "line call" if line.is_call else "line"
    return f'<path class="{kind}" d="{path}" marker-end="url(#arrow)"/>'


def _label(line: Line, start: _Place, end: _Place, at_start: bool) -> str:
    """Give what stands at that end of a line's first part where there is more room.

    It stands on the side to which the line does not turn.
    """
    x = start.x + start.width + _ASIDE if at_start else end.x - _ASIDE
    near, far, anchor = (start, end, "start") if at_start else (end, start, "end")
    rows = len(line.labels)
    is_above = far.middle >= near.middle
    first = near.middle - 5 - _ROW * (rows - 1) if is_above else near.middle + _ROW
    text = ""
    for row, label in enumerate(line.labels):
        y = first + _ROW * row
        text += f'<text class="label" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">'
        text += f"{escape(label)}</text>"
    return text
