"""The layouts agree with each other."""

from __future__ import annotations

from typing import get_type_hints

from spark_uplift.core import dtypes
from spark_uplift.core.dtypes import (
    LANES,
    MASK_WORDS,
    MAX_BINS,
    PACKED,
    STATISTICS,
    UNIT,
    WEIGHTED,
    TreeParams,
)


def test_statistics_have_their_positions() -> None:
    names = ("n", "w", "wy", "wyy", "ww")
    assert names == STATISTICS
    assert [getattr(dtypes, name.upper()) for name in names] == list(range(5))


def test_every_layout_has_lanes() -> None:
    assert LANES == {PACKED: 1, UNIT: 3, WEIGHTED: 5}


def test_every_code_has_a_bit_and_a_byte() -> None:
    assert MAX_BINS + 1 <= 255
    assert MASK_WORDS * 64 == 256


def test_kernels_get_plain_numbers() -> None:
    assert set(get_type_hints(TreeParams).values()) == {int, float}
