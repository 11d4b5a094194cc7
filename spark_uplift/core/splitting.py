"""The best split of one node, from its histogram. One kernel serves every strategy, so gains agree to the bit.

Candidates are visited in the order (feature, bin, missing side) and only a strictly better one replaces the best: that
is the tie-break (design E3). Numeric features are cut between bins; categories are first ordered by their shrunk effect
(several arms: by the first principal contrast), which for squared-error-like gains is the only order that needs trying
(Fisher 1958; Breiman et al. 1984, §4.2.2). Missing values are tried on both sides of every cut, and alone against the
rest (Twala et al. 2008, "missing incorporated in attributes").
"""

from __future__ import annotations

import numpy as np

from spark_uplift.core.dtypes import MASK_WORDS, WEIGHTED
from spark_uplift.core.histogram import read_cell
from spark_uplift.core.jit import inlined, kernel

# Pseudo-rows for ordering categories when the user asks for none: without any, a cell without an arm has no rate.
_ORDER_PSEUDO_ROWS = 1.0
_POWER_STEPS = 64
# Weights are rounded to the grid: m equal ones must still count as m effective rows.
_KISH_ROOM = 1.0 - 1e-6

# Positions in a split's integers.
FEATURE, THRESHOLD, MISSING_LEFT, FOUND = range(4)
CATEGORICAL = -1  # the threshold of a split by categories


@inlined
def to_sums(stats, params, out):  # type: ignore[no-untyped-def]
    """Write (w, wy, wyy) in real units of integer ``stats`` [arms, 5] to ``out`` [arms, 3]."""
    for arm in range(stats.shape[0]):
        out[arm, 0] = stats[arm, 1] * params.weight_unit
        out[arm, 1] = stats[arm, 2] * params.wy_unit
        out[arm, 2] = stats[arm, 3] * params.wyy_unit


@inlined
def large_enough(stats, params, times):  # type: ignore[no-untyped-def]
    """Say whether a node holds ``times`` the minimum rows, overall and of every arm, raw and (weighted) effective."""
    total = np.int64(0)
    for arm in range(stats.shape[0]):
        n = stats[arm, 0]
        if n < times * params.min_arm or n < 1:
            return False
        total += n
    if total < times * params.min_node:
        return False
    if params.layout == WEIGHTED:
        for arm in range(stats.shape[0]):
            weight = stats[arm, 1] * params.weight_unit
            if weight <= 0.0:  # rows that weigh nothing don't make an arm
                return False
            least = params.min_arm * (stats[arm, 4] * params.ww_unit) * _KISH_ROOM
            if times == 1 and weight * weight < least:
                return False
    return True


@kernel
def smoothed_means(stats, parent, reference, params, out):  # type: ignore[no-untyped-def]
    """Write a node's smoothed mean outcome per arm to ``out``, float64 of shape (arms,).

    ``n_reg`` pseudo-rows at the parent's means (``reference``), divided over the arms in the parent's own proportions
    (``parent``, int64 [arms, 5]): equal pseudo-counts would pull the rarer arm harder and turn the effect into minus
    the baseline. The root is its own parent, with ``reference`` None-like zeros and no pseudo-rows.
    """
    total = 0.0
    for arm in range(parent.shape[0]):
        total += parent[arm, 1] * params.weight_unit
    for arm in range(stats.shape[0]):
        weight = stats[arm, 1] * params.weight_unit
        pseudo = params.n_reg * (parent[arm, 1] * params.weight_unit) / total if total > 0.0 else 0.0
        if weight + pseudo > 0.0:
            out[arm] = (stats[arm, 2] * params.wy_unit + pseudo * reference[arm]) / (weight + pseudo)
        else:
            out[arm] = reference[arm]


@kernel
def root_means(stats, params, out):  # type: ignore[no-untyped-def]
    """Write the root's mean outcome per arm to ``out``; an arm without rows gets 0 (the root can't be split then)."""
    for arm in range(stats.shape[0]):
        weight = stats[arm, 1] * params.weight_unit
        out[arm] = stats[arm, 2] * params.wy_unit / weight if weight > 0.0 else 0.0


