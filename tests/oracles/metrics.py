"""Slow, obvious twins of the metrics: loops over rows, written from the definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np

from spark_uplift.core.sampling import REPLICATE, mix


def order_by_score(score):
    return sorted(range(len(score)), key=lambda i: -score[i])


def inverse_propensity_scores(y, treated, weight=None, propensity=None):
    """y*t/e - y*(1-t)/(1-e), e the weighted share of treated or the logged probability of the row's arm."""
    weight = np.ones(len(y)) if weight is None else weight
    share = sum(weight[treated == 1]) / sum(weight)
    out = []
    for i in range(len(y)):
        own = (share if treated[i] else 1 - share) if propensity is None else propensity[i]
        out.append(y[i] / own if treated[i] else -y[i] / own)
    return np.array(out)


def toc_by_row(y, treated, score, weight=None, propensity=None):
    """TOC at every row in order of score, tied rows with their mean score; also the weights in that order."""
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    scores = inverse_propensity_scores(y, treated, weight, propensity)
    order = order_by_score(score)
    tied, shared = {}, {}
    for i in order:
        tied.setdefault(score[i], []).append(i)
    for members in tied.values():
        total = sum(weight[i] for i in members)
        mean = sum(weight[i] * scores[i] for i in members) / total
        for i in members:
            scores[i] = mean
            shared[i] = total / len(members)
    overall = sum(scores * weight) / sum(weight)
    toc, steps, mass, gained = [], [], 0.0, 0.0
    for i in order:
        mass += shared[i]
        gained += shared[i] * scores[i]
        toc.append(gained / mass - overall)
        steps.append(shared[i])
    return np.array(toc), np.array(steps)


def autoc(y, treated, score, weight=None, propensity=None):
    toc, steps = toc_by_row(y, treated, score, weight, propensity)
    return sum(toc * steps) / sum(steps)


def rate_qini(y, treated, score, weight=None, propensity=None):
    toc, steps = toc_by_row(y, treated, score, weight, propensity)
    share = np.cumsum(steps) / sum(steps)
    return sum(share * toc * steps) / sum(steps)


def cumulative(y, treated, score):
    """(k, n_t, y_t, n_c, y_c) after each distinct score, the best first."""
    points = []
    for threshold in sorted(set(score), reverse=True):
        top = [i for i in range(len(y)) if score[i] >= threshold]
        t = [i for i in top if treated[i]]
        c = [i for i in top if not treated[i]]
        points.append((len(top), len(t), sum(y[i] for i in t), len(c), sum(y[i] for i in c)))
    return points


def area_above_diagonal(points):
    points = [(0, 0.0), *points]
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    return area - points[-1][0] * points[-1][1] / 2


def sklift_curve(y, treated, score, kind):
    out = []
    for k, n_t, y_t, n_c, y_c in cumulative(y, treated, score):
        if kind == "auuc":
            out.append((k, ((y_t / n_t if n_t else 0) - (y_c / n_c if n_c else 0)) * k))
        else:
            out.append((k, y_t - (y_c * n_t / n_c if n_c else 0)))
    return out


def sklift_perfect_score(y, treated, kind):
    if kind == "qini":
        return [float(y[i] * treated[i] - y[i] * (1 - treated[i])) for i in range(len(y))]
    control_responders = sum(1 for i in range(len(y)) if y[i] and not treated[i])
    treated_others = sum(1 for i in range(len(y)) if not y[i] and treated[i])
    last = y if control_responders > treated_others else treated
    return [2.0 * (y[i] == treated[i]) + last[i] for i in range(len(y))]


def sklift(y, treated, score, kind):
    actual = area_above_diagonal(sklift_curve(y, treated, score, kind))
    best = sklift_perfect_score(y, treated, kind)
    return actual / area_above_diagonal(sklift_curve(y, treated, best, kind))


