r"""Rank-weighted average treatment effects (RATE), as the R package grf defines them; our headline.

Each row has an inverse-propensity score

    G = y * 1[treated] / e  -  y * 1[control] / (1 - e)

with e the share of treated rows (by weight), the design's propensity, or the logged one; or its doubly robust
score, where there is one. Its mean is the average effect, and the targeting operator characteristic of the best
share q of the population is

    TOC(q) = mean of G over the best q  -  mean of G.

AUTOC is the mean of TOC over rows, QINI the mean of q * TOC(q); both are 0 for a ranking that knows nothing.
Rows of a tie get the mean score of the tie, so their order does not matter.

Source: Yadlowsky, Fleming, Shah, Brunskill & Wager (2021), "Evaluating treatment prioritization rules via
rank-weighted average treatment effects", arXiv:2111.07966; discretised as grf's
``rank_average_treatment_effect.fit``.
"""

from __future__ import annotations

import numpy as np

from spark_uplift.core.dtypes import WY, W
from spark_uplift.metrics.areas import digamma_difference
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import CONTROL, TREATED, Pair, at, divide, prepend_zero
from spark_uplift.metrics.registry import FAMILIES, Metric, register

__all__ = ["autoc", "average_effect", "gain_at", "qini"]


def autoc(pair: Pair) -> F64:
    """Return the mean over rows of TOC(i/n).

    Within a tie of r rows with mean score m that starts after U rows with sum S, the rows' running means are
    (S + j*m)/(U + j), j = 1..r, which add up to r*m + (S - U*m) * (psi(U + r + 1) - psi(U + 1)).
    """
    rows = np.broadcast_to(pair.rows, pair.mass.shape)
    step = divide(pair.mass, rows)
    mean_score = divide(pair.gain, pair.mass)
    before = pair.population - pair.mass
    score_before = np.cumsum(pair.gain, axis=-1) - pair.gain
    steps_before = divide(np.maximum(before, 0.0), step)
    harmonic = np.where(
        rows == 1, 1.0 / (steps_before + 1.0), digamma_difference(steps_before + 1.0, np.maximum(rows, 1.0))
    )
    # A point without weight (a replicate may lack one) takes no step.
    running = np.where(step > 0, pair.gain + (score_before - before * mean_score) * harmonic, 0.0)
    return divide(running.sum(-1), pair.total) - pair.ate


def qini(pair: Pair) -> F64:
    """Return the mean over rows of (i/n) * TOC(i/n); within a tie q * TOC(q) is a straight line."""
    before = pair.population - pair.mass
    score_before = np.cumsum(pair.gain, axis=-1) - pair.gain
    level = score_before - before * pair.ate[..., None]
    rise = pair.gain - pair.mass * pair.ate[..., None]
    spread = divide(
        np.broadcast_to(pair.rows + 1.0, pair.mass.shape), 2.0 * np.broadcast_to(pair.rows, pair.mass.shape)
    )
    return divide((pair.mass * (level + rise * spread)).sum(-1), np.square(pair.total))


def average_effect(pair: Pair) -> F64:
    """Return the difference of the weighted means, or the mean doubly robust score where there is one."""
    if pair.dr is not None:
        return pair.ate
    sums = pair.sides.sum(axis=-3)
    means = divide(sums[..., WY], sums[..., W], empty=np.nan)
    return np.asarray(means[..., TREATED] - means[..., CONTROL])


def gain_at(pair: Pair, k: float) -> F64:
    """Return the outcome gained per unit of the population when the best share `k` is treated."""
    gained = at(k * pair.total, prepend_zero(pair.population), prepend_zero(np.cumsum(pair.gain, axis=-1)))
    return divide(gained, pair.total)


def _gain_at(k: float, _: str) -> Metric:
    formula = f"sum of G over the best {100 * k:g} % of the rows / number of all rows"
    return Metric(f"gain_at_{100 * k:g}", "grf", formula, lambda pair: gain_at(pair, k), per_row=True)


def _uplift_at(k: float, _: str) -> Metric:
    formula = f"mean of G over the best {100 * k:g} % of the rows"
    return Metric(f"uplift_at_{100 * k:g}", "grf", formula, lambda pair: gain_at(pair, k) / k, per_row=True)


FAMILIES["grf", "gain_at_k"] = _gain_at
FAMILIES["grf", "uplift_at_k"] = _uplift_at
register(
    Metric(
        "ate",
        "grf",
        "sum(w*y)/sum(w) of the arm - the same of control; w includes 1/propensity where it is logged; "
        "with doubly robust scores their mean",
        average_effect,
        reported=True,
        test="two-sided",
    )
)
register(
    Metric(
        "autoc",
        "grf",
        "mean over rows i of TOC(i/n), TOC(q) = mean of G over the best q - mean of G, "
        "G = y*1[treated]/e - y*1[control]/(1-e), or the doubly robust score",
        autoc,
        per_row=True,
        reported=True,
        test="greater",
    )
)
register(
    Metric(
        "qini",
        "grf",
        "mean over rows i of (i/n)*TOC(i/n), TOC as in AUTOC",
        qini,
        per_row=True,
        reported=True,
        test="greater",
    )
)
