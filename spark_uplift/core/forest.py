"""A grown forest: bins, trees, and what can be read off them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core import intervals, prediction
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.dtypes import FixedPoint
from spark_uplift.core.growing import LITTLE_BAG_TREES
from spark_uplift.core.tree import Tree

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Forest:
    """Trees with the bins that they were grown on.

    Attributes
    ----------
    features : tuple of FeatureBins
        In the order of the codes' columns.
    control : str
    treatments : tuple of str
        Arms other than control, sorted: the order of every effect array.
    grid : FixedPoint
    trees : tuple of Tree
    little_bags : bool
        Whether the trees were grown in little bags, so that intervals can be given.
    training : mapping
        Settings and facts of the training (JSON values): for the model card, not for the digest.
    """

    features: tuple[FeatureBins, ...]
    control: str
    treatments: tuple[str, ...]
    grid: FixedPoint
    trees: tuple[Tree, ...]
    little_bags: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def packed(self) -> prediction.PackedForest:
        """The trees as the scoring kernel wants them."""
        return prediction.pack(list(self.trees))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical arrays: two forests with the same digest are the same forest.

        It covers bins, arms, grid, structure, statistics and effects. Gains are left out: they are not used
        for anything a user acts on, and a criterion with a logarithm may differ in the last bit between
        processors.
        """
        sha = hashlib.sha256()
        sha.update(json.dumps(self.header(), sort_keys=True, separators=(",", ":")).encode())
        for tree in self.trees:
            for array, dtype in (
                (tree.heap, "<i8"),
                (tree.feature, "<i4"),
                (tree.threshold, "<i2"),
                (tree.missing_left, "|u1"),
                (tree.mask, "<u8"),
                (tree.left_child, "<i8"),
                (tree.stats, "<i8"),
                (tree.effect, "<f8"),
            ):
                sha.update(np.ascontiguousarray(array).astype(dtype).tobytes())
        return sha.hexdigest()

    def header(self) -> dict[str, Any]:
        """Return what is not in the trees, as JSON values that survive a round trip exactly."""
        return {
            "format": FORMAT_VERSION,
            "features": [asdict(bins) for bins in self.features],
            "control": self.control,
            "treatments": list(self.treatments),
            "grid": self.grid._asdict(),
            "little_bags": self.little_bags,
        }

    def predict(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the effect of each treatment, ndarray of shape (n, K), in the outcome's unit.

        Parameters
        ----------
        codes : ndarray of shape (n, F), dtype=uint8
        """
        return prediction.predict(self.packed, codes)

    def predict_interval(
        self, codes: npt.NDArray[np.uint8], level: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return (effect, lower, upper), each of shape (n, K); see `spark_uplift.core.intervals`."""
        sums = prediction.predict_groups(self.packed, codes, LITTLE_BAG_TREES)
        squares = prediction.predict_squares(self.packed, codes)
        sizes = intervals.group_sizes(len(self.trees), LITTLE_BAG_TREES)
        return intervals.little_bags(sums, squares, sizes, level)

    def feature_importances(self) -> npt.NDArray[np.float64]:
        """Return each feature's share of what the splits explain, ndarray of shape (F,), summing to 1 (or all
        0).

        A split explains ``share * p_L * p_R * sum_t (effect_t(L) - effect_t(R))**2``: the part of the
        variance of the tree's predictions that it makes, with the node's share of the tree's weight and its
        children's of the node's. Effects are shrunk, and an honest tree's come from rows that had no say in
        its splits, so a feature does not gain by offering many splits to choose the best from. Without
        honesty some of that optimism stays, most for categories of many levels: look at the permutation
        importance too.
        """
        total = np.zeros(len(self.features))
        for tree in self.trees:
            split = np.flatnonzero(~tree.is_leaf)
            left, right = tree.left_child[split], tree.left_child[split] + 1
            weight = tree.stats[:, :, 1].sum(axis=1).astype(np.float64)
            both = weight[left] + weight[right]
            share = np.divide(weight[left] * weight[right], both, out=np.zeros(split.size), where=both > 0)
            difference = tree.effect[left] - tree.effect[right]
            np.add.at(total, tree.feature[split], share / max(1.0, weight[0]) * (difference**2).sum(axis=1))
        return total / total.sum() if total.sum() > 0 else total


def from_header(
    header: Mapping[str, Any], trees: Sequence[Tree], training: Mapping[str, Any] | None = None
) -> Forest:
    """Return the forest of a `Forest.header` and its trees."""
    features = tuple(
        FeatureBins(
            name=item["name"],
            edges=tuple(float(x) for x in item["edges"]),
            levels=None if item["levels"] is None else tuple(item["levels"]),
            pooled=bool(item["pooled"]),
        )
        for item in header["features"]
    )
    return Forest(
        features=features,
        control=header["control"],
        treatments=tuple(header["treatments"]),
        grid=FixedPoint(**header["grid"]),
        trees=tuple(trees),
        little_bags=bool(header["little_bags"]),
        training=dict(training or {}),
    )
