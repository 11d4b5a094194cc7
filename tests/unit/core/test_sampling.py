"""Draws are functions of their key, uniform, and independent between streams."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core import sampling
from spark_uplift.core.sampling import BAG, BOOTSTRAP, EDGES, FEATURES, HONEST, REPLICATE, SPLIT

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
N = 200_000
UNITS = np.arange(N, dtype=np.uint64)
words = st.integers(0, MASK)


def finalised(value: int) -> int:
    """SplitMix64's output function, in Python integers."""
    value &= MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def drawn(seed: int, purpose: int, index: int, unit: int) -> int:
    """A draw from the module's words: three folded finalisers for the key, two for the unit."""
    key = finalised(seed + GOLDEN)
    key = finalised(key ^ finalised(purpose * GOLDEN + 1))
    key = finalised(key ^ finalised(index * GOLDEN + 2))
    return finalised(finalised(unit ^ key) + key)


def test_the_finaliser_is_splitmix64() -> None:
    # The first outputs of SplitMix64 from state 1234567 (Vigna's reference implementation).
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + GOLDEN) & MASK
        outputs.append(int(sampling.finalise(np.uint64(state))))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(seed=st.integers(-(2**70), 2**70), purpose=st.integers(1, 7), index=st.integers(0, 2**31), unit=words)
@settings(max_examples=60, deadline=None)
def test_a_draw_is_the_documented_hash(seed: int, purpose: int, index: int, unit: int) -> None:
    units = np.array([unit], np.uint64)
    expected = drawn(seed, purpose, index, unit)
    assert sampling.mix(seed, purpose, index, units).tolist() == [expected]
    key = sampling.stream_key(seed, purpose, index)
    assert int(sampling.draw(key, np.uint64(unit))) == expected


def test_draws_never_change_between_releases() -> None:
    # A unit "customer-1" as Spark's xxhash64 hashes it: xxHash64 of the UTF-8 text with seed 42.
    unit = xxhash.xxh64(b"customer-1", seed=42).intdigest()
    assert unit == 18077174292312032690
    assert drawn(1, BOOTSTRAP, 0, unit) == int(sampling.mix(1, BOOTSTRAP, 0, np.array([unit], np.uint64))[0])
    counts = sampling.poisson_counts(1, BOOTSTRAP, 0, np.arange(12, dtype=np.uint64))
    assert counts.tolist() == [1, 2, 0, 1, 1, 0, 2, 0, 0, 0, 0, 1]


def test_signed_hashes_are_read_as_unsigned() -> None:
    signed = np.array([-1, -5, 7], np.int64)
    unsigned = signed.view(np.uint64)
    np.testing.assert_array_equal(sampling.mix(3, SPLIT, 0, signed), sampling.mix(3, SPLIT, 0, unsigned))
    np.testing.assert_array_equal(
        sampling.poisson_counts(3, SPLIT, 0, signed), sampling.poisson_counts(3, SPLIT, 0, unsigned)
    )


def test_a_draw_does_not_depend_on_its_neighbours() -> None:
    order = np.random.default_rng(0).permutation(1000)
    together = sampling.mix(1, HONEST, 2, UNITS[:1000])
    np.testing.assert_array_equal(sampling.mix(1, HONEST, 2, UNITS[:1000][order]), together[order])
    one_by_one = [sampling.mix(1, HONEST, 2, UNITS[i : i + 1])[0] for i in range(50)]
    assert one_by_one == together[:50].tolist()


def test_the_inputs_stay_as_they_are() -> None:
    units = UNITS[:100].copy()
    sampling.mix(1, EDGES, 0, units)
    sampling.poisson_counts(1, EDGES, 0, units)
    np.testing.assert_array_equal(units, UNITS[:100])


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_poisson_moments(rate: float) -> None:
    counts = sampling.poisson_counts(7, BOOTSTRAP, 3, UNITS, rate).astype(float)
    assert counts.mean() == pytest.approx(rate, abs=5 * math.sqrt(rate / N))
    fourth = rate + 3 * rate * rate
    assert counts.var() == pytest.approx(rate, abs=5 * math.sqrt((fourth - rate * rate) / N))
    for k in range(5):
        expected = math.exp(-rate) * rate**k / math.factorial(k)
        error = math.sqrt(expected * (1 - expected) / N)
        assert np.mean(counts == k) == pytest.approx(expected, abs=5 * error + 1e-12)


