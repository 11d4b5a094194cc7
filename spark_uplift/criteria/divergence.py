"""Divergence criteria: how much further apart the arms' outcome distributions are in the children.

Source: Rzepakowski & Jaroszewicz 2012, *Decision trees for uplift modeling with single and multiple
treatments*.

    gain = sum_t lambda_t * [pi_L*d(p_t, p_0)_L + pi_R*d(p_t, p_0)_R - d(p_t, p_0)_node]

with p the smoothed means of a side, pi_L the share of the rows in the left child, and lambda_t the
treatment's share of the node's treated rows, so that a small noisy arm does not decide (1 with one treatment;
CausalML uses 1 always). The members differ in d only. A treatment that one child lacks adds nothing.

Normalizations: ``"none"`` is the gain above. ``"paper"`` divides it by the authors' penalty for splits that
are very uneven or that separate the arms,

    alpha*I(N_T, N_0)*d(T(A), C(A)) + (1-alpha) * sum_t lambda_t*I(n_t, n_0)*d(t(A), C(A))
        + sum_g n_g/N*I(g(A)) + 1/2

where I is the entropy (natural logs) for KL and the Gini index for the other two, g(A) tells how the split
divides the rows of arm g, T is all treatments pooled, and alpha = 0.9. ``"causalml"`` divides by CausalML's
variant, which has cross terms in place of entropies, always KL, and looks at the right child alone, so that a
split and its mirror image get different gains; their left and right are ours.
"""

from __future__ import annotations

import math
from typing import Any

from spark_uplift.criteria.signature import CAUSALML, PAPER, UNDEFINED, W, inlined
from spark_uplift.criteria.smoothing import comparable, pull_of, smoothed_mean, total

SMALLEST = 1e-6  # probabilities are kept this far from 0 and 1, as CausalML does
ALPHA = 0.9  # weight of the pooled treatments in the penalty


@inlined
def _clipped(p):  # type: ignore[no-untyped-def]
    return min(max(p, SMALLEST), 1.0 - SMALLEST)


@inlined
def _kl(p, q, normalization):  # type: ignore[no-untyped-def]
    """Return KL(p || q) of two Bernoulli distributions, in nats.

    Both are clipped, so that KL(p, p) is exactly 0, and a control without successes beside a treatment with
    some is far from 0. In CausalML's form only q is clipped, and q = 0 scores 0.
    """
    if normalization == CAUSALML:
        if q == 0.0:
            return 0.0
        q = _clipped(q)
        if p <= 0.0:
            return -math.log(1.0 - q)
        if p >= 1.0:
            return -math.log(q)
    else:
        p = _clipped(p)
        q = _clipped(q)
    return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))


@inlined
def _ed(p, q, normalization):  # type: ignore[no-untyped-def]
    """Return the squared distance over both classes; for a continuous outcome twice that of the means."""
    return 2.0 * (p - q) * (p - q)


@inlined
def _chi(p, q, normalization):  # type: ignore[no-untyped-def]
    """Return the chi-squared divergence over both classes."""
    square = (p - q) * (p - q)
    return square / max(q, SMALLEST) + square / max(1.0 - q, SMALLEST)


@inlined
def _entropy(p):  # type: ignore[no-untyped-def]
    if p <= 0.0 or p >= 1.0:
        return 0.0
    return -p * math.log(p) - (1.0 - p) * math.log(1.0 - p)


@inlined
def _gini(p):  # type: ignore[no-untyped-def]
    return 2.0 * p * (1.0 - p)


@inlined
def _cross(p, q):  # type: ignore[no-untyped-def]
    return -p * math.log(q) if q > 0.0 else 0.0


@inlined
def _half(p):  # type: ignore[no-untyped-def]
    return -p * math.log(p) if p > 0.0 else 0.0