def causalml_raw(y, treated, score, kind):
    """Mean over the n + 1 points, minus the straight line for Qini; scores without ties."""
    rows = cumulative(y, treated, score)
    if kind == "qini":
        values = [y_t - y_c * n_t / n_c if n_c else np.nan for _, n_t, y_t, n_c, y_c in rows]
    else:
        values = [y_t / n_t - y_c / n_c if n_t and n_c else np.nan for _, n_t, y_t, n_c, y_c in rows]
    known = next(i for i, v in enumerate(values) if np.isfinite(v))
    values = [0.0] + [values[known] * (i + 1) / (known + 1) if i < known else v for i, v in enumerate(values)]
    if kind == "auuc":
        return np.mean([v * k for k, v in enumerate(values)])
    return np.mean(np.array(values) - np.linspace(0, values[-1], len(values)))


def ydf(y, treated, score, kind):
    n = len(y)
    rows = cumulative(y, treated, score)
    _, all_t, _, all_c, _ = rows[-1]
    points = [(0.0, 0.0)] + [(k / n, y_t / all_t - y_c / all_c) for k, _, y_t, _, y_c in rows]
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    return area if kind == "auuc" else area - points[-1][1] / 2


def uplift_at(y, treated, score, share):
    """Without ties."""
    top = order_by_score(score)[: int(len(y) * share)]
    t = [y[i] for i in top if treated[i]]
    c = [y[i] for i in top if not treated[i]]
    return np.mean(t) - np.mean(c)


def copied(counts, *columns):
    """Rows written out as often as counts say: a bootstrap replicate in full."""
    return tuple(np.repeat(np.asarray(column), counts) for column in columns)


def upliftml(y, treated, score, kind, buckets=30):
    """Quantiles of the sorted scores (the smallest one that the share does not exceed), then a loop over buckets."""
    n = len(y)
    ascending = sorted(score)
    splits = sorted({ascending[-(-i * n // buckets) - 1] for i in range(1, buckets)})
    points = [(0.0, 0.0)]
    for split in [*reversed(splits), -np.inf]:
        top = [i for i in range(n) if score[i] >= split]
        if not top:
            continue
        t, c = [y[i] for i in top if treated[i]], [y[i] for i in top if not treated[i]]
        lift = np.mean(t) - np.mean(c) if t and c else np.nan
        points.append((len(top) / n, lift * len(top) / n))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    return area if kind == "auuc" else area - points[-1][1] / 2


def adjusted_scores(y, treated, weight=None, propensity=None):
    """Doubly robust scores whose outcome model is the mean of each arm."""
    weight = np.ones(len(y)) if weight is None else weight
    share = sum(weight[treated == 1]) / sum(weight)
    own = np.where(treated == 1, share, 1 - share) if propensity is None else propensity
    means = {side: np.average(y[treated == side], weights=(weight / own)[treated == side]) for side in (0, 1)}
    out = []
    for i in range(len(y)):
        rest = (y[i] - means[treated[i]]) / own[i]
        out.append(means[1] - means[0] + (rest if treated[i] else -rest))
    return np.array(out)


def projection(values, score, weight=None):
    """(intercept, slope) of weighted least squares."""
    root = np.sqrt(np.ones(len(values)) if weight is None else weight)
    design = np.stack([np.ones(len(values)), np.asarray(score)], axis=1) * root[:, None]
    return np.linalg.lstsq(design, values * root, rcond=None)[0]


def group_means(y, treated, score, groups):
    """(predicted, effect) of equal groups, the best first; scores without ties."""
    order = np.array(order_by_score(score))
    out = []
    for part in np.array_split(order, groups):
        t, c = part[treated[part] == 1], part[treated[part] == 0]
        out.append((np.mean(score[part]), y[t].mean() - y[c].mean()))
    return np.array(out)


def copies_by_hash(unit, seed, replicates, intervals):
    """How often a unit is in each replicate: parts of its 64-bit draws, with Python's integers."""
    one = np.array([unit], np.uint64)
    draws = [int(mix(seed, REPLICATE, word, one)[0]) for word in range(replicates)]
    if intervals == "half_sample":
        return [draws[r // 64] >> (r % 64) & 1 for r in range(replicates)]
    limits, total = [], 0.0
    for k in range(9):
        total += math.exp(-1) / math.factorial(k)
        limits.append(round(65536 * total))
    parts = [draws[r // 4] >> (16 * (r % 4)) & 0xFFFF for r in range(replicates)]
    return [sum(part >= limit for limit in limits) for part in parts]
