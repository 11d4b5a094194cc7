"""Shares, smoothed means and smoothed tables that the criteria have in common.

Smoothing adds ``n_reg`` rows at the node's reference means to each child. They are divided over the arms as
the node's own rows are, so that in a randomised experiment every arm of a child is pulled equally hard and
the child's *effect* moves towards the node's. Equal pseudo-counts per arm (CausalML's form, kept for parity)
pull the rarer arm harder, and with it the "effect" towards minus the baseline.
"""

from __future__ import annotations

from spark_uplift.criteria.signature import CAUSALML, WY, WYY, W, inlined


@inlined
def total(table):  # type: ignore[no-untyped-def]
    """Return the weighted rows of all arms of ``table``, f64[A, 3]."""
    rows = 0.0
    for arm in range(table.shape[0]):
        rows += table[arm, W]
    return rows


@inlined
def comparable(left, right, arm):  # type: ignore[no-untyped-def]
    """Tell whether both children have rows of ``arm`` and of the control.

    If not, the split can't show that the arm's effect differs between its sides, and the arm must not add to
    the gain: with a reference mean in place of the missing one, a mere difference of the baselines would pass
    for one of the effects.
    """
    return left[arm, W] > 0.0 and right[arm, W] > 0.0 and left[0, W] > 0.0 and right[0, W] > 0.0


@inlined
def pull_of(n_reg, rows, normalization):  # type: ignore[no-untyped-def]
    """Return the factor of `pseudo_rows`: ``n_reg`` per row of the node, in CausalML's form per arm."""
    return n_reg if normalization == CAUSALML else n_reg / rows


@inlined
def pseudo_rows(node, arm, pull, normalization):  # type: ignore[no-untyped-def]
    """Return how many of a child's pseudo-rows belong to ``arm``."""
    return pull if normalization == CAUSALML else pull * node[arm, W]


@inlined
def smoothed_mean(child, node, arm, reference, pull, normalization):  # type: ignore[no-untyped-def]
    """Return the mean outcome of ``arm`` in ``child`` with the pseudo-rows; without rows the reference."""
    present = child[arm, W]
    if present <= 0.0:
        return reference[arm]
    pseudo = pseudo_rows(node, arm, pull, normalization)
    return (child[arm, WY] + pseudo * reference[arm]) / (present + pseudo)


@inlined
def smoothed_effect(child, node, arm, reference, pull, normalization):  # type: ignore[no-untyped-def]
    """Return the difference of the smoothed means of ``arm`` and the control in ``child``."""
    treated = smoothed_mean(child, node, arm, reference, pull, normalization)
    return treated - smoothed_mean(child, node, 0, reference, pull, normalization)


@inlined
def variance(table, arm):  # type: ignore[no-untyped-def]
    """Return the variance of the outcome within ``arm``, 0 for an arm without rows."""
    rows = table[arm, W]
    if rows <= 0.0:
        return 0.0
    mean = table[arm, WY] / rows
    return max(table[arm, WYY] / rows - mean * mean, 0.0)


@inlined
def squared_errors(table, node, arm, reference, pseudo):  # type: ignore[no-untyped-def]
    """Return the sum of squares around its mean of ``arm`` in ``table`` with ``pseudo`` more rows.

    The pseudo-rows have the reference mean and the node's variance within the arm. Their distance from the
    table's own mean adds ``n*k/(n+k) * (mean - reference)^2``.
    """
    rows = table[arm, W]
    squares = rows * variance(table, arm) + pseudo * variance(node, arm)
    if rows > 0.0 and pseudo > 0.0:
        shift = table[arm, WY] / rows - reference[arm]
        squares += rows * pseudo / (rows + pseudo) * (shift * shift)
    return squares


@inlined
def effective_rows(table, arm):  # type: ignore[no-untyped-def]
    """Return ``n_t*n_0/(n_t+n_0)``, to which the precision of a difference of two means is proportional."""
    return table[arm, W] * table[0, W] / (table[arm, W] + table[0, W])


@inlined
def size_balance(left, right, arm):  # type: ignore[no-untyped-def]
    """Return ``e_L*e_R/(e_L+e_R)^2`` of the effective rows e: 1/4 for equal sides, 0 when one is empty."""
    in_left = effective_rows(left, arm)
    in_right = effective_rows(right, arm)
    both = in_left + in_right
    return in_left * in_right / (both * both)
