"""Shares and smoothed means that the criteria have in common.

Smoothing adds ``n_reg`` rows at the node's reference means to each child. They are divided over the arms as
the node's own rows are, so that in a randomised experiment every arm of a child is pulled equally hard and the
child's *effect* moves towards the node's. Equal pseudo-counts per arm (CausalML's form, kept for parity) pull
the rarer arm harder, and with it the "effect" towards minus the baseline.
"""

from __future__ import annotations

from spark_uplift.criteria.signature import CAUSALML, W, WY, inlined


@inlined
def total(table):  # type: ignore[no-untyped-def]
    """Return the weighted rows of all arms of ``table``, f64[A, 3]."""
    rows = 0.0
    for arm in range(table.shape[0]):
        rows += table[arm, W]
    return rows


@inlined
def pseudo_rows(node, arm, rows, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Return how many of a child's ``n_reg`` pseudo-rows belong to ``arm``; ``rows`` is the node's total."""
    if normalization == CAUSALML:
        return n_reg
    return n_reg * (node[arm, W] / rows)


@inlined
def smoothed_mean(child, arm, prior, pseudo):  # type: ignore[no-untyped-def]
    """Return the mean outcome of ``arm`` in ``child`` after ``pseudo`` more rows at ``prior``.

    An arm without rows has the mean ``prior``.
    """
    rows = child[arm, W]
    if rows <= 0.0:
        return prior
    return (child[arm, WY] + pseudo * prior) / (rows + pseudo)


@inlined
def arm_means(child, node, arm, reference, rows, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Return the smoothed means of ``arm`` and of the control in ``child``.

    A child that lacks one of the two has no contrast of its own. It then takes both reference means, so that the
    node's contrast stands in for it: a reference mean beside the child's own mean of the other arm would show the
    child's baseline as an effect. CausalML does the latter, so does its code.
    """
    if normalization != CAUSALML and (child[arm, W] <= 0.0 or child[0, W] <= 0.0):
        return reference[arm], reference[0]
    treated = smoothed_mean(child, arm, reference[arm], pseudo_rows(node, arm, rows, n_reg, normalization))
    control = smoothed_mean(child, 0, reference[0], pseudo_rows(node, 0, rows, n_reg, normalization))
    return treated, control