@kernel
def _principal_contrast(effects, weights, used, out):  # type: ignore[no-untyped-def]
    """Project effects [codes, K] on their weighted first principal axis, whose first component is positive."""
    n_codes, k = effects.shape
    total = 0.0
    mean = np.zeros(k)
    for c in range(n_codes):
        if used[c]:
            total += weights[c]
            for t in range(k):
                mean[t] += weights[c] * effects[c, t]
    for t in range(k):
        mean[t] /= total
    spread = np.zeros((k, k))
    for c in range(n_codes):
        if used[c]:
            for t in range(k):
                for u in range(k):
                    spread[t, u] += weights[c] * (effects[c, t] - mean[t]) * (effects[c, u] - mean[u])
    # Power steps start from the widest effect's own column: a vector of ones is orthogonal to the axis when one
    # arm gains where the other loses.
    widest = 0
    for t in range(k):
        if spread[t, t] > spread[widest, widest]:
            widest = t
    axis = spread[widest].copy()
    for _ in range(_POWER_STEPS):
        new = np.zeros(k)
        largest = 0.0
        for t in range(k):
            for u in range(k):
                new[t] += spread[t, u] * axis[u]
            largest = max(largest, abs(new[t]))
        if largest == 0.0:
            break
        for t in range(k):
            axis[t] = new[t] / largest
    sign = 1.0
    for t in range(k):
        if abs(axis[t]) > 1e-9:
            sign = 1.0 if axis[t] > 0.0 else -1.0
            break
    for c in range(n_codes):
        out[c] = 0.0
        for t in range(k):
            out[c] += sign * axis[t] * (effects[c, t] - mean[t])


@kernel
def order_categories(cells, node, reference, params):  # type: ignore[no-untyped-def]
    """Return the codes present in a node, ordered by shrunk effect, ties by code.

    Parameters
    ----------
    cells : ndarray of shape (codes, arms, 5), dtype=int64
        IN. Statistics a code; code 0 (missing) is left out of the order.
    node : ndarray of shape (arms, 5), dtype=int64
        IN. The node's statistics.
    reference : ndarray of shape (arms,), dtype=float64
        IN. The node's smoothed means; an empty cell takes them.
    """
    n_codes, n_arms = cells.shape[0], cells.shape[1]
    effects = np.zeros((n_codes, n_arms - 1))
    weights = np.zeros(n_codes)
    used = np.zeros(n_codes, np.bool_)
    pseudo_rows = max(params.n_reg, _ORDER_PSEUDO_ROWS)
    total = 0.0
    for arm in range(n_arms):
        total += node[arm, 1] * params.weight_unit
    for c in range(1, n_codes):
        control = 0.0
        for arm in range(n_arms):
            used[c] |= cells[c, arm, 0] > 0
            weight = cells[c, arm, 1] * params.weight_unit
            pseudo = pseudo_rows * (node[arm, 1] * params.weight_unit) / total
            mean = (cells[c, arm, 2] * params.wy_unit + pseudo * reference[arm]) / (weight + pseudo)
            weights[c] += weight
            if arm == 0:
                control = mean
            else:
                effects[c, arm - 1] = mean - control
    score = np.zeros(n_codes)
    if n_arms == 2:
        score[:] = effects[:, 0]
    elif weights.sum() > 0.0:
        _principal_contrast(effects, weights, used, score)
    order = np.argsort(score, kind="mergesort")
    return order[used[order]]


@kernel
def _ordered_codes(histogram, base, codes, n_lanes, node, reference, params):  # type: ignore[no-untyped-def]
    """Return `order_categories` of the feature whose cells begin at ``base``."""
    n_arms = node.shape[0]
    cells = np.zeros((codes, n_arms, 5), np.int64)
    for code in range(codes):
        for arm in range(n_arms):
            position = base + (code * n_arms + arm) * n_lanes
            read_cell(histogram, position, params.layout, params.binary, cells[code, arm])
    return order_categories(cells, node, reference, params)


@inlined
def _set_bit(mask, code):  # type: ignore[no-untyped-def]
    mask[code >> 6] |= np.uint64(1) << np.uint64(code & 63)


