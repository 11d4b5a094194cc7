"""Records: what goes in comes out, in the bytes that are documented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core import records
from spark_uplift.core.dtypes import LANES, PACKED, UNIT, WEIGHTED


@given(
    n=st.integers(0, 20),
    n_features=st.integers(1, 40),
    layout=st.sampled_from([PACKED, UNIT, WEIGHTED]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_unpacking_gives_back_what_was_packed(n: int, n_features: int, layout: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n, n_features)).astype(np.uint8)
    arms = rng.integers(0, 255, n).astype(np.uint8)
    if layout == PACKED:
        lanes = 1 + (rng.integers(-32768, 32768, (n, 1)) << 32)
    else:
        lanes = rng.integers(-(2**62), 2**62, (n, LANES[layout]))
    words = records.pack(codes, arms, lanes, layout)
    assert words.shape == (n, records.record_words(n_features, layout))
    for ours, theirs in zip(records.unpack(words, n_features, layout), (codes, arms, lanes), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.flags["C_CONTIGUOUS"]


def test_the_bytes_are_as_documented() -> None:
    codes, arms = np.array([[9, 8, 7]], np.uint8), np.array([5], np.uint8)
    packed = records.pack(codes, arms, np.array([[1 + (-2 << 32)]]), PACKED)
    assert packed.view(np.uint8).tolist() == [[5, 1, 0xFE, 0xFF, 9, 8, 7, 0]]
    unit = records.pack(codes, arms, np.array([[1, -2, 4]]), UNIT)
    assert unit.view(np.uint8)[0, :8].tolist() == [5, 1, 0, 0, 9, 8, 7, 0]
    assert unit.view(np.int64)[0, 1:].tolist() == [1, -2, 4]


@pytest.mark.parametrize(
    ("n_features", "layout", "words"),
    [(4, PACKED, 1), (5, PACKED, 2), (12, PACKED, 2), (13, PACKED, 3), (12, UNIT, 5), (12, WEIGHTED, 7)],
)
def test_a_record_is_as_short_as_it_can_be(n_features: int, layout: int, words: int) -> None:
    assert records.record_words(n_features, layout) == words