@inlined
def causalml_penalty(node, right):  # type: ignore[no-untyped-def]
    """Return CausalML's divisor for KL, ED and Chi; its 0.1 in the denominators included."""
    rows = total(node)
    control = node[0, W]
    treated = rows - control
    control_split = right[0, W] / (control + 0.1)
    pooled_split = (total(right) - right[0, W]) / (treated + 0.1)
    penalty = ALPHA * _cross(treated / rows, control / rows) * _kl(pooled_split, control_split, CAUSALML)
    for arm in range(1, node.shape[0]):
        in_node = node[arm, W]
        split = right[arm, W] / (in_node + 0.1)
        pair = in_node + control
        penalty += (
            (1.0 - ALPHA) * _cross(in_node / pair, control / pair) * _kl(split, control_split, CAUSALML)
        )
        penalty += in_node / rows * _half(split)
    return penalty + control / rows * _half(control_split) + 0.5


def _gain_of(distance: Any, impurity: Any) -> Any:
    """Build the gain of a divergence from its distance of two rates and the impurity of its penalty.

    The two are baked in as closures: handed over as arguments they would keep numba from caching the gain.
    """

    @inlined
    def paper_penalty(node, side):  # type: ignore[no-untyped-def]
        rows = total(node)
        control = node[0, W]
        treated = rows - control
        control_split = side[0, W] / control
        pooled_split = (total(side) - side[0, W]) / treated
        penalty = ALPHA * impurity(treated / rows) * distance(pooled_split, control_split, PAPER)
        penalty += control / rows * impurity(control_split)
        for arm in range(1, node.shape[0]):
            in_node = node[arm, W]
            if in_node <= 0.0:
                continue
            split = side[arm, W] / in_node
            balance = impurity(in_node / (in_node + control))
            penalty += (1.0 - ALPHA) * (in_node / treated) * balance * distance(split, control_split, PAPER)
            penalty += in_node / rows * impurity(split)
        return penalty + 0.5

    @inlined
    def arm_gain(node, left, right, arm, share_left, reference, pull, normalization):  # type: ignore[no-untyped-def]
        p = smoothed_mean(left, node, arm, reference, pull, normalization)
        q = smoothed_mean(left, node, 0, reference, pull, normalization)
        value = share_left * distance(p, q, normalization)
        p = smoothed_mean(right, node, arm, reference, pull, normalization)
        q = smoothed_mean(right, node, 0, reference, pull, normalization)
        value += (1.0 - share_left) * distance(p, q, normalization)
        return value - distance(reference[arm], reference[0], normalization)

    @inlined
    def gain(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
        rows = total(node)
        treated = rows - node[0, W]
        if total(left) <= 0.0 or total(right) <= 0.0 or node[0, W] <= 0.0 or treated <= 0.0:
            return UNDEFINED
        share_left = total(left) / rows
        pull = pull_of(n_reg, rows, normalization)
        value = 0.0
        for arm in range(1, node.shape[0]):
            if normalization == CAUSALML:
                value += arm_gain(node, left, right, arm, share_left, reference, pull, normalization)
            elif comparable(left, right, arm):
                weight = node[arm, W] / treated
                value += weight * arm_gain(node, left, right, arm, share_left, reference, pull, normalization)
        if normalization == PAPER:
            value /= paper_penalty(node, left)
        elif normalization == CAUSALML:
            value /= causalml_penalty(node, right)
        return value

    return gain


_kl_gain = _gain_of(_kl, _entropy)
_ed_gain = _gain_of(_ed, _gini)
_chi_gain = _gain_of(_chi, _gini)


def kl(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Kullback-Leibler divergence of each treatment from the control; see the module for the gain."""
    return _kl_gain(node, left, right, reference, n_reg, normalization)


def ed(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Squared Euclidean distance, ``2*(p_t - p_0)^2`` over both classes; see the module for the gain."""
    return _ed_gain(node, left, right, reference, n_reg, normalization)


def chi(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Chi-squared divergence of each treatment from the control; see the module for the gain."""
    return _chi_gain(node, left, right, reference, n_reg, normalization)
