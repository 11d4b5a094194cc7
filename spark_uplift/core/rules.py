"""Splits in words."""

from __future__ import annotations

from collections.abc import Collection

from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.tree import Tree


def threshold_value(bins: FeatureBins, code: int) -> float | None:
    """Return the number that values of codes up to ``code`` do not exceed; None when every number is meant."""
    return bins.edges[code - 1] if 0 < code <= len(bins.edges) else None


def left_codes(bins: FeatureBins, tree: Tree, node: int) -> set[int]:
    """Return the codes that a node sends to the left."""
    if bins.categorical:
        mask = tree.mask[node]
        return {code for code in range(bins.n_codes) if int(mask[code >> 6]) >> (code & 63) & 1}
    below = set(range(1, min(int(tree.threshold[node]), bins.n_codes - 1) + 1))
    return below | {0} if bool(tree.missing_left[node]) else below


def left_levels(bins: FeatureBins, tree: Tree, node: int) -> list[str]:
    """Return the labels of the categories that go left, "missing" left out."""
    return [_label(bins, code) for code in sorted(left_codes(bins, tree, node) - {0})]


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
    codes = left_codes(bins, tree, node)
    side = codes if left else set(range(bins.n_codes)) - codes
    return _words(bins, side, says_missing) or f"any {bins.name}"


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
    """Return a leaf's rule: one condition for each feature on its path, in the order of their first splits.

    Parameters
    ----------
    path : list of (int, bool)
        From `leaf_paths`.
    missing : collection of str
        Features that had missing values in training.
    """
    allowed: dict[int, set[int]] = {}
    for node, left in path:
        feature = int(tree.feature[node])
        codes = set(range(features[feature].n_codes))
        sent_left = left_codes(features[feature], tree, node)
        side = sent_left if left else codes - sent_left
        allowed[feature] = allowed.get(feature, codes) & side
    parts = [_words(features[j], codes, features[j].name in missing) for j, codes in allowed.items()]
    return " and ".join(part for part in parts if part) or "everybody"


def _words(bins: FeatureBins, codes: set[int], says_missing: bool) -> str:
    """Return a set of codes in words; nothing when they are all there are."""
    given = sorted(codes - {0})
    if not given:
        return f"{bins.name} is missing"
    open_ended = len(given) == bins.n_codes - 1
    if open_ended:
        return "" if 0 in codes or not says_missing else f"{bins.name} is given"
    text = _level_words(bins, given) if bins.categorical else _number_words(bins, given[0], given[-1])
    return f"{text} or missing" if says_missing and 0 in codes else text


def _level_words(bins: FeatureBins, codes: list[int]) -> str:
    labels = [_label(bins, code) for code in codes]
    return f"{bins.name} is {labels[0]}" if len(labels) == 1 else f"{bins.name} in ({', '.join(labels)})"


def _number_words(bins: FeatureBins, first: int, last: int) -> str:
    low, high = threshold_value(bins, first - 1), threshold_value(bins, last)
    if low is None or high is None:
        return f"{bins.name} > {_shown(low)}" if high is None else f"{bins.name} <= {_shown(high)}"
    return f"{_shown(low)} < {bins.name} <= {_shown(high)}"


def _shown(value: float | None) -> str:
    # Six digits read well, but a day written as 20260131 must not turn into 2.0260e+07.
    return "" if value is None else f"{value:.10g}" if abs(value) >= 1e6 else f"{value:.6g}"


def _label(bins: FeatureBins, code: int) -> str:
    """Return a level; the pooled rare ones are "other", or "any other" where a level is called so."""
    label = bins.label(code)
    return "any other" if label in (bins.levels or ()) and code > len(bins.levels or ()) else label
