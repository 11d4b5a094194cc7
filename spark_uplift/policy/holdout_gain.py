"""What decisions should gain, by what units of such scores gained in the holdout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Buckets:
    """The buckets of the uplift table of one treatment, worst first.

    Attributes
    ----------
    edges : tuple of float
        Scores between two buckets, ascending; one less than buckets.
    uplift, std_error : tuple of float
        Observed, a bucket.
    """

    edges: tuple[float, ...]
    uplift: tuple[float, ...]
    std_error: tuple[float, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], level: float) -> Buckets | None:
        """Return them from rows of ``uplift_table``; None without rows or where an interval is missing."""
        ordered = sorted(rows, key=lambda row: row["score_min"])
        if not ordered or any(row[c] is None for row in ordered for c in ("uplift", "lower", "upper")):
            return None
        z = NormalDist().inv_cdf(0.5 + level / 2)
        return cls(
            tuple((a["score_max"] + b["score_min"]) / 2 for a, b in pairwise(ordered)),
            tuple(float(row["uplift"]) for row in ordered),
            tuple((row["upper"] - row["lower"]) / (2 * z) for row in ordered),
        )


def expected_gain(
    buckets: Mapping[str, Buckets], counts: Mapping[str, Sequence[int]], value: float, level: float
) -> dict[str, tuple[float, float, float]]:
    """Return (gain, lower, upper) in money of each treatment, and of all as ``*``.

    A treatment's gain is ``value * sum over buckets of n * observed uplift``. Buckets hold different units, so their
    errors are independent; treatments share the control group, so theirs are added as if they went the same way, which
    is the worst case. The interval is of the mean effect of units with such scores: it does not say that the list is
    like the holdout.

    Parameters
    ----------
    buckets : mapping of str to Buckets
        By treatment.
    counts : mapping of str to sequence of int
        Decided units a bucket, by treatment.
    value : float
        Of one unit of the outcome [money].
    level : float
        Coverage, in (0, 1).
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    found: dict[str, tuple[float, float, float]] = {}
    total = spread = 0.0
    for arm, n in counts.items():
        of = buckets[arm]
        gain = value * math.fsum(k * u for k, u in zip(n, of.uplift, strict=True))
        half = value * z * math.sqrt(math.fsum((k * s) ** 2 for k, s in zip(n, of.std_error, strict=True)))
        found[arm] = (gain, gain - half, gain + half)
        total, spread = total + gain, spread + half
    return {**found, "*": (total, total - spread, total + spread)}
