"""Criteria that compare the children's treatment effects, or the best arm's outcome.

Here ``effect_t(side) = mean_t - mean_0`` of the smoothed means of a side, N the node's rows, and lambda_t the
treatment's share of the node's treated rows. The two-arm criteria are summed over the treatments with the
weights lambda_t, unless their docstring says otherwise. A treatment that one child lacks adds nothing.

``it``, ``cit`` and ``causal_mse`` also need variances. Their children are the smoothed tables: each arm's
rows, plus its pseudo-rows with the reference mean and the node's variance within the arm.

With the normalization ``"causalml"`` each is CausalML's own formula for one treatment, with their
pseudo-counts; for the two of them that they define for binary outcomes only (``it``, ``cit``) that is the
variance p*(1-p).
"""

from __future__ import annotations

import math

from spark_uplift.criteria.signature import CAUSALML, NONE, UNDEFINED, WY, W, inlined
from spark_uplift.criteria.smoothing import (
    comparable,
    pseudo_rows,
    pull_of,
    size_balance,
    smoothed_effect,
    smoothed_mean,
    squared_errors,
    total,
    variance,
)


@inlined
def _unsplit(node, left, right):  # type: ignore[no-untyped-def]
    """Tell whether there is nothing to compare: an empty child, no control, or no treatment."""
    treated = total(node) - node[0, W]
    return total(left) <= 0.0 or total(right) <= 0.0 or node[0, W] <= 0.0 or treated <= 0.0


@inlined
def _log_product(rows, value):  # type: ignore[no-untyped-def]
    """Return ``rows * log(value)``, 0 for no rows."""
    return rows * math.log(value) if rows > 0.0 else 0.0


