"""Bins from their definitions, value by value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction


def code_of(value: float, edges: Sequence[float]) -> int:
    """Return 0 for NaN, else 1 + the number of edges below the value."""
    if math.isnan(value):
        return 0
    return 1 + sum(edge < value for edge in edges)


def weighted_edges(
    values: Sequence[float], weights: Sequence[float] | None, max_bins: int
) -> tuple[float, ...]:
    """Return cut points half-way between neighbouring distinct values.

    All of them when there are few distinct values, else those after the smallest value at which the share of the
    weight reaches 1/max_bins, 2/max_bins, … (in exact arithmetic).
    """
    given = [Fraction(1)] * len(values) if weights is None else [Fraction(w) for w in weights]
    mass: dict[float, Fraction] = {}
    for value, weight in zip(values, given, strict=True):
        if not math.isnan(value):
            mass[value] = mass.get(value, Fraction(0)) + weight
    distinct = sorted(mass)
    if len(distinct) <= max_bins:
        cuts = distinct[:-1]
    else:
        total = sum(mass.values())
        cuts = []
        for j in range(1, max_bins):
            reached = Fraction(0)
            for value in distinct:
                reached += mass[value]
                if reached * max_bins >= j * total:
                    break
            if value != distinct[-1] and value not in cuts:
                cuts.append(value)
    after = dict(itertools.pairwise(distinct))
    return tuple(low + (after[low] - low) / 2.0 for low in cuts)
