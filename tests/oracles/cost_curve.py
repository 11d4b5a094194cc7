"""Slow, obvious twin of the cost curve: at each price every unit takes the arm of the largest gain less price."""

from __future__ import annotations

import numpy as np


def chosen(gain, cost, price):
    """Arm of each unit at a price of money, 0 for control; of equal ones that of the largest gain."""
    arms = []
    for g, c in zip(gain, cost, strict=True):
        options = [(0.0, 0.0, 0)]
        options += [(g[k] - price * c[k], g[k], k + 1) for k in range(len(g)) if g[k] > 0]
        best = max(net for net, _, _ in options)
        arms.append(max((t, -a) for net, t, a in options if net >= best - 1e-12)[1] * -1)
    return np.array(arms)


def prices(gain, cost):
    """Every price at which some unit could change its mind, descending."""
    found = set()
    for g, c in zip(gain, cost, strict=True):
        points = [(0.0, 0.0), *zip(c, g, strict=True)]
        for c1, g1 in points:
            found |= {(g2 - g1) / (c2 - c1) for c2, g2 in points if c2 > c1 and g2 > g1}
    return sorted(found, reverse=True)


def corners(gain, cost, scores, weight=None):
    """Corners (spend, measured gain, predicted gain, share treated) of the curve, from nobody on; costs above 0.

    scores has a column an arm, control first.
    """
    weight = np.ones(len(gain)) if weight is None else weight
    rows = [(0.0, 0.0, 0.0, 0.0)]
    for price in prices(gain, cost):
        arm = chosen(gain, cost, price)
        at = np.arange(len(arm))
        full_cost = np.concatenate([np.zeros((len(arm), 1)), cost], axis=1)
        full_gain = np.concatenate([np.zeros((len(arm), 1)), gain], axis=1)
        parts = (full_cost[at, arm], scores[at, arm] - scores[:, 0], full_gain[at, arm], arm > 0)
        rows.append(tuple(np.average(part, weights=weight) for part in parts))
    return np.array(rows)


def at_spend(points, spend):
    """Gain, predicted gain and share at a spend, between corners in part."""
    return tuple(float(np.interp(spend, points[:, 0], points[:, k])) for k in (1, 2, 3))


def inverse_propensity(arm, outcome, arms, weight=None):
    """Scores of arms given as numbers by their shares."""
    weight = np.ones(len(arm)) if weight is None else weight
    share = np.array([weight[arm == a].sum() for a in range(arms)]) / weight.sum()
    return np.where(arm[:, None] == np.arange(arms), (outcome / share[arm])[:, None], 0.0)
