"""The best split by trying every candidate on the rows of a node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import WEIGHTED
from spark_uplift.core.growing import ForestSpec
from tests.oracles import histogram

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Gain = Callable[[F64, F64, F64], float]  # (left, right, reference): tables of sums w, wy, wyy by arm


@dataclass(frozen=True)
class Data:
    """Rows with their lanes, multiplied by their copies."""

    codes: npt.NDArray[np.uint8]
    arms: npt.NDArray[np.uint8]
    lanes: I64


@dataclass(frozen=True)
class Candidate:
    """A way to divide a node; ``left`` are codes. The threshold is -1 for categories."""

    feature: int
    threshold: int
    missing_left: bool
    left: frozenset[int]
    gain: float


def sums(spec: ForestSpec, stats: I64) -> F64:
    """Return w, wy, wyy in real units, float64 of shape (arms, 3)."""
    grid = spec.grid
    return np.column_stack(
        [stats[:, 1] * grid.weight_unit, stats[:, 2] * grid.outcome_unit, stats[:, 3] * grid.square_unit]
    )


def root_means(spec: ForestSpec, stats: I64) -> F64:
    table = sums(spec, stats)
    return np.array([wy / w if w > 0 else 0.0 for w, wy, _ in table])


def smoothed_means(spec: ForestSpec, stats: I64, parent: I64, reference: F64) -> F64:
    """Return the means of a node with n_reg rows of its parent's means, divided over the arms as its rows are."""
    own, above = sums(spec, stats), sums(spec, parent)
    out = np.zeros(spec.n_arms)
    for arm in range(spec.n_arms):
        pseudo = spec.n_reg * above[arm, 0] / above[:, 0].sum()
        if own[arm, 0] + pseudo > 0:
            out[arm] = (own[arm, 1] + pseudo * reference[arm]) / (own[arm, 0] + pseudo)
        else:
            out[arm] = reference[arm]
    return out


def large_enough(spec: ForestSpec, stats: I64, times: int = 1) -> bool:
    """Return whether a node has ``times`` the minimum rows, and of every arm; for a child effective rows too.

    A millionth is left for the rounding of weights to the grid.
    """
    n = stats[:, 0]
    if n.sum() < times * spec.min_node or any(x < max(1, times * spec.min_arm) for x in n):
        return False
    if spec.grid.layout != WEIGHTED:
        return True
    for _, w, _, _, ww in stats.tolist():
        weight, square = w * spec.grid.weight_unit, ww * spec.grid.square_weight_unit
        if weight <= 0 or (times == 1 and weight**2 < spec.min_arm * square * (1 - 1e-6)):
            return False
    return True


def category_order(spec: ForestSpec, cells: I64, node: I64, reference: F64) -> list[int]:
    """Return the categories present by shrunk effect: by the first principal contrast when there are several."""
    share = sums(spec, node)[:, 0] / sums(spec, node)[:, 0].sum()
    pseudo = max(spec.n_reg, 1.0) * share
    present = [c for c in range(1, len(cells)) if cells[c, :, 0].sum() > 0]
    tables = [sums(spec, cells[c]) for c in present]
    means = np.array([(t[:, 1] + pseudo * reference) / (t[:, 0] + pseudo) for t in tables]).reshape(
        -1, spec.n_arms
    )
    effects = means[:, 1:] - means[:, :1]
    if spec.n_arms == 2:
        score = effects[:, 0]
    else:
        weight = np.array([t[:, 0].sum() for t in tables])
        if weight.sum() == 0:
            return present
        centred = effects - np.average(effects, axis=0, weights=weight)
        axis = np.linalg.eigh((centred * weight[:, None]).T @ centred)[1][:, -1]
        first = next((x for x in axis if abs(x) > 1e-9), 1.0)
        score = centred @ (axis * np.sign(first))
    return [present[i] for i in np.argsort(score, kind="stable")]


def candidates(
    spec: ForestSpec, data: Data, rows: Sequence[int], features: Sequence[int], reference: F64, gain: Gain
) -> Iterator[Candidate]:
    """Yield every split that leaves both sides large enough, in the order in which ties are broken."""
    node = histogram.statistics(spec.grid, data.arms, data.lanes, rows, spec.n_arms)
    for f in features:
        cells = histogram.by_code(
            spec.grid, data.codes, data.arms, data.lanes, rows, f, int(spec.n_codes[f]), spec.n_arms
        )
        categorical = bool(spec.categorical[f])
        order = category_order(spec, cells, node, reference) if categorical else range(1, len(cells))
        any_missing = cells[0, :, 0].sum() > 0
        chosen: set[int] = set()
        for code in order:
            chosen.add(code)
            if cells[code, :, 0].sum() == 0:
                continue
            for missing_left in (False, True) if any_missing else (False,):
                left = frozenset(chosen | {0} if missing_left else chosen)
                on_left = cells[sorted(left)].sum(axis=0)
                on_right = node - on_left
                if large_enough(spec, on_left) and large_enough(spec, on_right):
                    value = gain(sums(spec, on_left), sums(spec, on_right), reference)
                    seen_left = 2 * on_left[:, 0].sum() >= node[:, 0].sum()
                    side = missing_left if any_missing else bool(seen_left)
                    unseen = {c for c in range(1, len(cells)) if cells[c, :, 0].sum() == 0}
                    more = {0} if side else set()
                    more |= unseen if categorical and seen_left else set()
                    yield Candidate(f, -1 if categorical else code, side, left | more, value)


def best_split(
    spec: ForestSpec, data: Data, rows: Sequence[int], features: Sequence[int], reference: F64, gain: Gain
) -> Candidate | None:
    """Return the first candidate of the highest gain above 0."""
    best = None
    for candidate in candidates(spec, data, rows, features, reference, gain):
        if candidate.gain > (0.0 if best is None else best.gain):
            best = candidate
    return best
