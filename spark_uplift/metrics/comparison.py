"""Two models on the same rows: paired differences of metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spark_uplift.metrics.inference import bootstrap_error, normal_interval, p_value
from spark_uplift.metrics.pair import Pair
from spark_uplift.metrics.registry import Metric, find
from spark_uplift.metrics.tables import Columns

__all__ = ["COMPARED", "chosen_metrics", "comparison_columns"]

COMPARED = (
    "autoc", "qini", "gain_at_10", "gain_at_20", "gain_at_30", "gates_at_20", "calibration_r2", "heterogeneity",
    ("qini", "sklift"), ("auuc", "sklift"),
)  # fmt: skip
"""Metrics that comparisons show unasked: names of style grf, or (name, style)."""

_COLUMNS = (
    "metric", "style", "value", "other_value", "difference", "std_error", "lower", "upper", "p_value", "level", "n",
    "bootstrap",
)  # fmt: skip


def chosen_metrics(names: Sequence[str | tuple[str, str]]) -> list[Metric]:
    """Return metrics by name, or by (name, style).

    Raises
    ------
    DataError
        No such metric or style.
    """
    return [find(name) if isinstance(name, str) else find(*name) for name in names]


def comparison_columns(
    pairs: tuple[Pair, Pair],
    replicates: tuple[Pair | None, Pair | None],
    level: float,
    metrics: Sequence[Metric],
) -> Columns:
    """Return a row for each metric that the data define: of the first model, of the other one, and the difference.

    The standard error is that of the difference of the two in the same replicates, so that what moves both alike
    (which rows, which outcomes) cancels out.

    Parameters
    ----------
    pairs : tuple of Pair
        The curves of the two models.
    replicates : tuple of Pair or None
        Their replicates, from the same draws; None without any.
    level : float
        Coverage of the normal interval.
    metrics : sequence of Metric
        What to compare.
    """
    columns: Columns = {name: [] for name in _COLUMNS}
    one, other = pairs
    for metric in metrics:
        if metric.binary_only and not one.binary:
            continue
        value, other_value = float(metric.compute(one)), float(metric.compute(other))
        if replicates[0] is None or replicates[1] is None:
            error, used = np.nan, 0
        else:
            drawn = metric.compute(replicates[0]) - metric.compute(replicates[1])
            error, used = float(bootstrap_error(drawn)), int(drawn.shape[0])
        found = normal_interval(np.asarray(value - other_value), np.asarray(error), level)
        p = p_value(value - other_value, error, "two-sided")
        row = (
            metric.name, metric.style, value, other_value, float(found.value), error, float(found.lower),
            float(found.upper), p, level, int(one.rows.sum()), used,
        )  # fmt: skip
        for name, item in zip(_COLUMNS, row, strict=True):
            columns[name].append(item)
    return columns
