"""Slow, obvious twins of policy/value.py: one row at a time, no shared sums."""

from __future__ import annotations

import math

import numpy as np


def terms(method, r, rho, m, q=0.0, v=0.0):
    """Numerator and denominator that one row of weight 1 adds."""
    if method == "ips":
        return rho * r, 1.0
    if method == "clipped_ips":
        return min(rho, m) * r, 1.0
    if method == "snips":
        return rho * r, rho
    if method == "dm":
        return v, 1.0
    if method == "dr":
        return v + rho * (r - q), 1.0
    if method == "switch":
        return (v + rho * (r - q) if rho <= m else v), 1.0
    raise ValueError(method)


def rows_of(method, r, rho, m, q=None, v=None, w=None):
    """Weighted (numerator, denominator) of all rows."""
    n = len(r)
    q, v, w = (
        np.zeros(n) if q is None else q,
        np.zeros(n) if v is None else v,
        np.ones(n) if w is None else w,
    )
    return np.array([np.multiply(w[i], terms(method, r[i], rho[i], m, q[i], v[i])) for i in range(n)])


def value(pairs):
    """Ratio of the sums."""
    return math.fsum(pairs[:, 0]) / math.fsum(pairs[:, 1])


def std_error(pairs, clusters=None):
    """Linearised standard error of the ratio, over rows or clusters."""
    if clusters is not None:
        pairs = np.array([pairs[clusters == c].sum(axis=0) for c in sorted(set(clusters))])
    v, n = value(pairs), len(pairs)
    rest = [a - v * d for a, d in pairs]
    return math.sqrt(n / (n - 1) * math.fsum(x * x for x in rest)) / math.fsum(pairs[:, 1])


def difference_error(one, two):
    """Standard error of the difference of two ratios on the same rows."""
    v, u, n = value(one), value(two), len(one)
    rest = [
        (a - v * d) / math.fsum(one[:, 1]) - (b - u * e) / math.fsum(two[:, 1])
        for (a, d), (b, e) in zip(one, two, strict=True)
    ]
    return math.sqrt(n / (n - 1) * math.fsum(x * x for x in rest))


def bootstrap(pairs, counts):
    """Values of the replicates; counts has a row a replicate."""
    return [value(np.repeat(pairs, count, axis=0)) for count in counts]


def value_of_distribution(actions, policy, propensities, rewards):
    """IPS of a policy given as one dict a row: sum over rows of P(action)/e * r, divided by rows."""
    total = 0.0
    for action, row, e, r in zip(actions, policy, propensities, rewards, strict=True):
        total += row.get(action, 0.0) / e * r
    return total / len(rewards)
