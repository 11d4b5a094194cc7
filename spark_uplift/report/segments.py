"""What the section of segments says, and the ruler that places its bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from spark_uplift.report.figure import arm_colours
from spark_uplift.report.format import Estimate, Scale, count, percent
from spark_uplift.report.inputs import ReportInputs, Row

MAX_SEGMENTS = 12

View = dict[str, Any]


def segments_view(inputs: ReportInputs, scale: Scale) -> View:
    """Segments in their order, each with one line per arm and its interval on a common axis (0..100)."""
    numbers = sorted({row["segment"] for row in inputs.segments})
    shown = [row for row in inputs.segments if row["segment"] in numbers[:MAX_SEGMENTS]]
    estimates = [Estimate.of(row["uplift"], row["lower"], row["upper"]) for row in shown]
    place = Ruler.over(estimates)
    decimals = scale.decimals(estimates)
    colours = arm_colours(inputs)
    segments = []
    for number in numbers[:MAX_SEGMENTS]:
        rows = sorted((row for row in shown if row["segment"] == number), key=lambda row: str(row["arm"]))
        segments.append(
            {
                "number": number,
                "rule": rows[0]["rule"],
                "share": percent(rows[0]["share"], 1),
                "recommended": rows[0]["recommended"],
                "recommended_colour": colours.get(rows[0]["recommended"]),
                "arms": [_segment_line(row, scale, decimals, place, colours) for row in rows],
            }
        )
    return {"segments": segments, "zero": place(0.0), "total": len(numbers)}


def _segment_line(row: Row, scale: Scale, decimals: int, place: Ruler, colours: Mapping[str, str]) -> View:
    estimate = Estimate.of(row["uplift"], row["lower"], row["upper"])
    return {
        "arm": row["arm"],
        "colour": colours.get(str(row["arm"])),
        "n": count(row["n"]),
        "n_treated": count(row["n_treated"]),
        "n_control": count(row["n_control"]),
        "mean_treated": scale.mean(row["mean_treated"]),
        "mean_control": scale.mean(row["mean_control"]),
        "effect": scale.effect(estimate.value, decimals),
        "interval": scale.effect_interval(estimate, decimals),
        "at": place(estimate.value),
        "from": place(estimate.lower),
        "to": place(estimate.upper),
    }


class Ruler:
    """Places effects on an axis of 0..100, 0 (no effect) always on it."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    @classmethod
    def over(cls, estimates: Iterable[Estimate]) -> Ruler:
        """An axis that holds every estimate and its interval."""
        ends = [end for e in estimates for end in (e.value, e.lower, e.upper) if end is not None] + [0.0]
        low, high = min(ends), max(ends)
        pad = (high - low or 1.0) * 0.03
        return cls(low - pad, high + pad)

    def __call__(self, value: float | None) -> float | None:
        """Position of a value; None stays None."""
        return None if value is None else round(100 * (value - self.low) / (self.high - self.low), 2)
