"""Compiled parts of policy trees: adding rows to pair histograms, and the exact search over them.

A histogram cell holds S = K + A whole numbers: for each of K treatments the sum of its net reward over control's, then
the rows of each of A counted arms (A is 1 where arms are not told apart). Cells of one feature alone ("singles") come
first, then those of each pair i < j at ``[code of i, code of j]``.
"""

from __future__ import annotations

import numpy as np

from spark_uplift.core.jit import inlined, kernel

__all__ = ["add_rows", "best_pair", "best_single", "list_orders", "route"]


_BLOCK = 8192


@kernel
def route(codes, feature, left, out):  # type: ignore[no-untyped-def]
    """Write the heap index of the node that each row has come to.

    Parameters
    ----------
    codes : ndarray of shape (n, F), dtype=uint8
        IN
    feature : ndarray of shape (H,), dtype=int64
        Feature that a heap index splits on, -1 for none. IN
    left : ndarray of shape (H, 256), dtype=bool
        Codes that go left. IN
    out : ndarray of shape (n,), dtype=int64
        OUT
    """
    for r in range(codes.shape[0]):
        node = 1
        while feature[node] >= 0:
            node = 2 * node + (0 if left[node, codes[r, feature[node]]] else 1)
        out[r] = node


@kernel
def add_rows(codes, slot, arm, gains, pairs, offsets, widths, stride, cells):  # type: ignore[no-untyped-def]
    """Add rows to the histograms of their nodes.

    Parameters
    ----------
    codes : ndarray of shape (F, n), dtype=uint8
        A row a feature. IN
    slot : ndarray of shape (n,), dtype=int64
        Open node of the row, -1 for none. IN
    arm : ndarray of shape (n,), dtype=int64
        Counted arm of the row. IN
    gains : ndarray of shape (n, K), dtype=int64
        Net reward of each treatment over control's, weighted, on the grid. IN
    pairs : ndarray of shape (P, 2), dtype=int64
        Features of each histogram; the second is -1 for a single one. IN
    offsets, widths : ndarray of shape (P,), dtype=int64
        Where a histogram begins, and codes of its second feature. IN
    stride : int
        Cells of a node.
    cells : ndarray of shape (slots * stride, K + A), dtype=int64
        IN and OUT
    """
    n_gains = gains.shape[1]
    # One histogram after the other: it then stays in the first caches, which all of them together would not.
    for first in range(0, slot.shape[0], _BLOCK):
        last = min(first + _BLOCK, slot.shape[0])
        for p in range(pairs.shape[0]):
            one, two = pairs[p, 0], pairs[p, 1]
            for r in range(first, last):
                if slot[r] < 0:
                    continue
                place = slot[r] * stride + offsets[p] + np.int64(codes[one, r]) * widths[p]
                if two >= 0:
                    place += np.int64(codes[two, r])
                for k in range(n_gains):
                    cells[place, k] += gains[r, k]
                cells[place, n_gains + arm[r]] += 1


@inlined
def _best_arm(sums, n_gains):  # type: ignore[no-untyped-def]
    """Return what the best arm is worth over control; control itself is worth 0."""
    best = np.int64(0)
    for k in range(n_gains):
        best = max(best, sums[k])
    return best


@inlined
def _enough(sums, n_gains, min_node, min_arm):  # type: ignore[no-untyped-def]
    """Say whether a node has rows enough, in all and of each counted arm."""
    rows = np.int64(0)
    for a in range(n_gains, sums.shape[0]):
        if sums[a] < min_arm:
            return False
        rows += sums[a]
    return rows >= min_node


@inlined
def _rows(sums, n_gains):  # type: ignore[no-untyped-def]
    rows = np.int64(0)
    for a in range(n_gains, sums.shape[0]):
        rows += sums[a]
    return rows


@kernel
def list_orders(table, n_codes, categorical, n_gains, orders, lengths, prefixes):  # type: ignore[no-untyped-def]
    """Write the orders of codes whose beginnings are tried as left sides; return how many there are.

    Numbers: in their order with missing values last, then (if there are any) first. Categories, of which "missing" is
    one: for each pair of arms by their mean contrast, largest first, equal ones by code; then each code alone. Codes
    without rows are left out of these. ``lengths`` is the number of codes in an order, ``prefixes`` how many of its
    beginnings are tried.
    """
    count = 0
    if not categorical:
        given = n_codes - 1
        for c in range(given):
            orders[0, c] = c + 1
        orders[0, given] = 0
        lengths[0], prefixes[0] = n_codes, given
        if _rows(table[0], n_gains) > 0:
            for c in range(n_codes):
                orders[1, c] = c
            lengths[1], prefixes[1] = n_codes, n_codes - 1
            return 2
        return 1
    mean = np.empty(n_codes)
    for a in range(-1, n_gains):
        for b in range(a + 1, n_gains):
            size = 0
            for c in range(n_codes):
                rows = _rows(table[c], n_gains)
                if rows == 0:
                    continue
                contrast = table[c, b] - (table[c, a] if a >= 0 else np.int64(0))
                mean[c] = contrast / rows
                at = size
                while at > 0 and mean[orders[count, at - 1]] < mean[c]:
                    orders[count, at] = orders[count, at - 1]
                    at -= 1
                orders[count, at] = c
                size += 1
            lengths[count], prefixes[count] = size, size - 1
            count += 1
    for c in range(n_codes):
        if _rows(table[c], n_gains) > 0:
            orders[count, 0] = c
            lengths[count], prefixes[count] = 1, 1
            count += 1
    return count


