"""The picture of a policy tree: every node once, in its place, whatever the texts hold."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from spark_uplift.report.tree_picture import tree_svg

SVG = "{http://www.w3.org/2000/svg}"


def rows(depth: int, heap: int = 1, level: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """Return the nodes of a full tree."""
    if level == depth:
        leaf = {"node": heap, "share": 0.5**depth, "arm": ("mail", "call")[heap % 2], "rule": f"rule {heap}"}
        return [{**leaf, "value": 0.01 * heap, "lower": 0.005 * heap, "upper": 0.02 * heap, **changes}]
    own = {"node": heap, "share": 0.5**level, "arm": None, "condition": f"age <= {heap}", "rule": "everybody"}
    return [
        own,
        *rows(depth, 2 * heap, level + 1, **changes),
        *rows(depth, 2 * heap + 1, level + 1, **changes),
    ]


def boxes(root: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    found = [part for part in root.iter(f"{SVG}rect") if part.get("rx") == "8"]
    return [
        (float(r.get("x", 0)), float(r.get("y", 0)), float(r.get("width", 0)), float(r.get("height", 0)))
        for r in found
    ]


@pytest.mark.parametrize("depth", range(5))
def test_boxes_neither_overlap_nor_leave_the_picture(depth: int) -> None:
    root = ElementTree.fromstring(tree_svg(rows(depth)))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    found = boxes(root)
    assert len(found) == 2 ** (depth + 1) - 1
    for i, (x, y, w, h) in enumerate(found):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for ox, oy, ow, oh in found[i + 1 :]:
            assert x + w <= ox or ox + ow <= x or y + h <= oy or oy + oh <= y
    assert len(list(root.iter(f"{SVG}path"))) == 2 ** (depth + 1) - 2


def test_texts_from_data_are_text() -> None:
    nasty = "<script>alert('x')</script> & \"quotes\" " * 8
    drawn = tree_svg(rows(2, arm=nasty, rule=nasty), currency="<b>")
    root = ElementTree.fromstring(drawn)
    assert "<script>" not in drawn
    assert not [part for part in root.iter() if part.tag.endswith("script")]
    titles = [part.text or "" for part in root.iter(f"{SVG}title")]
    assert sum(nasty in title for title in titles) == 4


def test_values_are_per_thousand_units_with_their_interval() -> None:
    root = ElementTree.fromstring(tree_svg(rows(0, value=0.0123, lower=0.0101, upper=0.0145), currency="EUR"))
    texts = [part.text for part in root.iter(f"{SVG}text")]
    assert texts == ["call", "100\u202f% of units", "+12.3 EUR per 1,000 units", "(10.1 to 14.5)"]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_nothing_is_said_of_values_that_are_not_known(missing: float | None) -> None:
    texts = tree_svg(rows(1, value=missing, lower=missing, upper=missing))
    assert "1,000" not in texts
    assert "nan" not in texts


def test_arms_have_the_colours_of_the_page() -> None:
    drawn = tree_svg(rows(1), colours={"mail": "#123456"})
    assert drawn.count("#123456") == 1
