"""Summaries from small arrays: the slow, obvious twin of ``spark/summary.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from spark_uplift.checks.summary import (
    CATEGORICAL,
    NUMERIC,
    ArmSummary,
    Cells,
    ExperimentSummary,
    FeatureSummary,
)
from spark_uplift.config import ChecksConfig
from spark_uplift.core.binning import RARE_LEVEL_ROWS

CONFIG = ChecksConfig()


def summarise(
    arm: Sequence[str],
    outcome: Sequence[float],
    features: Mapping[str, Sequence[Any]] | None = None,
    *,
    control: str = "c",
    bins: int = 64,
    **other: Any,
) -> ExperimentSummary:
    """Summarise rows; NaN and None are missing. ``other`` overrides fields of the summary."""
    arms_of, y = np.asarray(arm, object), np.asarray(outcome, np.float64)
    names = [control, *sorted(set(arms_of) - {control})]
    finite = y[np.isfinite(y)]
    cut = max(finite.min(), float(np.median(finite))) if finite.size else 0.0
    fields: dict[str, Any] = {
        "treatment": "arm",
        "outcome": "y",
        "control": control,
        "rows": len(y),
        "arms": tuple(arm_summary(name, y[arms_of == name]) for name in names),
        "outcome_values": np.unique(finite).size,
        "outcome_binary": bool(finite.size) and bool(np.isin(finite, [0, 1]).all()),
        "outcome_whole": bool(finite.size) and bool((finite == np.floor(finite)).all()),
        "outcome_cut": cut,
        "features": tuple(
            feature(name, values, arms_of, y, names, cut, bins) for name, values in (features or {}).items()
        ),
    }
    return ExperimentSummary(**(fields | other))


def arm_summary(name: str, y: Any) -> ArmSummary:
    finite = y[np.isfinite(y)]
    if not finite.size:
        return ArmSummary(name, len(y))
    variance = float(finite.var(ddof=1)) if finite.size > 1 else float("nan")
    return ArmSummary(name, len(y), finite.size, float(finite.mean()), variance, finite.min(), finite.max())


def feature(
    name: str, values: Sequence[Any], arms: Any, y: Any, names: list[str], cut: float, bins: int
) -> FeatureSummary:
    text = any(isinstance(value, str) for value in values)
    missing = np.array([value is None or value != value for value in values])
    given = np.asarray(values, object)[~missing]
    codes = np.zeros(len(values), int)
    numbers = np.full(len(values), np.nan)
    if text:
        levels, counts = np.unique(given.astype(str), return_counts=True)
        codes[~missing] = np.searchsorted(levels, given.astype(str))
        width = len(levels)
    else:
        numbers[~missing] = given.astype(float)
        distinct = np.unique(numbers[~missing])
        if len(distinct) > bins:
            distinct = np.unique(np.quantile(numbers[~missing], np.linspace(0, 1, bins + 1)[1:]))
        codes[~missing] = np.searchsorted(distinct, numbers[~missing])
        width = max(1, len(distinct))
    codes[missing] = width
    tally = {
        key: np.zeros((len(names), width + 1), kind)
        for key, kind in (
            ("rows", int),
            ("outcome_rows", int),
            ("outcome", float),
            ("square", float),
            ("high", int),
            ("value", float),
        )
    }
    for row, (code, label) in enumerate(zip(codes, arms, strict=True)):
        cell = (names.index(label), code)
        tally["rows"][cell] += 1
        if np.isfinite(y[row]):
            tally["outcome_rows"][cell] += 1
            tally["outcome"][cell] += y[row]
            tally["square"][cell] += y[row] ** 2
            tally["high"][cell] += y[row] > cut
            tally["value"][cell] += 0 if np.isnan(numbers[row]) else numbers[row]
    labels = (*(f"bin {number}" for number in range(width)), "missing")
    common: dict[str, Any] = {
        "name": name,
        "missing": tuple(int((missing & (arms == label)).sum()) for label in names),
        "cells": Cells(**tally, labels=labels) if len(given) else None,
    }
    if text:
        order = np.argsort(-counts, kind="stable")
        return FeatureSummary(
            kind=CATEGORICAL,
            distinct=len(levels),
            levels=tuple((str(levels[i]), int(counts[i])) for i in order),
            frequent_levels=int((counts >= RARE_LEVEL_ROWS).sum()),
            **common,
        )
    if not len(given):
        return FeatureSummary(kind=NUMERIC, **common)
    given = given.astype(float)
    return FeatureSummary(
        kind=NUMERIC, distinct=np.unique(given).size, minimum=given.min(), maximum=given.max(), **common
    )


def checks_config(**values: Any) -> ChecksConfig:
    return ChecksConfig(**values)


def randomised(rows: int = 2000, arms: Sequence[str] = ("c", "t"), seed: int = 0) -> SimpleNamespace:
    """Arms, a binary outcome that depends on x, and features that know nothing of the arm."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=rows)
    return SimpleNamespace(
        draw=draw,
        arm=draw.choice(list(arms), rows),
        x=x,
        y=(draw.random(rows) < 1 / (1 + np.exp(1 - x))).astype(float),
        colour=draw.choice(["red", "green", "blue"], rows),
    )