@kernel
def best_single(table, n_codes, categorical, n_gains, min_node, min_arm, scratch):  # type: ignore[no-untyped-def]
    """Return (value, order, prefix) of the best split of a node by one feature; order -1 when none is allowed.

    Parameters
    ----------
    table : ndarray of shape (>= n_codes, S), dtype=int64
        The feature's cells in this node. IN
    scratch : tuple
        From `spark_uplift.policy.tree_search._scratch`. OUT
    """
    orders, lengths, prefixes, left, right, total = scratch
    size = table.shape[1]
    total[:] = 0
    for c in range(n_codes):
        for s in range(size):
            total[s] += table[c, s]
    best, best_order, best_prefix = np.int64(-(2**63)), -1, -1
    if _rows(total, n_gains) < 2 * min_node:
        return best, best_order, best_prefix
    count = list_orders(table, n_codes, categorical, n_gains, orders, lengths, prefixes)
    for o in range(count):
        left[:] = 0
        for p in range(prefixes[o]):
            code = orders[o, p]
            if _rows(table[code], n_gains) == 0:
                continue
            for s in range(size):
                left[s] += table[code, s]
                right[s] = total[s] - left[s]
            if not categorical and o == 1 and p == 0:
                continue  # missing against given is the last prefix of the first order
            value = _best_arm(left, n_gains) + _best_arm(right, n_gains)
            if value <= best or not _enough(left, n_gains, min_node, min_arm):
                continue
            if _enough(right, n_gains, min_node, min_arm):
                best, best_order, best_prefix = value, o, p
    return best, best_order, best_prefix


@kernel
def _below(tables, total, n_codes, categorical, n_gains, min_node, min_arm, price, scratch):  # type: ignore[no-untyped-def]
    """Return what a node is worth at best as a leaf or after one split."""
    worth = _best_arm(total, n_gains)
    if _rows(total, n_gains) < 2 * min_node:
        return worth
    for f in range(n_codes.shape[0]):
        value, order, _ = best_single(
            tables[f], n_codes[f], categorical[f], n_gains, min_node, min_arm, scratch
        )
        if order >= 0:
            worth = max(worth, value - price)
    return worth


@kernel
def best_pair(cells, singles, pair_at, n_codes, categorical, n_gains, min_node, min_arm, price, outer, inner):  # type: ignore[no-untyped-def]
    """Return (value, feature, order, prefix) of the first split of a node's best tree of depth 2; feature -1 for none.

    Every first split is completed by the best second splits of both sides, over all features, so the search is exact.
    A second split must be worth more than ``price``; the value has all prices of splits taken off.

    Parameters
    ----------
    cells : ndarray of shape (stride, S), dtype=int64
        The node's histograms. IN
    singles : ndarray of shape (F,), dtype=int64
        Where each feature's own cells begin. IN
    pair_at : ndarray of shape (F, F), dtype=int64
        Where the cells of a pair begin; the same for (i, j) and (j, i). IN
    outer, inner : tuple
        From `spark_uplift.policy.tree_search._scratch`. OUT
    """
    n_features, size, widest = n_codes.shape[0], cells.shape[1], n_codes.max()
    orders, lengths, prefixes, left, right, total = outer
    whole = np.zeros((n_features, widest, size), np.int64)
    lefts, rights = np.zeros_like(whole), np.zeros_like(whole)
    total[:] = 0
    for f in range(n_features):
        for c in range(n_codes[f]):
            for s in range(size):
                whole[f, c, s] = cells[singles[f] + c, s]
    for c in range(n_codes[0]):
        for s in range(size):
            total[s] += whole[0, c, s]
    best, best_feature, best_order, best_prefix = np.int64(-(2**63)), -1, -1, -1
    for f in range(n_features):
        count = list_orders(whole[f], n_codes[f], categorical[f], n_gains, orders, lengths, prefixes)
        for o in range(count):
            lefts[:] = 0
            left[:] = 0
            for p in range(prefixes[o]):
                code = orders[o, p]
                if _rows(whole[f, code], n_gains) == 0:
                    continue
                for s in range(size):
                    left[s] += whole[f, code, s]
                    right[s] = total[s] - left[s]
                for g in range(n_features):
                    for c in range(n_codes[g]):
                        if g == f:
                            place = singles[f] + c
                            if c != code:
                                continue
                        elif f < g:
                            place = pair_at[f, g] + code * n_codes[g] + c
                        else:
                            place = pair_at[f, g] + c * n_codes[f] + code
                        for s in range(size):
                            lefts[g, c, s] += cells[place, s]
                if not categorical[f] and o == 1 and p == 0:
                    continue
                if not _enough(left, n_gains, min_node, min_arm):
                    continue
                if not _enough(right, n_gains, min_node, min_arm):
                    continue
                for g in range(n_features):
                    for c in range(n_codes[g]):
                        for s in range(size):
                            rights[g, c, s] = whole[g, c, s] - lefts[g, c, s]
                value = -price
                value += _below(lefts, left, n_codes, categorical, n_gains, min_node, min_arm, price, inner)
                value += _below(rights, right, n_codes, categorical, n_gains, min_node, min_arm, price, inner)
                if value > best:
                    best, best_feature, best_order, best_prefix = value, f, o, p
    return best, best_feature, best_order, best_prefix
