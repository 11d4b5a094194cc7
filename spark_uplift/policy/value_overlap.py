"""Do the logged rows say anything about the policy? Diagnostics of importance weights, and words for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spark_uplift.policy.value_sums import METHODS, Layout, Sums

__all__ = ["Weights", "weights_of"]

_MEAN_ERRORS = 4.0  # standard errors by which the mean ratio may differ from 1
_LEAST_SHARE = 0.01  # effective rows, as a share of all
_LEAST_ROWS = 50  # effective rows below which intervals of skewed rewards are too short
_ONE_ROW = 0.05  # of all weight
_CUT = 0.05  # of all weight
_FEW = 30  # independent units below which a standard error is no yardstick


@dataclass(frozen=True)
class Weights:
    """Diagnostics of a method's importance weights; NaN where it has none.

    Parameters
    ----------
    effective : float
        Kish's effective sample size, in independent units.
    largest : float
        Largest weight that is used.
    clipped_share : float
        Share of the weight that clipping cuts off.
    mean, mean_error : float
        Mean ratio, before clipping, and its standard error.
    message : str
        Warnings.
    """

    effective: float
    largest: float
    clipped_share: float
    mean: float
    mean_error: float
    message: str


def weights_of(layout: Layout, sums: Sums, policy: str, method: str, clip: float) -> Weights:
    """Return the diagnostics of one policy and method."""
    at = {pair: number for number, pair in enumerate(layout.pairs)}

    def products(i: int, j: int) -> float:
        return float(sums.products[at[min(i, j), max(i, j)]])

    name = METHODS[method].weight
    lane = layout.lane(policy, name or "w")
    total, mass = float(sums.totals[lane]), float(sums.totals[0])
    square = products(lane, lane)
    effective = total**2 / square if square > 0.0 else 0.0
    if name is None:
        return Weights(effective, math.nan, 0.0, math.nan, math.nan, "")
    whole = float(sums.totals[layout.lane(policy, "ratio")])
    mean = whole / mass if mass > 0.0 else math.nan
    ratio = layout.lane(policy, "ratio")
    spread = products(ratio, ratio) - 2.0 * mean * products(0, ratio) + mean**2 * products(0, 0)
    factor = sums.units / (sums.units - 1.0) if sums.units > 1 else math.nan
    error = math.sqrt(max(factor * spread, 0.0)) / mass if mass > 0.0 else math.nan
    most = float(sums.max_ratio[layout.policies.index(policy)])
    largest = most if name == "ratio" else min(most, clip)
    cut = 1.0 - total / whole if whole > 0.0 else 0.0
    cut = max(cut, 0.0) if name != "ratio" else 0.0
    message = " ".join(_warnings(sums, total, whole, effective, largest, cut, mean, error))
    return Weights(effective, largest, cut, mean, error, message)


def _warnings(
    sums: Sums,
    total: float,
    whole: float,
    effective: float,
    largest: float,
    cut: float,
    mean: float,
    error: float,
) -> list[str]:
    if whole == 0.0:
        return ["No row got an action that the policy would take: the data say nothing about its value."]
    found = []
    if sums.units >= _FEW and not abs(mean - 1.0) <= _MEAN_ERRORS * error + 1e-9:
        found.append(
            f"The mean importance weight is {mean:.3g} (standard error {error:.2g}) and should be 1: logged "
            "propensities and the policy's probabilities do not belong together, or the policy takes actions "
            "that were never logged."
        )
    if effective < max(_LEAST_SHARE * sums.units, min(_LEAST_ROWS, 0.25 * sums.units)):
        what = "rows" if sums.units == sums.rows else "clusters"
        found.append(
            f"Overlap is poor: {sums.units} {what} weigh as much as {effective:.0f}; the interval may be too short."
        )
    if total > 0.0 and largest > _ONE_ROW * total and sums.rows > 1.0 / _ONE_ROW:
        found.append(f"One row has up to {largest / total:.0%} of all weight (ratio {largest:.4g}).")
    if cut > _CUT:
        found.append(f"Clipping cuts off {cut:.0%} of the weight: the value is biased towards what remains.")
    return found
