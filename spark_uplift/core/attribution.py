"""Why a unit has its predicted effect: exact Shapley values of the features, path-dependent TreeSHAP.

The game is that of Lundberg, Erion & Lee 2018 (*Consistent individualized feature attribution for tree ensembles*):
v(S) is what their Algorithm 1 expects of a tree when only the features in S are known. A split on a known feature is
followed; at any other both children count, with the shares of training rows that went there. The values returned are
those of their Algorithm 2, found leaf by leaf.

For one leaf let z_j be the product of the row shares along its path at the splits on feature j, and o_j whether the
unit goes the path's way at all of them. Then v(S) = effect * prod_{j in S} o_j * prod_{j not in S} z_j, and the Shapley
value of feature i is (Owen 1972, *Multilinear extensions of games*)

    phi_i = effect * (o_i - z_i) * integral over t from 0 to 1 of prod_{j != i} (t o_j + (1 - t) z_j).

The integrand is a polynomial of degree d - 1 where d features lie on the path, so Gauss-Legendre quadrature with
d / 2 points is exact. All its terms are positive: nothing cancels and nothing is divided by a share that may be 0
(the estimation half of an honest tree may leave a node empty), unlike when Algorithm 2 takes features out again.

The integral depends on a unit only through (o_1 .. o_d). A block of units meets few such patterns at a leaf, so each is
integrated once a block: about 20 ns a unit and leaf, 0.1 ms a unit for 100 trees of 64 leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import MASK_WORDS
from spark_uplift.core.forest import Forest
from spark_uplift.core.jit import kernel
from spark_uplift.core.prediction import PackedForest

_BLOCK = 4096
_PATTERN_BITS = 10
"""Paths of up to this many features have their patterns' integrals kept within a block: 2**10 * 10 doubles."""


@dataclass(frozen=True)
class LeafPaths:
    """Every leaf of a forest with the features on the way to it.

    Attributes
    ----------
    starts : ndarray of shape (leaves + 1,), dtype=int64
        First entry of each leaf; a leaf has one entry a different feature on its path.
    features : ndarray of shape (entries,), dtype=int64
    shares : ndarray of shape (entries,), dtype=float64
        z_j: the share of rows that the splits on the feature let pass.
    masks : ndarray of shape (entries, 4), dtype=uint64
        The codes that pass all splits on the feature.
    effects : ndarray of shape (leaves, K), dtype=float64
        Effect of the leaf divided by the number of trees: the sum of a unit's leaves is its prediction.
    points, weights : ndarray of shape (depth + 1, depth / 2 + 1), dtype=float64
        Row d: the quadrature for d features.
    """

    starts: npt.NDArray[np.int64]
    features: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]
    masks: npt.NDArray[np.uint64]
    effects: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]


def cover(forest: Forest) -> npt.NDArray[np.int64]:
    """Return the training rows of every node, ndarray of shape (nodes,), dtype=int64, in the order of `Forest.packed`.

    Raw rows of the bag (of its estimation half when honest), whatever their weights.
    """
    return np.concatenate([tree.stats[:, :, 0].sum(axis=1) for tree in forest.trees])


@kernel
def _climb(child, feature, masks, rows, leaf_depth, starts, features, shares, passes):  # type: ignore[no-untyped-def]
    """Write the entries of every leaf (all OUT but the first five); return how many there are.

    ``child`` and ``feature`` are -1 for a leaf; children come after their parents.
    """
    nodes = child.shape[0]
    parent = np.full(nodes, -1, np.int64)
    leaf = 0
    end = 0
    for node in range(nodes):
        if child[node] >= 0:
            parent[child[node]] = node
            parent[child[node] + 1] = node
            continue
        starts[leaf] = end
        leaf += 1
        below, above = node, parent[node]
        while above >= 0:
            at = starts[leaf - 1]
            while at < end and features[at] != feature[above]:
                at += 1
            if at == end:
                features[at] = feature[above]
                shares[at] = 1.0
                passes[at] = ~np.uint64(0)
                end += 1
            left = below == child[above]
            for word in range(masks.shape[1]):
                passes[at, word] &= masks[above, word] if left else ~masks[above, word]
            # No rows at all, in an honest tree: any share will do, the leaf's effect is then its ancestor's.
            shares[at] *= rows[below] / rows[above] if rows[above] > 0 else 0.5
            below, above = above, parent[above]
        leaf_depth[leaf - 1] = end - starts[leaf - 1]
    starts[leaf] = end
    return end


def leaf_paths(forest: PackedForest, rows: npt.NDArray[np.int64]) -> LeafPaths:
    """Return the paths to all leaves.

    Parameters
    ----------
    forest : PackedForest
    rows : ndarray of shape (nodes,), dtype=int64
        From `cover`.
    """
    child = (forest.nodes >> np.uint64(32)).astype(np.int64)
    leaf = child == np.arange(child.size)
    child = np.where(leaf, -1, child)
    feature = np.where(leaf, -1, (forest.nodes >> np.uint64(16)).astype(np.int64) & 0xFFFF)
    leaves = int(leaf.sum())
    room = leaves * int(forest.depths.max(initial=0)) + 1
    starts = np.zeros(leaves + 1, np.int64)
    depths = np.zeros(leaves, np.int64)
    features, shares = np.full(room, -1, np.int64), np.zeros(room)
    passes = np.zeros((room, MASK_WORDS), np.uint64)
    end = _climb(child, feature, forest.masks, rows, depths, starts, features, shares, passes)
    points, weights = _quadrature(int(depths.max(initial=0)))
    return LeafPaths(
        starts=starts,
        features=features[:end].copy(),
        shares=shares[:end].copy(),
        masks=passes[:end].copy(),
        effects=forest.effects[leaf] / forest.n_trees,
        points=points,
        weights=weights,
    )


