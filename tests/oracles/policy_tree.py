"""The best policy tree of depth 0, 1 or 2 by trying every one of them, a row at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.bool_]


def splits(codes: npt.NDArray[np.uint8], n_codes: int, categorical: bool) -> Iterator[Rows]:
    """Yield the rows that go left in each split of one feature: thresholds with missing on either side, or subsets."""
    if categorical:
        for size in range(1, n_codes):
            for chosen in combinations(range(n_codes), size):
                yield np.isin(codes, chosen)
        return
    for threshold in range(n_codes):
        below = (codes >= 1) & (codes <= threshold)
        yield below
        yield below | (codes == 0)


def best_value(
    codes: npt.NDArray[np.uint8],
    n_codes: tuple[int, ...],
    categorical: tuple[bool, ...],
    arm: npt.NDArray[np.int64],
    arms: int,
    gains: npt.NDArray[np.int64],
    depth: int,
    min_node: int,
    min_arm: int,
    price: int,
    rows: Rows | None = None,
) -> int:
    """Return the largest sum of rewards over control that a tree of at most ``depth`` reaches, prices taken off."""

    def enough(chosen: Rows) -> bool:
        counts = [int((arm[chosen] == a).sum()) for a in range(arms)]
        return sum(counts) >= min_node and min(counts) >= min_arm

    rows = np.ones(codes.shape[0], bool) if rows is None else rows
    best = max(0, *[int(total) for total in gains[rows].sum(axis=0)])
    if depth == 0:
        return best
    for f, (n, category) in enumerate(zip(n_codes, categorical, strict=True)):
        for side in splits(codes[:, f], n, category):
            left, right = rows & side, rows & ~side
            if not (enough(left) and enough(right)):
                continue
            below = [
                best_value(
                    codes, n_codes, categorical, arm, arms, gains, depth - 1, min_node, min_arm, price, part
                )
                for part in (left, right)
            ]
            best = max(best, sum(below) - price)
    return best
