"""How strongly one feature tells arms or outcomes apart, from counts per bin.
 The p-value says whether a link is there, the AUC whether it matters: with a million rows any chance
imbalance of the design has a tiny p-value, and with a hundred rows fine bins separate anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from spark_uplift.checks.summary import Float, Int

GROUPS = 4
"""Broad groups of a numeric feature, by quantiles, in which a link of any shape is looked for."""


@dataclass(frozen=True)
class Association:
    """How well the bins of a feature separate two classes.

    Parameters
    ----------
    auc : float
        Probability that a random member of the class ranks before a random other one, for the best simple
        rule: the direction of a numeric feature, its broad groups in any order, one bin against the rest.
    auc_any : float
        The same for the best order of all bins, less what chance alone would give.
    p_value : float
        Pearson's chi-square test of independence over all bins.
    cramers_v : float
        Effect size of that test in [0, 1], bias-corrected.
    """

    auc: float
    auc_any: float
    p_value: float
    cramers_v: float


NONE = Association(0.5, 0.5, 1.0, 0.0)


def ordered_auc(inside: Float, outside: Float) -> float:
    """Return the AUC of a score that takes one value a bin, rising in the order given; ties count half.

    Parameters
    ----------
    inside, outside : ndarray of shape (n_bins,), dtype=float64
        Rows per bin of the class and of the rest.
    """
    total = inside.sum() * outside.sum()
    if total == 0:
        return 0.5
    before = np.cumsum(outside) - outside / 2
    return float((inside * before).sum() / total)


def best_auc(inside: Float, outside: Float) -> float:
    """Return the AUC of the bins in their best order, by the share of the class in each."""
    order = np.argsort(inside / np.maximum(inside + outside, 1e-300), kind="stable")
    return ordered_auc(inside[order], outside[order])


def chi_square(table: Float) -> tuple[float, float, int]:
    """Return (statistic, p-value, degrees of freedom) of Pearson's test; (0, 1, 0) for a table without
    contrast.
    """
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return 0.0, 1.0, 0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    dof = (table.shape[0] - 1) * (table.shape[1] - 1)
    return statistic, float(stats.chi2.sf(statistic, dof)), dof


def pooled(inside: Float, outside: Float, least: float = 5.0) -> tuple[Float, Float]:
    """Join neighbouring bins until each expects at least `least` rows of either class (Cochran's rule).

    Returns
    -------
    inside, outside : ndarray of shape (n_pooled,), dtype=float64
    """
    rows = inside + outside
    rarer = min(inside.sum(), outside.sum()) / max(rows.sum(), 1.0)
    groups, start, held = [], 0, 0.0
    for end in range(len(rows)):
        held += rows[end] * rarer
        if held >= least:
            groups.append((start, end + 1))
            start, held = end + 1, 0.0
    if start < len(rows) and groups:
        groups[-1] = (groups[-1][0], len(rows))
    elif not groups:
        groups = [(0, len(rows))]
    starts = np.array([first for first, _ in groups])
    return np.add.reduceat(inside, starts), np.add.reduceat(outside, starts)


def broad_groups(inside: Float, outside: Float, groups: int = GROUPS) -> tuple[Float, Float]:
    """Join neighbouring bins into at most `groups` of about equal rows."""
    rows = inside + outside
    middle = (np.cumsum(rows) - rows / 2) / max(rows.sum(), 1.0)
    group = np.minimum((middle * groups).astype(np.int64), groups - 1)
    joined = [np.bincount(group, rows, groups).astype(np.float64) for rows in (inside, outside)]
    return joined[0], joined[1]


def associate(inside: Int, outside: Int, ordered: bool) -> Association:
    """Measure how well bins separate a class from the rest.

    A numeric feature that was made from the arm separates it in its direction or in broad ranges; small cells
    that differ are what chance, sites or families leave behind. Hence two measures, see `Association`.

    Parameters
    ----------
    inside, outside : ndarray of shape (n_bins,), dtype=int64
        Rows per bin of the class and of the rest; the last bin is "missing".
    ordered : bool
        Whether the bins (but the last) are in the order of a numeric value.

    Notes
    -----
    ----- Under independence the statistic is about its degrees of freedom, so the share ``1 - dof / chi2`` of
    the signal is real; `auc_any` is ``0.5 + (auc - 0.5) * sqrt(1 - dof / chi2)`` and Cramér's V is corrected
    in the same way (Bergsma 2013, J. Korean Stat. Soc. 42).
    """
    here, there = inside.astype(np.float64), outside.astype(np.float64)
    if here.sum() == 0 or there.sum() == 0:
        return NONE
    few, rest = _order_by_size(here, there, ordered)
    statistic, p_value, dof = chi_square(np.stack(pooled(few, rest)))
    if dof == 0:
        return NONE
    real = max(0.0, 1.0 - dof / statistic) if statistic > 0 else 0.0
    auc_any = 0.5 + (best_auc(here, there) - 0.5) * real**0.5
    simple = _simple_auc(here, there, ordered)
    cramers_v = (max(0.0, statistic - dof) / (here.sum() + there.sum())) ** 0.5
    return Association(simple, auc_any, p_value, min(1.0, cramers_v))


def _order_by_size(here: Float, there: Float, ordered: bool) -> tuple[Float, Float]:
    """Return the bins in an order in which neighbours may be pooled: by value, or rare categories
    together.
    """
    order = np.arange(len(here)) if ordered else np.argsort(here + there, kind="stable")
    return here[order], there[order]


def _simple_auc(here: Float, there: Float, ordered: bool) -> float:
    candidates = [0.5]
    share_here, share_there = here / here.sum(), there / there.sum()
    candidates.append(0.5 + float(np.abs(share_here - share_there).max()) / 2)
    if ordered:
        values = ordered_auc(here[:-1], there[:-1])
        candidates.append(max(values, 1.0 - values))
        few, rest = broad_groups(here[:-1], there[:-1])
        candidates.append(best_auc(np.append(few, here[-1]), np.append(rest, there[-1])))
    elif np.count_nonzero(here + there) <= GROUPS:
        candidates.append(best_auc(here, there))
    return max(candidates)
