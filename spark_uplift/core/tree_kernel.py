"""Growing one tree over rows in memory, in one fused kernel (strategy ``tree_parallel``).

ALGORITHM
    The bag's rows are copied as records (see `records`) into the tree's own memory. Nodes are grown depth-first. A node
    is a run of records; splitting swaps them in place so that each child is a run again (without a branch: which way a
    row goes can't be predicted). With all features at every node only the smaller child is counted and its sibling is
    the parent minus it (exact: integers). With a feature subset each node counts its own features.

COST
    per row and level: one record moved (16 bytes for 12 features), and half (all features) or one (a subset) histogram
    update a feature. Memory: a copy of the bag, and (depth + 2) histograms.

The same rows counted by `histogram.add_rows` and split by `splitting.best_split` level by level give the same tree:
sums are integers and a node's randomness depends only on its path.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import PACKED
from spark_uplift.core.histogram import read_cell
from spark_uplift.core.jit import inlined, kernel
from spark_uplift.core.records import CODES_AT, code_words
from spark_uplift.core.sampling import choose_features, copies, draw
from spark_uplift.core.splitting import (
    FEATURE,
    FOUND,
    MISSING_LEFT,
    THRESHOLD,
    best_split,
    large_enough,
    root_means,
    smoothed_means,
)

# Which units a pass takes: all, the half that shapes an honest tree, or the half that fills its leaves.
ALL, SHAPE, ESTIMATE = 0, 1, 2

ROOT = 1  # heap index; the children of node i are 2i and 2i + 1

# Columns of a tree's integer array.
HEAP, DEPTH, NODE_FEATURE, NODE_THRESHOLD, NODE_MISSING_LEFT, LEFT_CHILD = range(6)
NODE_INTS = 6


@inlined
def takes(half, half_key, unit):  # type: ignore[no-untyped-def]
    """Say whether a unit belongs to the wanted half."""
    if half == 0:
        return True
    shape = (draw(half_key, unit) >> np.uint64(63)) == np.uint64(0)
    return shape if half == 1 else not shape


@inlined
def row_copies(unit, bag_key, thresholds, group_key, grouped, half_key, half):  # type: ignore[no-untyped-def]
    """Return how often a unit enters the tree (its half of the little bag, its half of the honest tree, its count)."""
    if grouped and (draw(group_key, unit) >> np.uint64(63)) != np.uint64(0):
        return 0
    if not takes(half, half_key, unit):
        return 0
    return copies(draw(bag_key, unit), thresholds)


@kernel
def fill_bag(words, units, bag_key, thresholds, group_key, grouped, half_key, half, layout, code_words, bag):  # type: ignore[no-untyped-def]
    """Copy the bag's records to ``bag`` (OUT), their lanes multiplied by their copies.

    Return how many records there are, and how many copies of rows they stand for.
    """
    n_words = words.shape[1]
    m = 0
    total = np.int64(0)
    for i in range(words.shape[0]):
        count = row_copies(units[i], bag_key, thresholds, group_key, grouped, half_key, half)
        for k in range(n_words):
            bag[m, k] = words[i, k]
        # byte 1 holds the copies; a block has 1 there
        bag[m, 0] = (bag[m, 0] & ~np.uint64(0xFF00)) | (np.uint64(count) << np.uint64(8))
        if layout != PACKED:
            for k in range(code_words, n_words):
                bag[m, k] = np.uint64(np.int64(words[i, k]) * np.int64(count))
        m += count > 0
        total += count
    return m, total


@inlined
def _packed_value(word):  # type: ignore[no-untyped-def]
    """Return n + (y << 32) of a PACKED record, its copies counted in."""
    count = np.int64((word >> np.uint64(8)) & np.uint64(0xFF))
    outcome = np.int64(np.int16((word >> np.uint64(16)) & np.uint64(0xFFFF)))
    return count + ((count * outcome) << 32)


@kernel
def count_run(words, octets, start, end, features, offsets, n_arms, layout, code_words, histogram):  # type: ignore[no-untyped-def]
    """Add the records ``start .. end`` to a histogram (OUT). ``octets`` is the byte view of ``words``."""
    m = features.shape[0]
    if layout == PACKED:
        for i in range(start, end):
            word = words[i, 0]
            value = _packed_value(word)
            arm = np.int64(word & np.uint64(0xFF))
            for j in range(m):
                histogram[offsets[j] + np.int64(octets[i, CODES_AT + features[j]]) * n_arms + arm] += value
        return
    n_lanes = words.shape[1] - code_words
    for i in range(start, end):
        arm = np.int64(octets[i, 0])
        for j in range(m):
            cell = offsets[j] + (np.int64(octets[i, CODES_AT + features[j]]) * n_arms + arm) * n_lanes
            for lane in range(n_lanes):
                histogram[cell + lane] += np.int64(words[i, code_words + lane])


@kernel
def sum_run(words, octets, start, end, layout, binary, code_words, stats):  # type: ignore[no-untyped-def]
    """Write the statistics of the records ``start .. end`` to ``stats``, int64 of shape (arms, 5), OUT."""
    n_lanes = 1 if layout == PACKED else words.shape[1] - code_words
    sums = np.zeros((stats.shape[0], n_lanes), np.int64)
    for i in range(start, end):
        arm = np.int64(octets[i, 0])
        if layout == PACKED:
            sums[arm, 0] += _packed_value(words[i, 0])
        else:
            for lane in range(n_lanes):
                sums[arm, lane] += np.int64(words[i, code_words + lane])
    for a in range(stats.shape[0]):
        read_cell(sums[a], 0, layout, binary, stats[a])


def block_sums(
    words: npt.NDArray[np.uint64], n_features: int, n_arms: int, layout: int, binary: bool
) -> npt.NDArray[np.int64]:
    """Return the statistics of all records, ndarray of shape (arms, 5), dtype=int64."""
    stats = np.zeros((n_arms, 5), np.int64)
    sum_run(words, words.view(np.uint8), 0, len(words), layout, int(binary), code_words(n_features), stats)
    return stats


@kernel
def split_run(words, octets, start, end, feature, mask, goes_left):  # type: ignore[no-untyped-def]
    """Swap records so that those that go left come first; return where the right ones begin.

    ``goes_left`` is a scratch table, uint8 of shape (256,): one look-up a row instead of a shift and a mask.
    """
    for code in range(256):
        goes_left[code] = (mask[code >> 6] >> np.uint64(code & 63)) & np.uint64(1)
    at = CODES_AT + feature
    n_words = words.shape[1]
    border = start
    if n_words == 2:  # up to 12 features of a whole-number outcome: worth its own loop
        for i in range(start, end):
            left = goes_left[octets[i, at]]
            a, b = words[i, 0], words[i, 1]
            words[i, 0], words[i, 1] = words[border, 0], words[border, 1]
            words[border, 0], words[border, 1] = a, b
            border += left
        return border
    for i in range(start, end):
        left = goes_left[octets[i, at]]
        for k in range(n_words):
            swap = words[i, k]
            words[i, k] = words[border, k]
            words[border, k] = swap
        border += left
    return border


@inlined
def _lay_out(features, wanted, n_codes, cell, offsets):  # type: ignore[no-untyped-def]
    """Write where each chosen feature's cells begin to ``offsets`` (OUT); return the histogram's length."""
    length = np.int64(0)
    for j in range(wanted):
        offsets[j] = length
        length += n_codes[features[j]] * cell
    return length


@inlined
def _add_leaf(row, heap, depth, ints, gains):  # type: ignore[no-untyped-def]
    """Make a row of the tree's arrays (OUT) a leaf."""
    ints[row, HEAP], ints[row, DEPTH] = heap, depth
    ints[row, NODE_FEATURE], ints[row, NODE_THRESHOLD], ints[row, NODE_MISSING_LEFT] = -1, 0, 0
    ints[row, LEFT_CHILD] = -1
    gains[row] = 0.0