def test_without_bootstrap_a_share_of_the_rows_enters_once() -> None:
    for rate in (0.25, 1.0):
        thresholds = sampling.count_thresholds(False, rate)
        draws = sampling.mix(7, BOOTSTRAP, 0, UNITS)
        counts = np.searchsorted(thresholds, draws, side="right")
        assert counts.max() == 1
        assert counts.mean() == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / N) + 1e-12)


@given(rate=st.floats(0.001, 1.0), draw=words)
@settings(max_examples=80, deadline=None)
def test_copies_inverts_the_distribution_function(rate: float, draw: int) -> None:
    thresholds = sampling.count_thresholds(True, rate)
    assert np.all(np.diff(thresholds.astype(float)) >= 0)
    expected = sum(draw >= int(t) for t in thresholds)
    assert int(sampling.copies(np.uint64(draw), thresholds)) == expected
    # ceil(P(count <= k) * 2**64), from the series
    term, total = math.exp(-rate), 0.0
    for k, threshold in enumerate(thresholds.tolist()[:6]):
        total += term
        assert threshold / 2**64 == pytest.approx(total, rel=1e-12)
        term *= rate / (k + 1)


def test_the_largest_draw_has_finitely_many_copies() -> None:
    assert 15 < int(sampling.copies(np.uint64(MASK), sampling.count_thresholds(True, 1.0))) < 25


@pytest.mark.parametrize(
    "other",
    [(1, BOOTSTRAP, 1), (2, BOOTSTRAP, 0), (1, HONEST, 0), (1, BAG, 0), (1, FEATURES, 0), (1, REPLICATE, 0)],
    ids=["tree", "seed", "honest", "bag", "features", "replicate"],
)
def test_streams_are_independent(other: tuple[int, int, int]) -> None:
    a = sampling.mix(1, BOOTSTRAP, 0, UNITS)
    b = sampling.mix(*other, UNITS)
    assert np.mean(a == b) < 1e-4
    correlation = np.corrcoef(a.astype(float), b.astype(float))[0, 1]
    assert abs(correlation) < 5 / math.sqrt(N)
    for bit in (0, 31, 63):
        same = np.mean((a >> np.uint64(bit)) & np.uint64(1) == (b >> np.uint64(bit)) & np.uint64(1))
        assert same == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(N))


def test_consecutive_units_are_independent() -> None:
    draws = sampling.mix(1, BOOTSTRAP, 0, UNITS).astype(float)
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(draws[lag:], draws[:-lag])[0, 1]) < 5 / math.sqrt(N)


def chosen(tree: int, heap: int, n_features: int, wanted: int) -> list[int]:
    out = np.zeros(min(wanted, n_features), np.int64)
    key = sampling.stream_key(1, FEATURES, tree)
    sampling.choose_features(key, heap, n_features, wanted, out, np.zeros(n_features, np.uint64))
    return out.tolist()


@given(tree=st.integers(0, 50), heap=st.integers(1, 2**30), n_features=st.integers(1, 40), data=st.data())
@settings(max_examples=60, deadline=None)
def test_feature_subsets_are_ascending_and_distinct(
    tree: int, heap: int, n_features: int, data: st.DataObject
) -> None:
    wanted = data.draw(st.integers(1, n_features))
    features = chosen(tree, heap, n_features, wanted)
    assert features == sorted(set(features))
    assert len(features) == wanted
    assert set(features) <= set(range(n_features))
    assert set(features) <= set(chosen(tree, heap, n_features, wanted + 1))


def test_every_feature_has_the_same_chance_at_every_node() -> None:
    counts = np.zeros(10)
    for heap in range(1, 2001):
        counts[chosen(0, heap, 10, 3)] += 1
    assert np.all(np.abs(counts / 2000 - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 2000))
