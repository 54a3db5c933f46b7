"""Charts as SVG: little enough to need no library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 920, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 360, 50, 60
_COLOURS = ("#1b6ca8", "#c8553d", "#3c8d5a", "#8a5aa8", "#b08b1e")


@dataclass(frozen=True)
class Line:
    """What is drawn: points of (x, y), both above zero."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(title: str, x_name: str, y_name: str, lines: Sequence[Line]) -> str:
    """Return a chart with logarithmic axes; the second half of the lines is dashed, in the same colours."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_axis = _Axis(xs, _LEFT, _WIDTH - _RIGHT)
    y_axis = _Axis(ys, _HEIGHT - _BOTTOM, _TOP)
    half = (len(lines) + 1) // 2
    parts = [
        text(_LEFT, 26, title, size=16),
        text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 16, x_name, anchor="middle"),
        f'<g transform="rotate(-90 18 {_HEIGHT / 2})">{text(18, _HEIGHT / 2, y_name, anchor="middle")}</g>',
    ]
    for x in x_axis.ticks:
        place = x_axis.place(x)
        parts += [_rule(place, _TOP, place, _HEIGHT - _BOTTOM)]
        parts += [text(place, _HEIGHT - _BOTTOM + 18, f"{x:,.0f}", anchor="middle")]
    for y in y_axis.ticks:
        place = y_axis.place(y)
        parts += [_rule(_LEFT, place, _WIDTH - _RIGHT, place), text(_LEFT - 8, place + 4, f"{y:g}", "end")]
    for number, line in enumerate(lines):
        style = f'stroke="{_COLOURS[number % half % len(_COLOURS)]}" stroke-width="2" fill="none"'
        style += ' stroke-dasharray="6 4"' * (number >= half)
        path = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in line.points)
        key, beside = _TOP + 20 * number, _WIDTH - _RIGHT + 20
        parts += [f'<polyline points="{path}" {style}/>']
        parts += [f'<polyline points="{beside},{key} {beside + 28},{key}" {style}/>']
        parts += [text(beside + 36, key + 4, line.name)]
    return document(_WIDTH, _HEIGHT, title, parts)


def document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return an SVG document of parts, on white: it is looked at on dark pages as well."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


class _Axis:
    """A logarithmic axis over whole powers of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self._start, self._scale = start, (end - start) / max(1, high - self._low)
        self.ticks = [10.0**power for power in range(self._low, max(high, self._low + 1) + 1)]

    def place(self, value: float) -> float:
        return self._start + (math.log10(value) - self._low) * self._scale


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    fill: str = "#000000",
) -> str:
    """Return words as SVG; `x` is where they start, or end, as `anchor` says."""
    style = f'font-size="{size}" font-weight="{weight}" fill="{fill}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'
