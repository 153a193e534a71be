"""What a chart shows, which templates/charts.html draws as SVG; and how figures are written, everywhere."""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


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
) -> dict[str, Any]:
    """Return a chart of points {at or label, key: value or None, ...}: stacked bars, lines, a band between two keys.

    Lines and bars are (key, name, colour's class). The points are equally far apart: each is a `step` of time, or what
    `along` says its label is. With the unit "%" values are shares, 0 to 1.
    """
    series = [*bars, *lines]
    stacks = [sum(point[key] for key, _, _ in bars) for point in points]
    values = (*stacks, *(point[key] for point in points for key, _, _ in lines))
    top = 1 if unit == "%" else top_of_scale(values)
    rows = []
    for point in points:
        cells = [figure(point[key], unit) for key, _, _ in series]
        if band:
            low, high = (point[key] for key in band)
            cells.append("–" if low is None else f"{figure(low, unit)} to {figure(high, unit)}")
        rows.append((point["label"] if "label" in point else time_label(point["at"], step), *cells))
    return {
        "title": f"{title}, {unit}" if unit not in ("", "%") else title,
        "help": help,
        "points": points,
        "bars": bars,
        "lines": lines,
        "series": series,
        "band": band,
        "lowest": lowest,
        "top": top,
        "ticks": [(share, _tick(lowest + share * (top - lowest), unit)) for share in (0, 0.5, 1)],
        "head": (along, *(name for _, name, _ in series), *(["95 % interval"] if band else [])),
        "rows": rows,  # of the table
    }


def top_of_scale(values: Iterable[float | None]) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, ... (or .5, .2, .1, ...) that is not below any value; 1 if all are 0."""
    highest = max((value for value in values if value is not None), default=0) or 1
    power: float = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest)


def time_label(at: str, step: str) -> str:
    """Return the hour 2026-03-04T12:00:00+00:00 as "4 Mar 12:00", a day as "4 Mar", a month as "Mar 2026"."""
    time = dt.datetime.fromisoformat(at)
    if step == "month":
        return f"{time:%b %Y}"
    return f"{time.day} {time:%b %H:%M}" if step == "hour" else f"{time.day} {time:%b}"


def figure(value: float | None, unit: str = "") -> str:
    """Return a number as people read it: 12,345 or 0.0042 or 2.40 ms; a share as 98.0 %; a dash where there is none."""
    if value is None:
        return "–"
    if unit == "%":
        return f"{100 * value:.1f} %"
    digits = 0 if value == round(value) or value >= 100 else 1 if value >= 10 else 2
    number = f"{value:.2g}" if 0 < value < 1 else f"{value:,.{digits}f}"
    return f"{number} {unit}" if unit else number


def _tick(value: float, unit: str) -> str:
    """Return a number for the side of a scale, where there is little room: 50k, 2M."""
    for thousands, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * thousands:
            return f"{value / thousands:g}{letter}"
    return f"{100 * value:g} %" if unit == "%" else f"{value:g}"
