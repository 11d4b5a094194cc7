"""What a policy tree is worth: estimates from sums over units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "PolicyValue", "estimate"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean with its normal interval.

    Attributes
    ----------
    value, std_error, lower, upper : float
        [money per unit]; not a number where there are too few units.
    n : int
        Units, or clusters.
    """

    value: float
    std_error: float
    lower: float
    upper: float
    n: int

    @property
    def p_value(self) -> float:
        """Two-sided p-value of "it is 0"."""
        if not self.std_error > 0:
            return math.nan
        return 2 * NormalDist().cdf(-abs(self.value) / self.std_error)


@dataclass(frozen=True)
class PolicyValue:
    """What policies are worth.

    Attributes
    ----------
    values : dict of str to Estimate
        Mean net reward of each policy [money per unit].
    differences : dict of str to Estimate
        The first policy minus each other one, paired.
    nodes : dict of int to Estimate
        By heap index of the tree's nodes: what the first policy gains over control there [money per unit of the node].
    shares : dict of int to float
        Share of the weight that comes to each node, 0..1.
    rows : dict of int to int
        Rows that come to each node.
    level : float
        Coverage of the intervals.
    """

    values: dict[str, Estimate]
    differences: dict[str, Estimate]
    nodes: dict[int, Estimate]
    shares: dict[int, float]
    rows: dict[int, int]
    level: float

    def kept(self, policy: str) -> float:
        """Return which share of another policy's gain over control the first one keeps; NaN when that gains nothing."""
        first = next(iter(self.values.values())).value
        control, other = self.values["control"].value, self.values[policy].value
        return (first - control) / (other - control) if other > control else math.nan


def estimate(moments: F64, contrast: int, level: float) -> Estimate:
    """Return a mean from the sums of its units (or clusters).

    Parameters
    ----------
    moments : ndarray of shape (contrasts, 7), dtype=float64
        Sums of d, d**2, d w, w and w**2, where w is a unit's weight and d its reward times w; units; rows.
    contrast : int
        Which row of them.
    level : float
        Coverage of the interval.

    Notes
    -----
    The mean is sum(d) / sum(w); its variance n / (n - 1) * sum((d - mean w)**2) / sum(w)**2, the linearised variance
    of a ratio (Cochran 1977, section 6.4), with the sum of squares multiplied out.
    """
    d, dd, dw, w, ww, n, _ = moments[contrast]
    z = NormalDist().inv_cdf((1 + level) / 2)
    if w <= 0:
        return Estimate(math.nan, math.nan, math.nan, math.nan, int(n))
    mean = float(d / w)
    if n < 2:
        return Estimate(mean, math.nan, math.nan, math.nan, int(n))
    spread = max(0.0, float(dd - 2 * mean * dw + mean * mean * ww)) * n / (n - 1)
    error = math.sqrt(spread) / float(w)
    return Estimate(mean, error, mean - z * error, mean + z * error, int(n))
