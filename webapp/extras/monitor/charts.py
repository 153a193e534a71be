"""Where everything in a chart goes; templates/charts.html draws it as SVG. And how figures are written, everywhere."""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

LEFT, RIGHT, TOP, BOTTOM = 56, 474, 24, 160  # of the plot within a drawing of 480 by 190


class Series(NamedTuple):
    """One line, or one kind of bar: the key of its values in the points, its name, and its colour's class."""

    key: str
    name: str
    colour: str


def chart(
    title: str,
    points: Sequence[Mapping[str, Any]],
    *,
    help: str,
    step: str = "",
    along: str = "time",
    lines: Sequence[tuple[str, str, str]] = (),
    bars: Sequence[tuple[str, str, str]] = (),
    band: tuple[str, str] | None = None,
    unit: str = "",
    lowest: float = 0,
    highest: float | None = None,
) -> dict[str, Any]:
    """Lay out points {at or label, key: value or None, ...}: bars stacked, lines over them, `band` an interval's keys.

    All points are equally far apart, a `step` of time, or as `along` names what their labels are. With the unit "%"
    values are shares, 0 to 1. Coordinates are in units of a drawing of 480 by 190.
    """
    series = [Series(*one) for one in (*bars, *lines)]
    stacked, over = series[: len(bars)], series[len(bars) :]
    stacks = [sum(point[one.key] or 0 for one in stacked) for point in points]
    top = highest or top_of_scale([*stacks, *(point[one.key] for point in points for one in over)])
    wide = (RIGHT - LEFT) / max(1, len(points))
    gap = min(1, wide / 8) if len(points) > 1 else wide / 3

    def x(place: float) -> float:
        return round(LEFT + place * wide, 1)

    def y(value: float) -> float:
        return round(BOTTOM - (min(max(value, lowest), top) - lowest) / (top - lowest) * (BOTTOM - TOP), 1)

    rects, rows = [], []
    for place, point in enumerate(points):
        cells = [figure(point[one.key], unit) for one in series]
        if band:
            low, high = (point[key] for key in band)
            cells.append("–" if low is None else f"{figure(low, unit)} to {figure(high, unit)}")
            if low is not None:
                rects.append(("band", x(place), y(high), wide, y(low) - y(high)))
        below = 0.0
        for one in stacked:
            above = below + (point[one.key] or 0)
            rects.append((f"fill {one.colour}", x(place) + gap, y(above), wide - 2 * gap, y(below) - y(above)))
            below = above
        rows.append((point["label"] if "label" in point else time_label(point["at"], step), *cells))
    return {
        "title": f"{title}, {unit}" if unit not in ("", "%") else title,
        "help": help,
        "ticks": [(y(value), _tick(value, unit)) for value in (lowest, (lowest + top) / 2, top)],  # y, label
        "rects": rects,  # class, x, y, width, height
        "lines": [  # colour, [(x, y), ...]; a line is broken where a value is not known
            (one.colour, [(x(place + 0.5), y(value)) for place, value in piece])
            for one in over
            for is_known, piece in groupby(
                enumerate(point[one.key] for point in points), lambda pair: pair[1] is not None
            )
            if is_known
        ],
        "legend": [(one.colour, one.name) for one in series] if len(series) > 1 else [],
        "wide": wide,  # a point
        "head": (along, *(one.name for one in series), *(["95 % interval"] if band else [])),  # of the table
        "rows": rows,
    }


def top_of_scale(values: Iterable[float | None]) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, ... (or .5, .2, .1, ...) that is not below any value; 1 if all are 0."""
    highest = max((value for value in values if value is not None), default=0) or 1
    power: float = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest * (1 - 1e-9))


def time_label(at: str, step: str) -> str:
    """Return a time such as 2026-03-04T12:00:00+00:00 as "4 Mar 12:00", or as "4 Mar" where a day is meant."""
    time = dt.datetime.fromisoformat(at)
    return f"{time.day} {time:%b %H:%M}" if step == "hour" else f"{time.day} {time:%b}"


def figure(value: float | None, unit: str = "") -> str:
    """Return a number as people read it: 12,345 or 0.37 or 2.4 ms; a share as 98.1 %; a dash where there is none."""
    if value is None:
        return "–"
    if unit == "%":
        return f"{100 * value:.1f}".removesuffix(".0") + " %"
    digits = 0 if value == round(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{' ' + unit if unit else ''}"


def _tick(value: float, unit: str) -> str:
    """Return a number for the side of a scale, where there is little room: 50k, 2M."""
    for thousands, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * thousands:
            return f"{value / thousands:g}{letter}"
    return f"{100 * value:g} %" if unit == "%" else f"{value:g}"
