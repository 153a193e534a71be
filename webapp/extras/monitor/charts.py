"""Where everything in a chart goes; templates/charts.html draws it as SVG."""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

WIDTH, HEIGHT = 480, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 472, 14, 160  # of the plot within it


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
    ticks: list[tuple[float, str]]  # y, label
    ends: tuple[str, str]  # labels of the first and the last point
    bands: list[tuple[float, float, float, float]]  # x, y, width, height of each interval
    bars: list[tuple[str, float, float, float, float]]  # colour, x, y, width, height
    lines: list[tuple[str, str]]  # colour, "x,y x,y ..." of an unbroken piece
    dots: list[tuple[str, float, float]]  # colour, x, y
    names: list[tuple[str, float, float, str]]  # colour, x, y, name at the end of its line
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
    lowest: float = 0,
    highest: float | None = None,
) -> Chart:
    """Lay out points {label, key: value or None, ...}: bars stacked, lines over them, `band` the keys of an interval.

    All points are equally far apart; `along` names what their labels are. With the unit "%" values are shares, 0 to 1.
    """
    if highest is None:
        stacks = [sum(point[one.key] or 0 for one in bars) for point in points]
        highest = top_of_scale([*stacks, *(point[one.key] for point in points for one in lines)], least=1e-3)
    wide = (RIGHT - LEFT) / max(1, len(points))

    def x(place: float) -> float:
        return round(LEFT + place * wide, 1)

    def y(value: float) -> float:
        return round(BOTTOM - (min(max(value, lowest), highest) - lowest) / (highest - lowest) * (BOTTOM - TOP), 1)

    laid_bars, bands, hits, rows = [], [], [], []
    for place, point in enumerate(points):
        below = 0.0
        for one in bars:
            if value := point[one.key] or 0:
                gap = min(1.0, wide / 8)
                height = round(y(below) - y(below + value), 1)
                laid_bars.append((one.colour, x(place) + gap, y(below + value), round(wide - 2 * gap, 1), height))
                below += value
        if band and point[band[0]] is not None:
            low, high = point[band[0]], point[band[1]]
            bands.append((x(place), y(high), round(wide, 1), round(y(low) - y(high), 1)))
        shown = [figure(point[one.key], unit) for one in (*bars, *lines)]
        if band:
            known = point[band[0]] is not None
            shown.append(f"{figure(point[band[0]], unit)} to {figure(point[band[1]], unit)}" if known else "–")
        rows.append([point["label"], *shown])
        named = zip([*(one.name for one in (*bars, *lines)), "95 % interval"], shown, strict=False)
        hits.append((x(place), round(wide, 1), f"{point['label']}: " + ", ".join(f"{n} {v}" for n, v in named)))

    pieces, dots, names = [], [], []
    for one in lines:
        piece: list[str] = []
        for place, point in enumerate([*points, {one.key: None}]):
            value = point[one.key]
            if value is not None:
                piece.append(f"{x(place + 0.5)},{y(value)}")
                if len(points) <= 40:
                    dots.append((one.colour, x(place + 0.5), y(value)))
                last = (one.colour, x(place + 0.5), y(value) - 7, one.name)
            elif piece:
                pieces.append((one.colour, " ".join(piece)))
                piece = []
        if len(lines) > 1 and any(point[one.key] is not None for point in points):
            names.append(last)
    names.sort(key=lambda name: name[2])
    for upper in range(len(names) - 1):
        if names[upper + 1][2] < names[upper][2] + 14:  # they would cover one another
            names[upper + 1] = (*names[upper + 1][:2], names[upper][2] + 14, names[upper + 1][3])
    middle = (lowest + highest) / 2
    head = [along, *(one.name for one in (*bars, *lines)), *(["95 % interval"] if band else [])]
    return Chart(
        title=title,
        help=help,
        summary=f"{title}. {hits[-1][2] if hits else 'No data.'}",
        ticks=[(y(value), short(value, unit)) for value in (lowest, middle, highest)],
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


def top_of_scale(values: Iterable[float | None], least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, ... (or .5, .2, .1, ...) that is not below any value or `least`."""
    highest = max([least, *(value for value in values if value is not None)])
    power: float = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest * (1 - 1e-9))


def label(at: str, by_hour: bool) -> str:
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


def short(value: float, unit: str = "") -> str:
    """Return a number for the side of a scale, where there is little room: 50k, 2M."""
    for thousands, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * thousands:
            return f"{value / thousands:g}{letter}"
    return figure(value, unit)


def sparkline(values: Sequence[float | None]) -> list[str]:
    """Return the unbroken pieces of a small line without axes, in a drawing of 120 by 24."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0), max(known, default=0)
    pieces: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            pieces.append([])
        else:
            y = 12.0 if high == low else 22 - 20 * (value - low) / (high - low)
            pieces[-1].append(f"{120 * (place + 0.5) / len(values):.1f},{y:.1f}")
    return [" ".join(piece) for piece in pieces if piece]
