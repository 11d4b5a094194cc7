"""What the sections with results say: effects, uplift tables, segments, metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from spark_uplift.report.figure import arm_colours
from spark_uplift.report.findings import ALL_ARMS, Finding, arm_names
from spark_uplift.report.format import (
    MISSING,
    THIN,
    Estimate,
    Scale,
    count,
    decimals_for,
    interval,
    metric,
    percent,
)
from spark_uplift.report.inputs import ReportInputs, Row, Rows

MAX_SEGMENTS = 12
STYLE_ORDER = ("grf", "spark_uplift", "sklift", "causalml", "ydf", "h2o")

View = dict[str, Any]


def effects_view(inputs: ReportInputs, found: list[Finding], scale: Scale) -> list[View]:
    """Rows of the table of average effects."""
    colours = arm_colours(inputs)
    decimals = scale.decimals(finding.everybody for finding in found)
    return [
        {
            "arm": finding.arm,
            "colour": colours[finding.arm],
            "n_treated": count(finding.n_treated),
            "n_control": count(finding.n_control),
            "mean_treated": scale.mean(finding.mean_treated),
            "mean_control": scale.mean(finding.mean_control),
            "effect": scale.effect(finding.everybody.value, decimals),
            "interval": scale.effect_interval(finding.everybody, decimals),
            "reading": {1: "raises the outcome", -1: "lowers the outcome", 0: "no proven effect", None: ""}[
                finding.everybody.sign
            ],
        }
        for finding in found
        if finding.everybody.value is not None
    ]


def steps_view(found: list[Finding], scale: Scale) -> dict[str, list[View]]:
    """For the slider: what treating each share of the units gives, ready to show, by arm."""
    steps = {}
    for finding in found:
        decimals = scale.decimals(step.effect for step in finding.steps)
        steps[finding.arm] = [
            {
                "share": percent(step.share),
                "effect": scale.effect(step.effect.value, decimals),
                "interval": scale.effect_interval(step.effect, decimals),
                "total": scale.effect(_times(step.effect.value, step.share), decimals),
            }
            for step in finding.steps
        ]
    return {arm: rows for arm, rows in steps.items() if rows}


def _times(value: float | None, share: float) -> float | None:
    return None if value is None else value * share


def buckets_view(inputs: ReportInputs, scale: Scale) -> list[View]:
    """One uplift table per arm."""
    tables = []
    for arm, colour in arm_colours(inputs).items():
        rows = sorted(
            (row for row in inputs.uplift_table if row["arm"] == arm), key=lambda row: row["bucket"]
        )
        estimates = [Estimate.of(row["uplift"], row["lower"], row["upper"]) for row in rows]
        decimals = scale.decimals(estimates)
        if rows:
            lines = [
                _bucket_line(row, estimate, scale, decimals)
                for row, estimate in zip(rows, estimates, strict=True)
            ]
            tables.append({"arm": arm, "colour": colour, "rows": lines})
    return tables


def _bucket_line(row: Row, estimate: Estimate, scale: Scale, decimals: int) -> View:
    cumulative = Estimate.of(row["cumulative_uplift"], row["cumulative_lower"], row["cumulative_upper"])
    return {
        "bucket": row["bucket"],
        "n": count(row["n"]),
        "n_treated": count(row["n_treated"]),
        "n_control": count(row["n_control"]),
        "mean_treated": scale.mean(row["mean_treated"]),
        "mean_control": scale.mean(row["mean_control"]),
        "predicted": scale.effect(row["predicted"], decimals),
        "uplift": scale.effect(estimate.value, decimals),
        "interval": scale.effect_interval(estimate, decimals),
        "cumulative": scale.effect(cumulative.value, decimals),
        "cumulative_interval": scale.effect_interval(cumulative, decimals),
    }


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


def metrics_view(inputs: ReportInputs) -> View:
    """One line per metric and style with a cell per arm, so that a formula is written once."""
    present = {_arm_of(row) for row in inputs.evaluation_metrics}
    arms = [arm for arm in (*arm_names(inputs), ALL_ARMS) if arm in present]
    keys = sorted(
        {(str(row["metric"]), str(row["style"]), str(row["formula"])) for row in inputs.evaluation_metrics},
        key=_metric_rank,
    )
    cells = {(str(r["metric"]), str(r["style"]), _arm_of(r)): r for r in inputs.evaluation_metrics}
    lines = [
        {
            "metric": _metric_title(name),
            "style": style,
            "formula": formula,
            "cells": [_metric_cell(cells.get((name, style, arm))) for arm in arms],
        }
        for name, style, formula in keys
    ]
    return {"arms": arms, "lines": lines, "note": _metric_note(inputs.evaluation_metrics)}


def _metric_title(name: str) -> str:
    """A metric's name as people write it: AUTOC, uplift at 30 %."""
    if name.lower() in ("autoc", "qini", "auuc", "ate"):
        return name.upper()
    words, _, share = name.replace("_", " ").rpartition(" at ")
    return f"{words} at {share}{THIN}%" if words and share.isdigit() else name.replace("_", " ")


def _arm_of(row: Row) -> str:
    return ALL_ARMS if row["arm"] is None else str(row["arm"])


def _metric_rank(key: tuple[str, str, str]) -> tuple[int, int, str, str]:
    name, style, _ = key
    headline = ("autoc", "qini", "auuc", "ate")
    style_rank = STYLE_ORDER.index(style) if style in STYLE_ORDER else len(STYLE_ORDER)
    return (
        style_rank,
        headline.index(name.lower()) if name.lower() in headline else len(headline),
        name,
        style,
    )


def _metric_cell(row: Row | None) -> View:
    if row is None:
        return {"value": MISSING, "interval": ""}
    estimate = Estimate.of(row["value"], row["lower"], row["upper"])
    bounded = estimate.half_width is not None
    return {
        "value": metric(row["value"]),
        "interval": interval(estimate.lower, estimate.upper, decimals_for(estimate.half_width) + 1)
        if bounded
        else "",
    }


def _metric_note(rows: Rows) -> str:
    if not rows:
        return ""
    first = rows[0]
    level = percent(first["level"]) if first["level"] else None
    replicates = max(row["bootstrap"] or 0 for row in rows)
    parts = [f"{count(max(row['n'] or 0 for row in rows))} evaluated units."]
    if level and replicates:
        parts.append(f"Intervals: {level}, from {count(replicates)} bootstrap replicates of the units.")
    if all(row["exact"] for row in rows):
        parts.append("Computed exactly, with every distinct score kept apart.")
    else:
        parts.append(
            "Scores were grouped in fine quantile bins; the error of an area is of the order of one bin."
        )
    return " ".join(parts)
