"""Gains against CausalML's own kernel, on the same counts.

CausalML's criteria can't be called from Python, and a fitted tree does not keep its gains. But a tree splits
exactly as long as its gain reaches ``min_impurity_decrease``, so the gain is found by bisecting that
threshold on data that has one possible split.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from spark_uplift.criteria.registry import CRITERIA
from spark_uplift.criteria.signature import NORMALIZATION_CODES, call

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its dependencies, on import
    pytest.importorskip("causalml", reason="causalml is missing: these tests run in the peers' environment")
    from causalml.inference.tree import CausalTreeRegressor
    from causalml.inference.tree._uplift._tree import BaseUpliftDecisionTree

Floats = npt.NDArray[np.float64]
NAMES = {
    "KL": "kl",
    "ED": "ed",
    "Chi": "chi",
    "CTS": "cts",
    "DDP": "ddp",
    "IDDP": "iddp",
    "IT": "it",
    "CIT": "cit",
}
MULTI_ARM = ["KL", "ED", "Chi", "CTS"]
UNNORMALIZED = ["CTS", "DDP", "IT", "CIT"]  # in CausalML, whatever its parameter says
CAUSALML, NONE = NORMALIZATION_CODES["causalml"], NORMALIZATION_CODES["none"]


class UpliftProbe(BaseUpliftDecisionTree):
    """CausalML's uplift tree without its honest re-estimation, with a threshold on the gain."""

    def __init__(
        self, criterion: str, threshold: float, n_reg: float, normalization: bool, depth: int
    ) -> None:
        super().__init__(
            criterion=criterion,
            splitter="best",
            max_depth=depth,
            min_samples_split=2,
            min_samples_leaf=1,
            min_weight_fraction_leaf=0.0,
            max_features=None,
            max_leaf_nodes=None,
            random_state=1,
            min_impurity_decrease=threshold,
            ccp_alpha=0.0,
        )
        self.n_reg = n_reg
        self.normalization = normalization
        self.min_samples_treatment = 0


def largest_threshold(splits: Callable[[float], bool]) -> float:
    """Return the highest threshold with which the tree still splits, to 1e-12 of its size."""
    low, high = -64.0, 1e5
    assert splits(low)
    assert not splits(high)
    while high - low > 1e-12 * max(1.0, abs(low)):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if splits(middle) else (low, middle)
    return low