def cts(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Contextual treatment selection: ``pi_L*M(L) + pi_R*M(R) - M(node)``, M the highest mean of all arms.

    Zhao, Fang & Simchi-Levi 2017, *Uplift modeling with multiple treatments and general response types*. The
    control is one of the arms. An arm that one child lacks does not compete: its reference mean would win
    wherever the baseline is low. The other arms then fill the children unevenly, so M(node) is taken from
    their means in the children, weighted by pi, in place of the reference. ``"none"`` and ``"paper"`` are the
    same; ``"causalml"`` differs in the smoothing, and lets absent arms compete.
    """
    if _unsplit(node, left, right):
        return UNDEFINED
    pull = pull_of(n_reg, total(node), normalization)
    share_left = total(left) / total(node)
    best_left = -math.inf
    best_right = -math.inf
    best = -math.inf
    best_weighted = -math.inf
    complete = True
    for arm in range(node.shape[0]):
        if normalization == CAUSALML or (left[arm, W] > 0.0 and right[arm, W] > 0.0):
            in_left = smoothed_mean(left, node, arm, reference, pull, normalization)
            in_right = smoothed_mean(right, node, arm, reference, pull, normalization)
            best_left = max(best_left, in_left)
            best_right = max(best_right, in_right)
            best = max(best, reference[arm])
            best_weighted = max(best_weighted, share_left * in_left + (1.0 - share_left) * in_right)
        elif node[arm, W] > 0.0:
            complete = False
    if best == -math.inf:
        return UNDEFINED
    own = best if complete else best_weighted
    return share_left * best_left + (1.0 - share_left) * best_right - own


def ddp(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Delta-delta-p: the difference of the children's effects.

    Hansotia & Rukstales 2002, *Incremental value modeling*. The raw form ``|effect_t(L) - effect_t(R)|``
    knows no sizes and loves tiny children. So ``"paper"`` is the size-weighted form ``(effect_t(L) -
    effect_t(R))^2 * e_L*e_R/(e_L+e_R)^2`` with the effective rows ``e = n_t*n_0/(n_t+n_0)`` of a child: per
    row, the variance of the effect that the split explains. ``"none"`` is the raw form; ``"causalml"`` too,
    of the sum of effects over the treatments, with CausalML's smoothing.
    """
    if _unsplit(node, left, right):
        return UNDEFINED
    pull = pull_of(n_reg, total(node), normalization)
    gain = 0.0
    for arm in range(1, node.shape[0]):
        if normalization == CAUSALML or comparable(left, right, arm):
            difference = smoothed_effect(left, node, arm, reference, pull, normalization)
            difference -= smoothed_effect(right, node, arm, reference, pull, normalization)
            if normalization == CAUSALML:
                gain += difference
            elif normalization == NONE:
                gain += node[arm, W] * abs(difference)
            else:
                gain += node[arm, W] * (difference * difference) * size_balance(left, right, arm)
    if normalization == CAUSALML:
        return abs(gain)
    return gain / (total(node) - node[0, W])


@inlined
def _entropy(p):  # type: ignore[no-untyped-def]
    if p <= 0.0 or p >= 1.0:
        return 0.0
    return -p * math.log(p) - (1.0 - p) * math.log(1.0 - p)


@inlined
def _half_entropy(p):  # type: ignore[no-untyped-def]
    return -p * math.log(p) if p > 0.0 else 0.0


@inlined
def _iddp_arm(node, left, right, arm, reference, pull, normalization):  # type: ignore[no-untyped-def]
    """Return the gain of one treatment for `iddp`, not in CausalML's form."""
    difference = smoothed_effect(left, node, arm, reference, pull, normalization)
    difference = abs(difference - smoothed_effect(right, node, arm, reference, pull, normalization))
    own = abs(reference[arm] - reference[0])
    if normalization == NONE:
        return difference - own
    gain = 2.0 * math.sqrt(size_balance(left, right, arm)) * difference - own
    share = node[arm, W] / (node[arm, W] + node[0, W])
    penalty = _entropy(share) * (2.0 / 3.0) * (max(gain, -1.0) + 1.0)
    penalty += share * _entropy(left[arm, W] / node[arm, W])
    penalty += (1.0 - share) * _entropy(left[0, W] / node[0, W])
    return gain / (penalty + 0.5)


@inlined
def _iddp_causalml(node, left, right, reference, pull):  # type: ignore[no-untyped-def]
    """Return CausalML's IDDP with its divisor, which looks at the right child alone."""
    difference = 0.0
    rows = total(node)
    own = 0.0
    for arm in range(1, node.shape[0]):
        difference += smoothed_effect(left, node, arm, reference, pull, CAUSALML)
        difference -= smoothed_effect(right, node, arm, reference, pull, CAUSALML)
        own += reference[arm] - reference[0]
    gain = abs(difference) - abs(own)
    control = node[0, W]
    treated = rows - control
    penalty = -(treated / rows) * math.log(control / rows) * (2.0 * (gain + 1.0) / 3.0)
    penalty += treated / rows * _half_entropy((total(right) - right[0, W]) / (treated + 0.1))
    penalty += control / rows * _half_entropy(right[0, W] / (control + 0.1))
    return gain / (penalty + 0.5)


def iddp(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Invest-DDP: how much the children's effects differ, beyond the size of the node's own effect.

    Rößler, Tilly & Schoder 2022, *To treat, or not to treat*. ``"none"`` is the raw ``|effect_t(L) -
    effect_t(R)| - |effect_t(node)|``. As it knows no sizes, in ``"paper"`` its first term is multiplied by
    ``2*sqrt(e_L*e_R) / (e_L+e_R)`` with the effective rows of `ddp` (1 for equal children), and the gain g
    divided by the authors' ``H(n_t, n_0)*2(g+1)/3 + sum_g n_g/(n_t+n_0)*H(g(A)) + 1/2`` with full entropies.
    ``"causalml"`` is their form. The penalty takes rates for granted: a continuous outcome should be scaled
    to a spread of about 1.
    """
    if _unsplit(node, left, right):
        return UNDEFINED
    rows = total(node)
    pull = pull_of(n_reg, rows, normalization)
    if normalization == CAUSALML:
        return _iddp_causalml(node, left, right, reference, pull)
    gain = 0.0
    for arm in range(1, node.shape[0]):
        if comparable(left, right, arm):
            gain += node[arm, W] * _iddp_arm(node, left, right, arm, reference, pull, normalization)
    return gain / (rows - node[0, W])


@inlined
def _it_arm(node, left, right, arm, reference, pull):  # type: ignore[no-untyped-def]
    """Return t^2 of the interaction of one treatment with the split, from the smoothed tables."""
    squares = 0.0
    cells = 0.0
    inverse = 0.0
    for g in (0, arm):
        pseudo = pseudo_rows(node, g, pull, NONE)
        for child in (left, right):
            present = child[g, W] + pseudo
            squares += squared_errors(child, node, g, reference, pseudo)
            cells += present
            inverse += 1.0 / present
    pooled = squares / cells
    if pooled <= 0.0:  # outcomes that the split separates perfectly: the variance without the split
        pooled = (node[0, W] * variance(node, 0) + node[arm, W] * variance(node, arm)) / (
            node[0, W] + node[arm, W]
        )
        if pooled <= 0.0:
            return 0.0
    difference = smoothed_effect(left, node, arm, reference, pull, NONE)
    difference -= smoothed_effect(right, node, arm, reference, pull, NONE)
    return difference * difference / (pooled * inverse)


@inlined
def _it_causalml(node, left, right, arm, reference, pull):  # type: ignore[no-untyped-def]
    """Return CausalML's t^2: Bernoulli variances of the smoothed rates, weights n-1, plain counts."""
    squares = 0.0
    freedom = 0.0
    inverse = 0.0
    for g in (0, arm):
        for child in (left, right):
            rate = smoothed_mean(child, node, g, reference, pull, CAUSALML)
            squares += (child[g, W] - 1.0) * (rate * (1.0 - rate))
            freedom += child[g, W] - 1.0
            inverse += 1.0 / child[g, W]
    difference = smoothed_effect(left, node, arm, reference, pull, CAUSALML)
    difference -= smoothed_effect(right, node, arm, reference, pull, CAUSALML)
    return difference * difference / (squares / freedom * inverse)


def it(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Interaction trees: the squared t statistic of the difference of effects, divided by N to be per row.

    Su, Tsai, Wang, Nickerson & Li 2009, *Subgroup analysis via recursive partitioning*. ``t^2 = (effect_t(L)
    - effect_t(R))^2 / (s^2 * sum over the four cells of 1/n)``, s^2 the variance within the four cells,
    pooled. Cells are weighted by n where Su et al. write n-1, because weights need not be counts. Where all
    cells are pure, s^2 is the variance within the node's two arms. ``"none"`` and ``"paper"`` are the same;
    ``"causalml"`` is CausalML's, not divided by N, and undefined where theirs is.
    """
    if _unsplit(node, left, right):
        return UNDEFINED
    rows = total(node)
    pull = pull_of(n_reg, rows, normalization)
    gain = 0.0
    for arm in range(1, node.shape[0]):
        if comparable(left, right, arm):
            if normalization == CAUSALML:
                value = _it_causalml(node, left, right, arm, reference, pull)
            else:
                value = _it_arm(node, left, right, arm, reference, pull) / rows
            gain += node[arm, W] * value
    gain /= rows - node[0, W]
    return gain if gain < math.inf else UNDEFINED


@inlined
def _log_likelihood(table, node, reference, pull):  # type: ignore[no-untyped-def]
    """Return the maximal log-likelihood of arms and outcomes of ``table`` with its pseudo-rows."""
    squares = 0.0
    cells = 0.0
    arms = 0.0
    for g in range(table.shape[0]):
        more = pseudo_rows(node, g, pull, NONE)
        squares += squared_errors(table, node, g, reference, more)
        cells += table[g, W] + more
        arms += _log_product(table[g, W] + more, table[g, W] + more)
    return arms - _log_product(cells / 2.0, cells * squares)


@inlined
def _log_likelihood_causalml(table, node, reference, pull):  # type: ignore[no-untyped-def]
    """Return CausalML's: Bernoulli variances of the smoothed rates, plain counts."""
    squares = 0.0
    arms = 0.0
    for g in range(table.shape[0]):
        rate = smoothed_mean(table, node, g, reference, pull, CAUSALML)
        squares += table[g, W] * rate * (1.0 - rate)
        arms += _log_product(table[g, W], table[g, W])
    return arms - _log_product(total(table) / 2.0, total(table) * squares)


@inlined
def _node_log_likelihood_causalml(node, reference, rows):  # type: ignore[no-untyped-def]
    squares = 0.0
    arms = 0.0
    for g in range(node.shape[0]):
        squares += node[g, W] * reference[g] * (1.0 - reference[g])
        arms += _log_product(node[g, W], node[g, W])
    return arms - _log_product(rows / 2.0, rows * squares)


def cit(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Causal inference trees: the likelihood ratio of the split, ``2*(l_L + l_R - l_node) / N``.

    Su, Kang, Fan, Levine & Yan 2012, *Facilitating score and causal inference trees*: ``l = -(n/2)*log(n*SSE)
    + sum_g n_g*log(n_g)``, SSE the squares within the arms; it takes any number of arms as it is. The model
    is of arm and outcome together, so it also splits where only the baseline or the arms' shares differ: a
    child then is homogeneous, and its effect not confounded. For the effect alone take `it`. A child gets at
    least one pseudo-row, else one with constant outcomes would be infinitely likely; the node gets those of
    both children. ``"none"`` and ``"paper"`` are the same; ``"causalml"`` is CausalML's, not divided by N,
    and undefined where theirs is.
    """
    if _unsplit(node, left, right):
        return UNDEFINED
    rows = total(node)
    if normalization == CAUSALML:
        pull = n_reg
        gain = _log_likelihood_causalml(left, node, reference, pull)
        gain += _log_likelihood_causalml(right, node, reference, pull)
        gain = 2.0 * (gain - _node_log_likelihood_causalml(node, reference, rows))
        return gain if abs(gain) < math.inf else UNDEFINED
    pull = pull_of(max(n_reg, 1.0), rows, NONE)
    gain = _log_likelihood(left, node, reference, pull)
    gain += _log_likelihood(right, node, reference, pull)
    gain = 2.0 * (gain - _log_likelihood(node, node, reference, 2.0 * pull)) / rows
    return gain if abs(gain) < math.inf else UNDEFINED


@inlined
def _smoothed_mean_variance(child, node, arm, reference, pull):  # type: ignore[no-untyped-def]
    """Return the variance of the smoothed mean of ``arm`` in ``child``.

    With s = n/(n+k) it is ``s^2*v/n + (1-s^2)*v_node/n_node``: the smoothed mean is s of the child's mean and
    1-s of the node's, and the node's covariance with the child's mean is its own variance.
    """
    present = child[arm, W]
    pseudo = pseudo_rows(node, arm, pull, NONE)
    within = squared_errors(child, node, arm, reference, pseudo) / (present + pseudo)
    trust = present / (present + pseudo)
    trust *= trust
    return trust * within / present + (1.0 - trust) * variance(node, arm) / node[arm, W]


@inlined
def _honest_score(child, node, arm, reference, pull):  # type: ignore[no-untyped-def]
    effect = smoothed_effect(child, node, arm, reference, pull, NONE)
    noise = _smoothed_mean_variance(child, node, arm, reference, pull)
    noise += _smoothed_mean_variance(child, node, 0, reference, pull)
    return effect * effect - 2.0 * noise


@inlined
def _plain_score(side, arm):  # type: ignore[no-untyped-def]
    """Return the score of a side without smoothing, 0 when it lacks the arm or the control."""
    if side[arm, W] <= 0.0 or side[0, W] <= 0.0:
        return 0.0
    effect = side[arm, WY] / side[arm, W] - side[0, WY] / side[0, W]
    return effect * effect - 2.0 * (variance(side, arm) / side[arm, W] + variance(side, 0) / side[0, W])


def causal_mse(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Honest causal trees: ``pi_L*u(L) + pi_R*u(R) - u(node)``, u minus the effects' expected squared error.

    Athey & Imbens 2016, *Recursive partitioning for heterogeneous causal effects*, for estimation samples as
    large as the training sample: ``u = effect_t^2 - 2*(v_t/n_t + v_0/n_0)`` with the variances v within the
    arms. With ``n_reg`` the effects are the smoothed ones and the noise is that of the smoothed means.
    ``"none"`` and ``"paper"`` are the same; ``"causalml"`` is CausalML's: no smoothing, the plain mean over
    the treatments, arms that a side lacks score 0 there (its penalty for unequal arms is not part of it).
    """
    if _unsplit(node, left, right):
        return UNDEFINED
    rows = total(node)
    pull = pull_of(n_reg, rows, NONE)
    share_left = total(left) / rows
    gain = 0.0
    for arm in range(1, node.shape[0]):
        if normalization == CAUSALML:
            value = share_left * _plain_score(left, arm) + (1.0 - share_left) * _plain_score(right, arm)
            gain += (value - _plain_score(node, arm)) / (node.shape[0] - 1)
        elif comparable(left, right, arm):
            value = share_left * _honest_score(left, node, arm, reference, pull)
            value += (1.0 - share_left) * _honest_score(right, node, arm, reference, pull)
            own = reference[arm] - reference[0]
            noise = variance(node, arm) / node[arm, W] + variance(node, 0) / node[0, W]
            gain += node[arm, W] / (rows - node[0, W]) * (value - (own * own - 2.0 * noise))
    return gain