@kernel
def best_split(  # type: ignore[no-untyped-def]
    histogram, features, feature_offsets, n_codes, categorical, node, reference, params, gain, out, mask, left
):
    """Find the best split of a node.

    Parameters
    ----------
    histogram : ndarray, dtype=int64
        IN. Cells of ``features[j]`` from ``feature_offsets[j]``, in the order [bin, arm, lane].
    features : ndarray of shape (m,), dtype=int64
        IN. Ascending.
    n_codes, categorical : ndarray of shape (F,), dtype=int64 and bool
        IN. Of all features.
    node : ndarray of shape (arms, 5), dtype=int64
        IN. The node's statistics.
    reference : ndarray of shape (arms,), dtype=float64
        IN. The node's smoothed means.
    gain : C callback
        IN. The criterion, see `spark_uplift.criteria.signature`.
    out : ndarray of shape (4,), dtype=int64
        OUT. (feature, threshold code or -1 for categories, missing goes left, found).
    mask : ndarray of shape (4,), dtype=uint64
        OUT. The codes that go left, as bits.
    left : ndarray of shape (arms, 5), dtype=int64
        OUT. Statistics of the left child.

    Returns
    -------
    float
        The gain; 0 when no split is better than none.
    """
    n_arms = node.shape[0]
    n_lanes = 1 if params.layout == 0 else (3 if params.layout == 1 else 5)
    best = 0.0
    out[FOUND] = 0
    node_sums = np.zeros((n_arms, 3))
    to_sums(node, params, node_sums)
    left_sums = np.zeros((n_arms, 3))
    right_sums = np.zeros((n_arms, 3))
    missing = np.zeros((n_arms, 5), np.int64)
    running = np.zeros((n_arms, 5), np.int64)
    side_left = np.zeros((n_arms, 5), np.int64)
    side_right = np.zeros((n_arms, 5), np.int64)
    cell = np.zeros(5, np.int64)
    for j in range(features.shape[0]):
        f = features[j]
        codes = n_codes[f]
        base = feature_offsets[j]
        any_missing = False
        for arm in range(n_arms):
            read_cell(histogram, base + arm * n_lanes, params.layout, params.binary, missing[arm])
            any_missing |= missing[arm, 0] > 0
            for s in range(5):
                running[arm, s] = 0
        if categorical[f]:
            order = _ordered_codes(histogram, base, codes, n_lanes, node, reference, params)
            steps = order.shape[0]
        else:
            order = features  # not looked at
            steps = codes - 1
        improved = -1
        for k in range(steps):
            code = order[k] if categorical[f] else k + 1
            rows = np.int64(0)
            for arm in range(n_arms):
                position = base + (code * n_arms + arm) * n_lanes
                read_cell(histogram, position, params.layout, params.binary, cell)
                rows += cell[0]
                for s in range(5):
                    running[arm, s] += cell[s]
            if rows == 0:
                continue  # the same split as the bin before
            for missing_left in range(2 if any_missing else 1):
                for arm in range(n_arms):
                    for s in range(5):
                        value = running[arm, s] + (missing[arm, s] if missing_left else 0)
                        side_left[arm, s] = value
                        side_right[arm, s] = node[arm, s] - value
                if not (large_enough(side_left, params, 1) and large_enough(side_right, params, 1)):
                    continue
                to_sums(side_left, params, left_sums)
                to_sums(side_right, params, right_sums)
                value = gain(node_sums, left_sums, right_sums, reference, params.n_reg, params.normalization)
                if value > best:
                    best = value
                    improved = k
                    out[FEATURE] = f
                    out[THRESHOLD] = CATEGORICAL if categorical[f] else code
                    out[MISSING_LEFT] = missing_left
                    out[FOUND] = 1
                    for arm in range(n_arms):
                        for s in range(5):
                            left[arm, s] = side_left[arm, s]
        if improved >= 0:
            _write_mask(order, improved, categorical[f], codes, any_missing, node, left, out, mask)
    return best


@kernel
def _write_mask(order, last, is_categorical, codes, any_missing, node, left, out, mask):  # type: ignore[no-untyped-def]
    """Write the set of codes that go left. Codes the node has not seen go where most of its rows go."""
    rows_left = np.int64(0)
    rows = np.int64(0)
    for arm in range(node.shape[0]):
        rows_left += left[arm, 0]
        rows += node[arm, 0]
    unseen_left = 2 * rows_left >= rows
    for word in range(MASK_WORDS):
        mask[word] = np.uint64(0)
    if not any_missing:
        out[MISSING_LEFT] = 1 if unseen_left else 0
    if out[MISSING_LEFT]:
        _set_bit(mask, 0)
    if not is_categorical:
        for code in range(1, out[THRESHOLD] + 1):
            _set_bit(mask, code)
        return
    seen = np.zeros(codes, np.bool_)
    for k in range(order.shape[0]):
        seen[order[k]] = True
        if k <= last:
            _set_bit(mask, order[k])
    if unseen_left:
        for code in range(1, codes):
            if not seen[code]:
                _set_bit(mask, code)