def rows_of(counts: npt.ArrayLike, positives: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return arm and outcome of a side with ``counts`` rows per arm, ``positives`` of them with outcome 1."""
    arm = np.repeat(np.arange(len(np.asarray(counts))), counts)
    y = np.concatenate([np.arange(n) < s for n, s in zip(counts, positives, strict=True)]).astype(float)
    return arm, y


def by_arm(arm: Floats, y: Floats) -> Floats:
    """Return CausalML's layout of outcomes, f64[rows, arms] with NaN in the arms that a row is not of."""
    out = np.full((len(y), int(arm.max()) + 1), np.nan)
    out[np.arange(len(y)), arm.astype(int)] = y
    return out


def table(counts: npt.ArrayLike, positives: npt.ArrayLike) -> Floats:
    s = np.asarray(positives, dtype=float)
    return np.column_stack([np.asarray(counts, dtype=float), s, s])


def random_sides(seed: int, n_arms: int = 2, balanced: bool = False) -> list[tuple[list[int], list[int]]]:
    """Return counts and positives per arm of two sides, no cell empty or pure; ``balanced``: equal arms."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(10, 120, (2, n_arms))
    if balanced:
        counts[1] = 200 - counts[0]
    positives = [[int(rng.integers(1, n)) for n in side] for side in counts]
    return [(counts[i].tolist(), positives[i]) for i in range(2)]


def causalml_gain(sides: list[Any], criterion: str, n_reg: float, normalization: bool) -> float:
    (arm_left, y_left), (arm_right, y_right) = (rows_of(*side) for side in sides)
    x = np.repeat([0.0, 1.0], [len(y_left), len(y_right)])[:, None]
    y = by_arm(np.concatenate([arm_left, arm_right]), np.concatenate([y_left, y_right]))

    def splits(threshold: float) -> bool:
        probe = UpliftProbe(criterion, threshold, n_reg, normalization, depth=1).fit(x, y)
        return bool(probe.tree_.node_count == 3)

    return largest_threshold(splits)


@pytest.mark.parametrize("n_reg", [0, 100])
@pytest.mark.parametrize("criterion", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_normalized_gains_are_theirs(criterion: str, n_reg: int, seed: int) -> None:
    sides = random_sides(seed)
    ours = call(
        CRITERIA[NAMES[criterion]].gain, *(table(*s) for s in sides), n_reg=n_reg, normalization=CAUSALML
    )
    assert ours == pytest.approx(causalml_gain(sides, criterion, n_reg, True), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n_reg", [0, 100])
@pytest.mark.parametrize("criterion", MULTI_ARM)
@pytest.mark.parametrize("n_arms", [3, 4])
def test_normalized_gains_of_several_treatments_are_theirs(criterion: str, n_reg: int, n_arms: int) -> None:
    sides = random_sides(7, n_arms)
    ours = call(
        CRITERIA[NAMES[criterion]].gain, *(table(*s) for s in sides), n_reg=n_reg, normalization=CAUSALML
    )
    assert ours == pytest.approx(causalml_gain(sides, criterion, n_reg, True), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n_reg", [0, 100])
@pytest.mark.parametrize("criterion", UNNORMALIZED)
def test_what_they_never_normalize_is_the_same_without(criterion: str, n_reg: int) -> None:
    sides = random_sides(11)
    ours = call(
        CRITERIA[NAMES[criterion]].gain, *(table(*s) for s in sides), n_reg=n_reg, normalization=CAUSALML
    )
    assert ours == pytest.approx(causalml_gain(sides, criterion, n_reg, False), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("criterion", ["KL", "ED", "Chi", "CTS", "DDP", "IDDP"])
@pytest.mark.parametrize("seed", range(3))
def test_raw_gains_without_smoothing_are_theirs(criterion: str, seed: int) -> None:
    sides = random_sides(20 + seed)
    ours = call(CRITERIA[NAMES[criterion]].gain, *(table(*s) for s in sides), normalization=NONE)
    assert ours == pytest.approx(causalml_gain(sides, criterion, 0, False), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("criterion", ["KL", "ED", "Chi", "CTS", "DDP", "IDDP"])
@pytest.mark.parametrize("seed", range(3))
def test_raw_gains_with_smoothing_are_theirs_where_arms_are_equal(criterion: str, seed: int) -> None:
    # Pseudo-rows in the arms' proportions are then equal pseudo-counts: 200 over two arms are 100 for each.
    sides = random_sides(30 + seed, balanced=True)
    ours = call(CRITERIA[NAMES[criterion]].gain, *(table(*s) for s in sides), n_reg=200, normalization=NONE)
    assert ours == pytest.approx(causalml_gain(sides, criterion, 100, False), rel=1e-9, abs=1e-9)


# IT and CIT are not among them: theirs is then NaN or infinite.
@pytest.mark.parametrize("criterion", [name for name in NAMES if name not in {"IT", "CIT"}])
@pytest.mark.parametrize("missing", [0, 1])
def test_an_arm_that_a_child_lacks_is_treated_as_they_do(criterion: str, missing: int) -> None:
    (counts, positives), other = random_sides(3)
    counts[missing] = positives[missing] = 0
    sides = [(counts, positives), other]
    ours = call(
        CRITERIA[NAMES[criterion]].gain, *(table(*s) for s in sides), n_reg=50, normalization=CAUSALML
    )
    assert ours == pytest.approx(causalml_gain(sides, criterion, 50, True), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("criterion", ["KL", "ED", "Chi", "CTS"])
def test_a_deeper_node_is_scored_with_its_smoothed_rates(criterion: str) -> None:
    # x0 divides the root; x1 divides its left child alone. So 5 nodes mean that the left child was split.
    left = [([80, 90], [8, 60]), ([70, 60], [30, 25])]
    right = ([150, 160], [140, 10])
    n_reg = 40.0
    parts = [rows_of(*part) for part in (*left, right)]
    x = np.repeat([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [len(y) for _, y in parts], axis=0)
    y = by_arm(np.concatenate([arm for arm, _ in parts]), np.concatenate([y for _, y in parts]))

    def splits(threshold: float) -> bool:
        tree = UpliftProbe(criterion, threshold, n_reg, True, depth=2).fit(x, y).tree_
        assert threshold > 0.1 or tree.feature[0] == 0
        return bool(tree.node_count == 5)

    theirs = largest_threshold(splits)
    tables = [table(*part) for part in (*left, right)]
    node, root = tables[0] + tables[1], sum(tables)
    root_rates = root[:, 1] / root[:, 0]
    reference = (node[:, 1] + n_reg * root_rates) / (node[:, 0] + n_reg)
    gain = CRITERIA[NAMES[criterion]].gain
    ours = call(gain, *tables[:2], reference=reference, n_reg=n_reg, normalization=CAUSALML)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_arms", [2, 3])
def test_causal_mse_is_theirs(seed: int, n_arms: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(5, 60, (2, n_arms))
    arm = np.concatenate([np.repeat(np.arange(n_arms), side) for side in counts])
    side = np.repeat([0, 1], counts.sum(axis=1))
    outcome = rng.normal(rng.normal(size=(2, n_arms))[side, arm], 1.5)
    # This criterion is their node impurity, which the tree does keep.
    fitted = CausalTreeRegressor(
        criterion="causal_mse",
        groups_penalty=0.0,
        honesty=False,
        max_depth=1,
        min_samples_split=2,
        min_samples_leaf=1,
        min_group_samples=1,
        control_name=0,
    )
    fitted._train_to_est_ratio_override = 1.0  # as large an estimation sample as the training sample
    fitted.fit(X=side[:, None].astype(float), treatment=arm, y=outcome)
    impurity, size = fitted.tree_.impurity, fitted.tree_.n_node_samples
    assert len(size) == 3
    theirs = impurity[0] - (size[1] * impurity[1] + size[2] * impurity[2]) / size[0]

    sides = np.zeros((2, n_arms, 3))
    for power in range(3):
        np.add.at(sides[:, :, power], (side, arm), outcome**power)
    ours = call(CRITERIA["causal_mse"].gain, *sides, normalization=CAUSALML)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)