@inlined
def _add_children(node, child, out, left_stats, params, ints, gains, stats, references):  # type: ignore[no-untyped-def]
    """Turn the leaf ``node`` into a split with two new leaves from row ``child`` (OUT: the tree's arrays)."""
    ints[node, NODE_FEATURE] = out[FEATURE]
    ints[node, NODE_THRESHOLD] = out[THRESHOLD]
    ints[node, NODE_MISSING_LEFT] = out[MISSING_LEFT]
    ints[node, LEFT_CHILD] = child
    for side in range(2):
        row = child + side
        _add_leaf(row, 2 * ints[node, HEAP] + side, ints[node, DEPTH] + 1, ints, gains)
        for arm in range(stats.shape[1]):
            for s in range(5):
                left = left_stats[arm, s]
                stats[row, arm, s] = left if side == 0 else stats[node, arm, s] - left
        smoothed_means(stats[row], stats[node], references[node], params, references[row])


@inlined
def _push(stack, top, node, start, end, slot):  # type: ignore[no-untyped-def]
    """Put a node to be split on the stack (OUT): its row, its records, its histogram's slot or -1; return the top."""
    stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = node, start, end, slot
    return top + 1


@inlined
def _largest_histogram(n_codes, cell, whole, wanted):  # type: ignore[no-untyped-def]
    """Return the length of the longest histogram that a node can need."""
    total, widest = np.int64(0), np.int64(0)
    for f in range(n_codes.shape[0]):
        total += n_codes[f] * cell
        widest = max(widest, n_codes[f] * cell)
    return total if whole else widest * wanted


