from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark_uplift.errors import DataError
from spark_uplift.metrics import Pair, Rows, curve_from_rows, find
from spark_uplift.metrics.comparison import COMPARED, chosen_metrics, comparison_columns
from tests.unit.metrics.data import experiment


def drawn(score, y, t, copies):
    """A curve and its replicates by copies of its points' rows."""
    curve = curve_from_rows(Rows.of(y=y, arm=t), score)
    order = np.argsort(-score)
    stats = curve.stats * copies[:, order][..., None, None]
    many = replace(curve, stats=stats, mass=stats[..., 1].sum(-1), arm_mass=stats[..., 1].sum(-2))
    return Pair.of(curve), Pair.of(many)


def test_differences_are_paired():
    y, t, s = experiment(n=600)
    copies = np.random.default_rng(0).poisson(1.0, (50, 600))
    one, one_drawn = drawn(s, y, t, copies)
    other, other_drawn = drawn(s + 0.05 * np.random.default_rng(1).normal(size=600), y, t, copies)
    found = comparison_columns((one, other), (one_drawn, other_drawn), 0.9, chosen_metrics(COMPARED))
    i = found["metric"].index("autoc")
    autoc = find("autoc")
    assert found["difference"][i] == float(autoc.compute(one)) - float(autoc.compute(other))
    errors = [autoc.compute(side).std(ddof=1) for side in (one_drawn, other_drawn)]
    assert found["std_error"][i] < 0.5 * np.hypot(*errors)
    assert found["upper"][i] - found["difference"][i] == pytest.approx(1.644854 * found["std_error"][i])
    assert found["bootstrap"][i] == 50


def test_without_replicates_there_is_no_interval():
    y, t, s = experiment(binary=False)
    pair = Pair.of(curve_from_rows(Rows.of(y=y, arm=t), s))
    found = comparison_columns((pair, pair), (None, None), 0.95, chosen_metrics(COMPARED))
    assert np.isnan(found["std_error"]).all()
    assert "sklift" not in found["style"]  # binary outcomes only


def test_unknown_metrics_are_refused():
    with pytest.raises(DataError, match="did you mean 'qini'"):
        chosen_metrics(["qinni"])
