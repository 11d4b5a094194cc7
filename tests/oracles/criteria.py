"""Split criteria from their formulas, row by row, without a thought for speed.

Smoothing is done literally: pseudo-rows are appended to the rows of a child. All functions take a `Split` and
return what the compiled gain of the same name must return.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Split:
    """Rows of a node: side (0 left, 1 right), arm (0 control), outcome and weight, all of one length."""

    n_arms: int
    side: npt.NDArray[np.int64]
    arm: npt.NDArray[np.int64]
    y: Floats
    w: Floats
    reference: Floats
    n_reg: float
    normalization: str

    def table(self, side: int) -> Floats:
        """Return the sums (w, wy, wyy) per arm of a side, f64[A, 3]."""
        out = np.zeros((self.n_arms, 3))
        for g in range(self.n_arms):
            y, w = self.rows(g, side)
            out[g] = w.sum(), (w * y).sum(), (w * y * y).sum()
        return out

    def rows(self, g: int, side: int | None = None) -> tuple[Floats, Floats]:
        """Return outcomes and weights of an arm, of the whole node or one side."""
        chosen = self.arm == g
        if side is not None:
            chosen &= self.side == side
        return self.y[chosen], self.w[chosen]

    def size(self, g: int | None = None, side: int | None = None) -> float:
        """Return the weighted rows of an arm (or of all) in the node (or in one side)."""
        arms = range(self.n_arms) if g is None else [g]
        return float(sum(self.rows(a, side)[1].sum() for a in arms))

    @property
    def causalml(self) -> bool:
        return self.normalization == "causalml"

    def pseudo(self, g: int, n_reg: float | None = None) -> float:
        """Return the pseudo-rows that an arm of a child gets."""
        n_reg = self.n_reg if n_reg is None else n_reg
        return n_reg if self.causalml else n_reg * self.size(g) / self.size()

    def mean(self, g: int, side: int) -> float:
        """Return the smoothed mean of an arm in a child."""
        y, w = self.rows(g, side)
        if w.sum() == 0:
            return float(self.reference[g])
        y, w = np.append(y, self.reference[g]), np.append(w, self.pseudo(g))
        return float(np.average(y, weights=w))

    def effect(self, t: int, side: int) -> float:
        return self.mean(t, side) - self.mean(0, side)

    def augmented(self, g: int, side: int | None, pseudo: float) -> tuple[Floats, Floats]:
        """Return an arm's rows and two more that together have the reference mean and the node's variance."""
        y, w = self.rows(g, side)
        spread = math.sqrt(variance(*self.rows(g)))
        more = [self.reference[g] - spread, self.reference[g] + spread]
        return np.append(y, more), np.append(w, [pseudo / 2, pseudo / 2])

    def share_left(self) -> float:
        return self.size(side=LEFT) / self.size() if self.size() > 0 else 0.5

    def compared(self) -> list[int]:
        """Return the treatments that have rows on both sides, as does the control."""
        both = [min(self.size(g, LEFT), self.size(g, RIGHT)) > 0 for g in range(self.n_arms)]
        return [t for t in range(1, self.n_arms) if both[t] and both[0]]

    def weight(self, t: int) -> float:
        """Return the treatment's share of the node's treated rows."""
        return self.size(t) / (self.size() - self.size(0))

    def undefined(self) -> bool:
        treated = self.size() - self.size(0)
        return min(self.size(side=LEFT), self.size(side=RIGHT), self.size(0), treated) <= 0


def variance(y: Floats, w: Floats) -> float:
    """Return the weighted variance, 0 for no rows."""
    if w.sum() == 0:
        return 0.0
    return float(np.average((y - np.average(y, weights=w)) ** 2, weights=w))


# ---------------------------------------------------------------- divergences


def kl_distance(p: float, q: float) -> float:
    p, q = np.clip([p, q], 1e-6, 1 - 1e-6)
    return float(sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q))))


def causalml_kl_distance(p: float, q: float) -> float:
    if q == 0:
        return 0.0
    q = min(max(q, 1e-6), 1 - 1e-6)
    return sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0)


def ed_distance(p: float, q: float) -> float:
    return (p - q) ** 2 + ((1 - p) - (1 - q)) ** 2


def chi_distance(p: float, q: float) -> float:
    return (p - q) ** 2 / max(q, 1e-6) + ((1 - p) - (1 - q)) ** 2 / max(1 - q, 1e-6)


def entropy(*shares: float) -> float:
    return -sum(p * math.log(p) for p in shares if p > 0)


def gini(*shares: float) -> float:
    return 1 - sum(p * p for p in shares)


def paper_penalty(split: Split, distance: Callable[..., float], impurity: Callable[..., float]) -> float:
    rows, control = split.size(), split.size(0)
    treated = rows - control
    alpha = 0.9

    def left_share(g: int) -> float:
        return split.size(g, LEFT) / split.size(g)

    def two(p: float) -> tuple[float, float]:
        return p, 1 - p

    pooled = sum(split.size(t, LEFT) for t in range(1, split.n_arms)) / treated
    out = alpha * impurity(*two(treated / rows)) * distance(pooled, left_share(0))
    for t in range(1, split.n_arms):
        n = split.size(t)
        if n > 0:
            pair = impurity(*two(n / (n + control)))
            out += (1 - alpha) * split.weight(t) * pair * distance(left_share(t), left_share(0))
    for g in range(split.n_arms):
        if split.size(g) > 0:
            out += split.size(g) / rows * impurity(*two(left_share(g)))
    return out + 0.5


def causalml_penalty(split: Split) -> float:
    rows, control = split.size(), split.size(0)
    treated = rows - control

    def right_share(*arms: int) -> float:
        return sum(split.size(g, RIGHT) for g in arms) / (sum(split.size(g) for g in arms) + 0.1)

    treatments = range(1, split.n_arms)
    c = right_share(0)
    cross = -treated / rows * math.log(control / rows)
    out = 0.9 * cross * causalml_kl_distance(right_share(*treatments), c)
    for t in treatments:
        n = split.size(t)
        cross = -n / (n + control) * math.log(control / (n + control))
        out += 0.1 * cross * causalml_kl_distance(right_share(t), c)
        out += n / rows * entropy(right_share(t))
    return out + control / rows * entropy(c) + 0.5


def divergence(split: Split, distance: Callable[..., float], impurity: Callable[..., float]) -> float:
    if split.undefined():
        return -math.inf
    if split.causalml and distance is kl_distance:
        distance = causalml_kl_distance
    left = split.share_left()
    gain = 0.0
    for t in range(1, split.n_arms) if split.causalml else split.compared():
        d_left, d_right = (distance(split.mean(t, s), split.mean(0, s)) for s in (LEFT, RIGHT))
        own = distance(split.reference[t], split.reference[0])
        weight = 1.0 if split.causalml else split.weight(t)
        gain += weight * (left * d_left + (1 - left) * d_right - own)
    if split.normalization == "paper":
        gain /= paper_penalty(split, distance, impurity)
    elif split.causalml:
        gain /= causalml_penalty(split)
    return gain


def kl(split: Split) -> float:
    return divergence(split, kl_distance, entropy)


def ed(split: Split) -> float:
    return divergence(split, ed_distance, gini)


def chi(split: Split) -> float:
    return divergence(split, chi_distance, gini)


# ---------------------------------------------------------------- effects


def cts(split: Split) -> float:
    there = [g for g in range(split.n_arms) if split.size(g) > 0]
    arms = [g for g in there if min(split.size(g, LEFT), split.size(g, RIGHT)) > 0]
    own = max(split.reference[arms], default=0.0)
    weights = [split.share_left(), 1 - split.share_left()]
    if split.causalml:
        arms = list(range(split.n_arms))
        own = max(split.reference)
    elif arms != there:
        own = max(
            (np.average([split.mean(g, s) for s in (LEFT, RIGHT)], weights=weights) for g in arms), default=0
        )
    if split.undefined() or not arms:
        return -math.inf
    best = [max(split.mean(g, side) for g in arms) for side in (LEFT, RIGHT)]
    return float(np.average(best, weights=weights) - own)


def effective(split: Split, t: int, side: int) -> float:
    return 1 / (1 / split.size(t, side) + 1 / split.size(0, side))


def ddp(split: Split) -> float:
    if split.undefined():
        return -math.inf
    if split.causalml:
        return abs(sum(split.effect(t, LEFT) - split.effect(t, RIGHT) for t in range(1, split.n_arms)))
    gain = 0.0
    for t in split.compared():
        difference = abs(split.effect(t, LEFT) - split.effect(t, RIGHT))
        if split.normalization == "paper":
            # the weighted variance of the two effects around their mean
            effects = [split.effect(t, LEFT), split.effect(t, RIGHT)]
            weights = [effective(split, t, LEFT), effective(split, t, RIGHT)]
            difference = variance(np.array(effects), np.array(weights))
        gain += split.weight(t) * difference
    return gain


def iddp(split: Split) -> float:
    if split.undefined():
        return -math.inf
    if split.causalml:
        return causalml_iddp(split)
    gain = 0.0
    for t in split.compared():
        difference = abs(split.effect(t, LEFT) - split.effect(t, RIGHT))
        own = abs(split.reference[t] - split.reference[0])
        if split.normalization == "none":
            gain += split.weight(t) * (difference - own)
            continue
        e_left, e_right = effective(split, t, LEFT), effective(split, t, RIGHT)
        value = 2 * math.sqrt(e_left * e_right) / (e_left + e_right) * difference - own
        shares = [split.size(g) / (split.size(t) + split.size(0)) for g in (t, 0)]
        norm = entropy(*shares) * 2 * (max(value, -1) + 1) / 3 + 0.5
        for g, share in zip((t, 0), shares, strict=True):
            norm += share * entropy(split.size(g, LEFT) / split.size(g), split.size(g, RIGHT) / split.size(g))
        gain += split.weight(t) * value / norm
    return gain


def causalml_iddp(split: Split) -> float:
    treatments = range(1, split.n_arms)
    gain = abs(sum(split.effect(t, LEFT) - split.effect(t, RIGHT) for t in treatments))
    gain -= abs(sum(split.reference[t] - split.reference[0] for t in treatments))
    rows, control = split.size(), split.size(0)
    treated = rows - control
    norm = -treated / rows * math.log(control / rows) * 2 * (gain + 1) / 3
    norm += treated / rows * entropy(sum(split.size(t, RIGHT) for t in treatments) / (treated + 0.1))
    norm += control / rows * entropy(split.size(0, RIGHT) / (control + 0.1))
    return gain / (norm + 0.5)


def it(split: Split) -> float:
    if split.undefined():
        return -math.inf
    gain = 0.0
    for t in split.compared():
        cells = [(g, side) for g in (0, t) for side in (LEFT, RIGHT)]
        squared = (split.effect(t, LEFT) - split.effect(t, RIGHT)) ** 2
        if split.causalml:
            n = np.array([split.size(g, side) for g, side in cells])
            p = np.array([split.mean(g, side) for g, side in cells])
            pooled = ((n - 1) * p * (1 - p)).sum() / (n - 1).sum()
            value = squared / (pooled * (1 / n).sum()) if pooled * (1 / n).sum() != 0 else math.inf
        else:
            tables = [split.augmented(g, side, split.pseudo(g)) for g, side in cells]
            n = np.array([w.sum() for _, w in tables])
            pooled = sum(w.sum() * variance(y, w) for y, w in tables) / n.sum()
            if pooled == 0:
                whole = [split.rows(g) for g in (0, t)]
                pooled = sum(w.sum() * variance(y, w) for y, w in whole) / sum(w.sum() for _, w in whole)
            value = squared / (pooled * (1 / n).sum()) / split.size() if pooled > 0 else 0.0
        gain += split.weight(t) * value
    return gain if math.isfinite(gain) else -math.inf


def log_likelihood(sizes: list[float], squares: float) -> float:
    n = sum(sizes)
    if n * squares <= 0:
        return math.inf
    return -n / 2 * math.log(n * squares) + sum(m * math.log(m) for m in sizes if m > 0)


def cit(split: Split) -> float:
    if split.undefined():
        return -math.inf
    arms = range(split.n_arms)
    parts = []
    for side, times in ((LEFT, 1), (RIGHT, 1), (None, 2)):
        if split.causalml:
            sizes = [split.size(g, side) for g in arms]
            rates = [split.reference[g] if side is None else split.mean(g, side) for g in arms]
            squares = sum(n * p * (1 - p) for n, p in zip(sizes, rates, strict=True))
        else:
            tables = [split.augmented(g, side, times * split.pseudo(g, max(split.n_reg, 1.0))) for g in arms]
            sizes = [float(w.sum()) for _, w in tables]
            squares = sum(w.sum() * variance(y, w) for y, w in tables)
        parts.append(log_likelihood(sizes, squares))
    if not all(math.isfinite(part) for part in parts):
        return -math.inf
    ratio = 2 * (parts[0] + parts[1] - parts[2])
    return ratio if split.causalml else ratio / split.size()


def causal_mse(split: Split) -> float:
    if split.undefined():
        return -math.inf
    left = split.share_left()
    if split.causalml:
        scores = [plain_score(split, side) for side in (LEFT, RIGHT, None)]
        return left * scores[0] + (1 - left) * scores[1] - scores[2]
    gain = 0.0
    for t in split.compared():
        u = []
        for side in (LEFT, RIGHT):
            noise = sum(variance_of_mean(split, g, side) for g in (t, 0))
            u.append(split.effect(t, side) ** 2 - 2 * noise)
        own = (split.reference[t] - split.reference[0]) ** 2
        own -= 2 * sum(variance(*split.rows(g)) / split.size(g) for g in (t, 0))
        gain += split.weight(t) * (left * u[0] + (1 - left) * u[1] - own)
    return gain


def variance_of_mean(split: Split, g: int, side: int) -> float:
    n, k = split.size(g, side), split.pseudo(g)
    y, w = split.augmented(g, side, k)
    trust = n / (n + k)
    return trust**2 * variance(y, w) / n + (1 - trust**2) * variance(*split.rows(g)) / split.size(g)


def plain_score(split: Split, side: int | None) -> float:
    out = 0.0
    for t in range(1, split.n_arms):
        if min(split.size(t, side), split.size(0, side)) > 0:
            (y1, w1), (y0, w0) = split.rows(t, side), split.rows(0, side)
            effect = np.average(y1, weights=w1) - np.average(y0, weights=w0)
            out += effect**2 - 2 * (variance(y1, w1) / w1.sum() + variance(y0, w0) / w0.sum())
    return float(out) / (split.n_arms - 1)


def gradient(split: Split) -> float:
    """grf's split: regress y on the arms, then compare the sums of ``A^-1 (W_i - Wbar) * residual_i``."""
    if split.undefined():
        return -math.inf
    present = [t for t in range(1, split.n_arms) if split.size(t) > 0]
    indicators = np.array([split.arm == t for t in present], dtype=float).T
    centred = indicators - np.average(indicators, axis=0, weights=split.w)
    y = split.y - np.average(split.y, weights=split.w)
    covariance = (centred * split.w[:, None]).T @ centred / split.w.sum()
    slopes = np.linalg.solve(covariance, (centred * split.w[:, None]).T @ y / split.w.sum())
    residual = y - centred @ slopes
    rho = np.linalg.solve(covariance, (centred * residual[:, None]).T).T
    gain = 0.0
    for side in (LEFT, RIGHT):
        inside = split.side == side
        sums = (rho[inside] * split.w[inside, None]).sum(axis=0)
        squares = sum(total**2 for t, total in zip(present, sums, strict=True) if t in split.compared())
        gain += squares / (split.size(side=side) + split.n_reg)
    return float(gain) / split.size()


_ALL = (kl, ed, chi, cts, ddp, iddp, it, cit, causal_mse, gradient)
ORACLES: dict[str, Callable[[Split], float]] = {oracle.__name__: oracle for oracle in _ALL}