@kernel
def grow(  # type: ignore[no-untyped-def]
    words,
    octets,
    m,
    code_words,
    n_features,
    n_codes,
    categorical,
    feature_key,
    heap,
    reference,
    params,
    gain,
    ints,
    masks,
    gains,
    stats,
):
    """Grow one tree, or what is below one node, over the first ``m`` records of a bag; return its number of nodes.

    Parameters
    ----------
    words, octets : ndarray of shape (rows, words) and (rows, 8 * words), dtype=uint64 and uint8
        IN, reordered. The records of the bag (that are in the node), and the same memory as bytes.
    n_codes, categorical : ndarray of shape (F,), dtype=int64 and bool
        IN.
    feature_key : uint64
        IN. Stream of the tree's feature subsets.
    heap : int
        IN. Where to begin: 1 for a whole tree.
    reference : ndarray of shape (arms,), dtype=float64
        IN. Smoothed means of the node to begin with; not looked at for a whole tree.
    params : TreeParams
        IN.
    gain : C callback
        IN. The criterion.
    ints : ndarray of shape (capacity, 6), dtype=int64
        OUT. Columns HEAP, DEPTH, NODE_FEATURE (-1 for a leaf), NODE_THRESHOLD, NODE_MISSING_LEFT, LEFT_CHILD (its row;
        the right child's is the next).
    masks : ndarray of shape (capacity, 4), dtype=uint64
        OUT. Codes that go left.
    gains : ndarray of shape (capacity,), dtype=float64
        OUT.
    stats : ndarray of shape (capacity, arms, 5), dtype=int64
        OUT.
    """
    n_arms, layout = params.n_arms, params.layout
    cell = n_arms * (1 if layout == PACKED else words.shape[1] - code_words)
    whole = params.features_per_node >= n_features
    wanted = n_features if whole else params.features_per_node
    features, offsets = np.zeros(wanted, np.int64), np.zeros(wanted + 1, np.int64)
    scratch = np.zeros(n_features, np.uint64)
    choose_features(feature_key, heap, n_features, wanted, features, scratch)
    slots = params.max_depth + 2 if whole else 1
    pool = np.zeros((slots, _largest_histogram(n_codes, cell, whole, wanted)), np.int64)
    free, n_free = np.arange(slots), slots
    stack = np.zeros((2 * params.max_depth + 4, 4), np.int64)
    references = np.zeros((ints.shape[0], n_arms))
    out, left_stats = np.zeros(4, np.int64), np.zeros((n_arms, 5), np.int64)
    goes_left = np.zeros(256, np.uint8)

    sum_run(words, octets, 0, m, layout, params.binary, code_words, stats[0])
    if heap == ROOT:
        root_means(stats[0], params, references[0])
    else:
        references[0, :] = reference
    depth = np.int64(0)
    while (heap >> (depth + 1)) > 0:
        depth += 1
    _add_leaf(0, heap, depth, ints, gains)
    nodes, top = 1, 0
    if params.max_depth > depth and large_enough(stats[0], params, 2):
        top = _push(stack, top, 0, 0, m, -1)
    while top > 0:
        top -= 1
        node, start, end, slot = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
        if not whole:
            choose_features(feature_key, ints[node, HEAP], n_features, wanted, features, scratch)
        length = _lay_out(features, wanted, n_codes, cell, offsets)
        if slot < 0:
            n_free -= 1
            slot = free[n_free]
            pool[slot, :length] = 0
            count_run(words, octets, start, end, features, offsets, n_arms, layout, code_words, pool[slot])
        gains[node] = best_split(
            pool[slot], features, offsets, n_codes, categorical, stats[node], references[node], params, gain,
            out, masks[node], left_stats,
        )  # fmt: skip
        go_left = go_right = False
        if out[FOUND]:
            child = nodes
            nodes += 2
            _add_children(node, child, out, left_stats, params, ints, gains, stats, references)
            if ints[child, DEPTH] < params.max_depth:
                go_left = large_enough(stats[child], params, 2)
                go_right = large_enough(stats[child + 1], params, 2)
        if not (go_left or go_right):
            free[n_free] = slot
            n_free += 1
            continue
        border = split_run(words, octets, start, end, out[FEATURE], masks[node], goes_left)
        left_smaller = border - start <= end - border
        slot_left = slot_right = np.int64(-1)
        if whole and (go_right if left_smaller else go_left):  # the larger child is worth the subtraction
            n_free -= 1
            small = free[n_free]
            pool[small, :length] = 0
            first, last = (start, border) if left_smaller else (border, end)
            count_run(words, octets, first, last, features, offsets, n_arms, layout, code_words, pool[small])
            for i in range(length):
                pool[slot, i] -= pool[small, i]
            slot_left, slot_right = (small, slot) if left_smaller else (slot, small)
            if not (go_left if left_smaller else go_right):
                free[n_free] = small
                n_free += 1
        else:
            free[n_free] = slot
            n_free += 1
        if go_right:
            top = _push(stack, top, child + 1, border, end, slot_right)
        if go_left:
            top = _push(stack, top, child, start, border, slot_left)
    return nodes


