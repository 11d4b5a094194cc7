"""One contract for all split criteria."""

from __future__ import annotations

import math
import pickle

import numba
import numpy as np
import pytest
from numba import types

from spark_uplift.criteria.registry import CRITERIA, Criterion, get
from spark_uplift.criteria.signature import GAIN_TYPE, MEANS, NORMALIZATION_CODES, TABLE, call
from spark_uplift.errors import ConfigError
from tests.oracles.criteria import ORACLES

NAMES = ["kl", "ed", "chi", "cts", "ddp", "iddp", "it", "cit", "causal_mse", "gradient"]
# The effect is +0.2 on the left and -0.2 on the right, sizes and baselines are equal.
LEFT = [[1000, 300, 300], [1000, 500, 500]]
RIGHT = [[1000, 300, 300], [1000, 100, 100]]


def test_the_registry_has_the_expected_members_each_with_an_oracle() -> None:
    assert list(CRITERIA) == NAMES
    assert list(ORACLES) == NAMES


@pytest.fixture(params=NAMES)
def criterion(request: pytest.FixtureRequest) -> Criterion:
    return CRITERIA[request.param]


def test_a_criterion_describes_itself(criterion: Criterion) -> None:
    assert get(criterion.name) is criterion
    assert criterion.outcomes
    assert criterion.outcomes <= {"binary", "continuous"}
    assert {"none", "paper"} <= set(criterion.normalizations) <= set(NORMALIZATION_CODES)
    assert criterion.summary
    assert criterion.source[-4:].isdigit()
    assert criterion.formula.__doc__


def test_a_gain_has_the_one_type_that_kernels_take(criterion: Criterion) -> None:
    assert numba.typeof(criterion.gain).signature == GAIN_TYPE.signature
    assert criterion.gain is criterion.gain


def test_a_criterion_travels_without_its_compiled_gain(criterion: Criterion) -> None:
    assert pickle.loads(pickle.dumps(criterion)) == criterion


@pytest.mark.parametrize("normalization", NORMALIZATION_CODES.values())
def test_the_inputs_stay_as_they_are(criterion: Criterion, normalization: int) -> None:
    left, right = np.array(LEFT, dtype=float), np.array(RIGHT, dtype=float)
    reference = np.array([0.3, 0.3])
    call(criterion.gain, left, right, reference=reference, normalization=normalization)
    assert left.tolist() == LEFT
    assert right.tolist() == RIGHT
    assert reference.tolist() == [0.3, 0.3]


@pytest.mark.parametrize("normalization", NORMALIZATION_CODES.values())
def test_a_crossing_effect_is_worth_a_split(criterion: Criterion, normalization: int) -> None:
    assert call(criterion.gain, LEFT, RIGHT, n_reg=100, normalization=normalization) > 1e-3


@pytest.mark.parametrize("normalization", NORMALIZATION_CODES.values())
@pytest.mark.parametrize("missing", ["left", "right", "control", "treated", "all"])
def test_a_gain_without_anything_to_compare_is_undefined(
    criterion: Criterion, normalization: int, missing: str
) -> None:
    sides = np.array([LEFT, RIGHT], dtype=float)
    gone = {"left": (0,), "right": (1,), "control": (slice(None), 0), "treated": (slice(None), 1), "all": ()}
    sides[gone[missing]] = 0
    assert call(criterion.gain, *sides, normalization=normalization) == -math.inf


def test_squares_are_read_only_where_the_registry_says_so(criterion: Criterion) -> None:
    sides = np.array([LEFT, RIGHT], dtype=float)
    before = call(criterion.gain, *sides, n_reg=10)
    sides[..., 2] *= 3
    assert (call(criterion.gain, *sides, n_reg=10) != before) == criterion.needs_squares


def test_a_gain_is_an_argument_of_a_kernel(criterion: Criterion) -> None:
    @numba.njit(types.float64(GAIN_TYPE, TABLE, TABLE, MEANS))
    def kernel(gain, left, right, reference):  # type: ignore[no-untyped-def]
        return gain(left + right, left, right, reference, 10.0, 1)

    left, right = np.array(LEFT, dtype=float), np.array(RIGHT, dtype=float)
    reference = np.array([0.3, 0.3])
    expected = call(criterion.gain, left, right, reference=reference, n_reg=10)
    assert kernel(criterion.gain, left, right, reference) == expected


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"must be one of kl, ed.*Got 'gradiant' instead.*mean 'gradient'\?"
    ):
        get("gradiant")


def test_an_unknown_name_that_is_near_none_gets_the_list() -> None:
    with pytest.raises(ConfigError, match=r"causal_mse, gradient\. Got 'zzz' instead\.$"):
        get("zzz")
