"""Drawings of a report as inline SVG: sizes are made for a phone's width, colours come from report.css."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slidr.markup import Markup, tag
from training.backtest.results import Density, Knee, Part
from training.curves import ALL, AtFpr
from training.report.scales import Scale, area, path, round_up
from training.report.words import moment, percent

WIDTH: Final = 360
_HEIGHT: Final = 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 342, 12, 212
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FEW_CLICKS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """A curve of a plot."""

    name: str
    style: str
    """A class of report.css."""
    curve: AtFpr


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point of a plot."""

    name: str
    style: str
    fpr: float
    ivr: float


def curve_plot(
    lines: Sequence[Line], marks: Sequence[Mark], *, title: str, band: bool = False, fpr_top: float = 1.0
) -> Markup:
    """IVR over FPR.

    Args:
        lines: drawn in order, the most important last.
        marks: points on them.
        title: what a screen reader says.
        band: whether the last line is drawn with its 95% interval.
        fpr_top: where the FPR axis ends; its scale is by square root, so that small rates have room.
    """
    shown = [line.curve.stated <= fpr_top + 1e-12 for line in lines]
    highest = [float(np.nanmax(line.curve.values(ALL)[rows])) for line, rows in zip(lines, shown, strict=True)]
    x = Scale(top=fpr_top, start=_LEFT, end=_RIGHT, root=True)
    y = Scale(top=round_up(max([*highest, *(mark.ivr for mark in marks if mark.fpr <= fpr_top), 0.01])),
              start=_BOTTOM, end=_TOP)  # fmt: skip
    drawn: list[Markup] = [*_axes(x, y)]
    if band and len(lines[-1].curve.replicates[ALL]):
        low, high = lines[-1].curve.interval(ALL)
        rows = shown[-1]
        drawn.append(tag("path", d=area(lines[-1].curve.stated[rows], low[rows], high[rows], x=x, y=y), class_="band"))
    for line, rows in zip(lines, shown, strict=True):
        d = path(line.curve.stated[rows], line.curve.values(ALL)[rows], x=x, y=y)
        drawn.append(tag("path", tag("title", line.name), d=d, class_=f"line {line.style}"))
    for mark in marks:
        if mark.fpr <= fpr_top:
            said = f"{mark.name}: FPR {percent(mark.fpr)}, IVR {percent(mark.ivr)}"
            drawn.append(_mark(mark.style, x.place(mark.fpr), y.place(mark.ivr), said))
    return _drawing(drawn, title=title, height=_HEIGHT)


def knee_mark(knee: Knee) -> Mark:
    """The knee of a curve."""
    return Mark(name="knee", style="knee", fpr=knee.fpr, ivr=knee.ivr)


def heat_map(density: Density, *, title: str) -> Markup:
    """The share of human clicks in each hour of the week: days down, hours across; empty hours are hatched."""
    cell, left, top = 13.4, 32, 4
    shares = np.divide(density.human, density.clicks, out=np.zeros(len(density.clicks)), where=density.clicks > 0)
    most = max(float(shares[density.clicks >= _FEW_CLICKS].max(initial=0.0)), 1e-9)
    drawn = [tag("defs", tag("pattern", tag("path", d="M0,4 L4,0", class_="hatch"),
                 id="empty", width=4, height=4, patternUnits="userSpaceOnUse"))]  # fmt: skip
    for day, name in enumerate(DAYS):
        drawn.append(tag("text", name, x=left - 5, y=top + day * cell + 10, class_="tick end"))
        for hour in range(24):
            clicks, share = int(density.clicks[day * 24 + hour]), float(shares[day * 24 + hour])
            place = {"x": round(left + hour * cell, 1), "y": round(top + day * cell, 1)}
            said = f"{name} {hour:02d}:00, {clicks:,} clicks" + (f", {percent(share)} human" if clicks else "")
            look: dict[str, object] = {"fill": "url(#empty)"}
            if clicks:
                look = {"class_": "heat", "fill_opacity": round(0.06 + 0.94 * min(share / most, 1.0), 3)}
            drawn.append(tag("rect", tag("title", said), **place, width=cell - 1, height=cell - 1, rx=2, **look))
    bottom = top + 7 * cell
    drawn += [
        tag("text", f"{hour:02d}", x=round(left + (hour + 0.5) * cell, 1), y=bottom + 11, class_="tick mid")
        for hour in (0, 6, 12, 18, 23)
    ]
    for step in range(6):
        at = {"x": left + step * 18, "y": bottom + 22, "width": 17, "height": 9}
        drawn.append(tag("rect", **at, rx=2, class_="heat", fill_opacity=round(0.06 + 0.94 * step / 5, 3)))
    drawn.append(tag("text", f"0% to {percent(most)} labelled human", x=left + 116, y=bottom + 30, class_="tick"))
    return _drawing(drawn, title=title, height=round(bottom + 36))


