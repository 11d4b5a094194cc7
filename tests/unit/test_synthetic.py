from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from spark_uplift import synthetic
from spark_uplift.errors import DataError
from spark_uplift.synthetic import Experiment

GENERATORS: dict[str, Callable[..., Experiment]] = {
    name: getattr(synthetic, name) for name in synthetic.__all__ if name != "Experiment"
}


def test_names() -> None:
    assert sorted(GENERATORS) == [
        "categorical_segment",
        "criteo_like",
        "crossover",
        "multi_arm",
        "no_heterogeneity",
    ]


@pytest.mark.parametrize("name", GENERATORS)
def test_contract_of_every_generator(name: str) -> None:
    made = GENERATORS[name](20_000, seed=3, missing=0.2)
    arms = made.tau.shape[1] + 1
    assert made.features.dtype == made.outcome.dtype == made.tau.dtype == made.propensity.dtype == np.float64
    assert made.arm.dtype == np.int8
    assert set(np.unique(made.arm)) == set(range(arms))
    assert len(made.arm_names) == arms
    assert not np.isnan(made.outcome).any()
    assert abs(np.isnan(made.features).mean() - 0.2) < 0.01
    for arm in range(arms):  # logged propensities are the shares of the arms
        assert abs((made.arm == arm).mean() - made.propensity[made.arm == arm].mean()) < 0.02
    for index in range(arms - 1):  # the true effect is what the arms differ by
        treated, control = made.outcome[made.arm == index + 1], made.outcome[made.arm == 0]
        error = np.hypot(treated.std() / np.sqrt(len(treated)), control.std() / np.sqrt(len(control)))
        assert abs(treated.mean() - control.mean() - made.tau[:, index].mean()) < 4 * error


@pytest.mark.parametrize("name", GENERATORS)
def test_the_seed_decides(name: str) -> None:
    first, same, other = (GENERATORS[name](500, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.features, same.features)
    np.testing.assert_array_equal(first.outcome, same.outcome)
    assert not np.array_equal(first.features, other.features)
    assert not np.isnan(first.features).any()


def test_criteo_like_has_criteos_shape() -> None:
    made = synthetic.criteo_like(200_000)
    assert made.features.shape == (200_000, 12)
    assert abs((made.arm == 1).mean() - 0.85) < 0.005
    assert 0.04 < made.outcome.mean() < 0.06
    assert made.tau.std() > 0.005


def test_crossover_has_equal_means_and_opposite_effects() -> None:
    made = synthetic.crossover(50_000)
    right = made.features[:, 0] > 0
    assert abs(made.outcome[right].mean() - made.outcome[~right].mean()) < 0.02
    assert set(np.unique(made.tau)) == {-0.2, 0.2}


def test_the_segment_is_where_the_effect_is() -> None:
    made = synthetic.categorical_segment(5_000)
    treatable = np.isin(made.categorical["segment"], synthetic.SEGMENT_TREATABLE)
    np.testing.assert_array_equal(made.tau[:, 0], np.where(treatable, 0.3, 0.0))


def test_frames_hold_what_a_data_scientist_would_see() -> None:
    made = synthetic.categorical_segment(100, missing=0.3)
    frame = made.frame()
    assert list(frame.columns) == ["id", "arm", "outcome", "propensity", *made.feature_names]
    assert set(frame["arm"]) == {"control", "treatment"}
    assert frame["segment"].isna().any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: synthetic.crossover(0), r"The 'n' parameter .* in the range \[1, inf\)\. Got 0"),
        (lambda: synthetic.crossover(5, missing=1.0), r"The 'missing' parameter .* in the range \[0, 1\)"),
        (lambda: synthetic.criteo_like(5, features=3), "The 'features' parameter of criteo_like"),
        (lambda: synthetic.multi_arm(5, arms=0), "The 'arms' parameter of multi_arm"),
        (lambda: synthetic.no_heterogeneity(5, control_share=1.0), "The 'control_share' parameter"),
    ],
)
def test_arguments_out_of_range(make: Callable[[], Experiment], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()
