"""A policy tree as a picture: SVG from rows of ``policy_trees``, the root at the left, leaves at the right.

Colours and fonts are the page's variables where the SVG stands in a page, and those of the light theme where it stands
alone. Text does not depend on the width of letters: lines are broken after a number of characters that fits the box in
any of the fonts, and what does not fit is in the box's tooltip.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from spark_uplift.report.figure import ARM_COLOURS, POLICY_COLOUR
from spark_uplift.report.format import PER, decimals_for, finite, interval, percent, plain

__all__ = ["tree_svg"]

_BOX, _LEAF, _GAP, _EDGE = 196, 236, 64, 12
_LINE, _PAD, _SLOT = 18, 11, 20
_CHARACTER = 7.4
_FONT = (
    "var(--sans, -apple-system, BlinkMacSystemFont, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', "
    "'Liberation Sans', Arial, system-ui, sans-serif)"
)
_INK, _SOFT, _LINES = "var(--ink, #1c2128)", "var(--soft, #59636e)", "var(--line, #c9d0d7)"
_PANEL, _PAPER = "var(--panel, #f5f7f9)", "var(--paper, #ffffff)"


@dataclass
class _Box:
    """A node as it is drawn."""

    heap: int
    row: Mapping[str, Any]
    lines: list[tuple[str, str]]  # (text, class)
    leaf: bool
    y: float = 0.0

    @property
    def height(self) -> float:
        return len(self.lines) * _LINE + 2 * _PAD

    @property
    def width(self) -> float:
        return _LEAF if self.leaf else _BOX


def tree_svg(
    rows: Sequence[Mapping[str, Any]],
    *,
    colours: Mapping[str, str] | None = None,
    currency: str | None = None,
    label: str = "Policy tree",
) -> str:
    """Return a tree as SVG.

    Parameters
    ----------
    rows : sequence of mapping
        The nodes of one tree, as in ``policy_trees``; values may be missing.
    colours : mapping of str to str, optional
        Colour of each arm; others are grey. Without it arms take the report's colours in the order of their names.
    currency : str, optional
        Unit of the values.
    label : str
        Name of the picture for those who can't see it.

    Returns
    -------
    str
        One ``<svg>`` element, usable in a page and as a file.
    """
    found = {int(row["node"]): row for row in rows}
    if colours is None:
        arms = sorted({str(row["arm"]) for row in rows if row.get("arm") is not None})
        colours = {arm: ARM_COLOURS[i % len(ARM_COLOURS)] for i, arm in enumerate(arms)}
    boxes = {heap: _box(heap, row, currency) for heap, row in found.items()}
    height = _place(boxes)
    depth = max(heap.bit_length() - 1 for heap in boxes)
    width = _left(depth) + _LEAF + 2
    parts = [_edges(boxes), *[_drawn(box, colours) for _, box in sorted(boxes.items())]]
    style = (
        f".policy-tree{{font:13px {_FONT};fill:{_INK}}}.policy-tree .s,.policy-tree .e{{fill:{_SOFT};font-size:12px}}"
        ".policy-tree .b{font-weight:650}"
    )
    told = escape(f"{label}. " + ". ".join(_sentence(row) for row in rows if row.get("arm") is not None))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{told}">'
        f'<style>{style}</style><g class="policy-tree">{"".join(parts)}</g></svg>'
    )


def _sentence(row: Mapping[str, Any]) -> str:
    return f"{row['rule']}: {row['arm']}, {percent(row.get('share'))} of units"


def _left(depth: int) -> float:
    return depth * (_BOX + _GAP) + 1.0


def _wrapped(text: str, width: float, most: int) -> list[str]:
    letters = int((width - 2 * _EDGE) / _CHARACTER)
    return textwrap.wrap(" ".join(text.split()), letters, max_lines=most, placeholder=" \u2026") or [""]


def _box(heap: int, row: Mapping[str, Any], currency: str | None) -> _Box:
    share = f"{percent(row.get('share'), 1 if 0 < (finite(row.get('share')) or 0) < 0.1 else 0)} of units"
    if row.get("arm") is None:
        lines = [(text, "") for text in _wrapped(str(row.get("condition") or row.get("feature")), _BOX, 4)]
        return _Box(heap, row, [*lines, (share, "s")], leaf=False)
    lines = [(text, "b") for text in _wrapped(str(row["arm"]), _LEAF - 8, 2)]
    return _Box(heap, row, [*lines, (share, "s"), *_value_lines(row, currency)], leaf=True)


def _value_lines(row: Mapping[str, Any], currency: str | None) -> list[tuple[str, str]]:
    """Return what the leaf gains over control, per 1,000 units, and its interval."""
    value, lower, upper = (finite(row.get(name)) for name in ("value", "lower", "upper"))
    if value is None:
        return []
    half = None if lower is None or upper is None else (upper - lower) / 2 * PER
    decimals = decimals_for(half, most=4) if half else None
    unit = f" {currency}" if currency else ""
    lines = [(f"{plain(value * PER, decimals, sign=True)}{unit} per 1,000 units", "")]
    if lower is not None and upper is not None and upper > lower:
        lines.append((f"({interval(lower * PER, upper * PER, decimals)})", "s"))
    return lines


def _place(boxes: dict[int, _Box]) -> float:
    """Give leaves places from top to bottom and other nodes the middle of their children; return the height."""
    y = 1.0

    def put(heap: int) -> None:
        nonlocal y
        box = boxes[heap]
        if box.leaf:
            box.y = y + box.height / 2
            y += box.height + _SLOT
            return
        put(2 * heap)
        put(2 * heap + 1)
        box.y = (boxes[2 * heap].y + boxes[2 * heap + 1].y) / 2

    put(1)
    # A tall box of an inner node may reach above its leaves.
    top = min(box.y - box.height / 2 for box in boxes.values())
    for box in boxes.values():
        box.y += 1.0 - min(top, 1.0)
    return max(box.y + box.height / 2 for box in boxes.values()) + 1.0


def _edges(boxes: Mapping[int, _Box]) -> str:
    """Return the lines from nodes to their children, with "yes" and "no"."""
    parts = []
    for heap, box in sorted(boxes.items()):
        if box.leaf:
            continue
        x = _left(heap.bit_length() - 1) + _BOX
        for child, word, beside in ((boxes[2 * heap], "yes", -6), (boxes[2 * heap + 1], "no", 15)):
            bend, end = x + _GAP / 2, x + _GAP
            path = f"M{x:g} {box.y:g}C{bend:g} {box.y:g} {bend:g} {child.y:g} {end:g} {child.y:g}"
            parts.append(f'<path d="{path}" fill="none" stroke="{_LINES}" stroke-width="1.5"/>')
            parts.append(
                f'<text class="e" x="{end - 6:g}" y="{child.y + beside:g}" text-anchor="end">{word}</text>'
            )
    return "".join(parts)


def _drawn(box: _Box, colours: Mapping[str, str]) -> str:
    x, top = _left(box.heap.bit_length() - 1), box.y - box.height / 2
    colour = colours.get(str(box.row.get("arm")), POLICY_COLOUR) if box.leaf else None
    fill = _PAPER if box.leaf else _PANEL
    parts = [
        f"<g><title>{escape(_tooltip(box))}</title>",
        f'<rect x="{x:g}" y="{top:g}" width="{box.width:g}" height="{box.height:g}" rx="8" fill="{fill}" '
        f'stroke="{_LINES}"/>',
    ]
    inset = _EDGE
    if colour is not None:
        inset += 8
        parts.append(
            f'<rect x="{x + 7:g}" y="{top + 8:g}" width="5" height="{box.height - 16:g}" rx="2.5" fill="{colour}"/>'
        )
    for i, (text, kind) in enumerate(box.lines):
        y = top + _PAD + (i + 0.74) * _LINE
        mark = f' class="{kind}"' if kind else ""
        parts.append(f'<text{mark} x="{x + inset:g}" y="{y:g}">{escape(text)}</text>')
    return "".join([*parts, "</g>"])


def _tooltip(box: _Box) -> str:
    if box.leaf:
        return _sentence(box.row)
    return f"{box.row.get('condition')}?"