def timeline(parts: Sequence[Part], *, title: str) -> Markup:
    """What each stretch of the log is used for, to scale; gaps are clicks too young for a label at their time."""
    first, last = parts[0].first, parts[-1].last
    span = max((last - first).total_seconds(), 1.0)
    drawn = [tag("rect", x=4, y=8, width=WIDTH - 8, height=18, rx=3, class_="gap")]
    for number, part in enumerate(parts):
        start = 4 + (part.first - first).total_seconds() / span * (WIDTH - 8)
        width = max((part.last - part.first).total_seconds() / span * (WIDTH - 8), 2.0)
        said = f"{part.name}: {moment(part.first)} to {moment(part.last)}"
        place = {"x": round(start, 1), "width": round(width, 1)}
        drawn.append(tag("rect", tag("title", said), **place, y=8, height=18, class_=f"part part{number}"))
    return _drawing(drawn, title=title, height=32)


def key(entries: Sequence[tuple[str, str]]) -> Markup:
    """What the lines and marks of a plot are."""
    drawn = []
    for style, name in entries:
        if style == "knee":
            sign = tag("rect", x=9, y=2, width=8, height=8, class_="mark knee", transform="rotate(45 13 6)")
        elif style == "chosen":
            sign = tag("circle", cx=13, cy=6, r=5, class_="mark chosen")
        else:
            sign = tag("line", x1=1, x2=25, y1=6, y2=6, class_=style)
        drawn.append(tag("li", tag("svg", sign, viewBox="0 0 26 12", aria_hidden="true"), name))
    return tag("ul", drawn, class_="key")


def _axes(x: Scale, y: Scale) -> list[Markup]:
    drawn = []
    for value in y.ticks:
        at = y.place(value)
        drawn.append(tag("line", x1=_LEFT, x2=_RIGHT, y1=at, y2=at, class_="grid"))
        drawn.append(tag("text", f"{value * 100:g}%", x=_LEFT - 5, y=at + 3.5, class_="tick end"))
    for value in x.ticks:
        at = x.place(value)
        drawn.append(tag("line", x1=at, x2=at, y1=_TOP, y2=_BOTTOM, class_="grid"))
        drawn.append(tag("text", f"{value * 100:g}%", x=at, y=_BOTTOM + 14, class_="tick mid"))
    drawn.append(
        tag("text", "FPR: purchasing clicks invalidated", x=(_LEFT + _RIGHT) / 2, y=_BOTTOM + 31, class_="axis mid")
    )
    drawn.append(tag("text", "IVR", x=_LEFT + 5, y=_TOP + 9, class_="axis"))
    return drawn


def _mark(style: str, x: float, y: float, said: str) -> Markup:
    if style == "knee":
        return tag("rect", tag("title", said), x=x - 4.5, y=y - 4.5, width=9, height=9, class_="mark knee",
                   transform=f"rotate(45 {x} {y})")  # fmt: skip
    return tag("circle", tag("title", said), cx=x, cy=y, r=5, class_=f"mark {style}")


def _drawing(drawn: Sequence[Markup], *, title: str, height: int) -> Markup:
    return tag("svg", drawn, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=title, class_="plot")