@kernel
def fill_leaves(  # type: ignore[no-untyped-def]
    words, octets, units, bag_key, thresholds, group_key, grouped, half_key, half, layout, binary, code_words,
    ints, masks, n_nodes, stats,
):  # fmt: skip
    """Route rows down a tree and write the statistics of every node to ``stats`` (OUT), [nodes, arms, 5].

    Rows are in an order in which a node's children come after it (any order the grower makes).
    """
    n_lanes = 1 if layout == PACKED else words.shape[1] - code_words
    n_arms = stats.shape[1]
    sums = np.zeros((n_nodes, n_arms, n_lanes), np.int64)
    for i in range(words.shape[0]):
        count = np.int64(row_copies(units[i], bag_key, thresholds, group_key, grouped, half_key, half))
        if count == 0:
            continue
        node = 0
        while ints[node, LEFT_CHILD] >= 0:
            code = octets[i, CODES_AT + ints[node, NODE_FEATURE]]
            bit = (masks[node, code >> 6] >> np.uint64(code & 63)) & np.uint64(1)
            node = ints[node, LEFT_CHILD] + (1 - np.int64(bit))
        arm = np.int64(octets[i, 0])
        if layout == PACKED:
            sums[node, arm, 0] += count * _packed_value(words[i, 0])
        else:
            for lane in range(n_lanes):
                sums[node, arm, lane] += count * np.int64(words[i, code_words + lane])
    for node in range(n_nodes - 1, -1, -1):
        child = ints[node, LEFT_CHILD]
        for a in range(n_arms):
            if child >= 0:
                for lane in range(n_lanes):
                    sums[node, a, lane] = sums[child, a, lane] + sums[child + 1, a, lane]
            read_cell(sums[node, a], 0, layout, binary, stats[node, a])