def _quadrature(largest: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Gauss-Legendre points and weights on [0, 1], row d exact for polynomials of degree d - 1."""
    points = np.zeros((largest + 1, largest // 2 + 1))
    weights = np.zeros_like(points)
    for d in range(1, largest + 1):
        count = (d + 1) // 2
        x, w = np.polynomial.legendre.leggauss(count)
        points[d, :count] = (x + 1.0) / 2.0
        weights[d, :count] = w / 2.0
    return points, weights


@kernel
def _integrate(pattern, shares, points, weights, ahead, out):  # type: ignore[no-untyped-def]
    """Write (o_i - z_i) times the integral for every feature of a path to ``out`` (OUT).

    Bit i of ``pattern`` is o_i. ``ahead`` is scratch of the same length and one more.
    """
    d = shares.shape[0]
    for i in range(d):
        out[i] = 0.0
    for q in range((d + 1) // 2):
        t = points[q]
        ahead[d] = 1.0
        for i in range(d - 1, -1, -1):
            ahead[i] = ahead[i + 1] * (t * ((pattern >> i) & 1) + (1.0 - t) * shares[i])
        before = weights[q]
        for i in range(d):
            out[i] += before * ahead[i + 1]
            before *= t * ((pattern >> i) & 1) + (1.0 - t) * shares[i]
    for i in range(d):
        out[i] *= ((pattern >> i) & 1) - shares[i]


@kernel
def _contributions(codes, starts, features, shares, masks, effects, points, weights, values):  # type: ignore[no-untyped-def]
    """Add the contributions to ``values``, float64 of shape (n, F, K), OUT."""
    k = effects.shape[1]
    widest = points.shape[0] - 1
    known = np.zeros((1 << min(widest, _PATTERN_BITS), max(1, widest)))
    seen = np.full(known.shape[0], -1, np.int64)  # the leaf that a pattern's integrals were kept for
    ahead = np.zeros(widest + 1)
    for first in range(0, codes.shape[0], _BLOCK):
        last = min(first + _BLOCK, codes.shape[0])
        seen[:] = -1
        for leaf in range(effects.shape[0]):
            start, d = starts[leaf], starts[leaf + 1] - starts[leaf]
            keeps = d <= _PATTERN_BITS
            for r in range(first, last):
                pattern = np.int64(0)
                for i in range(d):
                    code = codes[r, features[start + i]]
                    bit = (masks[start + i, code >> 6] >> np.uint64(code & 63)) & np.uint64(1)
                    pattern |= np.int64(bit) << i
                slot = pattern if keeps else 0
                if not keeps or seen[slot] != leaf:
                    seen[slot] = leaf
                    _integrate(
                        pattern, shares[start : start + d], points[d], weights[d], ahead[: d + 1], known[slot]
                    )
                for i in range(d):
                    for t in range(k):
                        values[r, features[start + i], t] += known[slot, i] * effects[leaf, t]


def base_of(paths: LeafPaths) -> npt.NDArray[np.float64]:
    """Return the prediction when no feature is known, ndarray of shape (K,), in the outcome's unit."""
    sizes = np.diff(paths.starts)
    share = np.ones(sizes.size)
    given = sizes > 0
    if given.any():
        share[given] = np.multiply.reduceat(paths.shares, paths.starts[:-1][given])
    return share @ paths.effects


def contributions_of(paths: LeafPaths, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the contributions, ndarray of shape (n, F, K), dtype=float64, in the outcome's unit.

    Parameters
    ----------
    paths : LeafPaths
    codes : ndarray of shape (n, F), dtype=uint8
    """
    values = np.zeros((codes.shape[0], codes.shape[1], paths.effects.shape[1]))
    _contributions(
        codes, paths.starts, paths.features, paths.shares, paths.masks, paths.effects, paths.points, paths.weights,
        values,
    )  # fmt: skip
    return values


def contributions(
    forest: Forest, codes: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Divide every prediction among the features.

    Parameters
    ----------
    codes : ndarray of shape (n, F), dtype=uint8

    Returns
    -------
    base : ndarray of shape (K,), dtype=float64
        Mean prediction over the training rows of each tree's bag, in the outcome's unit.
    values : ndarray of shape (n, F, K), dtype=float64
        What knowing the feature's value adds to it: ``base + values.sum(axis=1) == forest.predict(codes)``, but for
        rounding.
    """
    paths = leaf_paths(forest.packed, cover(forest))
    return base_of(paths), contributions_of(paths, codes)
