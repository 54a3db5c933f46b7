"""A chart of horizontal bars as SVG: panels in columns, the bars of one row of panels on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.charts import document, text

_WIDTH, _COLUMN, _GAP = 960, 440, 24
_NAMES, _VALUES = 112, 110  # widths beside the bars
_TOP, _HEADING, _LINE, _BAR, _BELOW = 92, 24, 18, 12, 14
_OURS, _THEIRS, _FLOOR = ("#15629d", "#8fbfe0"), ("#8b98a5", "#d5dce2"), ("#c9a227", "#c9a227")
_INK, _FAINT = "#1f2933", "#5b6670"


@dataclass(frozen=True)
class Bar:
    """One bar: a value, and behind it another one that is somebody else's."""

    name: str
    value: float
    more: float = 0.0
    kind: str = "peer"  # or "ours", or "floor"


@dataclass(frozen=True)
class Panel:
    """The bars of one subject."""

    name: str
    bars: Sequence[Bar]


def bars(title: str, subtitle: str, columns: Sequence[str], rows: Sequence[Sequence[Panel]]) -> str:
    """Return an SVG document with a row of panels for each of `rows`, in columns of these names."""
    parts = [text(_GAP, 32, title, size=18, weight="bold", fill=_INK), text(_GAP, 54, subtitle, fill=_FAINT)]
    for number, name in enumerate(columns):
        parts.append(text(_left(number), _TOP - 10, name, size=14, weight="bold", fill=_FAINT))
    y = float(_TOP)
    for row in rows:
        most = max((bar.value + bar.more for panel in row for bar in panel.bars), default=1)
        parts.append(f'<line x1="{_GAP}" y1="{y}" x2="{_WIDTH - _GAP}" y2="{y}" stroke="#e3e8ec"/>')
        for number, panel in enumerate(row):
            parts += _panel(panel, _left(number), y, most)
        y += _HEADING + _LINE * max((len(panel.bars) for panel in row), default=0) + _BELOW
    return document(_WIDTH, round(y), title, parts)


def _left(column: int) -> float:
    return _GAP + column * (_COLUMN + _GAP + 8)


def _panel(panel: Panel, left: float, top: float, most: float) -> list[str]:
    """Return what is drawn for a panel."""
    parts = [text(left, top + 17, panel.name, size=13, weight="bold", fill=_INK)] if panel.bars else []
    scale = (_COLUMN - _NAMES - _VALUES) / most
    start = left + _NAMES
    for number, bar in enumerate(panel.bars):
        y = top + _HEADING + _LINE * number
        dark, light = {"ours": _OURS, "peer": _THEIRS, "floor": _FLOOR}[bar.kind]
        weight = "bold" if bar.kind == "ours" else "normal"
        parts.append(text(start - 8, y + 10, bar.name, "end", weight=weight, fill=_INK))
        parts.append(_rectangle(start, y, bar.value * scale, dark))
        parts.append(_rectangle(start + bar.value * scale, y, bar.more * scale, light))
        shown = f"{bar.value:,.0f}" + (f" + {bar.more:,.0f}" if bar.more else "")
        end = start + (bar.value + bar.more) * scale
        parts.append(text(end + 6, y + 10, shown, weight=weight, fill=_INK))
    return parts


def _rectangle(x: float, y: float, width: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{_BAR}" fill="{fill}"/>'
