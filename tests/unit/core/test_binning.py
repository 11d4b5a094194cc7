"""Bins against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core.binning import (
    RARE_LEVEL_ROWS,
    FeatureBins,
    choose_levels,
    encode_levels,
    encode_numeric,
    weighted_edges,
)
from tests.oracles import binning as oracle

numbers = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5, math.nan]), st.floats(-1e9, 1e9, allow_nan=False), st.just(math.inf)
)


def codes_of(edges: tuple[float, ...], values: list[float]) -> list[int]:
    out = np.full((len(values), 2), 77, np.uint8)
    encode_numeric(FeatureBins("x", edges), np.array(values), 1, out)
    assert np.all(out[:, 0] == 77)
    return out[:, 1].tolist()


@given(
    edges=st.lists(st.floats(-1e6, 1e6), max_size=253, unique=True).map(sorted),
    values=st.lists(numbers, max_size=50),
)
@settings(max_examples=100, deadline=None)
def test_codes_count_the_edges_below(edges: list[float], values: list[float]) -> None:
    values = [*values, *edges, -math.inf]  # a value on an edge lies left of it
    assert codes_of(tuple(edges), values) == [oracle.code_of(x, edges) for x in values]


def test_codes_across_a_block() -> None:
    values = np.linspace(-3, 3, 1700).tolist()
    edges = tuple(np.linspace(-2, 2, 63).tolist())
    assert codes_of(edges, values) == [oracle.code_of(x, edges) for x in values]


@given(
    values=st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=80),
    max_bins=st.integers(2, 40),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_edges_are_weighted_quantiles(values: list[float], max_bins: int, data: st.DataObject) -> None:
    whole = st.lists(st.integers(1, 9).map(float), min_size=len(values), max_size=len(values))
    weights = data.draw(st.one_of(st.none(), whole))
    ours = weighted_edges(np.array(values), None if weights is None else np.array(weights), max_bins)
    assert ours == oracle.weighted_edges(values, weights, max_bins)
    assert list(ours) == sorted(set(ours))
    assert FeatureBins("x", ours).n_codes - 1 <= max_bins


@given(values=st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_a_weight_is_a_number_of_copies(values: list[float], seed: int) -> None:
    copies = np.random.default_rng(seed).integers(1, 4, len(values))
    repeated = weighted_edges(np.repeat(values, copies), None, 4)
    assert weighted_edges(np.array(values), copies.astype(float), 4) == repeated


def test_bins_hold_equal_shares() -> None:
    x = np.random.default_rng(0).normal(size=20_000)
    edges = weighted_edges(x, None, 64)
    shares = np.bincount(np.array(codes_of(edges, x.tolist())), minlength=65)[1:] / x.size
    assert len(edges) == 63
    assert np.all(np.abs(shares - 1 / 64) < 0.001)


def test_missing_and_constant_features_have_no_edges() -> None:
    assert weighted_edges(np.array([math.nan] * 3), None, 8) == ()
    assert weighted_edges(np.array([2.0, 2.0, math.nan]), None, 8) == ()
    assert weighted_edges(np.array([]), None, 8) == ()
    assert codes_of((), [1.0, math.nan, -math.inf]) == [1, 0, 1]


@pytest.mark.parametrize("pair", [(1.0, np.nextafter(1.0, 2.0)), (-1e308, 1e308), (0.0, 5e-324)])
def test_neighbours_without_a_number_between_stay_apart(pair: tuple[float, float]) -> None:
    edges = weighted_edges(np.array(pair), None, 8)
    assert codes_of(edges, list(pair)) == [1, 2]


def test_integer_features_may_be_cut_anywhere_between() -> None:
    assert weighted_edges(np.array([1.0, 2.0, 4.0]), None, 8) == (1.5, 3.0)


def test_levels_are_sorted_and_rare_ones_pooled() -> None:
    bins = choose_levels("city", {"b": RARE_LEVEL_ROWS, "a": 500, "rare": RARE_LEVEL_ROWS - 1})
    assert bins == FeatureBins("city", levels=("a", "b"), pooled=True)
    assert bins.categorical
    assert bins.n_codes == 4
    assert encode_levels(bins, ["a", "b", "rare", "never seen", None]).tolist() == [1, 2, 3, 3, 0]
    assert [bins.label(code) for code in range(4)] == ["missing", "a", "b", "other"]


def test_an_unseen_level_is_missing_where_nothing_was_pooled() -> None:
    bins = choose_levels("city", {"b": 30, "a": 30})
    assert bins.n_codes == 3
    assert encode_levels(bins, ["z", None, "a"]).tolist() == [0, 0, 1]


def test_levels_are_texts() -> None:
    assert encode_levels(choose_levels("flag", {"True": 50, "False": 50}), [True, False]).tolist() == [2, 1]


def test_too_many_levels_are_refused() -> None:
    many = {f"level {i}": 100 for i in range(253)}
    assert choose_levels("id", many).n_codes == 254
    message = (
        r"categorical column 'id' must have at most 253 levels with 20 rows or more\. Got 254 instead\. Hint"
    )
    with pytest.raises(ValueError, match=message):
        choose_levels("id", {**many, "one more": 100})
