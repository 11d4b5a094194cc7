"""Splits in words."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.tree import Tree


def threshold_value(bins: FeatureBins, code: int) -> float | None:
    """Return the number that values of codes up to ``code`` do not exceed; None when every number is meant."""
    return bins.edges[code - 1] if 0 < code <= len(bins.edges) else None


def left_levels(bins: FeatureBins, mask: np.ndarray) -> list[str]:  # type: ignore[type-arg]
    """Return the labels of the categories that go left, "missing" left out."""
    return [bins.label(code) for code in range(1, bins.n_codes) if int(mask[code >> 6]) >> (code & 63) & 1]


def condition(bins: FeatureBins, tree: Tree, node: int, left: bool, says_missing: bool) -> str:
    """Return the condition under which a row goes to one side of a node.

    Parameters
    ----------
    bins : FeatureBins
        Of the node's feature.
    left : bool
        The left side, or the right.
    says_missing : bool
        Whether to say where missing values go (worth it when training saw some).
    """
    with_missing = says_missing and bool(tree.missing_left[node]) == left
    if bins.categorical:
        chosen = set(left_levels(bins, tree.mask[node]))
        labels = [bins.label(code) for code in range(1, bins.n_codes)]
        here = [label for label in labels if (label in chosen) == left]
        if not here:
            return f"{bins.name} is missing"
        text = f"{bins.name} is {here[0]}" if len(here) == 1 else f"{bins.name} in ({', '.join(here)})"
    else:
        value = threshold_value(bins, int(tree.threshold[node]))
        if value is None:
            return f"{bins.name} is {'given' if left != bool(tree.missing_left[node]) else 'missing'}"
        text = f"{bins.name} {'<=' if left else '>'} {value:.6g}"
    return f"{text} or missing" if with_missing else text


def leaf_paths(tree: Tree) -> dict[int, list[tuple[int, bool]]]:
    """Return for each leaf's row its path from the root: (row of the node, went left)."""
    paths: dict[int, list[tuple[int, bool]]] = {0: []}
    leaves = {}
    for node in range(tree.n_nodes):
        path = paths.pop(node)
        child = int(tree.left_child[node])
        if child < 0:
            leaves[node] = path
            continue
        paths[child] = [*path, (node, True)]
        paths[child + 1] = [*path, (node, False)]
    return leaves


def path_rule(
    features: tuple[FeatureBins, ...], tree: Tree, path: list[tuple[int, bool]], missing: Collection[str]
) -> str:
    """Return a leaf's rule: the conditions of its path, numeric ones of the same feature drawn together.

    Parameters
    ----------
    path : list of (int, bool)
        From `leaf_paths`.
    missing : collection of str
        Features that had missing values in training.
    """
    if not path:
        return "everybody"
    last: dict[tuple[int, bool, bool], int] = {}
    for position, (node, left) in enumerate(path):
        feature = int(tree.feature[node])
        numeric = not features[feature].categorical
        # Along a path a later cut of a number on the same side is the tighter one.
        key = (feature, left, True) if numeric else (feature, left, False)
        if numeric and threshold_value(features[feature], int(tree.threshold[node])) is not None:
            last[key] = position
        else:
            last[(feature, left, False)] = position
    parts = []
    for position in sorted(last.values()):
        node, left = path[position]
        bins = features[int(tree.feature[node])]
        parts.append(condition(bins, tree, node, left, bins.name in missing))
    return " and ".join(parts)
