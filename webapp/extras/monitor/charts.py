"""Where everything in a chart goes; templates/charts.html draws it as SVG. And how figures are written, everywhere."""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

LEFT, RIGHT, TOP, BOTTOM = 56, 474, 14, 160  # of the plot within a drawing of 480 by 190
NAMES_WIDTH = 66  # on the right, where there are several lines to be told apart
NAMES_APART = 16
DOTS_UP_TO = 40  # points


class Series(NamedTuple):
    """One line, or one kind of bar: the key of its values in the points, its name, and its colour's class."""

    key: str
    name: str
    colour: str


class Chart(NamedTuple):
    """A chart laid out: coordinates are in units of a drawing of 480 by 190."""

    title: str
    help: str
    summary: str  # for those who cannot see it
    right: int  # where the plot ends
    ticks: list[tuple[float, str]]  # y, label
    ends: tuple[str, str]  # labels of the first and the last point
    bands: list[tuple[float, float, float, float]]  # x, y, width, height of each interval
    bars: list[tuple[str, float, float, float, float]]  # colour, x, y, width, height
    lines: list[tuple[str, str]]  # colour, "x,y x,y ..." of an unbroken piece
    dots: list[tuple[str, float, float]]  # colour, x, y
    names: list[tuple[str, float, str]]  # colour, y, name at the end of its line
    hits: list[tuple[float, float, str]]  # x, width, what to show on hover
    head: list[str]  # of the table
    rows: list[list[str]]


def chart(
    title: str,
    points: Sequence[Mapping[str, Any]],
    *,
    help: str,
    along: str = "time",
    lines: Sequence[Series] = (),
    bars: Sequence[Series] = (),
    band: tuple[str, str] | None = None,
    unit: str = "",
    highest: float | None = None,
) -> Chart:
    """Lay out points {label, key: value or None, ...}: bars stacked, lines over them, `band` the keys of an interval.

    All points are equally far apart; `along` names what their labels are. With the unit "%" values are shares, 0 to 1.
    """
    if highest is None:
        stacks = [sum(point[one.key] or 0 for one in bars) for point in points]
        highest = top_of_scale([*stacks, *(point[one.key] for point in points for one in lines)], least=1e-3)
    top: float = highest
    right = RIGHT - NAMES_WIDTH if len(lines) > 1 else RIGHT
    wide = (right - LEFT) / max(1, len(points))

    def x(place: float) -> float:
        return round(LEFT + place * wide, 1)

    def y(value: float) -> float:
        return round(BOTTOM - min(max(value, 0), top) / top * (BOTTOM - TOP), 1)

    series = (*bars, *lines)
    head = [along, *(one.name for one in series), *(["95 % interval"] if band else [])]
    laid_bars, bands, hits, rows = [], [], [], []
    for place, point in enumerate(points):
        below, gap = 0.0, min(1.0, wide / 8)
        for one in bars:
            value = point[one.key] or 0
            height = round(y(below) - y(below + value), 1)
            below += value
            if value:
                laid_bars.append((one.colour, x(place) + gap, y(below), round(wide - 2 * gap, 1), height))
        cells = [point["label"], *(figure(point[one.key], unit) for one in series)]
        if band:
            low, high = (point[key] for key in band)
            cells.append("–" if low is None else f"{figure(low, unit)} to {figure(high, unit)}")
            if low is not None:
                bands.append((x(place), y(high), round(wide, 1), round(y(low) - y(high), 1)))
        rows.append(cells)
        told = ", ".join(f"{name} {cell}" for name, cell in zip(head[1:], cells[1:], strict=True))
        hits.append((x(place), round(wide, 1), f"{cells[0]}: {told}"))

    pieces, dots, names = [], [], []
    for one in lines:
        for piece in _unbroken([point[one.key] for point in points]):
            pieces.append((one.colour, " ".join(f"{x(place + 0.5)},{y(value)}" for place, value in piece)))
            if len(points) <= DOTS_UP_TO:
                dots += [(one.colour, x(place + 0.5), y(value)) for place, value in piece]
        known = [point[one.key] for point in points if point[one.key] is not None]
        if len(lines) > 1 and known:
            names.append((one.colour, y(known[-1]) + 4, one.name))
    names.sort(key=lambda name: name[1])  # each pushed down by the one above it
    for at in range(1, len(names)):
        names[at] = (names[at][0], max(names[at][1], names[at - 1][1] + NAMES_APART), names[at][2])
    too_low = max([0, *(height - BOTTOM for _, height, _ in names)])
    names = [(colour, height - too_low, name) for colour, height, name in names]
    return Chart(
        title=f"{title}, {unit}" if unit not in ("", "%") else title,
        help=help,
        summary=f"{title}. {hits[-1][2] if hits else 'No data.'}",
        right=right,
        ticks=[(y(value), _tick(value, unit)) for value in (0, top / 2, top)],
        ends=(points[0]["label"], points[-1]["label"] if len(points) > 1 else "") if points else ("", ""),
        bands=bands,
        bars=laid_bars,
        lines=pieces,
        dots=dots,
        names=names,
        hits=hits,
        head=head,
        rows=rows,
    )


def _unbroken(values: Iterable[float | None]) -> list[list[tuple[int, float]]]:
    """Return the pieces of a line between unknown values, each as [(place, value), ...]."""
    pieces: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((place, value))
    return [piece for piece in pieces if piece]


def sparkline(values: Sequence[float | None]) -> list[str]:
    """Return the unbroken pieces of a small line without axes, in a drawing of 120 by 24; none of under 3 points."""
    known = [value for value in values if value is not None]
    if len(known) < 3:
        return []
    low, high = min(known), max(known)

    def y(value: float) -> float:
        return 12.0 if high == low else 22 - 20 * (value - low) / (high - low)

    return [
        " ".join(f"{120 * (place + 0.5) / len(values):.1f},{y(value):.1f}" for place, value in piece)
        for piece in _unbroken(values)
    ]


def top_of_scale(values: Iterable[float | None], least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, ... (or .5, .2, .1, ...) that is not below any value or `least`."""
    highest = max([least, *(value for value in values if value is not None)])
    power: float = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest * (1 - 1e-9))


def time_label(at: str, by_hour: bool) -> str:
    """Return a time such as 2026-03-04T12:00:00+00:00 as "4 Mar 12:00", or as "4 Mar" where a day is meant."""
    time = dt.datetime.fromisoformat(at)
    return f"{time.day} {time:%b %H:%M}" if by_hour else f"{time.day} {time:%b}"


def figure(value: float | None, unit: str = "") -> str:
    """Return a number as people read it: 12,345 or 0.37 or 2.4 ms; a share as 98.1 %; a dash where there is none."""
    if value is None:
        return "–"
    if unit == "%":
        return f"{100 * value:.1f}".removesuffix(".0") + " %"
    digits = 0 if value == round(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{' ' + unit if unit else ''}"


def interval(share: Mapping[str, Any]) -> str:
    """Return the interval of a proportion: 95.1 to 98.7 %."""
    return f"{figure(share['low'], '%').removesuffix(' %')} to {figure(share['high'], '%')}"


def _tick(value: float, unit: str) -> str:
    """Return a number for the side of a scale, where there is little room: 50k, 2M."""
    for thousands, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * thousands:
            return f"{value / thousands:g}{letter}"
    return f"{100 * value:g} %" if unit == "%" else f"{value:g}"
