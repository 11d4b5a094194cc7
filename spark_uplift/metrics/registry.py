"""The registry of metrics: a name, a style (whose convention), a formula, and a function of the curve."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from spark_uplift.errors import DataError, bad_value, nearest
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import Pair

__all__ = ["FAMILIES", "METRICS", "STYLES", "Metric", "find", "register"]

STYLES = ("grf", "sklift", "causalml", "h2o", "ydf", "perpetual", "upliftml")
"""Whose definitions can be asked for; the first one is the headline."""


@dataclass(frozen=True)
class Metric:
    """One number that can be made from a distinct-score curve.

    Parameters
    ----------
    name, style : str
        Together the key.
    formula : str
        Readable definition, shown beside the number in reports.
    compute : callable
        Takes a `Pair`, returns an array of its leading shape.
    larger_is_better : bool or None
        Whether a better ranking has the larger value; None where neither is so, as for a calibration slope,
        which is best at 1.
    binary_only : bool
        Whether the definition needs outcomes 0 and 1 (it is NaN otherwise).
    per_row : bool
        Whether the definition is a sum over rows rather than an integral, or grows with their number. A row
        given twice is then the same as a row with weight 2 only up to a relative difference of order 1/n.
    reported : bool
        Whether evaluation reports show it unasked.
    test : {"greater", "two-sided"} or None
        Alternative to the hypothesis that the true value is 0, for the p-value beside it; None: not tested.
    scale_free : bool
        Whether only the order of the scores matters, not their size.
    """

    name: str
    style: str
    formula: str
    compute: Callable[[Pair], F64]
    larger_is_better: bool | None = True
    binary_only: bool = False
    per_row: bool = False
    reported: bool = False
    test: str | None = None
    scale_free: bool = True


METRICS: dict[tuple[str, str], Metric] = {}
"""All metrics without a parameter, by (style, name)."""

FAMILIES: dict[tuple[str, str], Callable[[float, str], Metric]] = {}
"""Metrics of a share k: functions of (k, strategy), by (style, name)."""

_SHARE_NAME = re.compile(r"^(?P<family>\w+_at)_(?P<percent>\d+(?:\.\d+)?)(?P<by_group>_by_group)?$")


def register(metric: Metric) -> Metric:
    """Add a metric; returns it."""
    METRICS[metric.style, metric.name] = metric
    return metric


def find(name: str, style: str = "grf", *, k: float | None = None, strategy: str = "overall") -> Metric:
    """Return a metric.

    Parameters
    ----------
    name : str
        E.g. ``"autoc"``, ``"qini"``, ``"uplift_at_k"`` (with `k`), or ``"uplift_at_30"`` for k = 0.3.
    style : str
        One of `STYLES`.
    k : float, optional
        Share of the rows, in (0, 1).
    strategy : {"overall", "by_group"}
        Whether the share is taken of all rows or of each arm's.

    Raises
    ------
    DataError
        No such style or metric; the message lists those there are.
    """
    if style not in STYLES:
        raise DataError(bad_value("style", "metrics", f"one of {list(STYLES)}", style))
    shared = _SHARE_NAME.match(name)
    if shared:
        name, k = f"{shared['family']}_k", float(shared["percent"]) / 100.0
        strategy = "by_group" if shared["by_group"] else strategy
    if (style, name) in FAMILIES:
        share = 0.3 if k is None else k
        if not 0.0 < share < 1.0:
            raise DataError(bad_value("k", name, "a float in the range (0, 1)", share))
        if strategy not in ("overall", "by_group"):
            raise DataError(bad_value("strategy", name, "one of ['overall', 'by_group']", strategy))
        return FAMILIES[style, name](share, strategy)
    if (style, name) in METRICS:
        return METRICS[style, name]
    names = sorted(n for s, n in [*METRICS, *FAMILIES] if s == style)
    near = nearest(name, names)
    others = sorted(s for s, n in METRICS if n == name)
    hint = f"styles with {name!r}: {others}." if others else (f"did you mean {near!r}?" if near else None)
    raise DataError(bad_value("name", "metrics", f"one of {names} for style {style!r}", name, hint))
